"""Frames of stimuli."""

from collections.abc import Mapping

import numpy as np
from jaxtyping import Float
from matplotlib.figure import Figure

from openretina_jax.visualize.style import open_axes


def plot_stimuli(
    movies: Mapping[str, Float[np.ndarray, "_ height width channel"]], frame_rate_hz: float, count: int = 8
) -> Figure:
    """Some frames of every stimulus, a row each: the mean over channels, from the least to the largest pixel.

    Below them, how the middle pixel goes on in time.

    Args:
        movies: by name.
        frame_rate_hz: of all.
        count: frames of each, evenly spaced.
    """
    figure = Figure(figsize=(1.1 * count, 1.9 * len(movies)), layout="constrained")
    rows = figure.subfigures(len(movies), squeeze=False)[:, 0]
    for row, (name, movie) in zip(rows, movies.items(), strict=True):
        grey = movie.mean(axis=-1)
        shown = np.linspace(0, len(grey) - 1, count).round().astype(int)
        panels = row.subplot_mosaic([list(range(count)), ["time"] * count], height_ratios=[2, 1])
        for panel, frame in enumerate(shown.tolist()):
            axes = panels[panel]
            axes.imshow(grey[frame], cmap="gray", vmin=float(grey.min()), vmax=float(grey.max()))
            axes.set_xticks([])
            axes.set_yticks([])
            axes.set_title(f"{frame / frame_rate_hz:.2f} s", fontsize=7)
        height, width = grey.shape[1:]
        panels["time"].plot(
            np.arange(len(grey)) / frame_rate_hz,
            grey[:, height // 2, width // 2],
            color="black",
            lw=0.6,
            drawstyle="steps-post",
        )
        panels["time"].set_xlim(0, len(grey) / frame_rate_hz)
        panels["time"].set_xlabel("s", fontsize=7)
        panels["time"].tick_params(labelsize=6)
        open_axes(panels["time"])
        row.suptitle(name, fontsize=9)
    return figure
