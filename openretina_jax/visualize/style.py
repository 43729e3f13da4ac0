"""The common look: colours for colour-blind readers (Okabe and Ito 2008), open axes, colour scales, time axes."""

import io
import itertools
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import matplotlib.figure
import numpy as np
from jaxtyping import Float, UInt8
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.collections import Collection
from matplotlib.image import AxesImage
from matplotlib.ticker import MaxNLocator

from openretina_jax.errors import UserError
from openretina_jax.runtime.files import whole_file

DPI = 120
BLACK, VERMILION, BLUE, GREEN = "black", "#D55E00", "#0072B2", "#009E73"
LIGHT = "0.8"
SMALL_WIDTH = 5.0  # inches, of figures whose letters can be read in a card of a page
COLOURS = (BLACK, VERMILION, BLUE, GREEN)
# of lines and names of a stimulus' channels; "UV" stands for what cannot be seen
CHANNEL_COLOURS = {"green": "#1B8A3A", "UV": "#7B2FBE", "red": "#C8102E", "blue": BLUE, "grey": BLACK}


class Figure(matplotlib.figure.Figure):
    """A figure that a notebook shows as the value of a cell, whether or not pyplot is in use."""

    def _repr_png_(self) -> bytes:
        stream = io.BytesIO()
        self.savefig(stream, format="png", dpi=DPI)
        return stream.getvalue()


def save(figure: matplotlib.figure.Figure, file: Path) -> None:
    """Write a PNG file, whole or not at all."""
    with whole_file(file) as stream:
        figure.savefig(stream, format="png", dpi=DPI)


def pixels(figure: matplotlib.figure.Figure) -> UInt8[np.ndarray, "height width 3"]:
    """Draw a figure into an array."""
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    return np.asarray(canvas.buffer_rgba())[..., :3].copy()


def channel_styles(count: int, names: Sequence[str] | None = None) -> list[tuple[str, str]]:
    """Name and colour of every channel of a stimulus; those without a name are numbered.

    Raises:
        UserError: there are fewer or more names than channels.
    """
    if names is None:
        names = ["grey"] if count == 1 else [f"channel {number}" for number in range(count)]
    if len(names) != count:
        raise UserError(f"{len(names)} channels are named ({', '.join(names)}), but there are {count}")
    return [
        (name, CHANNEL_COLOURS.get(name, other)) for name, other in zip(names, itertools.cycle(COLOURS), strict=False)
    ]


def figure_of(axes: Axes) -> matplotlib.figure.Figure:
    """Figure that axes belong to, through all parts of figures."""
    figure = axes.get_figure(root=True)
    assert figure is not None
    return figure


def open_axes(axes: Axes) -> None:
    """Hide the frame above and to the right."""
    axes.spines[["top", "right"]].set_visible(False)


def whole_ticks(axis: Axis, most: int = 10) -> None:
    """Put ticks at whole numbers, in round steps, with at most ``most`` intervals between them."""
    axis.set_major_locator(MaxNLocator(most, integer=True, steps=[1, 2, 5, 10]))


def draw_weights(
    axes: Axes, weights: Float[np.ndarray, "row column"], limit: float, *, signed: bool = True, **options: Any
) -> AxesImage:
    """Draw weights as an image.

    Args:
        axes: where to draw.
        weights: the weights; NaN is left blank.
        limit: end of the colour scale.
        signed: whether the scale goes from ``-limit`` (blue) through 0 (white) to ``limit`` (red), or from 0 up.
        options: options of matplotlib's ``imshow``.
    """
    limit = limit or 1.0  # weights that are all 0 give no scale
    low, colours = (-limit, "RdBu_r") if signed else (0.0, "viridis")
    return axes.imshow(weights, cmap=colours, vmin=low, vmax=limit, **options)


def draw_tiles(
    axes: Axes, kernels: Float[np.ndarray, "row column height width"], limit: float, *, signed: bool = True
) -> AxesImage:
    """Draw many small images as one, with lines between them.

    The tile in row r and column c covers r to r + 1 and c to c + 1. A single image is drawn and laid out in a fraction
    of the time that a grid of axes takes.
    """
    rows, columns, height, width = kernels.shape
    image = kernels.transpose(0, 2, 1, 3).reshape(rows * height, columns * width)
    axes.hlines(np.arange(1, rows), 0, columns, color=BLACK, linewidth=1)
    axes.vlines(np.arange(1, columns), 0, rows, color=BLACK, linewidth=1)
    return draw_weights(axes, image, limit, signed=signed, extent=(0, columns, rows, 0), aspect="auto")


def label_columns(axes: Axes, places: Float[np.ndarray, " column"], names: Sequence[str]) -> None:
    """Write names above an image."""
    above = axes.secondary_xaxis("top")
    above.set_xticks(places, names, fontsize=7)
    above.tick_params(length=0)


def colour_bar(image: AxesImage | Collection, panels: Any, label: str, *, fraction: float = 0.02) -> None:
    """Draw the colour scale of a picture beside the panels that share it.

    Args:
        image: any image, contours or points with that scale.
        panels: one or several axes.
        label: name of the quantity that the colours show.
        fraction: fraction of the panels' width for the bar.
    """
    assert image.axes is not None
    figure = image.axes.get_figure()
    assert figure is not None
    bar = figure.colorbar(image, ax=panels, fraction=fraction, pad=0.01, aspect=30)
    bar.set_label(label, fontsize=8)
    bar.ax.tick_params(labelsize=6)


def time_axis(frames: int, rate_hz: float | None, frames_ahead: int = 0) -> tuple[Float[np.ndarray, " frame"], str]:
    """Times of a kernel's frames relative to the response, and their unit.

    Args:
        frames: number of frames of the kernel.
        rate_hz: frames per second (None: times are in frames).
        frames_ahead: number of frames later than the response that the kernel sees.
    """
    step, unit = (1.0, "frames") if rate_hz is None else (1000 / rate_hz, "ms")
    return step * (np.arange(1 - frames, 1) + frames_ahead), unit
