"""Penalties on weights, as functions of the weights."""

import jax.numpy as jnp
from jaxtyping import Array, Float, Float32

LAPLACE_EPSILON = 1e-6
SPARSITY_EPSILON = 1e-8


def absolute(x: Float[Array, "*shape"]) -> Float[Array, "*shape"]:
    """|x| with gradient 0 at 0.

    ``jnp.abs`` has gradient 1 at 0, which moves clamped weights (exactly 0) that the penalty should leave alone.
    """
    return jnp.where(x == 0, 0, jnp.abs(x))


def spatial_laplace(kernels: Float[Array, "out in height width"]) -> Float32[Array, ""]:
    """Squared response of all kernels to the 3x3 Laplace filter (no padding), over their squared norm."""
    centre = kernels[:, :, 1:-1, 1:-1]
    neighbours = kernels[:, :, :-2, 1:-1] + kernels[:, :, 2:, 1:-1] + kernels[:, :, 1:-1, :-2] + kernels[:, :, 1:-1, 2:]
    return jnp.square(4 * centre - neighbours).sum() / (jnp.square(kernels).sum() + LAPLACE_EPSILON)


def temporal_laplace(kernels: Float[Array, "out in time"]) -> Float32[Array, ""]:
    """Squared second difference of all kernels (no padding), over their squared norm."""
    curvature = 2 * kernels[:, :, 1:-1] - kernels[:, :, :-2] - kernels[:, :, 2:]
    return jnp.square(curvature).sum() / (jnp.square(kernels).sum() + LAPLACE_EPSILON)


def group_sparsity(kernels: Float[Array, "out in height width"]) -> Float32[Array, ""]:
    """Sum over outputs of (sum of the norms of an output's kernels) / (norm of them all): few inputs are cheap."""
    energy = jnp.square(kernels).sum(axis=(2, 3))
    return (jnp.sqrt(energy).sum(axis=1) / jnp.sqrt(SPARSITY_EPSILON + energy.sum(axis=1))).sum()
