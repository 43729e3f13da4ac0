"""The space-time separable convolution in the frequencies of the image: the way that is fast for large images.

The temporal kernels are weighted sums of a few functions of time, the basis. A movie is taken to the frequencies of
height and width, there through every function of the basis, and then each frequency through one product over channels
and functions. No kernel is assembled: what a frequency is multiplied with is its number in the spectrum of ``S`` times
the weights of the basis. The cost hardly depends on the size of the kernels.

Tiles and transforms are those of ``spectral``. All arrays have the order (height, width, channel, time, tiles and
batch), so that one matrix product follows the other and nothing is reordered in between.
"""

import jax.numpy as jnp
from jaxtyping import Array, Float

from openretina_jax.modules import spectral
from openretina_jax.modules.products import product, transform
from openretina_jax.modules.tiles import Axis, Padding, bands, in_tiles, out_of_tiles, whole_axes

LONGEST_TRANSFORM = 40  # pixels of a tile, where the kernel does not need more
SHORTEST_BLOCK = 8  # frames of output of a tile, at least; and no fewer than the kernel has


def basis_spectral(
    x: Float[Array, "batch time height width in"],
    spatial: Float[Array, "out in kernel_height kernel_width"],
    coefficients: Float[Array, "out in function"],
    basis: Float[Array, "function kernel_time"],
    padding: Padding,
    strides: tuple[int, int, int] = (1, 1, 1),
) -> Float[Array, "batch new_time new_height new_width out"]:
    """3-D cross-correlation with the kernel ``(coefficients @ basis)[o, i, t] S[o, i, h, w]``."""
    out = spatial.shape[0]
    whole = whole_axes(x.shape, (basis.shape[1], *spatial.shape[2:]), strides, padding)
    if 0 in (sizes := [axis.outputs for axis in whole]):  # the kernel is larger than the movie
        return jnp.zeros((x.shape[0], *sizes, out), x.dtype)
    axes = time, height, width = tiles(whole)
    x = in_tiles(x.transpose(2, 3, 4, 1, 0), whole, axes)
    n, functions = x.shape[-1], through_time(basis, time)

    def multiply(weights: Array, x: Array) -> Array:
        x = transform(functions, x.reshape(len(x), 2, -1, time.size, n))
        rows = (weights[..., None] * coefficients).swapaxes(2, 3)
        return product(rows.reshape(len(x), 2 * out, -1), x.reshape(len(x), -1, time.outputs * n))

    numbers = 2 * max(coefficients[0].size, out) * time.outputs * n
    y = spectral.in_frequencies(multiply, x, spatial.transpose(2, 3, 0, 1), (height, width), numbers)
    y = out_of_tiles(y.reshape(height.outputs, width.outputs, out, time.outputs, -1), whole, axes)
    return y.transpose(4, 3, 0, 1, 2)


def tiles(whole: list[Axis]) -> list[Axis]:
    """How time, height and width are cut.

    The Toeplitz matrix of a whole clip is mostly zeros; short tiles of time also make the products with it wide.
    """
    time, *image = whole
    frames = max(time.kernel // time.stride, SHORTEST_BLOCK)
    pixels = ((max(LONGEST_TRANSFORM, 2 * axis.kernel) - axis.kernel) // axis.stride + 1 for axis in image)
    return [time.tiled(frames), *(axis.tiled(most) for axis, most in zip(image, pixels, strict=True))]


def through_time(basis: Float[Array, "function kernel_time"], time: Axis) -> Float[Array, "function_output size"]:
    """Toeplitz matrices of all functions, one below the other."""
    steps = bands(time.size, time.kernel, time.padding, time.stride).reshape(time.kernel, -1)
    return product(basis, jnp.asarray(steps, basis.dtype)).reshape(-1, time.size)
