"""The models: a spike-triggered average with a nonlinearity, a GLM with and without spike history, a quadratic GLM."""

import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Float32, Int

from openretina_jax.evaluation.baselines.design import raised_cosines
from openretina_jax.evaluation.baselines.glm import (
    Design,
    Link,
    Weights,
    drive,
    fit_output,
    mean_loss,
    minimize,
    null_weights,
    output,
    predict,
    shares,
)
from openretina_jax.modules import losses
from openretina_jax.modules.layers import LEAST_RESPONSE, inverse_nonlinearity

STA, GLM, HISTORY, QUADRATIC = "STA-LN", "GLM", "GLM with history", "quadratic GLM"
STRENGTHS = tuple(10.0**-power for power in (0.5, 1, 1.5, 2, 2.5, 3, 3.5, 4, 4.5))  # of the penalty, relative
LOCATING_STRENGTH = 1e-2  # of the penalty of the regression that finds receptive fields
HISTORY_FUNCTIONS = 6  # of time, of a spike history
FILTERS = (0, 2, 4, 8)  # of a quadratic GLM, besides the linear one
QUADRATIC_STRENGTHS = (1e-3,)
LEAST_POWER = 1e-4  # of combinations of terms; those that vary less are left out
SHRINKAGE = 1e-2  # of axes of little power when they are whitened, relative to the first one


class Recorded(NamedTuple):
    """Responses of some neurons to the predicted frames of a design.

    Attributes:
        response: recorded responses, 0 where there are none.
        known: where they were recorded.
        history: spikes before, through functions of time; 0 functions without.
    """

    response: Float32[Array, "time neuron"]
    known: Bool[Array, "time neuron"]
    history: Float32[Array, "time own neuron"]


@functools.partial(jax.jit, static_argnames="poisson")
def fit_average(
    features: tuple[Float[Array, "time feature"], Float[Array, "held feature"]],
    power: Float[Array, " feature"],
    train: Recorded,
    validation: Recorded,
    poisson: bool,
) -> tuple[Float[Array, "feature neuron"], Float[Array, "neuron 4"]]:
    """Fit a regularised spike-triggered average and a nonlinearity after it: a linear-nonlinear model.

    The average, divided by the covariance of the stimulus and a penalty, is the solution of ridge regression
    (Theunissen et al. 2001, doi:10.1088/0954-898X/12/3/304).

    Args:
        features: of the training, and of the validation frames.
        power: mean square of every feature.
        train, validation: responses to these frames; correlation with the latter chooses the strength of the penalty.
        poisson: whether responses are rates.

    Returns:
        Weights of the features, and the parameters of ``glm.output``.
    """

    design = Design(features[0], train.history[:, :0])
    start = null_weights("identity", design, train.response, train.known)

    def weaker(weights: Weights, strength: Array) -> tuple[Weights, tuple[Array, Array]]:
        strengths = jnp.full(train.response.shape[1], strength)
        weights = minimize("identity", design, train.response, train.known, strengths, weights)
        score = losses.correlation(features[1] @ weights.stimulus, validation.response, validation.known)
        return weights, (weights.stimulus, score)

    _, (weights, scores) = jax.lax.scan(weaker, start, jnp.asarray(STRENGTHS) * power[0])
    best = jnp.argmax(scores, axis=0)
    average = jnp.take_along_axis(weights, best[None, None], axis=0)[0]
    return average, fit_output(features[0] @ average, train.response, train.known, poisson)


@jax.jit
def locating_filters(
    features: Float[Array, "time feature"], power: Float[Array, " feature"], train: Recorded
) -> Float[Array, "feature neuron"]:
    """Regularised spike-triggered averages, to find receptive fields."""
    design = Design(features, train.history[:, :0])
    start = null_weights("identity", design, train.response, train.known)
    strength = jnp.full(train.response.shape[1], LOCATING_STRENGTH * power[0])
    return minimize("identity", design, train.response, train.known, strength, start).stimulus


@jax.jit
def predict_average(
    features: Float[Array, "time feature"], weights: Float[Array, "feature neuron"], shape: Float[Array, "neuron 4"]
) -> Float[Array, "time neuron"]:
    """Predictions of a linear-nonlinear model."""
    return jax.vmap(output, in_axes=(0, 1), out_axes=1)(shape, features @ weights)


@functools.partial(jax.jit, static_argnames=("link", "strengths"))
def path(
    link: Link,
    designs: tuple[Design, Design],
    power: Float[Array, ""],
    train: Recorded,
    validation: Recorded,
    strengths: tuple[float, ...] = STRENGTHS,
) -> Weights:
    """Fit with weaker and weaker penalties, and take for every neuron what predicts validation best.

    Args:
        link: nonlinearity.
        designs: features of training and of validation frames.
        power: of the feature with most of it.
        train, validation: responses.
        strengths: weights of the penalty, relative to ``power`` and to the curvature of the loss at the mean.
    """
    response, known = train.response, train.known
    start = null_weights(link, designs[0], response, known)
    scale = power * mean_curvature(link, (shares(known, response.dtype) * response).sum(axis=0))

    def weaker(state: tuple, strength: Array) -> tuple[tuple, None]:
        weights, kept, best = state
        weights = minimize(link, designs[0], response, known, strength * scale, weights)
        loss = mean_loss(link, drive(designs[1], weights), validation.response, validation.known)
        better = loss < best
        kept = jax.tree.map(functools.partial(jnp.where, better), weights, kept)
        return (weights, kept, jnp.where(better, loss, best)), None

    state = (start, start, jnp.full_like(scale, jnp.inf))
    return jax.lax.scan(weaker, state, jnp.asarray(strengths))[0][1]


def mean_curvature(link: Link, mean: Float[Array, " neuron"]) -> Float[Array, " neuron"]:
    """Curvature of the loss at the drive that predicts the mean: ``f'^2 / f`` of Poisson's, 1 of the squared error."""
    if link == "identity":
        return jnp.ones_like(mean)
    mean = jnp.maximum(mean, LEAST_RESPONSE)
    return mean if link == "exp" else jnp.square(jax.nn.sigmoid(inverse_nonlinearity(link, mean))) / mean


class Quadratic(NamedTuple):
    """A quadratic GLM of one neuron: a GLM of its linear drive and of the products of a few filters.

    Attributes:
        filters: directions of the features.
        used: how many of them are.
        mean: of every term.
        axes: uncorrelated combinations of the terms.
        weights: of these.
    """

    filters: Float[Array, "feature filter"]
    used: Int[Array, ""]
    mean: Float[Array, " term"]
    axes: Float[Array, "term axis"]
    weights: Weights

    def terms(self, features: Float[Array, "time feature"], linear: Float[Array, " time"]) -> Design:
        """Uncorrelated terms of the quadratic form."""
        terms = quadratic_terms(linear, features @ self.filters, self.used)
        return Design((terms - self.mean) @ self.axes, jnp.zeros((len(terms), 0, 1), terms.dtype))


@functools.partial(jax.jit, static_argnames="link")
def fit_quadratic(
    link: Link,
    features: tuple[Float[Array, "time feature"], Float[Array, "held feature"]],
    power: Float[Array, " feature"],
    linear: tuple[Float[Array, " time"], Float[Array, " held"]],
    train: Recorded,
    validation: Recorded,
) -> Quadratic:
    """Fit the quadratic GLM of one neuron; validation chooses the number of filters and the penalty.

    Args:
        link: nonlinearity.
        features: of training and of validation frames.
        power: mean square of every feature.
        linear: drive of the GLM, which stands for all linear terms.
        train, validation: responses.
    """
    filters = triggered_filters(features[0], power, train, max(FILTERS))
    along = features[0] @ filters

    def candidate(used: Array) -> tuple[Quadratic, Array]:
        mean, axes = whitening(quadratic_terms(linear[0], along, used))
        model = Quadratic(filters, used, mean, axes, Weights(jnp.zeros(0), jnp.zeros(0), jnp.zeros(0)))
        designs = tuple(model.terms(x, drive) for x, drive in zip(features, linear, strict=True))
        weights = path(link, designs, jnp.ones(()), train, validation, QUADRATIC_STRENGTHS)
        loss = mean_loss(link, drive(designs[1], weights), validation.response, validation.known)
        return model._replace(weights=weights), loss[0]

    models, losses = jax.lax.map(candidate, jnp.asarray(FILTERS))
    best = jnp.argmin(jnp.nan_to_num(losses, nan=jnp.inf))
    return jax.tree.map(lambda of_all: of_all[best], models)


@functools.partial(jax.jit, static_argnames="link")
def predict_quadratic(
    link: Link, model: Quadratic, features: Float[Array, "time feature"], linear: Float[Array, " time"]
) -> Float[Array, "time 1"]:
    """Predictions of a quadratic GLM."""
    return predict(link, model.terms(features, linear), model.weights)


def triggered_filters(
    features: Float[Array, "time feature"], power: Float[Array, " feature"], train: Recorded, count: int
) -> Float[Array, "feature filter"]:
    """Directions along which responses change the variance of the stimulus most, up or down.

    Those of the largest absolute eigenvalues of the response-weighted covariance of the whitened stimulus minus its
    covariance (spike-triggered covariance: Schwartz et al. 2006, doi:10.1167/6.4.13), scaled to unit variance. There
    are zeros where there are fewer features.
    """
    scale = jnp.where(power > 0, 1 / jnp.sqrt(jnp.where(power > 0, power, 1) + SHRINKAGE * power[0]), 0)
    response, known = train.response[:, 0], train.known[:, 0]
    share = shares(known, response.dtype)
    weight = share * (response - (share * response).sum())
    white = features * scale
    values, directions = jnp.linalg.eigh(white.T @ (weight[:, None] * white))
    order = jnp.argsort(-jnp.abs(values))[:count]
    filters = scale[:, None] * directions[:, order]
    return jnp.pad(filters, ((0, 0), (0, count - filters.shape[1])))


def quadratic_terms(
    linear: Float[Array, " time"], along: Float[Array, "time filter"], used: Int[Array, ""]
) -> Float[Array, "time term"]:
    """Terms of a quadratic form: the linear drive, the first filters, and all their products; 0 for other filters."""
    part = jnp.where(jnp.arange(along.shape[1]) < used, along, 0)
    first, second = jnp.triu_indices(along.shape[1])
    return jnp.concatenate([linear[:, None], part, part[:, first] * part[:, second]], axis=1)


def whitening(terms: Float[Array, "time term"]) -> tuple[Float[Array, " term"], Float[Array, "term axis"]]:
    """Mean of the terms, and combinations that are uncorrelated and of unit variance; 0 for what never varies."""
    mean, deviation = terms.mean(axis=0), terms.std(axis=0)
    scale = jnp.where(deviation > 0, 1 / jnp.where(deviation > 0, deviation, 1), 0)
    scaled = (terms - mean) * scale
    power, directions = jnp.linalg.eigh(scaled.T @ scaled / len(terms))
    kept = power > LEAST_POWER
    return mean, scale[:, None] * directions * jnp.where(kept, 1 / jnp.sqrt(jnp.where(kept, power, 1)), 0)


def history_basis(lag: int) -> Float32[np.ndarray, "frame function"]:
    """Functions of the time since a spike, the first row one frame ago."""
    return raised_cosines(lag, min(HISTORY_FUNCTIONS, lag))
