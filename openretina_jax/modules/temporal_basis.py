"""Temporal kernels of the space-time separable convolution: sums of masked sines and cosines.

A temporal kernel of ``length`` frames is a weighted sum of ``length // subsampling`` sines and as many cosines. Without
the fast ones, kernels stay well below the Nyquist limit (Höfling et al. 2024, https://doi.org/10.7554/eLife.86860).
"""

import functools

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Float32

from openretina_jax.errors import UserError
from openretina_jax.runtime.devices import precision


def fade_in(time: Float[Array, " time"], stretch: Float[Array, ""], length: int) -> Float[Array, " time"]:
    """Sigmoid mask that brings a kernel to zero at its earliest frames; ``time`` is in frames, -length to -1."""
    return 1 / (1 + jnp.exp(-time - int(0.95 * length) / stretch))


def number_of_frequencies(length: int, subsampling: int) -> int:
    """Sines (and cosines) that describe a temporal kernel.

    Raises:
        UserError: the kernel is shorter than the subsampling factor, so that no frequency is left.
    """
    if length < subsampling:
        raise UserError(
            f"temporal kernel size {length} is below the subsampling factor {subsampling} of its basis; "
            f"take a kernel of at least {subsampling} frames"
        )
    return length // subsampling


def temporal_basis(
    stretch: Float[Array, ""], length: int, subsampling: int
) -> tuple[Float[Array, "frequency time"], Float[Array, "frequency time"]]:
    """Sines and cosines over ``length`` frames; the last frame is the most recent one.

    Args:
        stretch: speed of the kernels, 1 by default; larger values compress them in time.
        length: frames of the temporal kernel.
        subsampling: frames per frequency.

    Returns:
        Sines and cosines; the sine of frequency 0 is zero.
    """
    time = jnp.arange(-length, 0, dtype=jnp.float32)
    frequency = jnp.arange(number_of_frequencies(length, subsampling), dtype=jnp.float32)
    phase = frequency[:, None] * (stretch * time * 2 * jnp.pi / length)
    mask = fade_in(time, stretch, length)
    return mask * jnp.sin(phase), mask * jnp.cos(phase)


def temporal_coefficients(
    sin: Float[Array, "out in frequency"], cos: Float[Array, "out in frequency"]
) -> Float[Array, "out in function"]:
    """Weights of the functions of ``temporal_functions``: without the sine of frequency 0, which is zero."""
    return jnp.concatenate([sin[..., 1:], cos], axis=-1)


def temporal_functions(log_speed: Float[Array, ""], length: int, subsampling: int) -> Float[Array, "function time"]:
    """Basis functions, sines then cosines, played ``exp(log_speed)`` times as fast."""
    sines, cosines = temporal_basis(jnp.exp(log_speed), length, subsampling)
    return jnp.concatenate([sines[1:], cosines])


# in models it is part of their programs; elsewhere, as in pictures, one program instead of twenty
@functools.partial(jax.jit, static_argnames=("length", "subsampling"), inline=True)
def temporal_kernels(
    sin: Float[Array, "out in frequency"],
    cos: Float[Array, "out in frequency"],
    log_speed: Float[Array, ""],
    length: int,
    subsampling: int,
) -> Float[Array, "out in time"]:
    """Temporal kernels of these coefficients, played ``exp(log_speed)`` times as fast."""
    functions = temporal_functions(log_speed, length, subsampling)
    return jnp.matmul(temporal_coefficients(sin, cos), functions, precision=precision())


def temporal_smoothness(
    sin: Float[Array, "out in frequency"], cos: Float[Array, "out in frequency"]
) -> Float32[Array, ""]:
    """Penalty on fast components: squares of coefficients times 0.1 (slow) to 0.9 (fast), mean over output channels."""
    weight = jnp.linspace(0.1, 0.9, sin.shape[2])
    return (jnp.square(weight * sin).sum() + jnp.square(weight * cos).sum()) / sin.shape[0]
