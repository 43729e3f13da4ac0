"""Losses and correlations between predictions and responses.

All take predictions and responses ``(..., time, neuron)`` of equal shape. Losses (to be minimised) return a value for
every frame; the caller sums, averages and masks them. Correlations (to be maximised) return a value for every window
and neuron, and take a mask of the frames that count. A prediction is shorter than its window by the frames of the
model's receptive field; ``without_lag`` drops these from the response.
"""

import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from openretina_jax.errors import UserError
from openretina_jax.modules.layers import Number
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
    prediction: Prediction, response: Prediction, gamma: Number = 1e-3, epsilon: float = EPSILON
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
        prediction, response: traces to correlate.
        recorded: frames that count (None: all).
        epsilon: added to each biased variance.
    """
    if recorded is not None:
        response = jnp.where(recorded, response, 0)
    x, y = (v - _mean_over_time(v, recorded) for v in (prediction, response))
    covariance, x_variance, y_variance = (_mean_over_time(v, recorded) for v in (x * y, x * x, y * y))
    return (covariance / jnp.sqrt((x_variance + epsilon) * (y_variance + epsilon)))[..., 0, :]


def l1_correlation(
    prediction: Prediction,
    response: Prediction,
    recorded: Mask | None = None,
    rate: Prediction | None = None,
    gamma: Number = 2e-4,
    epsilon: float = EPSILON,
) -> Float[Array, "*batch neuron"]:
    """Correlation minus ``gamma`` times the mean absolute rate, for sparse firing.

    Args:
        prediction, response, recorded, epsilon: as in ``correlation``.
        rate: firing rate, where the prediction is the calcium signal that it causes (None: the prediction is the rate).
        gamma: weight of the rate.
    """
    size = _mean_over_time(absolute(prediction if rate is None else rate), recorded)[..., 0, :]
    return correlation(prediction, response, recorded, epsilon) - gamma * size


def scaled_correlation(
    prediction: Prediction,
    response: Prediction,
    recorded: Mask | None = None,
    frames: int = 30,
    epsilon: float = EPSILON,
) -> Float[Array, "*batch neuron"]:
    """Mean correlation over successive pieces of ``frames`` frames; an incomplete last piece is dropped.

    Pieces are weighted by their recorded frames. Source: Nikolić et al. 2012,
    https://doi.org/10.1111/j.1460-9568.2011.07987.x.

    Args:
        prediction, response, recorded, epsilon: as in ``correlation``.
        frames: length of a piece; correlations that are slower than a piece do not count.

    Raises:
        UserError: the prediction is shorter than a piece.
    """
    *batch, time, neurons = prediction.shape
    pieces = time // frames
    if pieces == 0:
        raise UserError(f"scaled_correlation has pieces of {frames} frames, but predictions have only {time}")

    def cut(x: Array) -> Array:
        return x[..., : pieces * frames, :].reshape(*batch, pieces, frames, neurons)

    if recorded is None:
        return correlation(cut(prediction), cut(response), epsilon=epsilon).mean(axis=-2)
    value = correlation(cut(prediction), cut(response), cut(recorded), epsilon)
    frames_in_piece = cut(recorded).sum(axis=-2)
    weighted = (frames_in_piece.astype(value.dtype) * value).sum(axis=-2)
    return weighted / jnp.maximum(frames_in_piece.sum(axis=-2), 1).astype(value.dtype)


def cell_type_weight(groups: Int[Array, "*neuron"], counts: Int[Array, " group"]) -> Float[Array, "*neuron"]:
    """Weight of every neuron that makes all cell types count equally: mean group size over the size of its group.

    Args:
        groups: cell type of every neuron, from 1.
        counts: neurons of each type.
    """
    return counts.sum() / len(counts) / counts[groups - 1].astype(jnp.float32)


def _mean_over_time(x: Array, recorded: Array | None) -> Array:
    """Mean over the frames that count, ``(..., 1, neuron)``; 0 where there are none."""
    if recorded is None:
        return x.mean(axis=-2, keepdims=True)
    count = jnp.maximum(recorded.sum(axis=-2, keepdims=True), 1)
    return jnp.where(recorded, x, 0).sum(axis=-2, keepdims=True) / count.astype(x.dtype)
