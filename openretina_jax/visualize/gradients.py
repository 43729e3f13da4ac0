"""Pictures of gradients: over the contrasts of two channels, and over the images that a neuron sees."""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float
from matplotlib.axes import Axes
from matplotlib.figure import Figure as AnyFigure  # of the caller, such as one of pyplot

from openretina_jax.errors import UserError
from openretina_jax.insilico.gradients import ContrastGrid
from openretina_jax.insilico.vector_field import BINS, VectorField
from openretina_jax.visualize.style import (
    BLUE,
    VERMILION,
    Figure,
    channel_styles,
    colour_bar,
    draw_weights,
    figure_of,
    open_axes,
)

LINES = 10  # of equal response
ARROWS = 11  # along each axis of a contrast grid, at most


def plot_contrast_grid(
    grid: ContrastGrid, neuron: int = 0, *, channels: Sequence[str] | None = None, axes: Axes | None = None
) -> AnyFigure:
    """Plot the response over the contrasts of two channels, with lines of equal response and unit gradients.

    Args:
        grid: see ``gradients.contrast_grid``.
        neuron: number of the neuron in the grid.
        channels: names of all channels of the stimulus, as ``DataInfo.channels``.
        axes: where to draw (None: a new figure).

    Returns:
        The figure that was drawn into.

    Raises:
        UserError: there is no such neuron.
    """
    if not 0 <= neuron < len(grid.names):
        raise UserError(f"the grid has no neuron {neuron}; it has {len(grid.names)}, counted from 0")
    if axes is None:
        axes = Figure(figsize=(5, 4), layout="constrained").subplots()
    count = max(grid.channels) + 1 if channels is None else len(channels)
    styles = channel_styles(count, channels)
    response = grid.response[neuron].T  # the first channel along x
    values = grid.contrasts
    filled = axes.contourf(values, values, response, levels=LINES, cmap="Greys")
    if np.ptp(response) > 0:
        axes.contour(values, values, response, levels=LINES, colors=VERMILION, linewidths=0.7)
    step = -(-(len(values) - 2) // ARROWS)
    chosen = np.arange(1, len(values) - 1, step)  # those at the borders would be cut
    arrows = _unit(grid.gradient[neuron][np.ix_(chosen, chosen)])
    first, second = np.meshgrid(values[chosen], values[chosen], indexing="ij")
    axes.quiver(first, second, arrows[..., 0], arrows[..., 1], color=BLUE, pivot="mid", scale=1.4 * ARROWS, width=0.005)
    (across, across_colour), (up, up_colour) = (styles[channel] for channel in grid.channels)
    axes.set_xlabel(f"contrast of {across}", fontsize=8, color=across_colour)
    axes.set_ylabel(f"contrast of {up}", fontsize=8, color=up_colour)
    axes.set_aspect("equal")
    axes.tick_params(labelsize=7)
    axes.set_title(f"{grid.names[neuron]}: response and its gradient", fontsize=9)
    colour_bar(filled, axes, "response", fraction=0.05)
    return figure_of(axes)


def plot_vector_field(field: VectorField, *, bins: int | None = BINS) -> Figure:
    """Plot the gradients of a neuron as arrows at the images, and the images that the axes stand for.

    Arrows have their lengths relative to each other; the colour of their origins is the neuron's response.

    Args:
        field: see ``vector_field.vector_field``.
        bins: squares along each axis, over whose images arrows and responses are averaged (None: every image).
    """
    figure = Figure(figsize=(6.6, 4.4), layout="constrained")
    panels = figure.subplot_mosaic([["field", "second"], ["field", "first"]], width_ratios=(2.6, 1))
    shown = field if bins is None else field.binned(bins)
    axes = panels["field"]
    axes.axhline(0, color="0.85", linewidth=0.6, zorder=0)
    axes.axvline(0, color="0.85", linewidth=0.6, zorder=0)
    axes.quiver(*shown.places.T, *shown.arrows.T, color="0.35", width=0.003, angles="xy")
    points = axes.scatter(shown.places[:, 0], shown.places[:, 1], c=shown.responses, cmap="viridis", s=14, zorder=3)
    colour_bar(points, axes, "response", fraction=0.04)
    axes.set_xlabel("image along the first component", fontsize=8)
    axes.set_ylabel("image along the second component", fontsize=8)
    axes.margins(0.1)
    axes.tick_params(labelsize=7)
    open_axes(axes)
    limit = float(np.abs(field.components).max())
    for name, image, share in zip(("first", "second"), field.components, field.explained, strict=True):
        draw_weights(panels[name], image, limit)
        panels[name].set(xticks=[], yticks=[])
        panels[name].set_title(f"{name} component, {share:.0%}\nof the gradients' variance", fontsize=8)
    figure.suptitle(f"{field.name}: gradients at {len(field.places)} images", fontsize=10)
    return figure


def _unit(arrows: Float[np.ndarray, "*place 2"]) -> Float[np.ndarray, "*place 2"]:
    length = np.linalg.norm(arrows, axis=-1, keepdims=True)
    return np.divide(arrows, length, out=np.zeros_like(arrows), where=length > 0)
