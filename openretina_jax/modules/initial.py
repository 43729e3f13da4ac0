"""Initial values of parameters: the numbers of ``jax.random``, without a compiled program for each of their shapes.

Outside of compiled functions JAX compiles every operation anew for every shape, and a small model takes seconds to
build. With JAX's usual generator the n-th number that a key gives does not depend on how many are drawn, so that blocks
of few sizes are drawn here and their first numbers taken. NumPy does the rest, and rounds as XLA does.
"""

import math
from collections.abc import Callable
from typing import Any

import jax
import numpy as np
from flax import nnx
from jaxtyping import Array, Float32

BLOCKS = (4096, 65536)  # numbers drawn at once; where more are needed, compiling is the smaller part
TRUNCATED = 0.87962566103423978  # standard deviation of the standard normal distribution between -2 and 2

Shape = tuple[int, ...]


def full(shape: int | Shape, value: float) -> Float32[Array, "*shape"]:
    """Array of one value."""
    return jax.device_put(np.full(shape, value, np.float32))


def normal(rngs: nnx.Rngs, shape: Shape, mean: float = 0.0, deviation: float = 1.0) -> Float32[Array, "*shape"]:
    """Draw from a normal distribution."""
    drawn = deviation * _drawn(jax.random.normal, rngs, shape)
    return jax.device_put(mean + drawn if mean else drawn)


def uniform(rngs: nnx.Rngs, shape: Shape, limit: float) -> Float32[Array, "*shape"]:
    """Draw uniformly between minus and plus ``limit``."""
    return jax.device_put(_drawn(jax.random.uniform, rngs, shape, minval=-limit, maxval=limit))


def uniform_in(rngs: nnx.Rngs, shape: Shape) -> Float32[Array, "*shape"]:
    """Draw kernels ``(out, in, ...)`` uniformly within 1/sqrt(fan in), as torch does by default."""
    fan_in = math.prod(shape[1:])
    deviation = np.sqrt(np.float32(3) * np.float32(1 / 3 / fan_in))
    return jax.device_put(deviation * _drawn(jax.random.uniform, rngs, shape, minval=-1))


def glorot(rngs: nnx.Rngs, shape: Shape) -> Float32[Array, "*shape"]:
    """Draw kernels ``(out, in, ...)`` normally (Glorot and Bengio 2010, https://proceedings.mlr.press/v9/glorot10a)."""
    return jax.device_put(_glorot_deviation(shape) * _drawn(jax.random.normal, rngs, shape))


def truncated_glorot(rngs: nnx.Rngs, shape: Shape, kernel: Shape | None = None) -> Float32[Array, "*shape"]:
    """Draw kernels ``(out, in, ...)`` as ``glorot``, but from a normal distribution cut at two standard deviations.

    Args:
        rngs: random streams.
        shape: of all that is drawn.
        kernel: shape of one kernel, where there are several (None: ``shape``).
    """
    deviation = _glorot_deviation(kernel or shape) / np.float32(TRUNCATED)
    return jax.device_put(deviation * _drawn(jax.random.truncated_normal, rngs, shape, lower=-2, upper=2))


def _glorot_deviation(shape: Shape) -> np.float32:
    return np.sqrt(np.float32(1 / ((shape[0] + shape[1]) * math.prod(shape[2:]) / 2)))


def _drawn(draw: Callable[..., Array], rngs: nnx.Rngs, shape: Shape, **bounds: float | int) -> Any:
    """Numbers of a new key, on the host; those of a function that is being traced are drawn there."""
    key, count = rngs.params(), math.prod(shape)
    if isinstance(key, jax.core.Tracer):
        return draw(key, shape=shape, **bounds)
    if jax.random.key_impl(key) != "threefry2x32" or not jax.config.jax_threefry_partitionable:  # type: ignore[attr-defined]
        return np.asarray(draw(key, shape=shape, **bounds))
    size = next((block for block in BLOCKS if block >= count), count)
    return np.asarray(draw(key, shape=(size,), **bounds))[:count].reshape(shape)
