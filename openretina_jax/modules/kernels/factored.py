"""The separable convolution as matrix products with Toeplitz matrices, first in space, then in time.

It goes through the input channels one by one, so that the maps between space and time, one for each pair of an input
and an output channel, are never in memory all at once. It is the fastest way on CPUs for a few windows of small images,
for which the spectrum of the kernel would cost more than the products.
"""

import functools

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Float

from openretina_jax.modules.kernels.tiles import Padding, bands
from openretina_jax.runtime.devices import precision

BLOCK_FRAMES = 32


@functools.partial(jax.jit, static_argnames=("padding",))
def factored(
    x: Float[Array, "batch time height width in"],
    spatial: Float[Array, "out in kernel_height kernel_width"],
    temporal: Float[Array, "out in kernel_time"],
    padding: Padding,
) -> Float[Array, "batch new_time new_height new_width out"]:
    """3-D cross-correlation with ``T[o, i, t] S[o, i, h, w]``, one input channel after the other."""
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
    # Toeplitz matrices by products with constants: on CPUs, scattering the kernel's elements is slow, and so is the
    # gather of its gradient. "y" and "x" are the output pixels that the input pixels "h" and "w" reach.
    space = _einsum("oiab,ayh,bxw->ioyxhw", spatial, rows, columns).reshape(channels, out, -1, height * width)
    one_block = bands(length + temporal.shape[2] - 1, temporal.shape[2], (0, 0))
    through_time = _einsum("oic,cut->iotu", temporal, one_block)
    y = space_then_time(channels_first, space, through_time)
    y = y.reshape(out, *new_image, batch, -1)[..., :new_time]
    return y.transpose(3, 4, 1, 2, 0)


def time_blocks(new_time: int, kernel: int) -> tuple[int, int]:
    """Number and length of the blocks into which the output is cut in time.

    The Toeplitz matrix of a whole window is mostly zeros; that of a short block is not, and all blocks share it. A
    block is no shorter than the history that it needs, which therefore comes from one block before it at most.
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

    The scan over channels keeps the intermediate of a single channel in memory. The gradient recomputes it: autodiff
    would store those of all channels, and writing them takes more time than the products.
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
    # zeros before and after, so that the correlation with the reversed kernel reaches every input frame
    padded = jnp.pad(g.reshape(out, -1, g.shape[3]), ((0, 0), (0, 0), (history, length)))
    g = g.reshape(out, -1, length)

    def back_in_time(time_i: Array) -> Array:
        """Gradient ``(out, n, time)`` before one channel's ``time_i``."""
        if time == window:  # a single block: the transposed matrix does it
            return _matmul(g, time_i.transpose(0, 2, 1))
        # overlapping blocks would have to be added up; a correlation with the reversed kernel only reads them
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
    """Cut windows that start every ``length`` frames and overlap by the rest of their length, which is no longer."""
    if y.shape[2] == window:
        return y
    # a window is a block and the begin of the next one: two slices for all windows of the longest movie, rather than
    # one for each, which take minutes to compile, or a gather, which XLA runs element by element on CPUs
    blocks = jnp.pad(y, ((0, 0), (0, 0), (0, 2 * length - window))).reshape(*y.shape[:2], -1, length)
    windows = jnp.concatenate([blocks[:, :, :-1], blocks[:, :, 1:, : window - length]], axis=3)
    return windows.reshape(y.shape[0], -1, window)


def _matmul(a: Array, b: Array) -> Array:
    return jnp.matmul(a, b, precision=precision())


def _einsum(subscripts: str, *operands: Array | np.ndarray) -> Array:
    dtype = operands[0].dtype
    return jnp.einsum(subscripts, *(operand.astype(dtype) for operand in operands), precision=precision())
