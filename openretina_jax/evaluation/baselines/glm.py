"""Penalised regressions of many neurons on one design at once: the loss, its minimum, and nonlinearities after it.

All neurons share the features of the stimulus, so that a step of all of them is two matrix products. The features are
(nearly) principal axes: their Gram matrix is close to a diagonal one, which makes a good preconditioner.
"""

import functools
from typing import Literal, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from openretina_jax.modules.layers import NONLINEARITIES, inverse_nonlinearity

Link = Literal["softplus", "exp", "identity"]

ITERATIONS = 60  # at most
TOLERANCE = 1e-5  # of what a step can still gain, relative to the mean response or, for squared errors, its variance
RATE_EPSILON = 1e-8
SHORTENINGS = 12  # of a step that was too long
TINY = 1e-30  # instead of a division by 0
ROUNDING = 1e-6  # by which a loss may seem to grow, relative
LINE_STEPS = 2  # Newton steps along a direction
OUTPUT_STEPS = 25  # Levenberg-Marquardt steps of a nonlinearity
OUTPUT_BATCH = 32  # neurons at the same time


class Design(NamedTuple):
    """Features of a regression.

    Attributes:
        stimulus: those that all neurons share.
        own: those of each neuron, such as its spikes before; maybe none.
    """

    stimulus: Float[Array, "time feature"]
    own: Float[Array, "time own neuron"]


class Weights(NamedTuple):
    """Weights of the features of every neuron, and its offset."""

    stimulus: Float[Array, "feature neuron"]
    own: Float[Array, "own neuron"]
    offset: Float[Array, " neuron"]


def drive(design: Design, weights: Weights) -> Float[Array, "time neuron"]:
    """Weighted sums of the features."""
    own = jnp.einsum("ton,on->tn", design.own, weights.own)
    return design.stimulus @ weights.stimulus + own + weights.offset


def loss_of(link: Link, drive: Float[Array, "*shape"], response: Float[Array, "*shape"]) -> Float[Array, "*shape"]:
    """Loss of every response: half the squared error for the link "identity", else the Poisson loss of the rate."""
    if link == "identity":
        return 0.5 * jnp.square(drive - response)
    if link == "exp":
        return jnp.exp(drive) - response * drive
    rate = jax.nn.softplus(drive)
    return rate - response * jnp.log(rate + RATE_EPSILON)


@functools.partial(jax.jit, static_argnames="link")
def predict(link: Link, design: Design, weights: Weights) -> Float[Array, "time neuron"]:
    """Predicted responses."""
    return NONLINEARITIES[link](drive(design, weights))


def null_weights(link: Link, design: Design, response: Array, recorded: Array) -> Weights:
    """Weights of 0, and the offsets that predict the mean."""
    share = shares(recorded, response.dtype)
    mean = (share * jnp.where(recorded, response, 0)).sum(axis=0)
    neurons = response.shape[1]
    stimulus, own = (jnp.zeros((of.shape[1], neurons), response.dtype) for of in (design.stimulus, design.own))
    return Weights(stimulus, own, inverse_nonlinearity(link, mean))


def curvature(link: Link, drive: Array, response: Array) -> Array:
    """Second derivative of the loss of every response by its drive."""
    slope = jax.grad(lambda drive: loss_of(link, drive, response).sum())
    return jax.jvp(slope, (drive,), (jnp.ones_like(drive),))[1]


@functools.partial(jax.jit, static_argnames=("link", "iterations", "tolerance"))
def minimize(
    link: Link,
    design: Design,
    response: Float[Array, "time neuron"],
    recorded: Bool[Array, "time neuron"],
    strength: Float[Array, " neuron"],
    start: Weights,
    iterations: int = ITERATIONS,
    tolerance: float = TOLERANCE,
) -> Weights:
    """Minimise the mean loss plus ``strength / 2`` times the squared weights of every neuron; offsets are free.

    Conjugate gradients (Polak and Ribière) of all neurons side by side, preconditioned by the mean curvature. The
    losses are convex. A step along a direction needs no more products with the design, so its length is found by
    Newton's method, and shortened where the loss would grow.

    Args:
        link: nonlinearity after the weighted sum, which says what the loss is.
        design: features; those of the stimulus must be (nearly) uncorrelated for few iterations.
        response: recorded responses; whatever they are where they were not recorded.
        recorded: which of them count.
        strength: weight of the ridge penalty of every neuron.
        start: where to begin.
        iterations: at most.
        tolerance: a neuron is done when a Newton step would lower its mean loss by less, relative to its mean response,
            or for the link "identity" to its variance.
    """
    response, share = jnp.where(recorded, response, 0), shares(recorded, response.dtype)
    mean = (share * response).sum(axis=0)
    scale = (share * jnp.square(response - mean)).sum(axis=0) if link == "identity" else mean
    scale = jnp.maximum(scale, RATE_EPSILON)  # of a neuron that never responds
    sizes = jnp.square(design.stimulus).mean(axis=0)[:, None], jnp.square(design.own).mean(axis=0)

    def value(drive: Array, weights: Weights) -> Array:
        penalty = jnp.square(weights.stimulus).sum(axis=0) + jnp.square(weights.own).sum(axis=0)
        return (share * loss_of(link, drive, response)).sum(axis=0) + 0.5 * strength * penalty

    def slope(drive: Array) -> Array:
        return share * jax.grad(lambda drive: loss_of(link, drive, response).sum())(drive)

    def gradient(drive: Array, weights: Weights) -> Weights:
        residual = slope(drive)
        return Weights(
            design.stimulus.T @ residual + strength * weights.stimulus,
            jnp.einsum("ton,tn->on", design.own, residual) + strength * weights.own,
            residual.sum(axis=0),
        )

    def preconditioned(drive: Array, g: Weights) -> Weights:
        mean = jnp.maximum((share * curvature(link, drive, response)).sum(axis=0), RATE_EPSILON)
        return Weights(g.stimulus / (mean * sizes[0] + strength), g.own / (mean * sizes[1] + strength), g.offset / mean)

    def along(drive: Array, weights: Weights, direction: Weights) -> tuple[Array, Weights]:
        """Go along a direction to the minimum of every neuron."""
        change = design.stimulus @ direction.stimulus + direction.offset
        change += jnp.einsum("ton,on->tn", design.own, direction.own)
        size, overlap = _penalized(direction, direction), _penalized(weights, direction)
        length = jnp.ones_like(strength)
        for _ in range(LINE_STEPS):
            at = drive + length * change
            first = (slope(at) * change).sum(axis=0) + strength * (overlap + length * size)
            second = (share * curvature(link, at, response) * jnp.square(change)).sum(axis=0) + strength * size
            length = jnp.clip(length - first / jnp.maximum(second, TINY), 0.1 * length, 4 * length)
        before = value(drive, weights)

        def grows(length: Array) -> Array:
            after = value(drive + length * change, _sum(weights, length, direction))
            return ~(after <= before + ROUNDING * jnp.abs(before))

        def too_long(state: tuple[Array, Array]) -> Array:
            length, number = state
            return grows(length).any() & (number < SHORTENINGS)

        def shorter(state: tuple[Array, Array]) -> tuple[Array, Array]:
            length, number = state
            return jnp.where(grows(length), length / 4, length), number + 1

        length, _ = jax.lax.while_loop(too_long, shorter, (length, jnp.int32(0)))
        length = jnp.where(grows(length), 0, length)
        return drive + length * change, _sum(weights, length, direction)

    def go_on(state: tuple) -> Array:
        *_, gain, number = state
        return (gain > tolerance * scale).any() & (number < iterations)

    def step(state: tuple) -> tuple:
        drive, weights, g, direction, old, _, number = state
        drive, weights = along(drive, weights, direction)
        new = gradient(drive, weights)
        better = preconditioned(drive, new)
        turn = _dot(better, jax.tree.map(jnp.subtract, new, g)) / jnp.maximum(old, TINY)
        following = _sum(jax.tree.map(jnp.negative, better), jnp.maximum(turn, 0), direction)
        downhill = _dot(following, new) < 0
        following = jax.tree.map(lambda a, b: jnp.where(downhill, a, -b), following, better)
        gain = _dot(better, new)
        return drive, weights, new, following, gain, gain, number + 1

    first = drive(design, start)
    g = gradient(first, start)
    better = preconditioned(first, g)
    gain = _dot(better, g)
    state = (first, start, g, jax.tree.map(jnp.negative, better), gain, gain, jnp.int32(0))
    return jax.lax.while_loop(go_on, step, state)[1]


def mean_loss(link: Link, drive: Array, response: Array, recorded: Array) -> Float[Array, " neuron"]:
    """Mean loss of every neuron over what was recorded."""
    share = shares(recorded, response.dtype)
    return (share * loss_of(link, drive, jnp.where(recorded, response, 0))).sum(axis=0)


def output(parameters: Float[Array, " 4"], drive: Float[Array, " time"]) -> Float[Array, " time"]:
    """Nonlinearity after a linear filter: ``a softplus(b drive + c) + d``, parameters (log a, b, c, d)."""
    log_gain, slope, offset, floor = parameters
    return jnp.exp(log_gain) * jax.nn.softplus(slope * drive + offset) + floor


def fit_output(
    drive: Float[Array, "time neuron"],
    response: Float[Array, "time neuron"],
    recorded: Bool[Array, "time neuron"],
    poisson: bool,
) -> Float[Array, "neuron 4"]:
    """Fit the nonlinearity ``output`` of every neuron to its linear drive.

    Levenberg-Marquardt steps of the Poisson loss (with floor 0), or of the squared error.

    Args:
        drive: linear drive of mean 0.
        response, recorded: as for ``minimize``.
        poisson: whether the loss is Poisson's.
    """

    def of_one(given: tuple[Array, Array, Array]) -> Array:
        drive, response, recorded = given
        share = shares(recorded, drive.dtype)
        response = jnp.where(recorded, response, 0)
        mean, deviation = (share * response).sum(), jnp.sqrt((share * jnp.square(drive)).sum()) + RATE_EPSILON
        x = drive / deviation
        free = jnp.array([1.0, 1.0, 1.0, 0.0 if poisson else 1.0], drive.dtype)

        def loss(parameters: Array) -> Array:
            rate = output(parameters * free, x)
            if poisson:
                return (share * (rate - response * jnp.log(rate + RATE_EPSILON))).sum()
            return 0.5 * (share * jnp.square(rate - response)).sum()

        def step(state: tuple[Array, Array, Array], _: None) -> tuple[tuple[Array, Array, Array], None]:
            parameters, before, damping = state
            g, h = jax.grad(loss)(parameters), jax.hessian(loss)(parameters)
            values, axes = jnp.linalg.eigh(h)
            size = jnp.maximum(jnp.abs(values), 1e-6 * jnp.abs(values).max() + 1e-12)
            trial = parameters - axes @ ((axes.T @ g) / (size + damping * size.max()))
            after = loss(trial)
            good = after < before
            parameters, before = jnp.where(good, trial, parameters), jnp.where(good, after, before)
            return (parameters, before, jnp.where(good, damping / 4, damping * 4)), None

        spread = jnp.sqrt((share * jnp.square(response - mean)).sum()) + RATE_EPSILON
        gain = jnp.maximum(mean, RATE_EPSILON) if poisson else spread
        slope = (share * x * response).sum() / (gain * 0.418)  # 0.418: slope of the softplus where it is 1
        floor = jnp.asarray(0.0, drive.dtype) if poisson else mean - gain
        start = jnp.stack([jnp.log(gain), slope, jnp.asarray(0.5413, drive.dtype), floor])
        (found, _, _), _ = jax.lax.scan(step, (start, loss(start), jnp.asarray(1e-3, drive.dtype)), length=OUTPUT_STEPS)
        return (found * free).at[1].divide(deviation)

    columns = (drive.T, response.T, recorded.T)
    return jax.lax.map(of_one, columns, batch_size=min(OUTPUT_BATCH, drive.shape[1]))


def shares(recorded: Array, dtype: jnp.dtype) -> Array:
    """Weight of every frame in the mean of its neuron."""
    share = recorded.astype(dtype)
    return share / jnp.maximum(share.sum(axis=0), 1)


def _dot(a: Weights, b: Weights) -> Array:
    return (a.stimulus * b.stimulus).sum(axis=0) + (a.own * b.own).sum(axis=0) + a.offset * b.offset


def _penalized(a: Weights, b: Weights) -> Array:
    return (a.stimulus * b.stimulus).sum(axis=0) + (a.own * b.own).sum(axis=0)


def _sum(a: Weights, factor: Array, b: Weights) -> Weights:
    return jax.tree.map(lambda x, y: x + factor * y, a, b)
