"""Convolution in the frequencies of all three axes, as matrix products: the way that is fast on CPUs.

A convolution with a large kernel is cheap where a Fourier transform has turned it into one product per frequency. Tiles
of a movie are so short (tens of frames and pixels) that the transforms are fastest as products with constant matrices,
which also take care of padding (columns that are not there), of strides and of the valid part (rows that are never
computed). What is left for each frequency is a small product over channels.

Long axes are cut into ``tiles``. An axis along which the kernel is one element needs no transform: all its positions
are tiles of one element.

Names of dimensions: ``part`` is (real, imaginary), ``n`` are all windows and tiles.
"""

import functools
from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.custom_derivatives import SymbolicZero
from jaxtyping import Array, Complex, Float

from openretina_jax.modules.tiles import DIMENSIONS, Axis, Padding, in_tiles, out_of_tiles, whole_axes
from openretina_jax.precision import precision

SHORTEST_TRANSFORM = 32  # frames or pixels of a tile
KERNELS_IN_TRANSFORM = 3  # at least
LARGEST = 2**26  # numbers in the matrices of all frequencies


def spectral(
    x: Float[Array, "batch time height width in"],
    kernel: Float[Array, "kernel_time kernel_height kernel_width in out"],
    padding: Padding,
    strides: tuple[int, int, int] = (1, 1, 1),
) -> Float[Array, "batch new_time new_height new_width out"]:
    """3-D cross-correlation, in the frequencies of time, height and width."""
    batch, channels, out = x.shape[0], *kernel.shape[3:]
    whole = whole_axes(x.shape, kernel.shape[:3], strides, padding)
    if 0 in (sizes := [axis.outputs for axis in whole]):  # the kernel is larger than the movie
        return jnp.zeros((batch, *sizes, out), x.dtype)
    tiles = [axis.tiled(outputs_of_transform(axis)) for axis in whole]
    # the first transform is that of real numbers, which is half waste for a single frame
    order = (1, 0, 2) if kernel.shape[0] == 1 else (0, 1, 2)
    axes = [tiles[n] for n in order]
    to_order = (*(DIMENSIONS[n] for n in order), 2, 4)
    x = to_frequencies(in_tiles(x.transpose(2, 3, 4, 1, 0), whole, tiles).transpose(to_order), axes)
    x = x.reshape(len(x), 2 * channels, -1)

    def maps(kernel: Array) -> Array:
        """Output of some of the output channels, ``(first, second, third, channel, n)``."""
        weights = kernel_spectrum(kernel, axes).transpose(0, 1, 4, 2, 3)
        y = product(weights.reshape(len(x), -1, 2 * channels), x)
        return from_frequencies(y, axes).reshape(*(axis.outputs for axis in axes), kernel.shape[4], -1)

    kernel = kernel.transpose(*order, 3, 4)
    parts = parts_of_channels(out, 2 * x.shape[0] * x.shape[1])
    if parts == 1:
        y = maps(kernel)
    else:  # one part after the other, and again for the gradient: the matrices of all would not fit
        y = lax.map(jax.checkpoint(maps), jnp.stack(jnp.split(kernel, parts, axis=4)))
        y = jnp.concatenate(y, axis=3)
    y = out_of_tiles(y.transpose(np.argsort(to_order)), whole, tiles)
    return y.transpose(4, 3, 0, 1, 2)


def parts_of_channels(out: int, numbers: int) -> int:
    """Into how many parts ``out`` channels are divided, if the matrices of one channel hold that many numbers."""
    parts = (count for count in range(1, out) if out % count == 0 and out // count * numbers <= LARGEST)
    return next(parts, out)


def outputs_of_transform(axis: Axis) -> int:
    """Outputs of the longest tile."""
    if axis.kernel == 1:
        return 1
    return (max(SHORTEST_TRANSFORM, KERNELS_IN_TRANSFORM * axis.kernel) - axis.kernel) // axis.stride + 1


def to_frequencies(x: Float[Array, "*sizes_and_rest"], axes: Sequence[Axis]) -> Float[Array, "frequency part rest"]:
    """Tiles of these axes, the first dimensions of a movie, in their frequencies; the other dimensions as one."""
    first, *others = axes
    x = transform(real_transform(first), x.reshape(first.size, -1))
    frequencies = first.period // 2 + 1
    for axis in others:
        if axis.period > 1:
            x = transform(complex_transform(axis), x.reshape(frequencies, 2 * axis.size, -1))
            frequencies *= axis.period
    return x.reshape(frequencies, 2, -1)


def from_frequencies(y: Float[Array, "frequency part_out n"], axes: Sequence[Axis]) -> Float[Array, "output rest"]:
    """The outputs of these axes from their frequencies; outputs as one dimension, the others as the second."""
    first, *others = axes
    frequencies = len(y)
    for axis in reversed(others):
        if axis.period > 1:
            frequencies //= axis.period
            y = transform(inverse_complex(axis), y.reshape(frequencies, 2 * axis.period, -1))
    return transform(inverse_real(first), y.reshape(2 * frequencies, -1))


def kernel_spectrum(
    kernel: Float[Array, "*sizes_and_rest"], axes: Sequence[Axis]
) -> Float[Array, "frequency part part *rest"]:
    """The transform of a kernel along its first axes: of every frequency a complex number in real form.

    That of a correlation is the conjugate of the kernel's transform.
    """
    taps = [Axis(axis.kernel, axis.kernel, 1, (0, axis.period - axis.kernel)) for axis in axes]  # of the same period
    k = to_frequencies(kernel, taps)
    real, imaginary = k.reshape(len(k), 2, *kernel.shape[len(axes) :]).swapaxes(0, 1)
    return jnp.stack([jnp.stack([real, imaginary], axis=1), jnp.stack([-imaginary, real], axis=1)], axis=1)


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


@jax.custom_jvp
def transform(
    matrix: Float[Array | np.ndarray, "row column"], x: Float[Array, "*batch column n"]
) -> Float[Array, "*batch row n"]:
    """One matrix times every element of a batch.

    The gradient multiplies with the transposed matrix, made as such: left to itself it would multiply with columns of
    ``matrix``, for which XLA has no fast way on CPUs.
    """
    return product(matrix, x)


@functools.partial(transform.defjvp, symbolic_zeros=True)
def _change_of_transform(
    primals: tuple[Array | np.ndarray, Array], tangents: tuple[Array | SymbolicZero, Array | SymbolicZero]
) -> tuple[Array, Array]:
    (matrix, x), (change, change_of_x) = primals, tangents
    changes = []
    if not isinstance(change_of_x, SymbolicZero):
        batch = tuple(range(x.ndim - 2))
        transposed = jnp.broadcast_to(jnp.asarray(matrix, x.dtype).T, (*x.shape[:-2], *matrix.shape[::-1]))
        dimensions = (((len(batch),), (len(batch),)), (batch, batch))
        changes.append(lax.dot_general(transposed, change_of_x, dimensions, precision=precision()))
    if not isinstance(change, SymbolicZero):
        changes.append(product(change, x))
    return transform(matrix, x), sum(changes[1:], changes[0])


def product(a: Array | np.ndarray, b: Array) -> Array:
    """Matrix product of every element of a batch ``b``; one matrix ``a`` serves all."""
    a = jnp.broadcast_to(jnp.asarray(a, b.dtype), (*b.shape[:-2], *a.shape[-2:]))
    return jnp.matmul(a, b, precision=precision())
