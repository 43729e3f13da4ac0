"""Pictures of how well neurons are predicted: traces, scores by session, type, reliability and model, and training."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
from jaxtyping import Float, Float32
from matplotlib.axes import Axes
from matplotlib.figure import Figure as AnyFigure  # of the caller, such as one of pyplot
from matplotlib.figure import SubFigure

from openretina_jax.data.masked import mean_of
from openretina_jax.errors import UserError
from openretina_jax.evaluation.splits import SessionResponses
from openretina_jax.runtime.described import counted
from openretina_jax.visualize.style import (
    BLACK,
    BLUE,
    LIGHT,
    SMALL_WIDTH,
    VERMILION,
    Figure,
    figure_of,
    open_axes,
    whole_ticks,
)

HISTOGRAMS = {
    "correlation": "correlation with the mean over trials",
    "correlation_single_trials": "correlation with single trials",
    "feve": "explainable variance explained (FEVe)",
    "variance_ratio": "explainable / total variance",
}
TRACE_FRAMES = 900  # the first frames of a split are drawn
SHOWN_IMAGES = 60  # and so many of single images
BINS = 40
ROW_INCHES = 0.19  # height of a session or a type of cell
LEAST_NEURONS = 3  # a type with fewer is not drawn
ROWS = 5  # neurons whose traces are drawn
SMALL_ROWS = 3  # of small pictures
BIN_EDGES = [edge / 20 for edge in range(-20, 21)]  # the same in every histogram, to compare models

HISTORY = {
    "correlation": ("train/correlation", "validation/correlation"),
    "loss": ("train/loss", "validation/loss"),
    "learning rate": ("learning_rate",),
    "gradient norm": ("train/gradient_norm_core", "train/gradient_norm_readout"),
}
LOGARITHMIC = ("learning rate", "gradient norm")


def plot_histograms(neurons: pd.DataFrame, least_ratio: float | None) -> Figure:
    """Plot the distributions over neurons of the scores that are known.

    Args:
        neurons: table with a row per neuron.
        least_ratio: variance ratio below which summaries leave out neurons; means leave them out too, and their bars
            are light (None: no such limit).
    """
    counts = (
        np.ones(len(neurons), bool) if least_ratio is None else (neurons["variance_ratio"] >= least_ratio).to_numpy()
    )
    known = [name for name in HISTOGRAMS if neurons[name].notna().any()]
    figure = Figure(figsize=(11, 2.6), layout="constrained")
    for axes, name in zip(figure.subplots(1, max(len(known), 1), squeeze=False)[0], known, strict=False):
        values, defined = neurons[name].to_numpy(float), neurons[name].notna().to_numpy()
        low = min(0.0, float(np.floor(10 * np.nanmin(values)) / 10))
        of_mean, others = values[defined & counts], values[defined & ~counts]
        parts = [of_mean.clip(low, 1), others.clip(low, 1)]
        axes.hist(parts, bins=np.linspace(low, 1, BINS + 1), color=[BLUE, LIGHT], stacked=True)
        mean = of_mean.mean() if len(of_mean) else np.nan
        axes.axvline(mean, color=BLACK, linestyle="--", linewidth=1)
        axes.set_title(f"mean {mean:.3f}, {counted(len(of_mean), 'neuron')}", fontsize=9)
        axes.set_xlabel(HISTOGRAMS[name], fontsize=9)
        whole_ticks(axes.yaxis)
        if name == "variance_ratio" and least_ratio is not None:
            axes.axvline(least_ratio, color=VERMILION, linewidth=1, label=f"limit {least_ratio:g}")
            axes.legend(frameon=False, fontsize=8)
        open_axes(axes)
    figure.supylabel("neurons", fontsize=9)
    return figure


def plot_sessions(neurons: pd.DataFrame, score: str = "correlation", *, axes: Axes | None = None) -> AnyFigure:
    """Plot the mean score of every session as a bar, and its neurons as dots.

    Args:
        neurons: table with a row per neuron, and the columns ``session`` and ``score``.
        score: column to draw.
        axes: where to draw (None: a new figure).

    Returns:
        The figure that was drawn into.
    """
    groups = {str(name): group.dropna().to_numpy() for name, group in neurons.groupby("session", sort=False)[score]}
    labels = [f"{name} ({len(values)})" for name, values in groups.items()]
    if axes is None:
        axes = Figure(figsize=(8, 0.9 + ROW_INCHES * len(groups)), layout="constrained").subplots()
    _bars(axes, list(groups.values()), labels)
    for row, values in enumerate(groups.values()):
        axes.plot(values, np.full(len(values), row), ".", color=BLACK, markersize=2, alpha=0.4)
    axes.set_xlabel(f"{score} (bars: mean; dots: neurons)", fontsize=9)
    return figure_of(axes)


def plot_cell_types(by_cell_type: pd.DataFrame, *, axes: Axes | None = None) -> AnyFigure | None:
    """Plot the mean correlation of every type of neuron with its interval.

    Args:
        by_cell_type: table from ``Summary.by_cell_type``.
        axes: where to draw (None: a new figure).

    Returns:
        The figure that was drawn into; None if no type has enough neurons.
    """
    shown = by_cell_type[(by_cell_type["n"] >= LEAST_NEURONS) & by_cell_type["correlation"].notna()]
    if shown.empty:
        return None
    shown = shown.sort_values("correlation", ascending=False)
    if axes is None:
        axes = Figure(figsize=(8, 0.9 + ROW_INCHES * len(shown)), layout="constrained").subplots()
    means = shown["correlation"].to_numpy()
    _bars(axes, [np.array([mean]) for mean in means], [f"{row.cell_type} ({row.n})" for row in shown.itertuples()])
    ends = np.maximum([means - shown["low"].to_numpy(), shown["high"].to_numpy() - means], 0)
    axes.errorbar(means, np.arange(len(shown)), xerr=ends, fmt="none", ecolor=BLACK, elinewidth=0.8, capsize=2)
    axes.set_xlabel("mean correlation, 95 % interval over neurons", fontsize=9)
    return figure_of(axes)


def plot_reliability(neurons: pd.DataFrame) -> Figure | None:
    """Plot the correlation of the prediction against the noise ceiling; None without repeats.

    Args:
        neurons: table with a row per neuron, and the columns ``correlation``, ``max_correlation``,
            ``correlation_single_trials`` and ``reliability``.
    """
    pairs = (
        ("max_correlation", "correlation", "best possible correlation (noise ceiling)", "correlation of the model"),
        ("reliability", "correlation_single_trials", "trial with mean of the others", "trial with the model"),
    )
    if not all(neurons[[x, y]].notna().all(axis=1).any() for x, y, *_ in pairs):
        return None
    figure = Figure(figsize=(8, 4), layout="constrained")
    for axes, (x, y, *labels) in zip(figure.subplots(1, 2), pairs, strict=True):
        _scatter(axes, neurons[x].to_numpy(float), neurons[y].to_numpy(float), *labels)
    return figure


def plot_pairs(tables: Sequence[tuple[str, pd.DataFrame]], score: str = "correlation") -> Figure:
    """Plot a score of one model against that of another, for every pair of models.

    Args:
        tables: name of each model and its table of neurons, all with the same neurons in their rows.
        score: column to draw.
    """
    pairs = [(a, b) for number, a in enumerate(tables) for b in tables[number + 1 :]]
    columns = min(len(pairs), 3)
    rows = -(-len(pairs) // columns)
    figure = Figure(figsize=(4 * columns, 4 * rows), layout="constrained")
    panels = figure.subplots(rows, columns, squeeze=False).ravel()
    for axes, ((first, a), (second, b)) in zip(panels, pairs, strict=False):
        _scatter(axes, b[score].to_numpy(float), a[score].to_numpy(float), f"{score}: {second}", f"{score}: {first}")
    for axes in panels[len(pairs) :]:
        axes.set_axis_off()
    return figure


def plot_traces(
    responses: Sequence[SessionResponses],
    correlation: Float[np.ndarray, " neuron"],
    frame_rate_hz: float | None,
    *,
    unit: str | None = None,
    single_images: bool = False,
) -> Figure:
    """Plot traces of neurons from the best to the worst in the first ``TRACE_FRAMES``, see ``plot_predictions``.

    Args:
        responses: responses of all sessions to one split.
        correlation: correlations of their neurons, in the same order; those that are NaN are left out.
        frame_rate_hz, unit, single_images: as in ``plot_predictions``.

    Raises:
        UserError: no neuron has a correlation.
    """
    most = SHOWN_IMAGES if single_images else TRACE_FRAMES
    trials = _joined([session.trials[:, :most] for session in responses])
    names = [f"{one.session} neuron {number}" for one in responses for number in range(one.recorded.shape[-1])]
    return plot_predictions(
        mean_of(trials),
        np.concatenate([session.prediction[:most] for session in responses], axis=1),
        correlation,
        frame_rate_hz=frame_rate_hz,
        names=names,
        trials=trials if len(trials) > 1 else None,
        unit=unit,
        single_images=single_images,
    )


def _joined(
    trials: Sequence[Float32[np.ndarray, "_ time _"]],
) -> Float32[np.ndarray, "trial time neuron"]:
    """Neurons of all sessions; a trial that one session lacks is NaN there."""
    most = max(map(len, trials))
    padded = [np.pad(t, ((0, most - len(t)), (0, 0), (0, 0)), constant_values=np.nan) for t in trials]
    return np.concatenate(padded, axis=2)


def _bars(axes: Axes, values: Sequence[np.ndarray], labels: Sequence[str]) -> None:
    means = [one.mean() if len(one) else 0 for one in values]
    axes.barh(np.arange(len(means)), means, color=BLUE, height=0.7, alpha=0.5)
    axes.set_yticks(np.arange(len(means)), labels, fontsize=7)
    axes.set_ylim(len(means) - 0.5, -0.5)
    axes.axvline(0, color=BLACK, linewidth=0.6)
    open_axes(axes)


def _scatter(axes: Axes, x: np.ndarray, y: np.ndarray, label_x: str, label_y: str) -> None:
    known = np.isfinite(x) & np.isfinite(y)
    low = min(0.0, *x[known], *y[known]) if known.any() else 0.0
    axes.plot([low, 1], [low, 1], color=LIGHT, linewidth=1, zorder=0)
    axes.plot(x[known], y[known], ".", color=BLUE, markersize=4, alpha=0.5)
    axes.set(xlim=(low - 0.02, 1.02), ylim=(low - 0.02, 1.02), aspect="equal")
    axes.set_xlabel(label_x, fontsize=9)
    axes.set_ylabel(label_y, fontsize=9)
    above = float((y[known] > x[known]).mean()) if known.any() else np.nan
    axes.set_title(f"{counted(int(known.sum()), 'neuron')}, {100 * above:.0f} % above the line", fontsize=9)
    open_axes(axes)


def plot_predictions(
    recorded: Float[np.ndarray, "time neuron"],
    predicted: Float[np.ndarray, "time neuron"],
    correlation: Float[np.ndarray, " neuron"],
    *,
    frame_rate_hz: float | None,
    names: Sequence[str],
    trials: Float[np.ndarray, "trial time neuron"] | None = None,
    unit: str | None = None,
    single_images: bool = False,
    small: bool = False,
) -> Figure:
    """Plot traces of five neurons from the best to the worst, and the histogram of all correlations.

    Neurons with the correlation NaN are left out.

    Args:
        recorded: mean recorded response to a test stimulus.
        predicted: the model's response to it.
        correlation: correlation of the two for every neuron.
        frame_rate_hz: responses per second (None: not known, time is in frames).
        names: names of the neurons.
        trials: responses in single trials, drawn behind their mean.
        unit: unit of the responses (None: not known).
        single_images: whether the stimulus is a set of images and not a movie; responses are points then.
        small: whether the figure is for a card of a page, as of TensorBoard: narrow, of three neurons, no histogram.

    Raises:
        UserError: no neuron has a correlation.
    """
    ranked = np.argsort(-correlation, kind="stable")[: np.count_nonzero(~np.isnan(correlation))]
    if len(ranked) == 0:
        raise UserError(
            f"none of {len(correlation)} neurons has a test correlation; their responses may be constant or missing"
        )
    ranks = np.unique(np.linspace(0, len(ranked) - 1, SMALL_ROWS if small else ROWS).round().astype(int))
    figure = Figure(figsize=(SMALL_WIDTH if small else 11, 1 + 1.25 * len(ranks)), layout="constrained")
    left, *right = figure.subfigures(1, 1 if small else 2, squeeze=False, width_ratios=None if small else (7, 4))[0]
    seconds = frame_rate_hz is not None and not single_images
    time = np.arange(len(recorded)) / (frame_rate_hz if seconds and frame_rate_hz else 1.0)
    one: dict[str, Any] = {"linewidth": 0.5}
    mean: dict[str, Any] = {"linewidth": 1}
    if single_images:  # which follow each other by chance
        one, mean = {"linestyle": "", "marker": "."}, {"linestyle": "", "marker": "o", "markersize": 3}
    rows = left.subplots(len(ranks), squeeze=False, sharex=True)[:, 0]
    for axes, rank in zip(rows, ranks, strict=True):
        neuron = ranked[rank]
        if trials is not None:
            lines = axes.plot(time, trials[:, :, neuron].T, color=LIGHT, **one)
            lines[0].set_label("single trials")
        axes.plot(time, recorded[:, neuron], color=BLACK, label="recorded", **mean)
        axes.plot(time, predicted[:, neuron], color=VERMILION, label="predicted", **mean)
        title = f"{names[neuron]}: r = {correlation[neuron]:.2f}, rank {rank + 1} of {len(ranked)}"
        axes.set_title(title, fontsize=9, loc="left")
        axes.margins(x=0.01 if single_images else 0)
        open_axes(axes)
    rows[-1].set_xlabel("image" if single_images else "time (s)" if seconds else "time (frames)")
    left.supylabel("response" if unit is None else f"response ({unit})")
    left.legend(*rows[0].get_legend_handles_labels(), loc="outside upper right", ncols=3, frameon=False, fontsize=9)
    for part in right:
        _plot_histogram(part, correlation[ranked])
    return figure


def plot_history(history: pd.DataFrame) -> Figure:
    """Plot a training run over its epochs: correlation, loss, learning rate and gradient norm, if recorded.

    Args:
        history: table with a row per epoch, and the columns ``epoch`` and some of ``HISTORY``; NaN is "not measured".

    Raises:
        UserError: there is no column to plot.
    """
    measured = history.columns[history.notna().any()]
    panels = {panel: [name for name in columns if name in measured] for panel, columns in HISTORY.items()}
    panels = {panel: columns for panel, columns in panels.items() if columns}
    if "epoch" not in measured or not panels:
        raise UserError(f"the history has only the columns {list(measured)}; it needs epoch and a loss or correlation")
    figure = Figure(figsize=(8, 0.6 + 1.8 * len(panels)), layout="constrained")
    rows = figure.subplots(len(panels), squeeze=False, sharex=True)[:, 0]
    for axes, (panel, columns) in zip(rows, panels.items(), strict=True):
        for name, colour in zip(columns, (BLUE, VERMILION), strict=False):
            curve = history[["epoch", name]].dropna()
            axes.plot(curve["epoch"], curve[name], color=colour, marker=".", markersize=4, linewidth=1, label=name)
        axes.set_ylabel(panel)
        axes.set_yscale("log" if panel in LOGARITHMIC else "linear")
        open_axes(axes)
        if len(columns) > 1:
            axes.legend(frameon=False, fontsize=9)
    rows[-1].set_xlabel("epoch")
    whole_ticks(rows[-1].xaxis)
    figure.align_ylabels(rows)
    return figure


def _plot_histogram(figure: SubFigure, correlation: np.ndarray) -> None:
    mean, lowest = correlation.mean(), correlation.min()
    axes = figure.subplots()
    axes.hist(correlation.clip(-1, 1), bins=BIN_EDGES, color=BLUE)
    axes.axvline(mean, color=BLACK, linestyle="--")
    axes.set_xlim(min(0, np.floor(10 * lowest) / 10), 1)
    axes.set(xlabel="correlation", ylabel="neurons")
    axes.set_title(f"{counted(len(correlation), 'neuron')}, mean {mean:.3f}", fontsize=10)
    whole_ticks(axes.yaxis)
    open_axes(axes)
