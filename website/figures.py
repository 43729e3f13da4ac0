"""Draw the pictures of the docs from a trained run, that of the first command of the README.

    python scripts/train.py --config=configs/hoefling_low_res.py:simulated
    python -m website.figures --checkpoint=runs/hoefling_low_res_simulated

The gallery names the function that draws each of them. ``curves.png`` compares runs of several sizes; it is drawn
from their tables where they are named (``--curve="67 sessions=runs/a/metrics.csv"``).
"""

import argparse
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

import openretina_jax
from openretina_jax import insilico, plots
from openretina_jax.data.artificial_stimuli import checkerboard_noise, chirp, drifting_grating, moving_bars
from openretina_jax.insilico import tuning
from openretina_jax.insilico.constraints import of_training
from openretina_jax.visualize.filters import Scale
from openretina_jax.visualize.style import COLOURS, Figure, save

IMAGES = Path(__file__).resolve().parents[1] / "docs" / "images"
CONFIG = "hoefling_low_res:simulated"
EXPERIMENTS = ("direction", "orientation", "temporal_frequency", "contrast", "colour", "area")
WINDOW = 10  # frames of the response that a stimulus is optimised for


def main() -> None:
    """Draw all pictures."""
    parser = argparse.ArgumentParser(description="Draw the pictures of the docs.")
    parser.add_argument("--checkpoint", required=True, help="folder of the run")
    parser.add_argument("--folder", type=Path, default=IMAGES, help="where to write")
    parser.add_argument("--curve", action="append", default=[], help="label=metrics.csv of a run for curves.png")
    arguments = parser.parse_args()
    if arguments.curve:
        save(curves(dict(one.split("=", maxsplit=1) for one in arguments.curve)), arguments.folder / "curves.png")
    save(artificial_stimuli(), arguments.folder / "artificial_stimuli.png")
    model, dataset = openretina_jax.load(arguments.checkpoint), openretina_jax.load_dataset(CONFIG)
    history = pd.read_csv(Path(arguments.checkpoint) / "metrics.csv")
    save(plots.plot_history(history), arguments.folder / "history.png")
    for name, figure in [*of_scores(model, dataset), *of_weights(model, dataset), *of_experiments(model, dataset)]:
        save(figure, arguments.folder / f"{name}.png")
        print(arguments.folder / f"{name}.png")


def of_scores(model: Any, dataset: Any) -> Iterator[tuple[str, Any]]:
    """Draw the recordings, and how well they are predicted."""
    yield "dataset", plots.plot_dataset(dataset)
    evaluation = openretina_jax.evaluate(model, dataset)
    (split,) = evaluation.summaries
    neurons, summary = evaluation.of_split(split), evaluation.summaries[split]
    assert summary.by_cell_type is not None
    correlation = neurons["correlation"].to_numpy(float)
    yield "predictions", plots.plot_traces(evaluation.responses[split], correlation, dataset.info.frame_rate_hz)
    yield "evaluation", plots.plot_histograms(neurons, summary.min_variance_ratio)
    yield "ceiling", plots.plot_reliability(neurons)
    yield "cell_types", plots.plot_cell_types(summary.by_cell_type)
    yield "sessions", plots.plot_sessions(neurons)
    session = dataset.sessions[0]
    scores = correlation[(neurons["session"] == session.name).to_numpy()]
    ids = np.asarray(session.neurons["roi_id"])
    yield "rois", plots.plot_rois(session.roi_mask, ids, scores, "test correlation", numbered=False)


def of_weights(model: Any, dataset: Any) -> Iterator[tuple[str, Any]]:
    """Draw what the model has learnt."""
    info = dataset.info
    look = {"frame_rate_hz": info.frame_rate_hz, "inputs": info.channels}
    yield "filters", plots.plot_filters(model.core, 0, **look)
    names = [f"{session}:{number}" for session, count in info.sessions.items() for number in range(count)]
    yield "readout", plots.plot_neurons(model.readout, [0, 1, 2], names, scale=Scale.of(model.core, model.data_info))


def of_experiments(model: Any, dataset: Any) -> Iterator[tuple[str, Any]]:
    """Draw experiments on the model."""
    info = dataset.info
    constraint = of_training(dataset.info, model.lag + WINDOW)  # also of runs that do not know it
    stimuli = insilico.most_exciting(model, "best:3", window=WINDOW, constraint=constraint)
    look = {"channels": info.channels, "pixel_size_um": info.pixel_size_um}
    window = ((-WINDOW / info.frame_rate_hz, 0.0),)
    yield "composition", plots.plot_composition(stimuli.best[0], info.frame_rate_hz, windows_s=window, **look)
    grid = insilico.contrast_grid(model, stimuli.best, "best:3")
    yield "contrast_grid", plots.plot_contrast_grid(grid, 0, channels=info.channels)
    frames = dataset.stimuli["train"].normalized()
    images = frames[np.linspace(0, len(frames) - 1, 300).astype(int)]
    field = insilico.vector_field(insilico.lsta(model, images, "best:3"), neuron=0, channel=1)
    yield "vector_field", plots.plot_vector_field(field, bins=12)
    fields = insilico.described(model, insilico.noise_sta(model, frames=20_000))
    found = tuning.tunings(model, centres_px=fields.centre_px, experiments=EXPERIMENTS)
    most = int(np.argmax(found["direction"].indices["selectivity"]))
    yield "tuning", plots.plot_tuning(found, most, channels=info.channels)
    yield "directions", plots.plot_directions(found["direction"], most)
    yield "population", plots.plot_population(found, channels=info.channels)


def artificial_stimuli() -> Figure:
    """Draw frames of the stimuli that come with the package."""
    shape = (72, 64, 1)
    movies = {
        "chirp": chirp(*shape),
        "moving bar, 45°": moving_bars(*shape, pixel_size_um=12.5, directions_deg=(45.0,))[0],
        "drifting grating, 0°": drifting_grating(*shape, pixel_size_um=12.5),
        "checkerboard noise": checkerboard_noise(*shape, n_frames=60, check_px=8, frames_per_pattern=3),
    }
    return plots.plot_stimuli(movies, 30.0)


def curves(tables: Mapping[str, str]) -> Figure:
    """Draw validation correlation against seconds of training, a line for each run.

    Args:
        tables: paths of ``metrics.csv`` by label.
    """
    figure = Figure(figsize=(5.9, 3.3), layout="constrained")
    axes = figure.subplots()
    for (label, file), colour in zip(tables.items(), COLOURS, strict=False):
        table = pd.read_csv(file)
        axes.plot(table["seconds"], table["validation/correlation"], label=label, color=colour)
    axes.set(xscale="log", xlabel="seconds of training, two CPU cores", ylabel="validation correlation")
    figure.legend(loc="outside upper left", ncols=3, frameon=False)
    return figure


if __name__ == "__main__":
    main()
