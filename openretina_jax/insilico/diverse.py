"""Diverse exciting stimuli: several for each target that excite it nearly as much as its best one, yet differ.

Source: Ding et al. 2026, https://doi.org/10.1038/s41593-026-02213-3, after Cadena et al. 2018,
https://doi.org/10.1007/978-3-030-01258-8_14. The stimuli of a target are pushed apart, and up by a multiplier that
grows while they are short of a share of the best response. Pixels outside the centre of the best stimulus stay grey:
what a neuron does not see would make stimuli differ at no cost.
"""

import dataclasses
import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jaxtyping import Array, Float, Int

from openretina_jax.errors import UserError
from openretina_jax.insilico.ascent import evaluate, objectives_of
from openretina_jax.insilico.blocks import Chosen, blocks
from openretina_jax.insilico.constraints import Constraint
from openretina_jax.insilico.experiments import centre_mask, most_exciting
from openretina_jax.insilico.objectives import increase
from openretina_jax.insilico.optimize import Kept, Progress
from openretina_jax.insilico.stimuli import Stimuli
from openretina_jax.insilico.targets import Targets, as_targets
from openretina_jax.models.model import Model

COUNT, SHARE = 8, 0.85
STEPS = 100  # fewer leave sets of eight short of the share
BLOCK = 16  # stimuli at once
RATE = 0.25  # size of the first step, relative to the stimulus
SHARPNESS = 10.0  # weight of the most similar other stimulus over the rest
SLACK = 0.01  # stimuli aim at this much of the best response above the share
GAIN = 2.0  # rate at which the weight of the response grows while a stimulus is short of that

_Carry = tuple[Array, Array, Array, Array]  # stimuli, weights of the response, best set so far and its worth
_STATIC = ("count", "window", "share")


def diverse_exciting(
    model: Model,
    chosen: Chosen = "all",
    *,
    count: int = COUNT,
    share: float = SHARE,
    best: Stimuli | None = None,
    progress: Progress | None = None,
    kept: Kept | None = None,
    **options: Any,
) -> Stimuli:
    """Find several stimuli for every target that all reach a share of its best response, as different as possible.

    Args:
        model: a trained model.
        chosen: neurons, see ``targets.neurons``, or targets.
        count: stimuli of each target.
        share: share of the best response that each must reach; both count from the response to grey.
        best: most exciting stimuli of the same targets (None: they are looked for).
        progress: called with (what, number done, number in all).
        kept: see ``optimize_stimuli``.
        options: options of ``optimize_stimuli``, for the most exciting stimuli.

    Returns:
        Stimuli in the place of seeds, their objectives and responses; ``agreement`` is the mean correlation between the
        stimuli of a target. The baselines are those of the most exciting stimuli.

    Raises:
        UserError: the count or the share is out of its range, or see ``optimize_stimuli``.
    """
    if count < 2 or not 0 < share < 1:
        raise UserError(
            f"count is {count} and share {share}; at least 2 stimuli are needed, and a share between 0 and 1"
        )
    targets = as_targets(model, chosen)
    kept = {} if kept is None else kept
    if best is None:
        best = most_exciting(model, targets, progress=progress, kept=kept, **options)
    split, total, parts = nnx.split(model), len(targets), []
    for block, place in blocks(total, count, BLOCK):
        if progress is not None:
            progress(f"diverse stimuli of {total} targets", place.start, total)
        name = f"diverse_{place.start}"
        if name not in kept:
            kept[name] = _of_block(split, targets, best, block, count, share)
        parts.append({part: array[: place.stop - place.start] for part, array in kept[name].items()})
    if progress is not None:
        progress(f"diverse stimuli of {total} targets", total, total)
    together: dict[str, Any] = {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
    config = {**best.config, "objective": f"diverse exciting, at least {share:g} of the best", "share": share}
    return dataclasses.replace(best, config=config, members=None, **together)


def _of_block(
    split: tuple[Any, nnx.State],
    targets: Targets,
    best: Stimuli,
    block: Int[np.ndarray, " target"],
    count: int,
    share: float,
) -> dict[str, np.ndarray]:
    """Diverse stimuli of some targets, as the fields of ``Stimuli``."""
    each, window = np.repeat(block, count), best.config["window"]
    free = np.broadcast_to(centre_mask(best.best[block])[:, None, :, :, None], best.best[block].shape)
    free = free.repeat(count, axis=0)
    constraint = Constraint.of(free.shape[-1], norm=best.norm[each], low=best.low, high=best.high)
    constraint = constraint.replace(free=jnp.asarray(free), background=jnp.zeros(free.shape))
    constraint.check(free.shape[1:])
    shown = jax.tree.map(jnp.asarray, dataclasses.replace(targets[each], names=()))
    bounds = jnp.asarray(best.grey[each]), jnp.asarray(best.activation.max(axis=1)[each])
    keys = jax.vmap(functools.partial(jax.random.fold_in, jax.random.key(best.config["seed"])))(jnp.asarray(block))
    options = {"count": count, "window": window, "share": share}
    movies, history = _spread(*split, shown, constraint, jnp.asarray(best.best[block]), bounds, keys, **options)
    value, responses = evaluate(*split, shown, movies, objective=increase, window=window)
    found = {"movies": movies, "activation": value, "responses": responses, "history": history}
    return {name: np.asarray(array).reshape(len(block), count, *array.shape[1:]) for name, array in found.items()}


@functools.partial(jax.jit, static_argnums=0, static_argnames=_STATIC)
def _spread(
    graph: Any,
    state: nnx.State,
    targets: Targets,
    constraint: Constraint,
    best: Float[Array, "target time height width channel"],
    bounds: tuple[Float[Array, " stimulus"], Float[Array, " stimulus"]],
    keys: Array,
    *,
    count: int,
    window: int,
    share: float,
) -> tuple[Float[Array, "stimulus time height width channel"], Float[Array, "stimulus step"]]:
    """Push the stimuli of every target apart; the set that differs most among those that all excite enough is kept."""
    grey, top = bounds
    shape = best.shape[1:]

    def margin_and_slope(movies: Array) -> tuple[Array, Array, Array]:
        def total(movies: Array) -> tuple[Array, Array]:
            value = objectives_of(graph, state, targets, movies, increase, window)[0]
            return value.sum(), value

        (_, value), slope = jax.value_and_grad(total, has_aux=True)(movies)
        reached = (value - grey) / jnp.maximum(top - grey, 1e-6)
        return value, reached - share, constraint.of_free(slope).reshape(len(movies), -1)

    def step(carry: _Carry, number: Array) -> tuple[_Carry, Array]:
        movies, weight, kept, kept_value = carry
        value, margin, slope = margin_and_slope(movies)
        unit = _unit(movies.reshape(len(movies), -1))
        alike, apart = _apart(unit, count)
        up = _unit(slope)
        apart = _unit(apart)
        weight = jnp.maximum(weight + GAIN * (SLACK - margin), 0)
        direction = _unit(apart + weight[:, None] * up)
        rate = RATE * (1 + jnp.cos(jnp.pi * number / STEPS)) / 2
        size = jnp.linalg.norm(movies.reshape(len(movies), -1), axis=1, keepdims=True)
        moved = constraint.apply((movies.reshape(len(movies), -1) + rate * size * direction).reshape(movies.shape))
        # sets that excite enough come first, the least alike of them
        least = margin.reshape(-1, count).min(axis=1)
        worth = jnp.where(least >= 0, 2 - alike, least)
        better = jnp.repeat(worth > kept_value, count)[:, None, None, None, None]
        return (moved, weight, jnp.where(better, movies, kept), jnp.maximum(worth, kept_value)), value

    noise = jax.vmap(lambda key: jax.random.normal(key, (count, *shape)))(keys)
    size = jnp.sqrt(jnp.square(best).mean((1, 2, 3, 4), keepdims=True))
    start = constraint.apply((best[:, None] + 0.3 * (size * noise.swapaxes(0, 1)).swapaxes(0, 1)).reshape(-1, *shape))
    begin = (start, jnp.ones(len(start)), start, jnp.full(len(best), -jnp.inf))
    (_, _, found, _), history = jax.lax.scan(step, begin, jnp.arange(STEPS, dtype=jnp.float32))
    return found, history.T


def _apart(
    unit: Float[Array, "stimulus number"], count: int
) -> tuple[Float[Array, " target"], Float[Array, "stimulus number"]]:
    """Mean cosine between the stimuli of every target, and the direction that takes each from those most like it."""
    sets = unit.reshape(-1, count, unit.shape[1])
    cosines = jnp.einsum("nip,njp->nij", sets, sets)
    itself = jnp.eye(count, dtype=bool)
    weights = jax.nn.softmax(jnp.where(itself, -jnp.inf, SHARPNESS * cosines), axis=2)
    away = -jnp.einsum("nij,njp->nip", weights, sets).reshape(unit.shape)
    along = (away * unit).sum(axis=1, keepdims=True)
    mean = jnp.where(itself, 0, cosines).sum(axis=(1, 2)) / (count * (count - 1))
    return mean, away - along * unit


def _unit(rows: Float[Array, "stimulus number"]) -> Float[Array, "stimulus number"]:
    return rows / jnp.maximum(jnp.linalg.norm(rows, axis=1, keepdims=True), 1e-12)
