"""Pictures of a search for hyper-parameters: its scores in time, and over the settings that it varied."""

import math
from collections.abc import Mapping, Sequence

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure as AnyFigure  # of the caller, such as one of pyplot
from matplotlib.ticker import LogLocator, MaxNLocator, NullFormatter

from openretina_jax.visualize.style import BLACK, BLUE, LIGHT, VERMILION, Figure, figure_of, open_axes, whole_ticks

COLUMNS = 3  # of panels
TICKS = 4  # at most, in a panel
LABEL_INCHES = 1.1  # that an entry of a legend takes


def plot_scores(trials: pd.DataFrame, objective: str, *, axes: Axes | None = None) -> AnyFigure:
    """Plot the scores of the trials in the order in which they began, and the best score so far.

    Args:
        trials: table with the columns ``trial``, ``state`` ("complete", "pruned", ...) and ``value``.
        objective: name of the values; the lowest is the best if it contains "loss".
        axes: where to draw (None: a new figure).

    Returns:
        The figure that was drawn into.
    """
    trials = trials.sort_values("trial")
    complete = trials[trials["state"] == "complete"]
    if axes is None:
        axes = Figure(figsize=(7, 3.6), layout="constrained").subplots()
    _draw_states(axes, trials, trials["trial"])
    best = complete["value"].cummin() if "loss" in objective else complete["value"].cummax()
    axes.step(complete["trial"], best, where="post", color=BLACK, linewidth=1, label="best")
    failed = trials["trial"][trials["state"] == "failed"]
    if len(failed):
        across = axes.get_xaxis_transform()
        axes.vlines(failed, 0, 1, color=LIGHT, linewidth=0.8, transform=across, zorder=0, label="failed")
    axes.set(xlabel="trial", ylabel=objective)
    whole_ticks(axes.xaxis)
    inches = axes.get_window_extent().width / figure_of(axes).dpi
    beside = max(int(inches / LABEL_INCHES), 1)  # in a row, so that none is cut
    axes.legend(loc="lower right", bbox_to_anchor=(1, 1), ncols=min(beside, 4), frameon=False, fontsize=9)
    open_axes(axes)
    return figure_of(axes)


def plot_importances(importances: Mapping[str, float], *, axes: Axes | None = None) -> AnyFigure:
    """Plot how much each setting matters for the score.

    Args:
        importances: importance by setting; their sum is 1.
        axes: where to draw (None: a new figure).

    Returns:
        The figure that was drawn into.
    """
    names = sorted(importances, key=lambda name: importances[name])
    if axes is None:
        axes = Figure(figsize=(7, 1 + 0.32 * len(names)), layout="constrained").subplots()
    axes.barh(names, [importances[name] for name in names], color=BLUE, height=0.6)
    axes.set_xlabel("importance (fraction)")
    axes.set_xlim(0, 1)
    open_axes(axes)
    return figure_of(axes)


def plot_slices(trials: pd.DataFrame, scales: Mapping[str, str | Sequence[str]], objective: str) -> Figure:
    """Plot the scores over each setting that was searched, a panel per setting.

    Args:
        trials: table with the columns ``trial``, ``state``, ``value``, and one for each setting.
        scales: by setting, "linear", "log", or its choices.
        objective: name of the values.
    """
    rows, columns = math.ceil(len(scales) / COLUMNS), min(len(scales), COLUMNS)
    figure = Figure(figsize=(max(3.4 * columns, 5), 0.5 + 2.8 * rows), layout="constrained")
    panels = figure.subplots(rows, columns, squeeze=False, sharey=True)
    for axes, (name, scale) in zip(panels.flat, scales.items(), strict=False):
        if isinstance(scale, str):
            _draw_states(axes, trials, trials[name])
            axes.set_xscale(scale)
        else:
            places = {choice: place for place, choice in enumerate(scale)}
            _draw_states(axes, trials, trials[name].map(places))
            axes.set_xticks(list(places.values()), scale)
            axes.set_xlim(-0.5, len(scale) - 0.5)
        if scale == "log":
            axes.xaxis.set_major_locator(LogLocator(subs=(1.0, 3.0)))
            axes.xaxis.set_major_formatter("{x:g}")
            axes.xaxis.set_minor_formatter(NullFormatter())
        elif scale == "linear":
            axes.xaxis.set_major_locator(MaxNLocator(TICKS))
        axes.tick_params(axis="x", labelsize=8)
        part, dot, option = name.rpartition(".")
        axes.set_xlabel(f"{part}{dot}\n{option}" if dot else name, fontsize=8)  # too long for one line
        open_axes(axes)
    for axes in panels.flat[len(scales) :]:
        axes.remove()
    for axes in panels[:, 0]:
        axes.set_ylabel(objective)
    labels = panels[0, 0].get_legend_handles_labels()
    figure.legend(*labels, loc="outside upper right", ncols=2, frameon=False, fontsize=9)
    return figure


def _draw_states(axes: Axes, trials: pd.DataFrame, places: pd.Series) -> None:
    for state, colour, marker in (("complete", BLUE, "o"), ("pruned", VERMILION, "x")):
        chosen = trials["state"] == state
        if chosen.any():
            axes.plot(places[chosen], trials["value"][chosen], marker, color=colour, markersize=5, label=state)
