"""Ways to compute the space-time separable convolution; all give the same numbers to rounding.

The kernel is ``K[o, i, t, h, w] = T[o, i, t] S[o, i, h, w]``. A lowering takes the stimulus ``(b, t, h, w, i)``,
the kernel and the padding and returns ``(b, t, h, w, o)``; gradients follow. ``choose`` picks one.

* ``dense`` assembles ``K`` and runs one 3-D convolution, ``convolve``: the library's on accelerators, on CPUs that
  of ``spectral``.
* ``basis`` never assembles the kernel: frequencies of the image, and the functions of time that make ``T``, see
  ``basis_spectral``. Right for CPUs and large images.
* ``factored`` applies ``S`` and then ``T`` for one input channel at a time, as matrix products with the block-Toeplitz
  forms of both. It needs no spectrum of the kernel: right for CPUs and a few windows of small images.
"""

import functools
import itertools
import math
from typing import Any, Literal, NamedTuple, get_args

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.extend.core import Jaxpr, jaxprs_in_params
from jaxtyping import Array, DTypeLike, Float

from openretina_jax import devices
from openretina_jax.errors import UserError
from openretina_jax.modules.basis_spectral import basis_spectral
from openretina_jax.modules.spectral import spectral
from openretina_jax.modules.tiles import Padding, bands
from openretina_jax.precision import precision

BLOCK_FRAMES = 32
COST_OF_A_NUMBER = 5  # that is written to memory, in multiplications of a matrix product
# of equations that write nothing, or are part of what reads them
FREE = ("reshape", "broadcast_in_dim", "squeeze", "convert_element_type")
WIDE = 16  # columns of a matrix product that runs at full speed
FEW_TAPS = 9
FEW_PATCHES = 2**22  # numbers, which stay in the cache

Lowering = Literal["auto", "dense", "factored", "basis"]


class SeparableKernel(NamedTuple):
    """The kernel ``T[o, i, t] S[o, i, h, w]``, where ``T`` is a weighted sum of a few functions of time.

    Attributes:
        spatial: ``S``.
        coefficients: weights of the functions.
        functions: of time; the last frame is the most recent one.
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
    """Convolve in that way; what is narrower than float32 is rounded when the kernel is assembled, or the output.

    Raises:
        UserError: there is no such lowering, or it has no strides.
    """
    if lowering == "auto":
        lowering = choose(devices.backend(), x.shape, kernel, padding, strides)
    wide = jnp.promote_types(x.dtype, jnp.float32)
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


def choose(
    backend: str, shape: tuple[int, ...], kernel: SeparableKernel, padding: Padding, strides: tuple[int, int, int]
) -> Lowering:
    """The lowering that ``auto`` stands for.

    Accelerators have fast convolutions of their own; on CPUs the way that costs least is taken.

    Args:
        backend: "cpu" or another.
        shape: of the input ``(batch, time, height, width, in)``.
        kernel, padding, strides: of the convolution.
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
    """Multiplications of the matrix products of a program, with what it costs to write the results of all its steps."""
    total = 0
    for equation in program.eqns:
        inner = list(jaxprs_in_params(equation.params))
        times = equation.params.get("length", 1)  # of a loop
        total += times * sum(map(cost, inner))
        if not inner and equation.primitive.name not in FREE:
            written: Any = equation.outvars[0].aval
            total += written.size * (_terms(equation) + COST_OF_A_NUMBER)
    return total


def _terms(equation: Any) -> int:
    """Of the sum that is a number of a matrix product, more for narrow ones; 0 for other equations."""
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
    """3-D cross-correlation in full float32, whatever the type of the stimulus, which the output takes.

    Accelerators round the kernel to the type of the stimulus.

    The library's convolution on CPUs, and more so its gradient, is up to twenty times slower than ``spectral``; but it
    alone takes sizes that are not known yet, those of a program for movies of any length.
    """
    if devices.backend() == "cpu" and all(isinstance(size, int) for size in x.shape):
        wide = jnp.promote_types(x.dtype, jnp.float32)
        apply = patched if is_small(x.shape, kernel.shape, strides) else spectral
        before, after = list(padding), [(0, 0)] * 3
        for axis, stride in enumerate(strides):
            if kernel.shape[axis] == stride == 1:  # zeros give zeros, so they can be added at the end
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


def is_small(x: tuple[int, ...], kernel: tuple[int, ...], strides: tuple[int, ...]) -> bool:
    """Whether a 2-D convolution of these shapes is so small that a transform costs more than it saves."""
    taps = math.prod(kernel[:3])
    patches = math.prod(x) * taps
    return taps == 1 or (kernel[0] == 1 and strides == (1, 1, 1) and taps <= FEW_TAPS and patches <= FEW_PATCHES)


@functools.partial(jax.checkpoint, static_argnums=(2, 3))  # patches hold every pixel many times: never stored
def patched(
    x: Float[Array, "batch time height width in"],
    kernel: Float[Array, "1 kernel_height kernel_width in out"],
    padding: Padding,
    strides: tuple[int, int, int],
) -> Float[Array, "batch new_time new_height new_width out"]:
    """The convolution of a kernel of one frame as the product of all patches with it."""
    x = jnp.pad(x, ((0, 0), *padding, (0, 0)))
    height, width = (max(size - taps + 1, 0) for size, taps in zip(x.shape[2:4], kernel.shape[1:3], strict=True))
    shifts = itertools.product(range(kernel.shape[1]), range(kernel.shape[2]))
    patches = jnp.stack([x[:, :, i : i + height, j : j + width] for i, j in shifts], axis=4)
    patches = patches[:, :: strides[0], :: strides[1], :: strides[2]]
    rows = kernel.reshape(-1, kernel.shape[4])
    return _matmul(patches.reshape(*patches.shape[:4], len(rows)), rows)


@functools.partial(jax.jit, static_argnames=("padding",))
def factored(
    x: Float[Array, "batch time height width in"],
    spatial: Float[Array, "out in kernel_height kernel_width"],
    temporal: Float[Array, "out in kernel_time"],
    padding: Padding,
) -> Float[Array, "batch new_time new_height new_width out"]:
    """Spatial, then temporal matrix products, one input channel after the other."""
    batch, time, height, width, channels = x.shape
    out, _, *kernel = spatial.shape
    before, after = padding[0]
    sizes = zip((time, height, width), (temporal.shape[2], *kernel), padding, strict=True)
    new_time, *new_image = (max(size + sum(pad) - k + 1, 0) for size, k, pad in sizes)
    if 0 in (new_time, *new_image):  # the kernel is larger than the stimulus
        return jnp.zeros((batch, new_time, *new_image, out), x.dtype)
    blocks, length = time_blocks(new_time, temporal.shape[2])
    x = jnp.pad(x, ((0, 0), (before, after + blocks * length - new_time), (0, 0), (0, 0), (0, 0)))
    channels_first = x.transpose(4, 2, 3, 0, 1).reshape(channels, height * width, batch, -1)
    rows, columns = (bands(*axis) for axis in zip((height, width), kernel, padding[1:], strict=True))
    # "y" and "x" are the output pixels that the input pixels "h" and "w" reach
    space = _einsum("oiab,ayh,bxw->ioyxhw", spatial, rows, columns).reshape(channels, out, -1, height * width)
    one_block = bands(length + temporal.shape[2] - 1, temporal.shape[2], (0, 0))
    through_time = _einsum("oic,cut->iotu", temporal, one_block)
    y = space_then_time(channels_first, space, through_time)
    y = y.reshape(out, *new_image, batch, -1)[..., :new_time]
    return y.transpose(3, 4, 1, 2, 0)


def time_blocks(new_time: int, kernel: int) -> tuple[int, int]:
    """Number and length of the blocks into which the output is cut in time.

    The Toeplitz matrix of a whole window is mostly zeros. That of a block is not, and serves all blocks. A block is no
    shorter than the history that it needs of the block before.
    """
    longest = max(BLOCK_FRAMES, kernel - 1)
    blocks = -(-new_time // longest)
    return blocks, max(-(-new_time // blocks), kernel - 1)


@jax.custom_vjp
def space_then_time(
    x: Float[Array, "in pixel batch time"],
    space: Float[Array, "in out new_pixel pixel"],
    through_time: Float[Array, "in out block_time block"],
) -> Float[Array, "out new_pixel batch new_time"]:
    """Sum over input channels of ``through_time``, applied block by block, after ``space``.

    Scanning over the channels keeps the intermediate of a single channel alive. The gradient recomputes it: plain
    autodiff would store those of all channels, which costs more time than the products do.
    """
    pixels, batch, time = x.shape[1:]
    out, new_pixels = space.shape[1:3]
    window, length = through_time.shape[2:]
    new_time = time - window + length

    def add_channel(total: Array, channel: tuple[Array, Array, Array]) -> tuple[Array, None]:
        x_i, space_i, time_i = channel
        y = _matmul(space_i.reshape(-1, pixels), x_i.reshape(pixels, -1)).reshape(out, -1, time)
        return total + _matmul(overlapping(y, window, length), time_i), None

    total = jnp.zeros((out, new_pixels * batch * new_time // length, length), x.dtype)
    total, _ = lax.scan(add_channel, total, (x, space, through_time))
    return total.reshape(out, new_pixels, batch, new_time)


def _space_then_time_forward(x: Array, space: Array, through_time: Array) -> tuple[Array, tuple[Array, Array, Array]]:
    return space_then_time(x, space, through_time), (x, space, through_time)


def _space_then_time_backward(inputs: tuple[Array, Array, Array], g: Array) -> tuple[Array, Array, Array]:
    x, space, through_time = inputs
    pixels, batch, time = x.shape[1:]
    out = space.shape[1]
    window, length = through_time.shape[2:]
    history = window - length
    n_inputs = g.shape[3] + length
    padded = jnp.pad(g.reshape(out, -1, g.shape[3]), ((0, 0), (0, 0), (history, length)))
    g = g.reshape(out, -1, length)

    def back_in_time(time_i: Array) -> Array:
        """Gradient ``(out, n, time)`` before one channel's ``time_i``."""
        if time == window:
            return _matmul(g, time_i.transpose(0, 2, 1))
        # the gradient of a correlation is a correlation with the reversed kernel
        blocks = _matmul(overlapping(padded, window, length), time_i[:, ::-1, ::-1])
        return blocks.reshape(out, -1, n_inputs)[..., :time]

    def channel_gradients(_: None, channel: tuple[Array, Array, Array]) -> tuple[None, tuple[Array, Array, Array]]:
        x_i, space_i, time_i = channel
        x_i, space_i = x_i.reshape(pixels, -1), space_i.reshape(-1, pixels)
        y = _matmul(space_i, x_i).reshape(out, -1, time)
        g_time = _matmul(overlapping(y, window, length).transpose(0, 2, 1), g)
        g_y = back_in_time(time_i).reshape(-1, batch * time)
        g_x = _matmul(space_i.T, g_y).reshape(pixels, batch, time)
        return None, (g_x, _matmul(g_y, x_i.T).reshape(out, -1, pixels), g_time)

    _, gradients = lax.scan(channel_gradients, None, inputs)
    return gradients


space_then_time.defvjp(_space_then_time_forward, _space_then_time_backward)


def overlapping(y: Float[Array, "out n time"], window: int, length: int) -> Float[Array, "out n_blocks window"]:
    """Windows that begin every ``length`` frames, and overlap by the rest of their length."""
    starts = range(0, y.shape[2] - window + 1, length)
    if len(starts) == 1:
        return y
    return jnp.stack([y[..., start : start + window] for start in starts], axis=2).reshape(y.shape[0], -1, window)


def _matmul(a: Array, b: Array) -> Array:
    return jnp.matmul(a, b, precision=precision())


def _einsum(subscripts: str, *operands: Array | np.ndarray) -> Array:
    dtype = operands[0].dtype
    return jnp.einsum(subscripts, *(operand.astype(dtype) for operand in operands), precision=precision())
