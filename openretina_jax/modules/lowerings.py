"""Ways to compute the space-time separable convolution; all give the same numbers to rounding.

The kernel is ``K[o, i, t, h, w] = T[o, i, t] S[o, i, h, w]``. A lowering takes the stimulus ``(b, t, h, w, i)``,
``S``, ``T`` and the padding and returns ``(b, t, h, w, o)``; gradients follow. ``choose`` picks one.

* ``dense`` assembles ``K`` and runs one 3-D convolution: right for accelerators with fast convolutions.
* ``factored`` applies ``S`` and then ``T`` for one input channel at a time, as matrix products with the block-Toeplitz
  forms of both. It does far fewer multiplications than ``dense`` and never holds more than one channel's intermediate:
  right for CPUs and small images.
"""

import functools
from collections.abc import Callable
from typing import Literal

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float

Padding = tuple[tuple[int, int], tuple[int, int], tuple[int, int]]
Lowering = Literal["auto", "dense", "factored"]


def choose(lowering: Lowering, backend: str, strides: tuple[int, int, int]) -> Callable[..., Array]:
    """The function for a lowering; ``auto`` takes ``factored`` on CPU where it applies (no strides), else ``dense``."""
    if lowering == "auto":
        lowering = "factored" if backend == "cpu" and strides == (1, 1, 1) else "dense"
    return factored if lowering == "factored" else functools.partial(dense, strides=strides)


@functools.partial(jax.jit, static_argnames=("padding", "strides"))
def dense(
    x: Float[Array, "batch time height width in"],
    spatial: Float[Array, "out in kernel_height kernel_width"],
    temporal: Float[Array, "out in kernel_time"],
    padding: Padding,
    strides: tuple[int, int, int] = (1, 1, 1),
) -> Float[Array, "batch new_time new_height new_width out"]:
    """One 3-D convolution with the assembled kernel."""
    kernel = jnp.einsum("oit,oihw->thwio", temporal, spatial)
    return convolve(x, kernel, padding, strides)


def convolve(
    x: Float[Array, "batch time height width in"],
    kernel: Float[Array, "kernel_time kernel_height kernel_width in out"],
    padding: Padding,
    strides: tuple[int, int, int] = (1, 1, 1),
) -> Float[Array, "batch new_time new_height new_width out"]:
    """3-D cross-correlation in full float32."""
    return lax.conv_general_dilated(
        x,
        kernel,
        strides,
        padding,
        dimension_numbers=("NDHWC", "DHWIO", "NDHWC"),
        precision=lax.Precision.HIGHEST,
    )


@functools.partial(jax.jit, static_argnames=("padding",))
def factored(
    x: Float[Array, "batch time height width in"],
    spatial: Float[Array, "out in kernel_height kernel_width"],
    temporal: Float[Array, "out in kernel_time"],
    padding: Padding,
) -> Float[Array, "batch new_time new_height new_width out"]:
    """Spatial, then temporal matrix products, one input channel after the other."""
    batch, time, height, width, _ = x.shape
    rows, columns = (
        toeplitz_taps(size, k, pad)
        for size, k, pad in zip((height, width), spatial.shape[2:], padding[1:], strict=True)
    )
    frames = toeplitz_taps(time, temporal.shape[2], padding[0])
    if not (rows and columns and frames):  # the kernel is larger than the stimulus
        return jnp.zeros((batch, len(frames), len(rows), len(columns), spatial.shape[0]), x.dtype)
    space = banded(banded(spatial, 2, rows), 4, columns)  # o i new_h h new_w w
    space = space.transpose(1, 0, 2, 4, 3, 5).reshape(x.shape[4], spatial.shape[0], -1, height * width)
    through_time = banded(temporal, 2, frames).transpose(1, 0, 3, 2)  # i o t new_t
    channels_first = x.transpose(4, 2, 3, 0, 1).reshape(x.shape[4], height * width, batch, time)
    y = space_then_time(channels_first, space, through_time)
    return y.reshape(spatial.shape[0], len(rows), len(columns), batch, -1).transpose(3, 4, 1, 2, 0)


def toeplitz_taps(size: int, kernel: int, padding: tuple[int, int]) -> list[list[int]]:
    """``taps[output][input]``: which kernel element joins them; out of range where none does."""
    return [[i - o + padding[0] for i in range(size)] for o in range(size + sum(padding) - kernel + 1)]


def banded(kernel: Array, axis: int, taps: list[list[int]]) -> Array:
    """Replace a kernel axis by the two axes (output, input) of its Toeplitz matrix."""
    index = jnp.asarray(taps)
    inside = (index >= 0) & (index < kernel.shape[axis])
    matrix = jnp.take(kernel, jnp.where(inside, index, 0), axis=axis)
    trailing = kernel.ndim - axis - 1
    return jnp.where(inside.reshape(*inside.shape, *(1,) * trailing), matrix, 0)


@jax.custom_vjp
def space_then_time(
    x: Float[Array, "in pixel batch time"],
    space: Float[Array, "in out new_pixel pixel"],
    through_time: Float[Array, "in out time new_time"],
) -> Float[Array, "out new_pixel batch new_time"]:
    """Sum over input channels of ``through_time`` after ``space``.

    Scanning over the channels keeps the intermediate of a single channel alive. The gradient recomputes it: plain
    autodiff would store those of all channels, which costs more time than the products do.
    """
    pixels, batch, time = x.shape[1:]
    out, new_pixels = space.shape[1:3]

    def add_channel(total: Array, channel: tuple[Array, Array, Array]) -> tuple[Array, None]:
        x_i, space_i, time_i = channel
        y = _matmul(space_i.reshape(-1, pixels), x_i.reshape(pixels, -1)).reshape(out, -1, time)
        return total + _matmul(y, time_i), None

    total = jnp.zeros((out, new_pixels * batch, through_time.shape[3]), x.dtype)
    total, _ = lax.scan(add_channel, total, (x, space, through_time))
    return total.reshape(out, new_pixels, batch, -1)


def _space_then_time_forward(x: Array, space: Array, through_time: Array) -> tuple[Array, tuple[Array, Array, Array]]:
    return space_then_time(x, space, through_time), (x, space, through_time)


def _space_then_time_backward(inputs: tuple[Array, Array, Array], g: Array) -> tuple[Array, Array, Array]:
    x, space, _ = inputs
    pixels, batch, time = x.shape[1:]
    out = space.shape[1]
    g = g.reshape(out, -1, g.shape[3])

    def channel_gradients(_: None, channel: tuple[Array, Array, Array]) -> tuple[None, tuple[Array, Array, Array]]:
        x_i, space_i, time_i = channel
        x_i, space_i = x_i.reshape(pixels, -1), space_i.reshape(-1, pixels)
        y = _matmul(space_i, x_i).reshape(out, -1, time)
        g_time = _matmul(y.transpose(0, 2, 1), g)
        g_y = _matmul(g, time_i.transpose(0, 2, 1)).reshape(-1, batch * time)
        g_x = _matmul(space_i.T, g_y).reshape(pixels, batch, time)
        return None, (g_x, _matmul(g_y, x_i.T).reshape(out, -1, pixels), g_time)

    _, gradients = lax.scan(channel_gradients, None, inputs)
    return gradients


space_then_time.defvjp(_space_then_time_forward, _space_then_time_backward)


def _matmul(a: Array, b: Array) -> Array:
    return jnp.matmul(a, b, precision=lax.Precision.HIGHEST)
