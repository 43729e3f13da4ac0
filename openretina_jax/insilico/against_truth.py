"""Comparison of trained models with the truth: both answer the same questions, and metrics say how far they agree."""

import dataclasses
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Literal, NamedTuple

import jax.numpy as jnp
import numpy as np
import pandas as pd
from jaxtyping import Float, Float32

from openretina_jax.data.masked import correlation, mean_of
from openretina_jax.insilico import tuning
from openretina_jax.insilico.ascent import Ascent
from openretina_jax.insilico.constraints import Constraint
from openretina_jax.insilico.decomposition import ReceptiveFields
from openretina_jax.insilico.experiments import most_exciting
from openretina_jax.insilico.gradients import gradients
from openretina_jax.insilico.optimize import WINDOW, Progress
from openretina_jax.insilico.presentation import Screen
from openretina_jax.insilico.receptive_fields import described, noise_sta
from openretina_jax.insilico.score import (
    Metric,
    auc,
    check_matched,
    closed_loop,
    cosine,
    direction_error_deg,
    distance_px,
    mean_responses,
    metric,
    preferred_deg,
)
from openretina_jax.insilico.simulated_retina import SimulatedRetina
from openretina_jax.insilico.stimuli import Stimuli
from openretina_jax.insilico.targets import neuron_names, neurons
from openretina_jax.models.model import Model

Columns = dict[str, Float[np.ndarray, " neuron"]]
HISTORY = 30  # frames of natural windows before the receptive field, which fill the memory of the truth


class Rule(NamedTuple):
    """A metric: a statistic of columns of the table of neurons, and its threshold."""

    definition: str
    statistic: Callable[..., float | np.floating]
    columns: tuple[str, ...]
    threshold: float
    better: Literal["higher", "lower"] = "higher"


def _pearson(one: np.ndarray, other: np.ndarray) -> float:
    return float(correlation(one[None], other[None], axis=1, epsilon=0.0)[0])


def _auc(values: np.ndarray, positive: np.ndarray) -> float:
    return auc(values, positive.astype(bool))


def _within_one(errors: np.ndarray) -> float:
    return float((np.abs(errors) <= 1).mean())


# Thresholds are three standard errors (of a bootstrap over neurons) below the first figures of the README's run.
RULES: dict[str, Rule] = {
    "closed_loop": Rule(
        "response of the true neuron to the model's MEI over its largest to any MEI, both above grey; mean",
        np.mean, ("closed_loop",), 0.82,
    ),
    "better_than_natural": Rule(
        "share of true neurons that the model's MEI drives more than the best natural window of that norm",
        np.mean, ("better_than_natural",), 0.9,
    ),
    "sta_centre_px": Rule(
        "distance of the STA's centre from that of the true neuron; median",
        np.median, ("sta_centre_px",), 0.21, "lower",
    ),
    "sta_polarity": Rule("share of ON and OFF neurons whose STA has their sign", np.mean, ("sta_polarity",), 0.955),
    "spatial_map": Rule(
        "cosine of the spatial parts of mean natural gradients; median", np.median, ("spatial_map",), 0.978
    ),
    "temporal_kernel": Rule(
        "cosine of the temporal parts of mean natural gradients; median", np.median, ("temporal_kernel",), 0.865
    ),
    "time_to_peak": Rule(
        "share of neurons whose mean natural gradient peaks within a frame of the true one",
        _within_one, ("peak_error_frames",), 0.42,
    ),
    "colour": Rule(
        "correlation of the colour indices of mean natural gradients", _pearson, ("colour", "true_colour"), 0.92
    ),
    "mean_gradient": Rule("cosine of mean natural gradients; median", np.median, ("mean_gradient",), 0.778),
    "single_gradient": Rule(
        "mean cosine of gradients at single natural windows; median", np.median, ("single_gradient",), 0.68
    ),
    "direction_auc": Rule(
        "area under the ROC curve: direction selectivity tells true direction-selective neurons",
        _auc, ("direction_selectivity", "directional"), 0.99,
    ),
    "direction_error_deg": Rule(
        "error of the preferred direction of direction-selective neurons; median",
        np.median, ("direction_error_deg",), 12.5, "lower",
    ),
    "direction_curve": Rule(
        "correlation of direction curves of direction-selective neurons; median",
        np.median, ("direction_curve",), 0.86,
    ),
    "area_curve": Rule(
        "correlation of responses to spots of growing radius; median", np.median, ("area_curve",), 0.985
    ),
    "preferred_radius": Rule(
        "share of neurons whose preferred radius is within a step of the true one",
        _within_one, ("radius_error_steps",), 0.966,
    ),
    "surround": Rule("correlation of surround indices", _pearson, ("surround", "true_surround"), 0.863),
}  # fmt: skip


@dataclasses.dataclass(frozen=True, eq=False)
class Questions:
    """Questions that a model and the truth are asked alike.

    Attributes:
        windows: natural windows at which gradients are taken, of ``HISTORY`` frames more than the receptive field.
        natural: natural windows with which optimised stimuli are compared.
        chosen: rows of the neurons that get most exciting stimuli.
        constraint: norm and range of these stimuli.
        seeds: number of starts of each stimulus.
        window: number of last frames of their responses that count.
        ascent: options of the ascent of these stimuli.
        sta_frames: frames of noise for spike-triggered averages.
        screen: screen on which bars and spots are shown (None: as the model knows it).
    """

    windows: Float32[np.ndarray, "window time height width channel"]
    natural: Float32[np.ndarray, "natural frame height width channel"]
    chosen: Sequence[int]
    constraint: Constraint
    seeds: int = 4
    window: int = WINDOW
    ascent: Ascent = dataclasses.field(default_factory=Ascent)
    sta_frames: int = 10_000
    screen: Screen | None = None


class Answers(NamedTuple):
    """Answers of the truth, or of a model."""

    gradients: Float32[np.ndarray, "neuron window frame height width channel"]
    fields: ReceptiveFields  # description of the mean gradients
    direction: tuning.Tuning
    area: tuning.Tuning
    stimuli: Stimuli


def answers(
    model: Model, truth: SimulatedRetina, lag: int, questions: Questions, progress: Progress | None = None
) -> Answers:
    """Ask a model all that the truth can be asked as well.

    Args:
        model: the trained model, a control, or the truth itself.
        truth: truth that knows the centres of the neurons, where spots are shown.
        lag: frames of the trained model's receptive field before that of the response.
        questions: questions to ask.
        progress: called with (what, number done, number in all).
    """
    at = gradients(model, questions.windows, "all")[:, :, -lag - 1 :]
    frames = questions.natural.shape[1]
    return Answers(
        gradients=at,
        fields=described(model, at.mean(axis=1)),
        direction=tuning.direction(model, permutations=1, screen=questions.screen),
        area=tuning.area(model, np.array(truth.data_info.neuron_column("centre_px")), screen=questions.screen),
        stimuli=most_exciting(
            model, list(questions.chosen), constraint=questions.constraint, window=questions.window, frames=frames,
            natural=questions.natural, seeds=questions.seeds, ascent=questions.ascent, progress=progress,
        ),
    )  # fmt: skip


def as_imaged(true: Answers, samples_per_frame: float, frame_rate_hz: float | None) -> Answers:
    """Blur true gradients in time as a recording is that was imaged at a lower rate and interpolated linearly.

    Over all phases of the imaging, a response at one moment becomes a triangle whose half-width is the time between two
    samples. A model cannot know the time course of its neurons better than this.

    Args:
        true: answers of the truth.
        samples_per_frame: images in the time of a frame of the movie, below 1.
        frame_rate_hz: frame rate of the movie.
    """
    from scipy.ndimage import convolve1d  # takes a second to import

    reach = math.ceil(1 / samples_per_frame) - 1
    triangle = 1 - np.abs(np.arange(-reach, reach + 1)) * samples_per_frame
    blurred = convolve1d(true.gradients, triangle / triangle.sum(), axis=2, mode="constant")
    fields = ReceptiveFields.of(blurred.mean(axis=1), true.fields.names, frame_rate_hz)
    return true._replace(gradients=blurred, fields=fields)


def neuron_columns(
    model: Model, truth: SimulatedRetina, true: Answers, questions: Questions, progress: Progress | None = None
) -> Columns:
    """Compare a model with the truth, neuron by neuron.

    Args:
        model: a trained model, or a control.
        truth: the truth, its neurons in the model's order.
        true: answers of the truth, see ``answers``.
        questions: questions that both were asked.
        progress: called with (what, number done, number in all).

    Returns:
        The columns that ``RULES`` name, NaN where a neuron has none; columns that the truth does not define, such as
        the colour of neurons that see a single channel, are left out.

    Raises:
        UserError: the truth's neurons are others, or in another order.
    """
    check_matched(model, truth)
    averages = described(model, noise_sta(model, frames=questions.sta_frames, kernel_frames=model.lag + 1))
    found = answers(model, truth, model.lag, questions, progress)
    polarity = np.array(truth.data_info.neuron_column("polarity"), float)
    preferred = preferred_deg(truth)
    columns = {
        "sta_centre_px": distance_px(averages.centre_px, truth),
        "sta_polarity": np.where(polarity == 0, np.nan, averages.polarity == polarity),
        "spatial_map": cosine(found.fields.spatial, true.fields.spatial),
        "temporal_kernel": cosine(found.fields.temporal, true.fields.temporal),
        "peak_error_frames": (found.fields.peak_s - true.fields.peak_s) * (model.data_info.frame_rate_hz or np.nan),
        "colour": found.fields.colour,
        "true_colour": true.fields.colour,
        "mean_gradient": cosine(found.gradients.mean(axis=1), true.gradients.mean(axis=1)),
        "single_gradient": _single_gradients(found.gradients, true.gradients),
        "area_curve": correlation(found.area.curve, true.area.curve, axis=1, epsilon=0.0),
        "radius_error_steps": found.area.curve.argmax(axis=1) - true.area.curve.argmax(axis=1),
        "surround": found.area.indices["surround"],
        "true_surround": true.area.indices["surround"],
        "direction_selectivity": found.direction.indices["selectivity"],
        "directional": np.isfinite(preferred),
        "direction_error_deg": direction_error_deg(found.direction.indices["preferred_deg"], preferred),
        "direction_curve": np.where(
            np.isfinite(preferred),
            correlation(found.direction.curve, true.direction.curve, axis=1, epsilon=0.0),
            np.nan,
        ),
    }
    columns |= _of_stimuli(model, truth, found.stimuli, true.stimuli, questions)
    of_direction = {"direction_selectivity", "directional", "direction_error_deg", "direction_curve"}
    unknown = of_direction if np.isnan(preferred).all() else set()
    unknown |= {"sta_polarity"} if not polarity.any() else set()
    unknown |= {"colour", "true_colour"} if np.isnan(true.fields.colour).all() else set()
    return {name: np.asarray(values, float) for name, values in columns.items() if name not in unknown}


def _single_gradients(found: np.ndarray, true: np.ndarray) -> np.ndarray:
    """Mean over windows of the cosine of gradients; a neuron that rests has no gradient there, and no cosine."""
    return mean_of(np.stack([cosine(found[:, number], true[:, number]) for number in range(found.shape[1])]))


def _of_stimuli(
    model: Model, truth: SimulatedRetina, found: Stimuli, true: Stimuli, questions: Questions
) -> dict[str, np.ndarray]:
    """Responses of the true neurons to the model's stimuli, as columns; NaN for neurons that have none."""
    rows, window = list(questions.chosen), questions.window
    targets, best = neurons(truth, rows), np.moveaxis(true.movies, 1, 0)
    grey = np.zeros((1, *found.movies.shape[2:]), np.float32)
    at_grey = gradients(model, grey, neurons(model, rows), window)[:, 0]
    linear = np.asarray(questions.constraint.apply(jnp.asarray(at_grey)))
    parts = {
        "closed_loop": closed_loop(truth, found.best, best, targets, window),
        "closed_loop_linear": closed_loop(truth, linear, best, targets, window),
        "better_than_natural": mean_responses(truth, found.best, targets, window) > true.natural,
    }
    columns = {name: np.full(truth.data_info.n_neurons, np.nan) for name in parts}
    for name, values in parts.items():
        columns[name][rows] = values
    return columns


def metrics(columns: Columns, thresholds: Mapping[str, float | None] = {}) -> list[Metric]:
    """Compute all metrics whose columns are there.

    Args:
        columns: see ``neuron_columns``.
        thresholds: worst values that pass, by name of the metric (default: those of ``RULES``); None leaves one out.
    """
    bounds = {name: rule.threshold for name, rule in RULES.items()} | dict(thresholds)
    return [
        metric(
            name, rule.definition, rule.statistic, *(columns[column] for column in rule.columns),
            threshold=bound, better=rule.better,
        )
        for name, rule in RULES.items()
        if (bound := bounds[name]) is not None and all(column in columns for column in rule.columns)
    ]  # fmt: skip


def neuron_table(model: Model, columns: Columns) -> pd.DataFrame:
    """Make a table with a row for every neuron of the model."""
    return pd.DataFrame({"neuron": neuron_names(model), **columns})
