"""Pictures of a model, while it trains and afterwards: what its filters, masks and predictions look like."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from jaxtyping import Float, Float32, UInt8

from openretina_jax import load
from openretina_jax.data.timelines import Tables
from openretina_jax.errors import UserError
from openretina_jax.evaluation.predict import Split
from openretina_jax.evaluation.tables import neuron_titles
from openretina_jax.models.model import Model
from openretina_jax.runtime.files import check_writable
from openretina_jax.visualize.scores import plot_predictions
from openretina_jax.visualize.style import Figure, pixels
from openretina_jax.visualize.weights import save_weights, session_neurons, weight_figures

PICTURED_NEURONS = 6
TRACKED_FRAMES = 600
TRACKED_NEURONS = 3  # as the run goes on
PICTURES = "pictures"


def draw_weights(
    sources: Sequence[str], folder: Path | None = None, session: str | None = None, numbers: Sequence[int] | None = None
) -> list[Path]:
    """Write the pictures of a model from disk, as ``scripts/visualize.py`` does.

    Args:
        sources: whatever ``openretina_jax.load`` opens; several make an ensemble.
        folder: where to write (None: ``pictures`` in the folder of the first model).
        session: draw the neurons of this session (None: some of all sessions).
        numbers: numbers of neurons in that session (None: all).

    Returns:
        The files.

    Raises:
        UserError: the model cannot be opened, has no such session or neuron, or has nothing that can be drawn; or it is
            not in a folder, and none is given; or the folder cannot be written.
    """
    if folder is not None:
        check_writable(folder, remedy="give another --folder")
    first = Path(sources[0])
    model = load(sources[0] if len(sources) == 1 else list(sources))
    if folder is None and not first.is_dir():
        raise UserError(f"{first} is not a folder of ours; say where to write its pictures: --out=DIR")
    neurons = None if session is None else session_neurons(model, session, numbers)
    files = save_weights(model, folder or first / PICTURES, neurons)
    if not files:
        raise UserError(f"there is no picture of a {type(model).__name__} of these parts: {model.options}")
    return files


def epoch_pictures(
    model: Model,
    correlation: Float[np.ndarray, " neuron"],
    predicted: Float32[np.ndarray, "clip time neuron"],
    tables: Tables,
    split: Split,
) -> dict[str, UInt8[np.ndarray, "height width 3"]]:
    """Small pictures of a model's weights and the traces of the split, as images for trackers."""
    figures = weight_figures(model, best_neurons(correlation)[:TRACKED_NEURONS], small=True)
    figures["traces"] = trace_picture(model, correlation, predicted, tables, split)
    return {name: pixels(figure) for name, figure in figures.items()}


def weight_pictures(model: Model, correlation: Float[np.ndarray, " neuron"]) -> dict[str, Figure]:
    """All pictures of a model's weights, with the best neurons.

    Args:
        model: a model.
        correlation: score of every neuron; the best are shown.
    """
    return weight_figures(model, best_neurons(correlation)[:PICTURED_NEURONS])


def best_neurons(correlation: Float[np.ndarray, " neuron"]) -> list[int]:
    """Neurons from the best to the worst."""
    return np.argsort(-np.nan_to_num(correlation), kind="stable").tolist()


def trace_picture(
    model: Model,
    correlation: Float[np.ndarray, " neuron"],
    predicted: Float32[np.ndarray, "clip time neuron"],
    tables: Tables,
    split: Split,
) -> Figure:
    """Recorded and predicted responses to the clips of a split, one clip after the other, up to ``TRACKED_FRAMES``."""
    _, time, n_neurons = predicted.shape
    recorded, lag = np.full_like(predicted, np.nan), split.clip_frames - time
    for timeline in split.timelines:  # of which some may have fewer or shorter clips
        columns = slice(timeline.first_neuron, timeline.first_neuron + timeline.n_neurons)
        rows = timeline.rows.reshape(-1, timeline.clip_length)[:, lag:]
        recorded[: len(rows), : rows.shape[1], columns] = tables.responses[rows][..., columns]
    return plot_predictions(
        recorded.reshape(-1, n_neurons)[:TRACKED_FRAMES],
        predicted.reshape(-1, n_neurons)[:TRACKED_FRAMES],
        correlation,
        frame_rate_hz=model.data_info.frame_rate_hz,
        unit=model.data_info.response_unit,
        single_images=model.data_info.single_images,
        small=True,
        names=neuron_titles(model.data_info),
    )
