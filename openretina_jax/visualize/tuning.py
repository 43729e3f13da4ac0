"""Pictures of tuning: polar plots of directions and orientations, curves of one neuron, and of all neurons."""

import math
from collections.abc import Mapping, Sequence

import numpy as np
from jaxtyping import Float
from matplotlib.axes import Axes
from matplotlib.figure import Figure as AnyFigure  # of the caller, such as one of pyplot
from matplotlib.projections.polar import PolarAxes

from openretina_jax.errors import UserError
from openretina_jax.insilico.tuning.result import Tuning
from openretina_jax.runtime.described import counted
from openretina_jax.visualize.style import (
    BLACK,
    BLUE,
    GREEN,
    VERMILION,
    Figure,
    channel_styles,
    figure_of,
    open_axes,
    whole_ticks,
)

FOLDS = {"direction": 1, "orientation": 2}  # an orientation comes twice in a full turn
INDICES = {"direction": "DSI", "orientation": "OSI"}  # usual names of the selectivity
UNITS = {"um": "µm", "um_per_s": "µm/s", "cycles_per_mm": "cycles/mm", "hz": "Hz", "deg": "°"}
COLUMNS = 4  # of panels
PANEL = 2.3  # inches
MAX_GROUPS = 6
LOGARITHMIC = 8  # values above 0 that span such a factor are drawn on a logarithmic axis
SELECTIVE = 0.3  # selectivity from which a preferred direction counts
_ARROW = {"color": VERMILION, "linewidth": 2, "shrinkA": 0, "shrinkB": 0}
_GROUP_COLOURS = (BLUE, VERMILION, GREEN, "#CC79A7", "#E69F00", "#56B4E9")


def plot_directions(
    tuning: Tuning, neuron: int, *, name: str | None = None, axes: PolarAxes | None = None
) -> AnyFigure:
    """Plot the responses of a neuron to all directions, or orientations, around a circle.

    Angles are those of the stimulus: bars move to the right at 0° and up at 90°; stripes are horizontal at 0° and
    vertical at 90°. Responses below that to grey are drawn as 0, as they count for the selectivity. The arrow points in
    the preferred direction; it ends on the outer circle if the selectivity is 1. A preferred orientation is a line
    without head.

    Args:
        tuning: of ``tuning.direction`` or ``tuning.orientation``.
        neuron: row of the curve.
        name: title (None: the neuron's number).
        axes: where to draw, with polar projection (None: a new figure).

    Returns:
        The figure that was drawn into.

    Raises:
        UserError: the tuning has no angles, or there is no such neuron.
    """
    _check(tuning, neuron)
    if tuning.name not in FOLDS:
        raise UserError(f'tuning "{tuning.name}" has no angles; take that of {" or ".join(FOLDS)}')
    if axes is None:
        panel = Figure(figsize=(3.6, 3.8), layout="constrained").add_subplot(projection="polar")
        assert isinstance(panel, PolarAxes)
        axes = panel
    fold = FOLDS[tuning.name]
    turns = np.arange(fold) * 360 / fold
    angles = np.deg2rad((tuning.values[None, :] + turns[:, None]).ravel())
    curve = np.tile(np.maximum(tuning.curve[neuron], 0), fold)
    order = np.argsort(angles)
    closed = np.append(order, order[0])
    highest = float(curve.max()) or 1.0
    axes.plot(angles[closed], curve[closed], color=BLACK, linewidth=1.2, marker="o", markersize=3)
    axes.fill(angles[closed], curve[closed], color=BLACK, alpha=0.08)
    preferred, selectivity = (float(tuning.indices[key][neuron]) for key in ("preferred_deg", "selectivity"))
    for turn in turns:
        end = math.radians(preferred + turn), selectivity * highest
        axes.annotate(
            "", end, (0, 0), annotation_clip=False,
            arrowprops=_ARROW | {"arrowstyle": "-|>" if fold == 1 else "-"},
        )  # fmt: skip
    axes.set_ylim(0, highest)
    axes.set_xticks(np.deg2rad(np.arange(0, 360, 45)))
    axes.set_yticks([highest / 2, highest], [f"{highest / 2:.2g}", f"{highest:.2g}"])
    opposite = preferred + 180 / fold  # where the curve is low
    axes.set_rlabel_position(45 * math.floor(opposite / 45) + 22.5)
    axes.tick_params(labelsize=7)
    axes.grid(color="0.85", linewidth=0.6)
    facts = f"{INDICES[tuning.name]} {selectivity:.2f}, preferred {preferred:.0f}°, p {tuning.indices['p'][neuron]:.2g}"
    axes.set_title(f"{f'neuron {neuron}' if name is None else name}\n{facts}", fontsize=9)
    return figure_of(axes)


def plot_tuning(
    found: Mapping[str, Tuning], neuron: int, *, name: str | None = None, channels: Sequence[str] | None = None
) -> Figure:
    """Plot the curves of one neuron, a panel for every experiment.

    Args:
        found: tuning by name of the experiment, see ``tuning.tunings``.
        neuron: row of the curves.
        name: title (None: the neuron's number).
        channels: names of the stimulus' channels, as ``DataInfo.channels``.

    Raises:
        UserError: there is no tuning, no such neuron, or fewer or more names than channels.
    """
    figure, panels = _grid(found)
    for axes, (experiment, tuning) in zip(panels, found.items(), strict=False):
        _check(tuning, neuron)
        if isinstance(axes, PolarAxes):
            plot_directions(tuning, neuron, name=_spoken(experiment), axes=axes)
            continue
        axes.plot(tuning.values, tuning.curve[neuron], color=BLACK, linewidth=1.2, marker=_marker(tuning), markersize=3)
        axes.set_title(_spoken(experiment), fontsize=9)
        _label(axes, tuning, channels)
    figure.supylabel("response less that to grey", fontsize=9)
    figure.suptitle(f"neuron {neuron}" if name is None else name, fontsize=10)
    return figure


def plot_population(
    found: Mapping[str, Tuning],
    groups: Sequence[str] | None = None,
    *,
    channels: Sequence[str] | None = None,
    selective: float = SELECTIVE,
) -> Figure:
    """Plot the tuning of all neurons, a panel for every experiment.

    Curves are divided by the largest absolute value of each neuron; lines are medians, bands lie between the quartiles.
    Directions and orientations have a histogram of the selectivity, and one of the preferred angles of neurons that are
    ``selective``.

    Args:
        found: tuning by name of the experiment, see ``tuning.tunings``.
        groups: group of every neuron, such as its type, for a line each of the ``MAX_GROUPS`` largest groups.
        channels: names of the stimulus' channels, as ``DataInfo.channels``.
        selective: selectivity from which a neuron's preferred angle counts.

    Raises:
        UserError: there is no tuning, the groups are those of other neurons, or the names those of other channels.
    """
    figure, panels = _grid(found, wide=True)
    members = _members(groups, len(next(iter(found.values())).curve))
    rest = iter(panels)
    for experiment, tuning in found.items():
        axes = next(rest)
        if tuning.name in FOLDS:
            _draw_selectivity(axes, tuning, selective)
            _draw_preferred(next(rest), tuning, selective)
            continue
        _draw_groups(axes, tuning, members)
        axes.set_title(_spoken(experiment), fontsize=9)
        _label(axes, tuning, channels)
        axes.set_ylim(top=1.05)
    for axes in rest:
        axes.set_visible(False)
    labels = next((both for axes in panels if (both := axes.get_legend_handles_labels())[1]), None)
    if labels is not None and groups is not None:
        figure.legend(*labels, loc="outside lower center", ncols=3, fontsize=8, frameon=False)
    count = len(next(iter(found.values())).curve)
    figure.suptitle(
        f"{counted(count, 'neuron')}: response less that to grey, relative to each neuron's largest", fontsize=10
    )
    return figure


def _members(groups: Sequence[str] | None, count: int) -> dict[str, np.ndarray]:
    """Rows of the neurons of the largest groups, or of all."""
    if groups is None:
        return {"all": np.arange(count)}
    if len(groups) != count:
        raise UserError(f"groups has {len(groups)} entries for {count} neurons")
    names, sizes = np.unique(np.asarray(groups, str), return_counts=True)
    largest = names[np.argsort(-sizes, kind="stable")][:MAX_GROUPS]
    return {str(name): np.flatnonzero(np.asarray(groups, str) == name) for name in largest}


def _draw_groups(axes: Axes, tuning: Tuning, members: Mapping[str, np.ndarray]) -> None:
    """Draw median and quartiles of every group, at the values for which a neuron of it has a response."""
    largest = np.nan_to_num(np.abs(tuning.curve)).max(axis=1, keepdims=True)
    curves = tuning.curve / np.where(largest > 0, largest, 1)
    for (group, rows), colour in zip(members.items(), _GROUP_COLOURS, strict=False):
        known = np.isfinite(curves[rows]).any(axis=0)
        low, middle, high = np.nanquantile(curves[rows][:, known], (0.25, 0.5, 0.75), axis=0)
        values, label = tuning.values[known], f"{group} ({len(rows)})"
        axes.fill_between(values, low, high, color=colour, alpha=0.15, linewidth=0)
        axes.plot(values, middle, color=colour, linewidth=1.2, marker=_marker(tuning), markersize=3, label=label)


def _draw_selectivity(axes: Axes, tuning: Tuning, selective: float) -> None:
    values = tuning.indices["selectivity"]
    axes.hist(values, bins=np.linspace(0, 1, 21).tolist(), color=BLUE)
    axes.axvline(selective, color=VERMILION, linewidth=1)
    axes.set_title(
        f"{tuning.name}: {counted(int(np.count_nonzero(values >= selective)), 'neuron')} from {selective:g} up",
        fontsize=9,
    )
    axes.set_xlabel(f"{INDICES[tuning.name]} (length of the vector sum)", fontsize=8)
    axes.set_ylabel("neurons", fontsize=8)
    axes.tick_params(labelsize=7)
    whole_ticks(axes.yaxis, 5)
    open_axes(axes)


def _draw_preferred(axes: Axes, tuning: Tuning, selective: float) -> None:
    fold = FOLDS[tuning.name]
    angles = tuning.indices["preferred_deg"][tuning.indices["selectivity"] >= selective]
    edges = np.linspace(0, 360, 25)
    counts, _ = np.histogram(np.concatenate([angles + turn for turn in np.arange(fold) * 360 / fold]) % 360, edges)
    axes.bar(
        np.deg2rad(edges[:-1]), counts, np.deg2rad(15), align="edge", color=VERMILION, edgecolor="white", linewidth=0.5
    )
    axes.set_xticks(np.deg2rad(np.arange(0, 360, 45)))
    axes.set_ylim(0, max(counts.max(), 1))
    whole_ticks(axes.yaxis, 3)
    axes.grid(color="0.85", linewidth=0.6)
    axes.tick_params(labelsize=7)
    axes.set_title(f"preferred {tuning.parameter}s (neurons)", fontsize=9)


def _grid(found: Mapping[str, Tuning], *, wide: bool = False) -> tuple[Figure, list[Axes]]:
    """Make a figure with a panel for each tuning; one of angles is polar, and with ``wide`` beside another panel."""
    if not found:
        raise UserError("there is no tuning to plot; give what tuning.tunings returns")
    polar: list[bool] = []
    for tuning in found.values():
        angular = tuning.name in FOLDS
        polar += [False, True] if angular and wide else [angular]
    columns = min(COLUMNS, len(polar))
    rows = -(-len(polar) // columns)
    figure = Figure(figsize=(1 + PANEL * columns, 0.8 + 1.05 * PANEL * rows), layout="constrained")
    panels = [
        figure.add_subplot(rows, columns, number + 1, projection="polar" if kind else None)
        for number, kind in enumerate(polar)
    ]
    return figure, panels


def _spoken(experiment: str) -> str:
    return experiment.replace("_", " ")


def _label(axes: Axes, tuning: Tuning, channels: Sequence[str] | None) -> None:
    axes.axhline(0, color="0.7", linewidth=0.6, zorder=0)
    unit = f" ({UNITS.get(tuning.unit, tuning.unit)})" if tuning.unit else ""
    axes.set_xlabel(f"{tuning.parameter}{unit}", fontsize=8)
    if tuning.parameter == "channel":
        styles = channel_styles(len(tuning.values), channels)
        axes.set_xticks(tuning.values, [name for name, _ in styles])
        for label, (_, colour) in zip(axes.get_xticklabels(), styles, strict=True):
            label.set_color(colour)
        axes.set_xlim(tuning.values[0] - 0.5, tuning.values[-1] + 0.5)
    elif _logarithmic(tuning.values):
        axes.set_xscale("log")
        axes.set_xticks(tuning.values, [f"{float(f'{value:.2g}'):g}" for value in tuning.values])
        axes.minorticks_off()
    axes.tick_params(labelsize=7)
    open_axes(axes)


def _logarithmic(values: Float[np.ndarray, " value"]) -> bool:
    return len(values) < 20 and bool((values > 0).all() and values.max() / values.min() >= LOGARITHMIC)


def _marker(tuning: Tuning) -> str:
    return "" if len(tuning.values) > 20 else "o"


def _check(tuning: Tuning, neuron: int) -> None:
    if not 0 <= neuron < len(tuning.curve):
        raise UserError(f"the tuning has no neuron {neuron}; it has {len(tuning.curve)}, counted from 0")
