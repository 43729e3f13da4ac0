"""A small simulated retina with its file, without recordings: two sessions, of a right and of a left eye."""

import dataclasses
import functools
from pathlib import Path

import h5py
import numpy as np

from openretina_jax.data.info import DataInfo
from openretina_jax.insilico.truth import truth_model
from openretina_jax.simulation import retina
from openretina_jax.simulation.retina import CELL_TYPES, Neurons, Retina
from openretina_jax.simulation.truth import TRUTH_FILE, Header, KnownSession, write_header, write_session

FRAMES, NEURONS = 70, 7
ROI_IDS = np.arange(1, NEURONS + 1) * 3
KEPT = {"second": [21, 6], "first": [9, 3, 18]}  # sessions and ROIs of a trained model, in its order
_DIRECTIONAL = [number for number, kind in enumerate(CELL_TYPES) if kind.directional]


@functools.cache
def clips() -> np.ndarray:
    """Grey, and then clips of noise (clip, frame, channel, height, width) whose contrast changes; not to be changed."""
    rng = np.random.default_rng(0)
    noise = rng.standard_normal((3, FRAMES, 2, 18, 16)) * rng.uniform(0.5, 2, (3, FRAMES, 1, 1, 1))
    return np.concatenate([np.zeros((1, *noise.shape[1:])), noise]).astype(np.float32)


def as_stimulus(clip: np.ndarray) -> np.ndarray:
    """A clip with the axes of a stimulus (time, height, width, channel)."""
    return np.moveaxis(clip, 1, -1)


@functools.cache
def simulated() -> dict[str, tuple[np.ndarray, KnownSession]]:
    """Rates (time, neuron) to the clips in their order, and the truth, by session; neurons of nearly all types."""
    eye, found = Retina({"natural": clips()}), {}
    for number, name in enumerate(("first", "second")):
        drawn = Neurons.drawn(np.random.default_rng(number), np.random.default_rng(9).uniform(6, 10, (NEURONS, 2)))
        kinds = np.arange(NEURONS) * 2 - number + 1
        directions = np.where(np.isin(kinds, _DIRECTIONAL), 90 * (1 + number), 0)
        neurons = dataclasses.replace(drawn, cell_type=kinds % len(CELL_TYPES), direction_deg=directions)
        rates, scaling = eye.rates(neurons, {"natural": np.arange(4)}, mirrored=number == 1)
        parameters = vars(neurons) | vars(scaling) | {"mean_response": rates["natural"].mean(axis=0)}
        parameters["cell_type"] = np.array([CELL_TYPES[kind].name.encode() for kind in neurons.cell_type])
        groups = np.array([CELL_TYPES[kind].groups[0] for kind in neurons.cell_type])
        recorded = {"roi_id": ROI_IDS, "cell_type": groups}
        found[name] = (rates["natural"], KnownSession(parameters, recorded, mirrored=number == 1))
    return found


def write(folder: Path) -> Path:
    """Write the file of the truth into a folder, and give its path."""
    with h5py.File(folder / TRUTH_FILE, "w") as file:
        write_header(file, Header("retina", retina.constants(), (18, 16, 2), 30.0, identity="roi_id"))
        for name, (_, session) in simulated().items():
            write_session(file, name, session)
    return folder / TRUTH_FILE


def info_of_trained_model(path: Path) -> DataInfo:
    """Facts of a model of some of the neurons, in an order of its own."""
    known = truth_model(path).data_info
    place = {roi: row for row, roi in enumerate(ROI_IDS.tolist())}
    groups = {name: known.neurons[name]["cell_type"] for name in KEPT}
    return dataclasses.replace(
        known,
        sessions={name: len(rois) for name, rois in KEPT.items()},
        neurons={
            name: {"roi_id": rois, "cell_type": [groups[name][place[roi]] for roi in rois]}
            for name, rois in KEPT.items()
        },
    )
