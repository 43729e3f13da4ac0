"""Lowerings of the space-time separable convolution: ways to compute it that agree to rounding.

The kernel is ``K[o, i, t, h, w] = T[o, i, t] S[o, i, h, w]``. A lowering takes the stimulus ``(b, t, h, w, i)``,
the kernel and the padding, and returns ``(b, t, h, w, o)``; it can be differentiated. ``choose`` picks one.

* ``dense`` assembles ``K`` and runs one 3-D convolution, ``convolve``: XLA's on accelerators, ``spectral`` on CPUs.
* ``basis`` never assembles ``K``: it multiplies the frequencies of the image by the functions of time that make up
  ``T``, see ``basis_spectral``. Fastest on CPUs for large images.
* ``factored`` applies ``S`` and then ``T`` for one input channel at a time, as matrix products, see ``factored``.
  Fastest on CPUs for a few windows of small images.
"""

import functools
import itertools
import math
from collections.abc import Callable
from typing import Any, Literal, NamedTuple, get_args

import jax
import jax.numpy as jnp
from jax import lax
from jax.extend.core import ClosedJaxpr, Jaxpr
from jaxtyping import Array, DTypeLike, Float

from openretina_jax.errors import UserError
from openretina_jax.modules.kernels.factored import factored
from openretina_jax.modules.kernels.spectral import basis_spectral, spectral
from openretina_jax.modules.kernels.tiles import Padding
from openretina_jax.runtime import devices
from openretina_jax.runtime.devices import precision

COST_OF_A_NUMBER = 5  # cost of writing a number to memory, in multiplications of a matrix product
# primitives that XLA fuses away
FREE = ("reshape", "broadcast_in_dim", "squeeze", "convert_element_type")
WIDE = 16  # columns of a matrix product that runs at full speed
FEW_TAPS = 9  # pixels of the largest kernel for which patches are faster than transforms
FEW_PATCHES = 2**22  # numbers in all patches, which then stay in the cache

Lowering = Literal["auto", "dense", "factored", "basis"]


class SeparableKernel(NamedTuple):
    """The kernel ``T[o, i, t] S[o, i, h, w]``, where ``T`` is a weighted sum of a few functions of time.

    Attributes:
        spatial: ``S``.
        coefficients: weights of the functions.
        functions: functions of time; the last frame is the most recent one.
    """

    spatial: Float[Array, "out in kernel_height kernel_width"]
    coefficients: Float[Array, "out in function"]
    functions: Float[Array, "function kernel_time"]

    @property
    def temporal(self) -> Float[Array, "out in kernel_time"]:
        """``T``."""
        return jnp.matmul(self.coefficients, self.functions, precision=precision())

    def astype(self, dtype: DTypeLike) -> "SeparableKernel":
        """The kernel in that type."""
        return SeparableKernel(*(array.astype(dtype) for array in self))


def apply(
    lowering: str,
    x: Float[Array, "batch time height width in"],
    kernel: SeparableKernel,
    padding: Padding,
    strides: tuple[int, int, int] = (1, 1, 1),
) -> Float[Array, "batch new_time new_height new_width out"]:
    """Convolve with a lowering; narrow types (bfloat16) round only the assembled kernel or the output.

    Raises:
        UserError: there is no such lowering, or it has no strides.
    """
    if lowering == "auto":
        lowering = choose(devices.backend(), x.shape, kernel, padding, strides)
    wide = at_least_float32(x.dtype)
    kernel = kernel.astype(wide)
    if lowering == "basis":
        return basis_spectral(x.astype(wide), *kernel, padding, strides).astype(x.dtype)
    if lowering == "dense":
        return dense(x, kernel.spatial, kernel.temporal, padding, strides)
    if lowering != "factored":
        raise UserError(f'lowering "{lowering}" is unknown; choose among {", ".join(get_args(Lowering))}')
    if strides != (1, 1, 1):
        raise UserError(f'lowering "factored" has no strides, but {strides} were given; choose "dense" or "auto"')
    return factored(x.astype(wide), kernel.spatial, kernel.temporal, padding).astype(x.dtype)


def at_least_float32(dtype: DTypeLike) -> DTypeLike:
    """The type itself, or float32 if it is narrower."""
    return dtype if jnp.finfo(dtype).bits >= 32 else jnp.float32


def choose(
    backend: str, shape: tuple[int, ...], kernel: SeparableKernel, padding: Padding, strides: tuple[int, int, int]
) -> Lowering:
    """Choose the lowering that ``auto`` stands for: XLA's convolution on accelerators, the cheapest on CPUs.

    Args:
        backend: "cpu" or another.
        shape: shape of the input ``(batch, time, height, width, in)``.
        kernel, padding, strides: kernel, padding and strides of the convolution.
    """
    if backend != "cpu":
        return "dense"
    ways: tuple[Lowering, ...] = ("dense", "basis", "factored") if strides == (1, 1, 1) else ("dense", "basis")
    shapes = tuple(array.shape for array in kernel)
    return min(ways, key=lambda way: _cost_of(way, shape, shapes, padding, strides))


@functools.cache
def _cost_of(
    way: str,
    shape: tuple[int, ...],
    kernel: tuple[tuple[int, ...], ...],
    padding: Padding,
    strides: tuple[int, int, int],
) -> int:
    x, *arrays = (jax.ShapeDtypeStruct(size, jnp.float32) for size in (shape, *kernel))
    program = jax.make_jaxpr(lambda x, *arrays: apply(way, x, SeparableKernel(*arrays), padding, strides))(x, *arrays)
    return cost(program.jaxpr)


def cost(program: Jaxpr) -> int:
    """Estimate the cost of a program in multiplications: those of its matrix products, plus writing all its results."""
    total = 0
    for equation in program.eqns:
        inner = programs_in(equation)
        times = equation.params.get("length", 1)  # iterations of a scan
        total += times * sum(map(cost, inner))
        if not inner and equation.primitive.name not in FREE:
            written: Any = equation.outvars[0].aval
            total += written.size * (_terms(equation) + COST_OF_A_NUMBER)
    return total


def programs_in(equation: Any) -> list[Jaxpr]:
    """Programs that an equation runs, such as the body of a scan (``jaxprs_in_params`` of JAX 0.10)."""
    values = (one for value in equation.params.values() for one in (value if isinstance(value, tuple) else (value,)))
    return [
        one.jaxpr if isinstance(one, ClosedJaxpr) else one for one in values if isinstance(one, Jaxpr | ClosedJaxpr)
    ]


def _terms(equation: Any) -> int:
    """Multiply-adds per output of a ``dot_general``, padded to ``WIDE`` columns; 0 for other primitives."""
    if equation.primitive.name != "dot_general":
        return 0
    (contracted, _), (batch, _) = equation.params["dimension_numbers"]
    left, right = (variable.aval.shape for variable in equation.invars)
    terms = math.prod(left[axis] for axis in contracted)
    shared = terms * math.prod(left[axis] for axis in batch)
    narrow = min(math.prod(left), math.prod(right)) // shared
    return terms * max(WIDE // max(narrow, 1), 1)


@functools.partial(jax.jit, static_argnames=("padding", "strides"))
def dense(
    x: Float[Array, "batch time height width in"],
    spatial: Float[Array, "out in kernel_height kernel_width"],
    temporal: Float[Array, "out in kernel_time"],
    padding: Padding,
    strides: tuple[int, int, int] = (1, 1, 1),
) -> Float[Array, "batch new_time new_height new_width out"]:
    """One 3-D convolution with the assembled kernel."""
    kernel = jnp.einsum("oit,oihw->thwio", temporal, spatial, precision=precision())
    return convolve(x, kernel, padding, strides)


def convolve(
    x: Float[Array, "batch time height width in"],
    kernel: Float[Array, "kernel_time kernel_height kernel_width in out"],
    padding: Padding,
    strides: tuple[int, int, int] = (1, 1, 1),
) -> Float[Array, "batch new_time new_height new_width out"]:
    """3-D cross-correlation; the output has the type of the stimulus.

    CPUs compute in float32 or wider, accelerators round the kernel to the type of the stimulus.
    """
    # XLA's convolution on CPUs, and more so its gradient, is up to twenty times slower than ``spectral``; but only it
    # takes symbolic sizes, those of a program exported for movies of any length
    if devices.backend() == "cpu" and all(isinstance(size, int) for size in x.shape):
        wide = at_least_float32(x.dtype)
        if x.shape[1] == kernel.shape[0] > 1 and padding[0] == (0, 0):  # one frame of output, as in a stream
            x, kernel = _time_as_channels(x, 1, 4), _time_as_channels(kernel, 0, 3)
            small = math.prod(x.shape) * math.prod(kernel.shape[:3]) <= FEW_PATCHES
        else:
            small = is_small(x.shape, kernel.shape, strides)
        apply = im2col if small else spectral
        before, after = list(padding), [(0, 0)] * 3
        for axis, stride in enumerate(strides):
            if kernel.shape[axis] == stride == 1:  # padding gives zeros here, which are cheaper to add to the output
                before[axis], after[axis] = after[axis], before[axis]
        y = apply(x.astype(wide), kernel.astype(wide), tuple(before), strides).astype(x.dtype)  # type: ignore[arg-type]
        return jnp.pad(y, ((0, 0), *after, (0, 0)))
    return lax.conv_general_dilated(
        x,
        kernel.astype(x.dtype),
        strides,
        padding,
        dimension_numbers=("NDHWC", "DHWIO", "NDHWC"),
        precision=precision(),
    )


def convolve_twice(
    x: Float[Array, "batch time height width in"],
    spatial: Float[Array, "middle in kernel_height kernel_width"],
    temporal: Float[Array, "out middle kernel_time"],
    bias: Float[Array, " middle"] | None,
    paddings: tuple[Padding, Padding],
    strides: tuple[int, int, int] = (1, 1, 1),
) -> Float[Array, "batch new_time new_height new_width out"]:
    """Convolve every frame, then every pixel's time course; each convolution pads and strides.

    On CPUs the cheaper of two ways is taken: one convolution after the other, or a single one with the product of both
    kernels. The latter can take more operations, but never writes the maps between the two.

    Args:
        x: stimulus or maps.
        spatial, temporal: kernels.
        bias: added between the two (None: nothing).
        paddings: padding of each convolution.
        strides: strides of either convolution.
    """
    shapes = x.shape, spatial.shape, temporal.shape
    known = all(isinstance(size, int) for size in x.shape)
    if devices.backend() == "cpu" and known and bias is None and strides == (1, 1, 1):
        way = min((one_by_one, as_one), key=lambda way: _cost_of_two(way, shapes, paddings))
        return way(x, spatial, temporal, paddings)
    return one_by_one(x, spatial, temporal, paddings, bias, strides)


@functools.cache
def _cost_of_two(way: Callable[..., Array], shapes: tuple[tuple[int, ...], ...], paddings: Any) -> int:
    arrays = (jax.ShapeDtypeStruct(shape, jnp.float32) for shape in shapes)
    return cost(jax.make_jaxpr(functools.partial(way, paddings=paddings))(*arrays).jaxpr)


def one_by_one(
    x: Float[Array, "batch time height width in"],
    spatial: Float[Array, "middle in kernel_height kernel_width"],
    temporal: Float[Array, "out middle kernel_time"],
    paddings: tuple[Padding, Padding],
    bias: Float[Array, " middle"] | None = None,
    strides: tuple[int, int, int] = (1, 1, 1),
) -> Float[Array, "batch new_time new_height new_width out"]:
    """``convolve_twice`` as two convolutions."""
    x = convolve(x, spatial.transpose(2, 3, 1, 0)[None], paddings[0], strides)
    x = x if bias is None else x + bias.astype(x.dtype)
    return convolve(x, temporal.transpose(2, 1, 0)[:, None, None], paddings[1], strides)


def as_one(
    x: Float[Array, "batch time height width in"],
    spatial: Float[Array, "middle in kernel_height kernel_width"],
    temporal: Float[Array, "out middle kernel_time"],
    paddings: tuple[Padding, Padding],
) -> Float[Array, "batch new_time new_height new_width out"]:
    """``convolve_twice`` without bias and strides, as a single convolution."""
    kernel = jnp.einsum("oct,cihw->thwio", temporal, spatial, precision=precision())
    (time, height, width), (more_time, *zeros) = paddings
    y = convolve(x, kernel, ((time[0] + more_time[0], time[1] + more_time[1]), height, width))
    return jnp.pad(y, ((0, 0), (0, 0), *zeros, (0, 0)))  # the temporal kernel sees padding alone there


def _time_as_channels(x: Array, time: int, channel: int) -> Array:
    """Move all of an axis of time into the one of channels; one frame is left."""
    moved = jnp.moveaxis(x, time, channel - 1)
    size = (*moved.shape[: channel - 1], -1, *moved.shape[channel + 1 :])
    return jnp.expand_dims(moved.reshape(size), time)


def is_small(x: tuple[int, ...], kernel: tuple[int, ...], strides: tuple[int, ...]) -> bool:
    """Whether a convolution of frames is so small that a transform costs more than it saves."""
    taps = math.prod(kernel[:3])
    patches = math.prod(x) * taps
    return taps == 1 or (kernel[0] == 1 and strides == (1, 1, 1) and taps <= FEW_TAPS and patches <= FEW_PATCHES)


@functools.partial(jax.checkpoint, static_argnums=(2, 3))  # patches hold every pixel many times: never stored
def im2col(
    x: Float[Array, "batch time height width in"],
    kernel: Float[Array, "1 kernel_height kernel_width in out"],
    padding: Padding,
    strides: tuple[int, int, int],
) -> Float[Array, "batch new_time new_height new_width out"]:
    """Convolve with a kernel of one frame as the matrix product of all patches with it."""
    x = jnp.pad(x, ((0, 0), *padding, (0, 0)))
    height, width = (max(size - taps + 1, 0) for size, taps in zip(x.shape[2:4], kernel.shape[1:3], strict=True))
    shifts = itertools.product(range(kernel.shape[1]), range(kernel.shape[2]))
    patches = jnp.stack([x[:, :, i : i + height, j : j + width] for i, j in shifts], axis=4)
    patches = patches[:, :: strides[0], :: strides[1], :: strides[2]]
    rows = kernel.reshape(-1, kernel.shape[4])
    return jnp.matmul(patches.reshape(*patches.shape[:4], len(rows)), rows, precision=precision())
