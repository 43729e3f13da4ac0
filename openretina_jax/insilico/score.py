"""Scores of a trained model against the truth: metrics with intervals and thresholds, and what they are made of."""

import dataclasses
import functools
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal

import jax
import numpy as np
import pandas as pd
from flax import nnx
from jaxtyping import Array, Bool, Float, Int, Shaped

from openretina_jax.errors import UserError
from openretina_jax.evaluation.resampling import confidence_interval
from openretina_jax.insilico.blocks import blocks, members, score
from openretina_jax.insilico.simulated_retina import SimulatedRetina
from openretina_jax.insilico.targets import Targets
from openretina_jax.models.model import Model

RESAMPLES = 1000


@dataclasses.dataclass(frozen=True)
class Metric:
    """One number that says how well a trained model stands for the truth.

    Attributes:
        name: short name.
        definition: computation in a sentence.
        value: the number.
        low, high: ends of its interval, from a bootstrap over neurons.
        threshold: the worst value that passes.
        better: whether larger or smaller values are better.
        neurons: number of neurons that it is known for.
    """

    name: str
    definition: str
    value: float
    low: float
    high: float
    threshold: float
    better: Literal["higher", "lower"]
    neurons: int

    @property
    def passes(self) -> bool:
        """Whether the value is as good as the threshold; one that is not known does not pass."""
        return self.value >= self.threshold if self.better == "higher" else self.value <= self.threshold


def metric(
    name: str,
    definition: str,
    statistic: Callable[..., float | np.floating],
    *columns: Shaped[np.ndarray, "neuron *_"],
    threshold: float,
    better: Literal["higher", "lower"] = "higher",
    seed: int = 0,
) -> Metric:
    """Compute a statistic over neurons and its interval.

    Args:
        name, definition, threshold, better: see ``Metric``.
        statistic: function of the columns, such as ``numpy.median`` or ``auc``.
        columns: values of every neuron. Neurons with NaN in one of them are left out.
        seed: seed of the bootstrap.
    """
    known = np.ones(len(columns[0]), bool)
    for column in columns:
        if column.dtype.kind == "f":
            known &= np.isfinite(column.reshape(len(column), -1)).all(axis=1)
    kept = [column[known] for column in columns]
    count = int(known.sum())
    value, ends = np.nan, (np.nan, np.nan)
    if count:
        value = float(statistic(*kept))
        drawn = np.random.default_rng(seed).integers(count, size=(RESAMPLES, count))
        resampled = np.array([float(statistic(*(column[rows] for column in kept))) for rows in drawn])
        ends = tuple(confidence_interval(resampled).tolist())
    return Metric(name, definition, value, *ends, threshold, better, count)


def table(metrics: Sequence[Metric], controls: Mapping[str, Sequence[Metric]] = {}) -> pd.DataFrame:
    """Make a table with a row per metric, and a column with the value of each control.

    Args:
        metrics: metrics of the trained model.
        controls: metrics of broken models by their names, in any order.
    """
    rows = [
        {**dataclasses.asdict(one), "passes": one.passes}
        | {name: {other.name: other.value for other in of}.get(one.name, np.nan) for name, of in controls.items()}
        for one in metrics
    ]
    return pd.DataFrame(rows)


def failures(metrics: Sequence[Metric], controls: Mapping[str, Sequence[Metric]] = {}) -> list[str]:
    """List what is wrong, a line each: metrics that miss their thresholds, and those that no control misses.

    A metric that every broken model passes says nothing. One of them may pass it: a model with a fresh core still
    knows where its neurons are.

    Args:
        metrics, controls: see ``table``.
    """
    missed = [
        f"{one.name} is {one.value:.3g} ({one.low:.3g} to {one.high:.3g}), which should be "
        f"{'at least' if one.better == 'higher' else 'at most'} {one.threshold:g}: {one.definition}"
        for one in metrics
        if not one.passes
    ]
    passed = [{one.name for one in of if one.passes} for of in controls.values()]
    blind = [one.name for one in metrics if controls and all(one.name in names for names in passed)]
    return missed + [f"{name} is passed by {' and '.join(controls)}; it cannot tell models apart" for name in blind]


def check_matched(model: Model, truth: SimulatedRetina) -> None:
    """Refuse a model and a truth whose rows are not the same neurons in the same order.

    Raises:
        UserError: says so; ``truth_model`` with the model's ``data_info`` matches them.
    """
    mine, theirs = model.data_info, truth.data_info
    same = all(
        columns[name] == theirs.neurons.get(session, {}).get(name)
        for session, columns in mine.neurons.items()
        for name in columns
    )
    if list(mine.sessions.items()) != list(theirs.sessions.items()) or not same:
        raise UserError(
            "the truth has other neurons than the model, or another order; open it with "
            "truth_model(path, model.data_info)"
        )


def mean_responses(
    model: Model, stimulus: Float[np.ndarray, "target time height width channel"], targets: Targets, window: int = 10
) -> Float[np.ndarray, " target"]:
    """Compute the mean response of every target in the last frames of a stimulus of its own.

    The last responses of trained models and of the truth belong to the same frames.

    Args:
        model: a trained model, or the truth behind it.
        stimulus: a stimulus for each target.
        targets: neurons.
        window: number of the last frames.

    Raises:
        UserError: the stimulus is too short for so many responses.
    """
    model.check_stimulus(stimulus)
    if stimulus.shape[1] - model.lag < window:
        raise UserError(
            f"a stimulus of {stimulus.shape[1]} frames has {max(stimulus.shape[1] - model.lag, 0)} responses, but "
            f"{window} are needed; show at least {model.lag + window} frames"
        )
    rows, weights, session = members(model, targets)
    graph, state = nnx.split(model)
    parts = []
    for chosen, place in blocks(len(targets), math.prod(stimulus.shape[1:])):
        arguments = (rows[chosen], weights[chosen], None if session is None else session[chosen])
        found = _window_means(graph, state, np.asarray(stimulus[chosen], np.float32), *arguments, window=window)
        parts.append(np.asarray(found)[: place.stop - place.start])
    return np.concatenate(parts)


@functools.partial(jax.jit, static_argnums=0, static_argnames="window")
def _window_means(
    graph: Any, state: nnx.State, stimulus: Array, rows: Array, weights: Array, session: Array | None, window: int
) -> Array:
    return score(nnx.merge(graph, state, copy=True), stimulus, rows, weights, session, (-window, None))[0]


def closed_loop(
    truth: SimulatedRetina,
    movies: Float[np.ndarray, "target time height width channel"],
    best: Float[np.ndarray, "seed target time height width channel"],
    targets: Targets,
    window: int = 10,
) -> Float[np.ndarray, " target"]:
    """Compute how far stimuli that were optimised on a model drive the true neurons, relative to their own best.

    The response of the truth to a stimulus, less that to grey, is divided by the largest that any stimulus here evokes:
    ``best``, from several starts on the truth itself, or that of ``movies``. So no value exceeds 1. Neurons of
    transient and of ON-OFF types have several local optima: on the simulated retina, the best of six starts is 3 %
    above their mean, and in single neurons 20 % above the worst. Both sides therefore need the same norm, range, steps
    and number of starts, and the model, not the truth, chooses among its own.

    Args:
        truth: the neurons.
        movies: stimuli that were optimised on a model.
        best: stimuli that were optimised on the truth in the same way, from several starts.
        targets: neurons.
        window: number of the last frames that count.

    Returns:
        Ratios; NaN where no stimulus evokes more than grey.
    """
    grey = mean_responses(truth, np.zeros_like(movies), targets, window)
    driven = mean_responses(truth, movies, targets, window) - grey
    own = np.stack([mean_responses(truth, one, targets, window) - grey for one in best])
    largest = np.maximum(own.max(axis=0), driven)
    return np.divide(driven, largest, out=np.full_like(driven, np.nan), where=largest > 0)


def auc(score: Float[np.ndarray, " neuron"], positive: Bool[np.ndarray, " neuron"]) -> float:
    """Compute the area under the ROC curve: how often a positive scores above a negative; NaN if there is none of one.

    Source: Hanley and McNeil 1982, https://doi.org/10.1148/radiology.143.1.7063747. Ties count half.
    """
    from scipy.stats import rankdata

    positives, negatives = int(positive.sum()), int((~positive).sum())
    if positives * negatives == 0:
        return float("nan")
    above = rankdata(score)[positive].sum() - positives * (positives + 1) / 2
    return float(above / (positives * negatives))


def direction_error_deg(
    found: Float[np.ndarray, " neuron"], true: Float[np.ndarray, " neuron"] | Int[np.ndarray, " neuron"]
) -> Float[np.ndarray, " neuron"]:
    """Compute the angle between two directions in degrees, from 0 to 180."""
    return np.abs((found - true + 180) % 360 - 180)


def preferred_deg(truth: SimulatedRetina) -> Float[np.ndarray, " neuron"]:
    """Preferred direction of every neuron; NaN for those that have none."""
    column = truth.data_info.neuron_column("preferred_deg")
    return np.array(
        [np.nan if value is None else value for value in column or [None] * truth.data_info.n_neurons], float
    )


def cosine(
    found: Float[np.ndarray, "neuron *shape"], true: Float[np.ndarray, "neuron *shape"]
) -> Float[np.ndarray, " neuron"]:
    """Cosine of two arrays of every neuron, such as gradients or temporal kernels; NaN where one is 0."""
    mine, theirs = (part.reshape(len(part), -1).astype(np.float64) for part in (found, true))
    size = np.linalg.norm(mine, axis=1) * np.linalg.norm(theirs, axis=1)
    return np.divide((mine * theirs).sum(axis=1), size, out=np.full(len(size), np.nan), where=size > 0)


def distance_px(found: Float[np.ndarray, "neuron 2"], truth: SimulatedRetina) -> Float[np.ndarray, " neuron"]:
    """Distance in pixels of places (row, column) from the centres of the neurons."""
    return np.linalg.norm(found - np.array(truth.data_info.neuron_column("centre_px")), axis=1)
