"""Convolution in the frequencies of two axes, as matrix products: the way that is fast on CPUs.

A convolution with a large kernel is cheap where a Fourier transform has turned it into one product per frequency. Tiles
of a movie are so short (tens of frames and pixels) that the transforms are fastest as products with constant matrices,
which also take care of padding (columns that are not there), of strides and of the valid part (rows that are never
computed). Along the third axis the kernel becomes a Toeplitz matrix, which together with the channels makes the product
of a frequency large enough to be efficient. Gradients are those of the products.

Long axes are cut into ``tiles``. An axis along which the kernel is one element needs no transform: all its positions
are tiles of one element.

Names of dimensions: ``part`` is (real, imaginary), ``n`` are all windows and tiles.
"""

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Complex, Float

from openretina_jax.modules.tiles import DIMENSIONS, Axis, Padding, in_tiles, out_of_tiles, whole_axes

LONGEST_TRANSFORM = 64  # frames or pixels of a tile, where the kernel does not need more
COLUMNS = 128  # outputs times channels of a Toeplitz matrix, about
LARGEST = 2**26  # numbers in the matrices of all frequencies


def spectral(
    x: Float[Array, "batch time height width in"],
    kernel: Float[Array, "kernel_time kernel_height kernel_width in out"],
    padding: Padding,
    strides: tuple[int, int, int] = (1, 1, 1),
) -> Float[Array, "batch new_time new_height new_width out"]:
    """3-D cross-correlation, in the frequencies of time and height."""
    batch, out = x.shape[0], kernel.shape[4]
    whole = whole_axes(x.shape, kernel.shape[:3], strides, padding)
    if 0 in (sizes := [axis.outputs for axis in whole]):  # the kernel is larger than the movie
        return jnp.zeros((batch, *sizes, out), x.dtype)
    longest = (outputs_of_transform(whole[0]), outputs_of_transform(whole[1]), max(COLUMNS // out, 1))
    axes = [axis.tiled(most if axis.kernel > 1 else 1) for axis, most in zip(whole, longest, strict=True)]
    x = in_tiles(x.transpose(2, 3, 4, 1, 0), whole, axes)
    # the first transform is that of real numbers, which is half waste for a single frame
    order = (1, 0, 2) if kernel.shape[0] == 1 else (0, 1, 2)
    first, second, third = (axes[n] for n in order)
    to_order = (*(DIMENSIONS[n] for n in order), 2, 4)
    x = x.transpose(to_order)
    frequencies = first.period // 2 + 1
    x = product(real_transform(first), x.reshape(first.size, -1))
    if second.period > 1:
        x = product(complex_transform(second), x.reshape(frequencies, 2 * second.size, -1))
    x = x.reshape(frequencies * second.period, 2 * third.size * kernel.shape[3], -1)

    def maps(kernel: Array) -> Array:
        """Output of some of the output channels, ``(first, second, third, channel, n)``."""
        y = product(kernel_matrices(kernel, first, second, third), x)
        if second.period > 1:
            y = product(inverse_complex(second), y.reshape(frequencies, 2 * second.period, -1))
        y = product(inverse_real(first), y.reshape(2 * frequencies, -1))
        return y.reshape(first.outputs, second.outputs, third.outputs, kernel.shape[4], -1)

    kernel = kernel.transpose(*order, 3, 4)
    parts = parts_of_channels(out, 2 * third.outputs * x.shape[0] * x.shape[1])
    if parts == 1:
        y = maps(kernel)
    else:  # one part after the other, and again for the gradient: the matrices of all would not fit
        y = lax.map(jax.checkpoint(maps), jnp.stack(jnp.split(kernel, parts, axis=4)))
        y = jnp.concatenate(y, axis=3)
    y = out_of_tiles(y.transpose(np.argsort(to_order)), whole, axes)
    return y.transpose(4, 3, 0, 1, 2)


def parts_of_channels(out: int, numbers: int) -> int:
    """Into how many parts ``out`` channels are divided, if the matrices of one channel hold that many numbers."""
    parts = (count for count in range(1, out) if out % count == 0 and out // count * numbers <= LARGEST)
    return next(parts, out)


def outputs_of_transform(axis: Axis) -> int:
    """Outputs of the longest tile."""
    return (max(LONGEST_TRANSFORM, 2 * axis.kernel) - axis.kernel) // axis.stride + 1


def kernel_matrices(
    kernel: Float[Array, "kernel_time kernel_height kernel_width in out"], first: Axis, second: Axis, third: Axis
) -> Float[Array, "frequency row column"]:
    """What every frequency is multiplied with: Toeplitz matrices of the third axis, of complex numbers in real form."""
    taps, channels, out = kernel.shape[2:]
    k = kernel_spectrum(kernel, first, second).transpose(0, 1, 5, 2, 3, 4)
    # a row of a Toeplitz matrix is a slice of the kernel between zeros
    starts = [third.padding[0] - third.stride * output for output in range(third.outputs)]
    before, after = -starts[-1], starts[0] + third.size - taps
    k = lax.pad(k, jnp.zeros((), k.dtype), [(0, 0, 0)] * 4 + [(before, after, 0), (0, 0, 0)])
    rows = [lax.slice_in_dim(k, before + s, before + s + third.size, axis=4) for s in starts]
    return jnp.stack(rows, axis=2).reshape(len(k), 2 * third.outputs * out, 2 * third.size * channels)


def kernel_spectrum(
    kernel: Float[Array, "first second *rest"], first: Axis, second: Axis
) -> Float[Array, "frequency 2 2 *rest"]:
    """The transform of a kernel along two axes: of every frequency a complex number in real form.

    The transform of a correlation's kernel has the opposite sign of that of its input.
    """
    waves = phases(np.arange(first.period // 2 + 1), np.arange(first.kernel), first.period)
    k = product(np.stack([waves.real, waves.imag], axis=1).reshape(-1, first.kernel), kernel.reshape(first.kernel, -1))
    real, imaginary = real_form(phases(np.arange(second.period), np.arange(second.kernel), second.period))
    # of every frequency: (real, -imaginary) and (imaginary, real)
    waves = np.stack([np.stack([real, -imaginary]), np.stack([imaginary, real])]).transpose(2, 0, 1, 3, 4)
    k = product(waves.reshape(4 * second.period, 2 * second.kernel), k.reshape(len(k) // 2, 2 * second.kernel, -1))
    return k.reshape(-1, 2, 2, *kernel.shape[2:])


def phases(rows: np.ndarray, columns: np.ndarray, period: int) -> Complex[np.ndarray, "row column"]:
    """``exp(2 pi i row column / period)``."""
    return np.exp(2j * np.pi * (np.outer(rows, columns) % period) / period)


def real_form(z: Complex[np.ndarray, "row column"]) -> Float[np.ndarray, "part row part column"]:
    """The matrix that multiplies the real and the imaginary parts as ``z`` multiplies complex numbers."""
    return np.stack([np.stack([z.real, -z.imag], axis=1), np.stack([z.imag, z.real], axis=1)])


def real_transform(axis: Axis) -> Float[np.ndarray, "frequency_part size"]:
    """Of real numbers; the other frequencies are conjugates."""
    waves = phases(np.arange(axis.period // 2 + 1), -np.arange(axis.size) - axis.padding[0], axis.period)
    return np.stack([waves.real, waves.imag], axis=1).reshape(-1, axis.size)


def complex_transform(axis: Axis) -> Float[np.ndarray, "frequency_part part_size"]:
    """Of complex numbers, all frequencies."""
    waves = phases(np.arange(axis.period), -np.arange(axis.size) - axis.padding[0], axis.period)
    return real_form(waves).transpose(1, 0, 2, 3).reshape(2 * axis.period, 2 * axis.size)


def inverse_complex(axis: Axis) -> Float[np.ndarray, "part_output frequency_part"]:
    """To the outputs."""
    waves = phases(axis.stride * np.arange(axis.outputs), np.arange(axis.period), axis.period) / axis.period
    return real_form(waves).transpose(0, 1, 3, 2).reshape(2 * axis.outputs, 2 * axis.period)


def inverse_real(axis: Axis) -> Float[np.ndarray, "output frequency_part"]:
    """To the outputs, which are real; a frequency that is not its own conjugate counts twice."""
    k = np.arange(axis.period // 2 + 1)
    waves = phases(axis.stride * np.arange(axis.outputs), k, axis.period) / axis.period
    waves = waves * np.where((k == 0) | (2 * k == axis.period), 1, 2)
    return np.stack([waves.real, -waves.imag], axis=2).reshape(axis.outputs, -1)


def product(a: Array | np.ndarray, b: Array) -> Array:
    """Matrix product of every element of a batch ``b``."""
    a = jnp.asarray(a, b.dtype)
    return jnp.matmul(jnp.broadcast_to(a, (*b.shape[:-2], *a.shape[-2:])), b, precision=lax.Precision.HIGHEST)
