"""Convolution as a product per frequency of all three axes, by matrix products: the fast way on CPUs.

A Fourier transform turns a convolution with a large kernel into one product over channels for every frequency. Tiles of
a movie are so short (tens of frames and pixels) that the transforms are fastest as products with constant matrices. The
same matrices take care of padding (columns left out), of strides and of the valid part (rows left out).

Long axes are cut into tiles (``tiles.Axis.tiled``). An axis along which the kernel has one element needs no transform:
all its positions are tiles of one element.

The frequencies of all axes are many more numbers than movie and outputs. So only the first axis is transformed as a
whole; its frequencies then go a few at a time through the other axes, the product, and back (``in_frequencies``).

Names of dimensions: ``part`` is (real, imaginary), ``n`` are all windows and tiles.
"""

import functools
import math
from collections.abc import Callable, Sequence

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Complex, Float

from openretina_jax.modules.kernels.tiles import (
    DIMENSIONS,
    Axis,
    Padding,
    bands,
    in_tiles,
    out_of_tiles,
    product,
    transform,
    whole_axes,
)

SHORTEST_TRANSFORM = 32  # frames or pixels of a tile
KERNELS_IN_TRANSFORM = 3  # kernel sizes in a tile, at least: a shorter one is mostly overlap
AT_ONCE = 2**20  # numbers of the frequencies that are processed together, so that they stay in the cache
# of ``basis_spectral``
LONGEST_TRANSFORM = 40  # pixels of a tile, unless the kernel needs more
SHORTEST_BLOCK = 8  # frames of output of a tile, at least; and no fewer than the kernel has


def spectral(
    x: Float[Array, "batch time height width in"],
    kernel: Float[Array, "kernel_time kernel_height kernel_width in out"],
    padding: Padding,
    strides: tuple[int, int, int] = (1, 1, 1),
) -> Float[Array, "batch new_time new_height new_width out"]:
    """3-D cross-correlation by a product per frequency of time, height and width."""
    batch, channels, out = x.shape[0], *kernel.shape[3:]
    whole = whole_axes(x.shape, kernel.shape[:3], strides, padding)
    if 0 in (sizes := [axis.outputs for axis in whole]):  # the kernel is larger than the movie
        return jnp.zeros((batch, *sizes, out), x.dtype)
    tiles = [axis.tiled(outputs_of_transform(axis)) for axis in whole]
    # a real transform of the first axis halves all later work, but not where that axis has a single frequency
    order = (1, 0, 2) if kernel.shape[0] == 1 else (0, 1, 2)
    axes = [tiles[n] for n in order]
    to_order = (*(DIMENSIONS[n] for n in order), 2, 4)
    x = in_tiles(x.transpose(2, 3, 4, 1, 0), whole, tiles).transpose(to_order)

    def multiply(weights: Array, x: Array) -> Array:
        rows = weights.transpose(0, 1, 4, 2, 3).reshape(len(x), 2 * out, 2 * channels)
        return transform(rows, x.reshape(len(x), 2 * channels, -1))

    numbers = 2 * max(channels, out) * x.shape[-1]
    y = in_frequencies(multiply, x, kernel.transpose(*order, 3, 4), axes, numbers)
    y = y.reshape(*(axis.outputs for axis in axes), out, -1)
    y = out_of_tiles(y.transpose(np.argsort(to_order)), whole, tiles)
    return y.transpose(4, 3, 0, 1, 2)


def outputs_of_transform(axis: Axis) -> int:
    """Outputs of the longest tile along an axis."""
    if axis.kernel == 1:
        return 1
    return (max(SHORTEST_TRANSFORM, KERNELS_IN_TRANSFORM * axis.kernel) - axis.kernel) // axis.stride + 1


def in_frequencies(
    multiply: Callable[[Array, Array], Array],
    x: Float[Array, "*sizes_and_rest"],
    kernel: Float[Array, "*taps_and_rest"],
    axes: Sequence[Axis],
    numbers: int,
) -> Float[Array, "output rest"]:
    """Cross-correlation along the first dimensions, the ``axes``; outputs as one dimension, the others as the second.

    The frequencies of the first axis are independent. Where all would not stay in the cache they are computed a few at
    a time, and again for the gradient, so that they are never all in memory.

    Args:
        multiply: product at each frequency, of the weights ``(frequency, part, part, *rest)``, complex numbers in real
            form, and the movie ``(frequency, part, rest)``, with outputs ``(frequency, part_out, n)``.
        x: movie; other dimensions follow the axes.
        kernel: kernel; other dimensions follow the axes.
        axes: at least two axes.
        numbers: largest number of entries that a frequency of all axes has in ``multiply``.
    """
    first, *others = axes
    rest = kernel.shape[len(axes) :]
    frequencies = first.period // 2 + 1
    steps = steps_through(frequencies, numbers * math.prod(axis.period for axis in others))

    def outputs(arrays: tuple[Array, Array]) -> Array:
        """Compute the outputs of the frequencies of one step."""
        x, kernel = (array.reshape(frequencies // steps, -1) for array in arrays)
        spectrum = to_frequencies(kernel, [axis.taps for axis in others])
        weights = conjugate_in_real_form(spectrum.reshape(*spectrum.shape[:2], *rest))
        return from_frequencies(multiply(weights, to_frequencies(x, others)), others).reshape(-1)

    # flat between steps: XLA lays out arrays with an axis of length 1 anew and copies them
    x, kernel = (
        transform(real_transform(axis), array.reshape(axis.size, -1)).reshape(steps, -1)
        for axis, array in ((first, x), (first.taps, kernel))
    )
    # checkpointed: the gradient recomputes each step, so that all frequencies are never in memory
    one_by_one = functools.partial(lax.map, jax.checkpoint(outputs, prevent_cse=False))
    y = one_by_one((x, kernel)) if steps > 1 else outputs((x[0], kernel[0]))
    return transform(inverse_real(first), y.reshape(2 * frequencies, -1))


def steps_through(frequencies: int, numbers: int) -> int:
    """Number of equal parts into which frequencies with ``numbers`` numbers each are divided."""
    parts = (count for count in range(1, frequencies) if frequencies % count == 0)
    return next((count for count in parts if frequencies // count * numbers <= AT_ONCE), frequencies)


def to_frequencies(x: Float[Array, "row number"], axes: Sequence[Axis]) -> Float[Array, "frequency part rest"]:
    """Transform further axes; each row has the parts of a number, these axes and the other dimensions."""
    frequencies = len(x)
    for axis in axes:
        if axis.period > 1:
            x = transform(complex_transform(axis), x.reshape(frequencies, 2 * axis.size, -1))
            frequencies *= axis.period
    return x.reshape(frequencies, 2, -1)


def from_frequencies(y: Float[Array, "frequency part_out n"], axes: Sequence[Axis]) -> Float[Array, "*outputs_and_n"]:
    """Transform axes back from their frequencies to their outputs."""
    frequencies = len(y)
    for axis in reversed(axes):
        if axis.period > 1:
            frequencies //= axis.period
            y = transform(inverse_complex(axis), y.reshape(frequencies, 2 * axis.period, -1))
    return y


def conjugate_in_real_form(z: Float[Array, "frequency part *rest"]) -> Float[Array, "frequency part part *rest"]:
    """Real 2x2 matrices that multiply as the conjugates of complex numbers.

    A cross-correlation multiplies by the conjugate of the kernel's transform. As real matrices, complex products over
    channels are one real matrix product, which is faster on CPUs than XLA's complex one.
    """
    real, imaginary = z.swapaxes(0, 1)
    return jnp.stack([jnp.stack([real, imaginary], axis=1), jnp.stack([-imaginary, real], axis=1)], axis=1)


def phases(rows: np.ndarray, columns: np.ndarray, period: int) -> Complex[np.ndarray, "row column"]:
    """``exp(2 pi i row column / period)``."""
    return np.exp(2j * np.pi * (np.outer(rows, columns) % period) / period)


def real_form(z: Complex[np.ndarray, "row column"]) -> Float[np.ndarray, "part row part column"]:
    """The matrix that multiplies the real and the imaginary parts as ``z`` multiplies complex numbers."""
    return np.stack([np.stack([z.real, -z.imag], axis=1), np.stack([z.imag, z.real], axis=1)])


def real_transform(axis: Axis) -> Float[np.ndarray, "frequency_part size"]:
    """Matrix of the transform of real numbers; the frequencies left out are conjugates of others."""
    waves = phases(np.arange(axis.period // 2 + 1), -np.arange(axis.size) - axis.padding[0], axis.period)
    return np.stack([waves.real, waves.imag], axis=1).reshape(-1, axis.size)


def complex_transform(axis: Axis) -> Float[np.ndarray, "frequency_part part_size"]:
    """Matrix of the transform of complex numbers, with all frequencies."""
    waves = phases(np.arange(axis.period), -np.arange(axis.size) - axis.padding[0], axis.period)
    return real_form(waves).transpose(1, 0, 2, 3).reshape(2 * axis.period, 2 * axis.size)


def inverse_complex(axis: Axis) -> Float[np.ndarray, "part_output frequency_part"]:
    """Matrix of the inverse transform to the outputs."""
    waves = phases(axis.stride * np.arange(axis.outputs), np.arange(axis.period), axis.period) / axis.period
    return real_form(waves).transpose(0, 1, 3, 2).reshape(2 * axis.outputs, 2 * axis.period)


def inverse_real(axis: Axis) -> Float[np.ndarray, "output frequency_part"]:
    """Matrix of the inverse transform to the outputs, which are real.

    A frequency whose conjugate was left out counts twice.
    """
    k = np.arange(axis.period // 2 + 1)
    waves = phases(axis.stride * np.arange(axis.outputs), k, axis.period) / axis.period
    waves = waves * np.where((k == 0) | (2 * k == axis.period), 1, 2)
    return np.stack([waves.real, -waves.imag], axis=2).reshape(axis.outputs, -1)


def basis_spectral(
    x: Float[Array, "batch time height width in"],
    spatial: Float[Array, "out in kernel_height kernel_width"],
    coefficients: Float[Array, "out in function"],
    basis: Float[Array, "function kernel_time"],
    padding: Padding,
    strides: tuple[int, int, int] = (1, 1, 1),
) -> Float[Array, "batch new_time new_height new_width out"]:
    """3-D cross-correlation with the kernel ``(coefficients @ basis)[o, i, t] S[o, i, h, w]``.

    The basis in time is applied between the transforms of space: it commutes with them, and there are fewer functions
    than frames of the kernel.
    """
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
        return transform(rows.reshape(len(x), 2 * out, -1), x.reshape(len(x), -1, time.outputs * n))

    numbers = 2 * max(coefficients[0].size, out) * time.outputs * n
    y = in_frequencies(multiply, x, spatial.transpose(2, 3, 0, 1), (height, width), numbers)
    y = out_of_tiles(y.reshape(height.outputs, width.outputs, out, time.outputs, -1), whole, axes)
    return y.transpose(4, 3, 0, 1, 2)


def tiles(whole: list[Axis]) -> list[Axis]:
    """Cut time, height and width into tiles.

    The Toeplitz matrix of a whole clip is mostly zeros. Short tiles of time avoid these, and make the products wide.
    """
    time, *image = whole
    frames = max(time.kernel // time.stride, SHORTEST_BLOCK)
    pixels = ((max(LONGEST_TRANSFORM, 2 * axis.kernel) - axis.kernel) // axis.stride + 1 for axis in image)
    return [time.tiled(frames), *(axis.tiled(most) for axis, most in zip(image, pixels, strict=True))]


def through_time(basis: Float[Array, "function kernel_time"], time: Axis) -> Float[Array, "function_output size"]:
    """Toeplitz matrices of all functions of time, stacked."""
    steps = bands(time.size, time.kernel, time.padding, time.stride).reshape(time.kernel, -1)
    return product(basis, jnp.asarray(steps, basis.dtype)).reshape(-1, time.size)
