"""How well a model predicts, neuron by neuron, and how it got there in training."""

from collections.abc import Sequence

import numpy as np
import pandas as pd
from jaxtyping import Float
from matplotlib.figure import Figure, SubFigure
from matplotlib.ticker import MaxNLocator

from openretina_jax.errors import UserError
from openretina_jax.visualize.style import BLACK, BLUE, LIGHT, ROUND_STEPS, VERMILION, open_axes

ROWS = 5  # neurons whose traces are drawn
BIN_EDGES = [edge / 20 for edge in range(-20, 21)]  # of the histogram: the same for every model

HISTORY = {
    "correlation": ("train/correlation", "validation/correlation"),
    "loss": ("train/loss", "validation/loss"),
    "learning rate": ("learning_rate",),
    "gradient norm": ("train/gradient_norm_core", "train/gradient_norm_readout"),
}
LOGARITHMIC = ("learning rate", "gradient norm")


def plot_predictions(
    recorded: Float[np.ndarray, "time neuron"],
    predicted: Float[np.ndarray, "time neuron"],
    correlation: Float[np.ndarray, " neuron"],
    *,
    frame_rate_hz: float | None,
    names: Sequence[str],
    trials: Float[np.ndarray, "trial time neuron"] | None = None,
) -> Figure:
    """Traces of five neurons from the best to the worst, and the histogram of all correlations.

    Neurons whose correlation is NaN are left out.

    Args:
        recorded: mean response to a test stimulus.
        predicted: the model's response to it.
        correlation: between both, of every neuron.
        frame_rate_hz: responses per second (None: not known, time is in frames).
        names: of the neurons.
        trials: single responses, drawn behind their mean.

    Raises:
        UserError: no neuron has a correlation.
    """
    ranked = np.argsort(-correlation)[: np.count_nonzero(~np.isnan(correlation))]
    if len(ranked) == 0:
        raise UserError(
            f"none of {len(correlation)} neurons has a test correlation; their responses may be constant or missing"
        )
    ranks = np.unique(np.linspace(0, len(ranked) - 1, ROWS).round().astype(int))
    figure = Figure(figsize=(11, 1 + 1.25 * len(ranks)), layout="constrained")
    left, right = figure.subfigures(1, 2, squeeze=False, width_ratios=(7, 4))[0]
    seconds = frame_rate_hz is not None
    time = np.arange(len(recorded)) / (frame_rate_hz or 1.0)
    rows = left.subplots(len(ranks), squeeze=False, sharex=True)[:, 0]
    for axes, rank in zip(rows, ranks, strict=True):
        neuron = ranked[rank]
        if trials is not None:
            lines = axes.plot(time, trials[:, :, neuron].T, color=LIGHT, linewidth=0.5)
            lines[0].set_label("single trials")
        axes.plot(time, recorded[:, neuron], color=BLACK, linewidth=1, label="recorded")
        axes.plot(time, predicted[:, neuron], color=VERMILION, linewidth=1, label="predicted")
        title = f"{names[neuron]}: r = {correlation[neuron]:.2f}, rank {rank + 1} of {len(ranked)}"
        axes.set_title(title, fontsize=9, loc="left")
        axes.margins(x=0)
        open_axes(axes)
    rows[-1].set_xlabel("time (s)" if seconds else "time (frames)")
    left.supylabel("response")
    left.legend(*rows[0].get_legend_handles_labels(), loc="outside upper right", ncols=3, frameon=False, fontsize=9)
    _plot_histogram(right, correlation[ranked])
    return figure


def plot_history(history: pd.DataFrame) -> Figure:
    """Curves of a training run over its epochs: correlation, loss, learning rate and gradient norm, if recorded.

    Args:
        history: a row per epoch; columns ``epoch`` and those of ``HISTORY``. NaN stands for "not measured".

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
    rows[-1].xaxis.set_major_locator(MaxNLocator(integer=True, steps=ROUND_STEPS))
    figure.align_ylabels(rows)
    return figure


def _plot_histogram(figure: SubFigure, correlation: np.ndarray) -> None:
    mean, lowest = correlation.mean(), correlation.min()
    axes = figure.subplots()
    axes.hist(correlation.clip(-1, 1), bins=BIN_EDGES, color=BLUE)
    axes.axvline(mean, color=BLACK, linestyle="--")
    axes.set_xlim(min(0, np.floor(10 * lowest) / 10), 1)
    axes.set(xlabel="correlation", ylabel="neurons")
    axes.set_title(f"{len(correlation)} neurons, mean {mean:.2f}", fontsize=10)
    axes.yaxis.set_major_locator(MaxNLocator(integer=True, steps=ROUND_STEPS))
    open_axes(axes)
