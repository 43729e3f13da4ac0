"""Tiles of movies, which overlap by the kernel's size less one ("overlap-save"), and products of matrices.

Maps have the order (height, width, channel, time, batch) here, in which the matrix products of the convolutions on CPUs
need no transposed copies.
"""

import dataclasses
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.extend.core import ClosedJaxpr, Primitive, jaxpr_as_fun
from jax.interpreters import ad, batching, mlir
from jaxtyping import Array, DTypeLike, Float

from openretina_jax.runtime.devices import precision

Padding = tuple[tuple[int, int], tuple[int, int], tuple[int, int]]
DIMENSIONS = (3, 0, 1)  # axes of time, height and width
_TILES = 4  # where the dimensions of tiles are inserted: before the batch


@dataclasses.dataclass(frozen=True)
class Axis:
    """One axis of a convolution, or of its tiles.

    Attributes:
        size: elements of the input (of a tile).
        kernel, stride: size and stride of the convolution.
        padding: zeros before and after (those of tiles are part of their ``size``).
        tiles: number of tiles.
    """

    size: int
    kernel: int
    stride: int
    padding: tuple[int, int]
    tiles: int = 1

    @property
    def period(self) -> int:
        """Shortest circular convolution whose valid part is right.

        It wraps around, so one run of zeros serves as the padding at both ends. It is never shorter than the kernel,
        which can be larger than the input and the longer padding together.
        """
        return max(self.size + max(self.padding), self.kernel)

    @property
    def outputs(self) -> int:
        """Valid outputs (of a tile)."""
        return max((self.size + sum(self.padding) - self.kernel) // self.stride + 1, 0)

    @property
    def taps(self) -> "Axis":
        """The kernel itself as an axis of the same period."""
        return Axis(self.kernel, self.kernel, 1, (0, self.period - self.kernel))

    def tiled(self, longest: int) -> "Axis":
        """Equal tiles of at most ``longest`` outputs; a single tile is the axis itself."""
        tiles = -(-self.outputs // longest)
        if tiles == 1:
            return self
        outputs = -(-self.outputs // tiles)
        return Axis((outputs - 1) * self.stride + self.kernel, self.kernel, self.stride, (0, 0), tiles)


def bands(size: int, kernel: int, padding: tuple[int, int], stride: int = 1) -> Float[np.ndarray, "tap output input"]:
    """A matrix of zeros and ones for every element of a kernel: 1 where it connects an input to an output.

    Summed with the kernel's elements as weights they make its Toeplitz matrix. On CPUs a product with constants is far
    cheaper than the gathers and scatters that would do the same.
    """
    outputs = Axis(size, kernel, stride, padding).outputs
    tap = np.arange(size) - stride * np.arange(outputs)[:, None] + padding[0]
    return (tap == np.arange(kernel)[:, None, None]).astype(np.float32)


def whole_axes(x: tuple[int, ...], kernel: tuple[int, ...], strides: tuple[int, ...], padding: Padding) -> list[Axis]:
    """Time, height and width of a movie of shape ``x`` (batch first, channels last), before they are cut."""
    return [Axis(*axis) for axis in zip(x[1:4], kernel, strides, padding, strict=True)]


def in_tiles(
    x: Float[Array, "height width channel time batch"], whole: Sequence[Axis], tiles: Sequence[Axis]
) -> Float[Array, "tile_height tile_width channel tile_time n"]:
    """A movie cut along time, height and width; ``n`` are all tiles (of time, height, width) and the batch."""
    for dimension, axis, tile in reversed([*zip(DIMENSIONS, whole, tiles, strict=True)]):
        x = jnp.expand_dims(x, _TILES) if tile is axis else _cut(x, dimension, axis, tile)
    return x.reshape(*x.shape[:_TILES], -1)


def out_of_tiles(
    y: Float[Array, "tile_height tile_width channel tile_time n"], whole: Sequence[Axis], tiles: Sequence[Axis]
) -> Float[Array, "height width channel time batch"]:
    """Assemble the outputs of a movie from those of its tiles."""
    time, height, width = tiles
    y = y.reshape(*y.shape[:_TILES], time.tiles, height.tiles, width.tiles, -1).transpose(5, 0, 6, 1, 2, 4, 3, 7)
    sizes = (height.tiles * height.outputs, width.tiles * width.outputs, y.shape[4], time.tiles * time.outputs)
    new_time, new_height, new_width = (axis.outputs for axis in whole)
    # Without the second barrier XLA fuses the assembly into every consumer, in training also into the backward pass:
    # then tiles and outputs both stay in memory. Without the first one, the gradient adds the rows that are cut off and
    # moves all numbers at once, which takes twice as long.
    y = lax.optimization_barrier(y.reshape(*sizes, -1))
    return lax.optimization_barrier(y[:new_height, :new_width, :, :new_time])


def _cut(x: Array, dimension: int, axis: Axis, tile: Axis) -> Array:
    """Cut one axis into tiles, which become the first of the dimensions of tiles."""
    step = tile.outputs * tile.stride
    # every tile is a few neighbouring blocks of ``step``, so that slices suffice: gathers are slow on CPUs
    blocks = -(-tile.size // step)
    before, total = axis.padding[0], (tile.tiles + blocks - 1) * step
    edges = [(0, 0, 0)] * x.ndim
    edges[dimension] = (before, total - axis.size - before, 0)
    # a barrier: else XLA computes the layer before it in the loop that asks of every number whether it is padding
    x = lax.pad(lax.optimization_barrier(x), jnp.zeros((), x.dtype), edges)
    x = x.reshape(*x.shape[:dimension], -1, step, *x.shape[dimension + 1 :])
    pieces = [
        lax.slice_in_dim(
            lax.slice_in_dim(x, block, block + tile.tiles, axis=dimension),
            0,
            min(tile.size - block * step, step),
            axis=dimension + 1,
        )
        for block in range(blocks)
    ]
    return jnp.moveaxis(jnp.concatenate(pieces, axis=dimension + 1), dimension, _TILES)


def product(
    a: Float[Array | np.ndarray, "*#batch row column"], b: Float[Array, "*batch column n"], out: DTypeLike | None = None
) -> Float[Array, "*batch row n"]:
    """Matrix product of every element of a batch ``b``; one matrix ``a`` serves all.

    Args:
        a, b: the factors, of one type.
        out: type of the sums (None: that of the factors).
    """
    a = jnp.broadcast_to(jnp.asarray(a, b.dtype), (*b.shape[:-2], *a.shape[-2:]))
    return jnp.matmul(a, b, precision=precision(), preferred_element_type=out)


def transform(
    matrix: Float[Array | np.ndarray, "*#batch row column"],
    x: Float[Array, "*batch column n"],
    out: DTypeLike | None = None,
) -> Float[Array, "*batch row n"]:
    """``product`` whose gradient for ``x`` is again a product with the matrix, transposed, on the left.

    JAX's own gradient rule of a matrix product can put the matrix on the right and transpose the result: XLA has no
    fast kernel for this on CPUs and copies the operands. A primitive of our own fixes the order, also under ``vmap``.
    """
    return _transformed(matrix, x, out, constant=isinstance(matrix, np.ndarray))


def _transformed(matrix: Array | np.ndarray, x: Array, out: DTypeLike | None, *, constant: bool) -> Array:
    """``transform``; a constant matrix is transposed by the compiler."""
    matrix = jnp.asarray(matrix, x.dtype)
    # the traced product carries shapes, types and the precision in force here, so that the gradient has the same
    program = jax.make_jaxpr(lambda matrix, x: product(matrix, x, out))(matrix, x)
    return _transform.bind(matrix, x, program=program, constant=constant)


def _computed(matrix: Array, x: Array, *, program: ClosedJaxpr, **_: Any) -> Array:
    return jaxpr_as_fun(program)(matrix, x)[0]


def _gradient_of_matrix(g: Array, matrix: Any, x: Array, *, program: ClosedJaxpr, **_: Any) -> Array:
    return jax.linear_transpose(lambda matrix: _computed(matrix, x, program=program), matrix.aval)(g)[0]


def _gradient_of_x(g: Array, matrix: Array, x: Any, *, constant: bool, **_: Any) -> Array:
    transposed = matrix.swapaxes(-1, -2).astype(g.dtype)
    if not constant:  # a copy costs less than a product with rows as columns, into which XLA would merge it
        transposed = lax.optimization_barrier(transposed)
    return _transformed(transposed, g, None, constant=constant).astype(x.aval.dtype)


def _batched(
    arrays: Sequence[Any], axes: Sequence[int | None], *, program: ClosedJaxpr, constant: bool
) -> tuple[Array, int]:
    (matrix, x), (axis_of_matrix, axis_of_x) = arrays, axes
    # a batch of ``x`` comes first, as ``product`` has it; a batch of matrices alone is left to JAX
    if axis_of_x is None:
        return jax.vmap(lambda matrix: _computed(matrix, x, program=program), axis_of_matrix)(matrix), 0
    x = jnp.moveaxis(x, axis_of_x, 0)
    if axis_of_matrix is not None:
        matrix = jnp.moveaxis(matrix, axis_of_matrix, 0)
        matrix = jnp.expand_dims(matrix, range(1, 1 + x.ndim - matrix.ndim))
    return _transformed(matrix, x, program.out_avals[0].dtype, constant=constant), 0


_transform = Primitive("transform")
_transform.def_impl(_computed)
_transform.def_abstract_eval(lambda matrix, x, program, constant: program.out_avals[0])
mlir.register_lowering(_transform, mlir.lower_fun(_computed, multiple_results=False))
ad.defbilinear(_transform, _gradient_of_matrix, _gradient_of_x)
batching.primitive_batchers[_transform] = _batched
