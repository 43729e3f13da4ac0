"""Losses and measures of one prediction against one response.

All take predictions and responses ``(..., time, neuron)`` of equal shape and say how much every frame, or every window
and neuron, adds: summing, averaging and masking are the caller's. A model's output is shorter than its window by the
frames of its receptive field; drop those from the response before (``without_lag``).
"""

import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from openretina_jax.modules.regularizers import absolute

EPSILON = 1e-16

Prediction = Float[Array, "*batch time neuron"]
Mask = Bool[Array, "*batch time neuron"]


def without_lag(response: Float[Array, "*batch time neuron"], frames: int) -> Float[Array, "*batch frames neuron"]:
    """The last ``frames`` of the response."""
    return response[..., response.shape[-2] - frames :, :]


def poisson(prediction: Prediction, response: Prediction, epsilon: float = EPSILON) -> Prediction:
    """Negative Poisson log-likelihood of every frame without the factorial term: rate - response log(rate)."""
    return prediction - response * jnp.log(prediction + epsilon)


def l1_poisson(
    prediction: Prediction, response: Prediction, gamma: float = 1e-3, epsilon: float = EPSILON
) -> Prediction:
    """Poisson loss plus ``gamma`` times the absolute rate, for sparse firing."""
    return poisson(prediction, response, epsilon) + gamma * absolute(prediction)


def squared_error(prediction: Prediction, response: Prediction) -> Prediction:
    """Squared difference of every frame."""
    return jnp.square(prediction - response)


def correlation(
    prediction: Prediction, response: Prediction, recorded: Mask | None = None, epsilon: float = EPSILON
) -> Float[Array, "*batch neuron"]:
    """Pearson correlation over time of every window and neuron; 0 where either is constant.

    Args:
        prediction, response: what to correlate.
        recorded: frames that count (None: all).
        epsilon: added to each biased variance.
    """
    weight = jnp.ones_like(prediction) if recorded is None else recorded.astype(prediction.dtype)
    count = jnp.maximum(weight.sum(axis=-2, keepdims=True), 1)

    def mean(x: Array) -> Array:
        return (weight * x).sum(axis=-2, keepdims=True) / count

    response = jnp.where(weight > 0, response, 0)
    x, y = prediction - mean(prediction), response - mean(response)
    return (mean(x * y) / jnp.sqrt((mean(x * x) + epsilon) * (mean(y * y) + epsilon)))[..., 0, :]


def scaled_correlation(
    prediction: Prediction, response: Prediction, frames: int = 30, epsilon: float = EPSILON
) -> Float[Array, "*batch neuron"]:
    """Mean correlation over successive pieces of ``frames`` frames; an incomplete last piece is dropped.

    Source: Nikolić et al. 2012, https://doi.org/10.1111/j.1460-9568.2011.07987.x.
    """
    *batch, time, neurons = prediction.shape
    pieces = time // frames

    def cut(x: Array) -> Array:
        return x[..., : pieces * frames, :].reshape(*batch, pieces, frames, neurons)

    return correlation(cut(prediction), cut(response), epsilon=epsilon).mean(axis=-2)


def cell_type_weight(groups: Int[Array, "*neuron"], counts: Int[Array, " group"]) -> Float[Array, "*neuron"]:
    """Weight of every neuron that makes all cell types count alike: mean group size over the size of its group.

    Args:
        groups: cell type of every neuron, from 1.
        counts: neurons of each type.
    """
    return counts.sum() / len(counts) / counts[groups - 1]
