"""Pictures of a data set, before anything is trained on it, and of stimuli."""

from collections.abc import Mapping

import numpy as np
from jaxtyping import Float
from matplotlib.figure import SubFigure

from openretina_jax.data.dataset import Dataset
from openretina_jax.data.masked import mean_of, variance_of
from openretina_jax.data.quality import split_half_reliability
from openretina_jax.data.triggered_averages import TriggeredAverages
from openretina_jax.visualize.style import BLACK, BLUE, GREEN, VERMILION, Figure, open_axes, whole_ticks

_FRAMES = 4
_STAS = 8
_SECONDS = 60.0
_PIXELS = 20_000  # in the histogram


def plot_dataset(dataset: Dataset, averages: Mapping[str, TriggeredAverages] | None = None) -> Figure:
    """Plot frames, pixels, responses, their reliability, and STAs.

    Top: frames of the first training movie, and the distribution of normalised pixels of every movie. Middle: responses
    of the first session's neurons in the first minute, each divided by its largest, with missing ones in grey; below
    them the mean over neurons with the mean light. Bottom: mean response and, where there are repeats, reliability of
    all neurons. Last, with ``averages``, the STAs of the neurons with the largest z-scores at their best lag, and below
    each its time course in the thirds of the recording, from the first (light) to the last (dark).

    Args:
        dataset: the data set.
        averages: its STAs (None: none are drawn).
    """
    heights = [2.4, 4, 2.6] + ([3.0] if averages else [])
    figure = Figure(figsize=(11, 0.75 * sum(heights) + 2.25), layout="constrained")
    parts = figure.subfigures(len(heights), 1, squeeze=False, height_ratios=heights)[:, 0]
    _draw_movie(parts[0], dataset)
    _draw_responses(parts[1], dataset)
    _draw_neurons(parts[2], dataset)
    if averages:
        _draw_averages(parts[3], averages)
    return figure


def _draw_movie(figure: SubFigure, dataset: Dataset) -> None:
    session = dataset.sessions[0]
    stimulus = dataset.stimuli[session.stimulus]
    panels = figure.subplots(1, _FRAMES + 1, width_ratios=[*([1] * _FRAMES), 1.6])
    numbers = np.linspace(0, len(stimulus.frames) - 1, _FRAMES).round().astype(int)
    frames = np.stack([np.asarray(stimulus.frames[number], np.float32).mean(axis=-1) for number in numbers])
    for axes, number, frame in zip(panels, numbers, frames, strict=False):
        axes.imshow(frame, cmap="gray", vmin=frames.min(), vmax=frames.max() or 1)
        axes.set_title(f"frame {number}", fontsize=8)
        axes.set(xticks=[], yticks=[])
    figure.suptitle(f'movie "{stimulus.name}" (mean over channels), and the pixels of all movies', fontsize=10)
    for movie in dataset.stimuli.values():
        chosen = np.linspace(0, len(movie.frames) - 1, min(len(movie.frames), 50)).astype(int)
        pixels = np.concatenate([movie.normalized(slice(number, number + 1)).ravel() for number in chosen])
        pixels = pixels[:: -(-len(pixels) // _PIXELS)]
        panels[-1].hist(pixels, bins=50, density=True, histtype="step", label=movie.name)
    panels[-1].set(xlabel="pixel, as models see it", yticks=[])
    if len(dataset.stimuli) <= 6:
        panels[-1].legend(fontsize=7, frameon=False)
    open_axes(panels[-1])


def _draw_responses(figure: SubFigure, dataset: Dataset) -> None:
    session = dataset.sessions[0]
    stimulus = dataset.stimuli[session.stimulus]
    shown = min(round(_SECONDS * stimulus.frame_rate_hz), len(session.responses))
    responses = session.responses[:shown]
    largest = np.nanmax(np.where(np.isfinite(responses), responses, -np.inf), axis=0)
    scaled = responses / np.where(np.isfinite(largest) & (largest > 0), largest, 1)
    image_axes, mean_axes = figure.subplots(2, 1, sharex=True, height_ratios=(3, 1))
    extent = (0, shown / stimulus.frame_rate_hz, session.n_neurons - 0.5, -0.5)
    image_axes.set_facecolor("0.6")
    image_axes.imshow(scaled.T, aspect="auto", cmap="magma", vmin=0, vmax=1, extent=extent, interpolation="nearest")
    image_axes.set(ylabel="neuron")
    whole_ticks(image_axes.yaxis)
    image_axes.set_title(f"responses of {session.name}, each neuron divided by its largest", fontsize=10)
    time = np.arange(shown) / stimulus.frame_rate_hz
    light = stimulus.frames[session.frame_index[:shown]].reshape(shown, -1).mean(axis=1, dtype=np.float64)
    for values, colour, name in ((light, BLACK, "mean light"), (mean_of(responses, 1), VERMILION, "mean response")):
        z_score = (values - mean_of(values)) / (np.sqrt(variance_of(values)) or 1)
        mean_axes.plot(time, z_score, color=colour, linewidth=0.7, label=name)
    mean_axes.set(xlabel="time (s)", ylabel="z-score")
    mean_axes.margins(x=0)
    mean_axes.legend(fontsize=7, framealpha=0.8, edgecolor="none", ncols=2, loc="upper right")
    open_axes(mean_axes)


def _draw_neurons(figure: SubFigure, dataset: Dataset) -> None:
    means = np.concatenate([mean_of(session.responses) for session in dataset.sessions])
    known = [split_half_reliability(trials) for s in dataset.sessions for trials in s.repeats.values()]
    reliable = np.concatenate(known) if known else np.empty(0)
    panels = figure.subplots(1, 2)
    panels[0].hist(means[np.isfinite(means)], bins=30, color=BLUE)
    panels[0].set(xlabel="mean response", ylabel="neurons")
    whole_ticks(panels[0].yaxis)
    panels[1].hist(reliable[np.isfinite(reliable)].clip(-1, 1), bins=np.linspace(-1, 1, 41).tolist(), color=GREEN)
    panels[1].set(xlabel="reliability of the mean response to tests", ylabel="neurons and tests")
    if not np.isfinite(reliable).any():
        panels[1].text(0.5, 0.5, "no repeats", ha="center", transform=panels[1].transAxes)
    for axes in panels:
        open_axes(axes)


def _draw_averages(figure: SubFigure, averages: Mapping[str, TriggeredAverages]) -> None:
    ranked = sorted(
        ((-score, name, neuron) for name, one in averages.items() for neuron, score in enumerate(one.z_score)),
    )[:_STAS]
    panels = figure.subplots(2, _STAS, height_ratios=(2, 1), squeeze=False)
    for axes in panels.ravel()[: 2 * _STAS]:
        axes.axis("off")
    for (above, below), (_, name, neuron) in zip(panels.T, ranked, strict=False):
        one = averages[name]
        image = one.spatial[neuron].mean(axis=-1)
        largest = float(np.abs(image).max()) or 1.0
        above.imshow(image, cmap="RdBu_r", vmin=-largest, vmax=largest, interpolation="nearest")
        above.set_title(f"{name}\nneuron {neuron}, z {one.z_score[neuron]:.0f}", fontsize=6)
        thirds = one.of_segment[:, neuron].reshape(3, -1, len(one.lags)).sum(axis=1)
        for third, grey in zip(thirds, ("0.75", "0.5", "0"), strict=True):
            below.plot(-one.lags, third, color=grey, linewidth=0.8)
        below.axis("on")
        below.set(yticks=[], xlabel="frame")
        below.axvline(0, color=VERMILION, linewidth=0.5)
        below.tick_params(labelsize=6)
        open_axes(below)
    figure.suptitle("STAs (whitened in time), and their time courses in each third of the recording", fontsize=10)


def plot_stimuli(
    movies: Mapping[str, Float[np.ndarray, "_ height width channel"]], frame_rate_hz: float, count: int = 8
) -> Figure:
    """Plot frames of several stimuli, a row each, and below them the time course of the middle pixel.

    Pixels are means over channels; each stimulus has its own scale, from its smallest to its largest pixel.

    Args:
        movies: movies by name.
        frame_rate_hz: frames per second of all movies.
        count: number of frames of each, evenly spaced.
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
