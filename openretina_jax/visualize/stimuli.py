"""Pictures of a single stimulus: what it is made of in space, time and frequency."""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float
from matplotlib.axes import Axes
from matplotlib.figure import FigureBase, SubFigure

from openretina_jax.insilico.decomposition import LOW_PASS_HZ, Composition, composition
from openretina_jax.visualize.style import (
    BLACK,
    Figure,
    channel_styles,
    colour_bar,
    draw_weights,
    open_axes,
    whole_ticks,
)

_SCALE_BARS_UM = (1000, 500, 200, 100, 50, 20, 10, 5)
_BAR_SHARE = 0.4  # of the width of a frame, at most


def plot_composition(
    movie: Float[np.ndarray, "time height width channel"],
    frame_rate_hz: float,
    *,
    channels: Sequence[str] | None = None,
    pixel_size_um: float | None = None,
    windows_s: Sequence[tuple[float, float]] = (),
    figure: FigureBase | None = None,
) -> FigureBase:
    """Plot space, time and frequencies of a stimulus, for every channel: see ``decomposition.composition``.

    First the images, divided by their largest pixel, with the share of the channel's power that image and time course
    hold. Then time courses in the units of the movie, up to the end of the stimulus at 0, and the amplitudes of their
    frequencies after a low-pass; the main frequency is the mean weighted by the amplitudes.

    Args:
        movie: stimulus in the units of a model.
        frame_rate_hz: frames per second.
        channels: names of the channels, as ``DataInfo.channels``.
        pixel_size_um: side of a pixel on the retina, for a scale bar (None: pixels are numbered).
        windows_s: beginnings and ends of times to mark, such as those that a response is measured in.
        figure: where to draw, a figure or a part of one (None: a new figure).

    Returns:
        The figure that was drawn into.

    Raises:
        UserError: there are fewer or more names than channels.
    """
    found = composition(movie, frame_rate_hz)
    styles = channel_styles(movie.shape[3], channels)
    if len(styles) == 1:  # all in a row
        figure = figure or Figure(figsize=(9, 2.6), layout="constrained")
        space, courses = figure.subfigures(1, 2, squeeze=False, width_ratios=(1, 2.2))[0]
    else:
        figure = figure or Figure(figsize=(max(6.5, 2.2 * len(styles)), 4.6), layout="constrained")
        space, courses = figure.subfigures(2, 1, squeeze=False, height_ratios=(1.15, 1))[:, 0]
    _draw_space(space, found, styles, pixel_size_um)
    time_axes, frequency_axes = courses.subplots(1, 2)
    _draw_time(time_axes, found, styles, windows_s)
    _draw_frequencies(frequency_axes, found, styles)
    return figure


def _draw_space(
    figure: SubFigure, found: Composition, styles: list[tuple[str, str]], pixel_size_um: float | None
) -> None:
    panels = figure.subplots(1, len(styles), squeeze=False)[0]
    for axes, image, share, (name, colour) in zip(panels, found.spatial, found.share, styles, strict=True):
        drawn = draw_weights(axes, image, 1.0)
        axes.set_title(f"{name}: {share:.0%} of its power", fontsize=9, color=colour)
        axes.tick_params(labelsize=6)
        if pixel_size_um is None:
            axes.set_xlabel("column (px)", fontsize=8)
            whole_ticks(axes.xaxis, 4)
            whole_ticks(axes.yaxis, 4)
        else:
            axes.set(xticks=[], yticks=[])
    if pixel_size_um is None:
        panels[0].set_ylabel("row (px)", fontsize=8)
    else:
        _draw_scale_bar(panels[0], found.spatial.shape[2], pixel_size_um)
    colour_bar(drawn, list(panels), "relative to the peak")


def _draw_scale_bar(axes: Axes, width_px: int, pixel_size_um: float) -> None:
    """Draw a bar of a round length below an image."""
    most = _BAR_SHARE * width_px * pixel_size_um
    length = next((length for length in _SCALE_BARS_UM if length <= most), most)
    end = length / (width_px * pixel_size_um)
    axes.plot([0, end], [-0.05, -0.05], color=BLACK, linewidth=2, clip_on=False, transform=axes.transAxes)
    axes.text(end / 2, -0.09, f"{length:g} µm", ha="center", va="top", fontsize=8, transform=axes.transAxes)


def _draw_time(
    axes: Axes, found: Composition, styles: list[tuple[str, str]], windows_s: Sequence[tuple[float, float]]
) -> None:
    axes.axhline(0, color="0.7", linewidth=0.6)
    for begin, end in windows_s:
        axes.axvspan(begin, end, color="0.9", linewidth=0, zorder=0)
    for course, (name, colour) in zip(found.temporal, styles, strict=True):
        axes.plot(found.time_s, course, color=colour, linewidth=1.2, label=name)
    axes.margins(x=0)
    axes.set_xlabel("time before the end of the stimulus (s)", fontsize=8)
    axes.set_ylabel("temporal component", fontsize=8)
    _finish(axes, len(styles))


def _draw_frequencies(axes: Axes, found: Composition, styles: list[tuple[str, str]]) -> None:
    for amplitude, main_hz, (name, colour) in zip(found.amplitudes, found.main_frequency_hz, styles, strict=True):
        axes.plot(found.frequencies_hz, amplitude, color=colour, linewidth=1.2, label=f"{name}: {main_hz:.1f} Hz")
        axes.axvline(main_hz, color=colour, linewidth=0.8, linestyle="--")
    axes.set_xlim(0, min(LOW_PASS_HZ + 1, found.frequencies_hz[-1] or 1))
    axes.set_ylim(bottom=0)
    axes.set_xlabel("frequency (Hz); dashed: main frequency", fontsize=8)
    axes.set_ylabel("amplitude", fontsize=8)
    _finish(axes, 2)


def _finish(axes: Axes, lines: int) -> None:
    axes.tick_params(labelsize=7)
    if lines > 1:
        axes.legend(fontsize=7, frameon=False)
    open_axes(axes)
