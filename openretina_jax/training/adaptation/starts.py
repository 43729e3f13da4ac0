"""Where neurons begin: the best place of a grid, with feature weights of a generalised linear model there.

Behind a given mask the drive of a neuron is linear in its feature weights and its offset. ``screen`` compares all
places of a grid by least squares, for which one pass over the maps suffices; ``fit_features`` then fits weights and
offset of every neuron at its place by Newton's method, which is a convex problem with the Poisson loss and a softplus.

Source of the projected Newton step: Bertsekas 1982, https://doi.org/10.1137/0320018.
"""

import functools
import itertools
from collections.abc import Callable, Iterable
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from openretina_jax.modules.readouts.readout import Grid
from openretina_jax.runtime.devices import precision
from openretina_jax.training.adaptation.maps import Piece
from openretina_jax.training.objective import FrameLoss

AT_ONCE = 24  # places of the grid that are compared together
SWEEPS = 40  # of coordinate descent
PASSES = 10  # of Newton's method, at most
SMALL_GAIN = 0.05  # of the mean objective of neurons, by a pass that is the last
RIDGE = 1e-4  # of the mean diagonal of a matrix, added to its diagonal
LEAST_CURVATURE = 1e-6  # of the loss with respect to the drive
SMOOTH = 1e-3  # weights up to which the penalty on absolute weights is smooth

PerNeuron = Float[Array, " neuron"]
Linear = Float[Array, "neuron feature_and_one"]  # weights of the features, and the offset as the last one


class _Moments(NamedTuple):
    """Sums over frames: number, features, their products with each other and with responses minus their mean."""

    frames: Float[Array, ""]
    features: Float[Array, "place feature"]
    squares: Float[Array, "place feature feature"]
    products: Float[Array, "place feature neuron"]


def screen(grid: Grid, pieces: Iterable[Piece], n_neurons: int) -> tuple[Int[Array, " neuron"], Linear]:
    """Find the place of every neuron whose features explain most of the variance of its response.

    Args:
        grid: places to compare.
        pieces: maps and responses, those of a timeline one after the other. Frames count if any neuron was recorded; a
            response that is missing there is taken for the neuron's mean.
        n_neurons: rows of the readout's table.

    Returns:
        Place of every neuron, and its linear response there; 0 for neurons without responses.
    """
    place, linear = jnp.zeros(n_neurons, jnp.int32), None
    for _, group in itertools.groupby(pieces, key=lambda piece: piece.timeline):
        moments = None
        for piece in group:
            mean, first, more = piece.mean, piece.first, _moments(grid.masks, *piece[:3])
            moments = more if moments is None else _Moments(*map(jnp.add, moments, more))
        assert moments is not None, "groups are not empty"
        best, found = _best(moments, mean, grid.positive)
        if linear is None:
            linear = jnp.zeros((n_neurons, found.shape[1]))
        own = jnp.flatnonzero(jnp.isfinite(mean))
        place, linear = place.at[first + own].set(best[own]), linear.at[first + own].set(found[own])
    assert linear is not None, "there are pieces"
    return place, linear


def fit_features(
    grid: Grid,
    place: Int[Array, " neuron"],
    linear: Linear,
    pieces: Iterable[Piece],
    loss: FrameLoss,
    weight: PerNeuron,
    penalty: Float[Array, "neuron feature"],
    fixed_bias: bool = False,
) -> Linear:
    """Fit feature weights and offset of every neuron at its place by Newton's method.

    All neurons take a step in every pass over the data; one that has raised its objective goes half of the way back.

    Args:
        grid: places of neurons.
        place: index of every neuron's place.
        linear: where to begin.
        pieces: maps and responses; iterated once in every pass.
        loss: loss of every frame.
        weight: weight of every neuron's sum over frames.
        penalty: weight of the absolute value of every feature weight.
        fixed_bias: whether the offsets stay.
    """
    masks, best = grid.masks[place], linear
    value = jnp.full(len(linear), jnp.inf)
    trial, step = linear, jnp.zeros_like(linear)
    for _ in range(PASSES):
        sums = None
        for piece in pieces:
            more = _newton_sums(trial, masks, piece._replace(timeline=0), loss, grid.nonlinearity)
            sums = more if sums is None else tuple(map(jnp.add, sums, more))
        assert sums is not None, "there are pieces"
        before = value
        best, value, trial, step = _newton_step(
            best, value, trial, step, sums, weight, penalty, positive=grid.positive, fixed_bias=fixed_bias
        )
        if jnp.nanmean(before - value) < SMALL_GAIN:  # inf in the first pass
            break
    return best


def behind_masks(masks: Float[Array, "mask height width"], maps: Array) -> Float[Array, "mask feature time window"]:
    """Mean of the maps of a piece under masks."""
    return jnp.einsum("phw,hwcts->pcts", masks, maps.astype(jnp.float32), precision=precision())


@jax.jit
def _moments(masks: Array, maps: Array, responses: Array, mean: Array) -> _Moments:
    recorded = jnp.isfinite(responses)
    counts = recorded.any(axis=2).T.ravel().astype(jnp.float32)  # of (time, window)
    centred = jnp.where(recorded, responses - mean, 0).transpose(1, 0, 2).reshape(len(counts), -1)

    def of_place(mask: Array) -> tuple[Array, Array, Array]:
        seen = behind_masks(mask[None], maps)[0].reshape(maps.shape[2], -1) * counts
        squares, products = (jnp.matmul(seen, x, precision=precision()) for x in (seen.T, centred))
        return seen.sum(axis=1), squares, products

    return _Moments(counts.sum(), *jax.lax.map(of_place, masks, batch_size=AT_ONCE))


@functools.partial(jax.jit, static_argnames="positive")
def _best(moments: _Moments, mean: Array, positive: bool) -> tuple[Array, Array]:
    """Place of every neuron of a timeline, and the linear response there."""
    frames, features, squares, products = moments
    squares = squares - features[:, :, None] * features[:, None, :] / frames
    ridge = RIDGE * jnp.trace(squares, axis1=1, axis2=2) / squares.shape[1]
    squares = squares + (ridge[:, None, None] + jnp.finfo(jnp.float32).tiny) * jnp.eye(squares.shape[1])
    solve = jax.vmap(non_negative if positive else jnp.linalg.solve)
    weights = solve(squares, products)
    explained = (weights * (2 * products - squares @ weights)).sum(axis=1)
    place = explained.argmax(axis=0).astype(jnp.int32)
    chosen = weights[place, :, jnp.arange(len(place))]
    bias = mean - (chosen * features[place]).sum(axis=1) / frames
    return place, jnp.concatenate([chosen, bias[:, None]], axis=1)


def non_negative(
    squares: Float[Array, "feature feature"], products: Float[Array, "feature neuron"]
) -> Float[Array, "feature neuron"]:
    """Least squares with weights of at least 0, for many neurons: ``SWEEPS`` of coordinate descent.

    Args:
        squares: products of the features with each other.
        products: products of features and responses.
    """

    def along(weights: Array, feature: Array) -> tuple[Array, None]:
        rest = products[feature] - squares[feature] @ weights
        own = jnp.maximum(weights[feature] + rest / squares[feature, feature], 0)
        return weights.at[feature].set(own), None

    order = jnp.tile(jnp.arange(len(squares)), SWEEPS)
    return jax.lax.scan(along, jnp.zeros_like(products), order)[0]


@functools.partial(jax.jit, static_argnames="nonlinearity")
def _newton_sums(
    linear: Array, masks: Array, piece: Piece, loss: FrameLoss, nonlinearity: Callable[[Array], Array]
) -> tuple[Array, Array, Array]:
    """Sum of the losses of every neuron, with gradient and curvature in its weights and offset."""
    width = piece.responses.shape[2]
    linear_of, masks_of = (jax.lax.dynamic_slice_in_dim(x, piece.first, width) for x in (linear, masks))
    seen = behind_masks(masks_of, piece.maps).reshape(width, linear.shape[1] - 1, -1)
    seen = jnp.concatenate([seen, jnp.ones_like(seen[:, :1])], axis=1)
    response = piece.responses.transpose(2, 1, 0).reshape(width, -1)
    recorded = jnp.isfinite(response)
    response = jnp.where(recorded, response, 0)

    def of_drive(drive: Array) -> Array:
        prediction = nonlinearity(drive)
        return loss.value(prediction.T[None, None], response.T[None, None])[0, 0].T

    def slope(drive: Array) -> Array:
        return jax.jvp(of_drive, (drive,), (jnp.ones_like(drive),))[1]

    drive = jnp.einsum("nft,nf->nt", seen, linear_of, precision=precision())
    first, second = jax.jvp(slope, (drive,), (jnp.ones_like(drive),))
    value, first = (jnp.where(recorded, x, 0) for x in (of_drive(drive), first))
    second = jnp.where(recorded, jnp.maximum(second, LEAST_CURVATURE), 0)
    gradient = jnp.einsum("nft,nt->nf", seen, first, precision=precision())
    curvature = jnp.einsum("nft,ngt->nfg", seen * second[:, None], seen, precision=precision())

    def in_table(x: Array) -> Array:
        return jnp.zeros((len(linear), *x.shape[1:])).at[piece.first + jnp.arange(width)].add(x)

    return in_table(value.sum(axis=1)), in_table(gradient), in_table(curvature)


@functools.partial(jax.jit, static_argnames=("positive", "fixed_bias"))
def _newton_step(
    best: Array,
    value: Array,
    trial: Array,
    step: Array,
    sums: tuple[Array, Array, Array],
    weight: Array,
    penalty: Array,
    positive: bool,
    fixed_bias: bool,
) -> tuple[Array, Array, Array, Array]:
    """Accept or refuse the trial points, and choose the next ones."""
    loss, gradient, curvature = sums
    size = trial[:, :-1]
    smooth = jnp.sqrt(jnp.square(size) + (0 if positive else SMOOTH**2))
    slope = penalty if positive else penalty * size / smooth
    bend = jnp.zeros_like(size) if positive else penalty * SMOOTH**2 / smooth**3
    found = weight * loss + (penalty * smooth).sum(axis=1)
    gradient = weight[:, None] * gradient + jnp.pad(slope, ((0, 0), (0, 1)))
    features = trial.shape[1]
    curvature = weight[:, None, None] * curvature + jnp.pad(bend, ((0, 0), (0, 1)))[:, :, None] * jnp.eye(features)
    held = jnp.zeros(trial.shape, bool).at[:, -1].set(fixed_bias)
    if positive:
        held = held | ((trial <= 0) & (gradient > 0)).at[:, -1].set(fixed_bias)
    free = jnp.where(held, 0.0, 1.0)
    ridge = RIDGE * jnp.trace(curvature, axis1=1, axis2=2) / features + jnp.finfo(jnp.float32).tiny
    matrix = curvature * free[:, :, None] * free[:, None, :] + (ridge[:, None] * free + 1 - free)[:, :, None] * jnp.eye(
        features
    )
    newton = -jnp.linalg.solve(matrix, (gradient * free)[:, :, None])[:, :, 0]
    better = jnp.isfinite(found) & (found < value) & jnp.isfinite(newton).all(axis=1)
    best, value = jnp.where(better[:, None], trial, best), jnp.where(better, found, value)
    step = jnp.where(better[:, None], newton, step / 2)
    following = best + step
    if positive:
        following = following.at[:, :-1].set(jnp.maximum(following[:, :-1], 0))
    return best, value, following, step
