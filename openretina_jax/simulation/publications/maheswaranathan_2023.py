"""Simulator of files in the published format of Maheswaranathan et al. 2023.

The format: ``ganglion_cell_data/<session>/naturalscene.h5`` and ``whitenoise.h5`` with ``stimulus (time, height,
width)`` and ``response/firing_rate_<smoothing>ms (neuron, time)`` below ``train`` and ``test``, with 100 frames per
second. Repeats lie below ``test/repeats``: in the files of every second session as one array ``(repeat, neuron, time)``
per smoothing, in the others as an array ``(repeat, time)`` per neuron, "cell01" and so on; both are in use. The test
responses to white noise have one bin more than its frames, as published.
"""

import dataclasses
from pathlib import Path

import numpy as np

from openretina_jax.simulation import scenes
from openretina_jax.simulation.spiking import SpikingNeurons, drawn_spikes, expected_spikes
from openretina_jax.simulation.writing import Progress, check_numbers, repeats_by_cell, write_hdf5
from openretina_jax.sources.maheswaranathan_2023 import FOLDER, FRAME_RATE_HZ, RESPONSE_TYPES, STIMULI

_PUBLISHED_REPEATS = "firing_rate_10ms"  # smoothing of the repeats that are stored per neuron
_CENTRE_SD_PX = 2.0  # pixels of 50 µm
_FRAMES_PER_SCENE, _FRAMES_PER_JITTER, _FRAMES_PER_CHECKERBOARD = 100, 3, 3


@dataclasses.dataclass(frozen=True)
class SimulationConfig:
    """Size, seed and options of a simulation.

    Attributes:
        n_sessions: number of sessions; all saw the same movies, and adding sessions does not change the first ones.
        neurons_per_session: number of neurons of each.
        seed: seed of all random numbers.
        seconds, test_seconds: durations of the training and of the test movie.
        n_repeats: number of repeats of the test movie.
        side: pixels of a frame along each side.
        noise: 1: responses vary from trial to trial; 0: every trial has the expected response, by which the ceiling
            of a score is known.

    Raises:
        UserError: a number is out of range.
    """

    n_sessions: int = 3
    neurons_per_session: int = 10
    seed: int = 0
    seconds: int = 300
    test_seconds: int = 20
    n_repeats: int = 6
    side: int = 50
    noise: int = 1

    def __post_init__(self) -> None:
        check_numbers(self)


def simulate(folder: Path, config: SimulationConfig, progress: Progress | None = None) -> dict[str, Path]:
    """Write the files of all sessions; files of the same name are replaced.

    Args:
        folder: where to write; made if missing.
        config: size, seed and options of the simulation.
        progress: called with (what is simulated, number done, number in all).

    Returns:
        The folder, by the option of ``load_maheswaranathan_2023`` that takes it.
    """
    target = folder / "neural_code_data"
    movies = {kind: {split: _movie(kind, split, config) for split in ("train", "test")} for kind in STIMULI}
    if progress is not None:
        progress("simulated sessions", 0, config.n_sessions)
    for number in range(config.n_sessions):
        rng = np.random.default_rng((config.seed, 1, number))
        neurons = SpikingNeurons.drawn(
            rng, config.neurons_per_session, height=config.side, width=config.side, centre_sd_px=_CENTRE_SD_PX
        )
        session = target / FOLDER / f"15-10-{number + 1:02d}"
        for kind in STIMULI:
            arrays = _recording(rng, neurons, kind, movies[kind], config, by_response_type=number % 2 == 1)
            write_hdf5(session / f"{kind}.h5", arrays)
        if progress is not None:
            progress("simulated sessions", number + 1, config.n_sessions)
    return {"path": target}


def _movie(kind: str, split: str, config: SimulationConfig) -> np.ndarray:
    rng = np.random.default_rng((config.seed, 0, STIMULI.index(kind), split == "test"))
    n_frames = round((config.test_seconds if split == "test" else config.seconds) * FRAME_RATE_HZ)
    if kind == "whitenoise":
        return scenes.checkerboards(rng, n_frames, config.side, hold=_FRAMES_PER_CHECKERBOARD)
    return scenes.jittered_scenes(
        rng, n_frames, config.side, frames_per_scene=_FRAMES_PER_SCENE, hold=_FRAMES_PER_JITTER
    )


def _recording(
    rng: np.random.Generator,
    neurons: SpikingNeurons,
    kind: str,
    movies: dict[str, np.ndarray],
    config: SimulationConfig,
    by_response_type: bool,
) -> dict[str, np.ndarray]:
    """The arrays of a file by their names in it."""
    expected, _ = expected_spikes(neurons, movies, 1 / FRAME_RATE_HZ)
    spikes, trials = drawn_spikes(rng, expected["train"], expected["test"], config.n_repeats, config.noise)
    if kind == "whitenoise":
        trials = np.pad(trials, ((0, 0), (0, 1), (0, 0)), mode="edge")
    arrays = {f"{split}/stimulus": movie for split, movie in movies.items()}
    for response_type in RESPONSE_TYPES:
        repeats = _smoothed(trials.transpose(0, 2, 1), response_type)
        arrays[f"train/response/{response_type}"] = _smoothed(spikes.T, response_type)
        arrays[f"test/response/{response_type}"] = repeats.mean(axis=0)
        if by_response_type:
            arrays[f"test/repeats/{response_type}"] = repeats
        elif response_type == _PUBLISHED_REPEATS:
            arrays |= repeats_by_cell(repeats.transpose(0, 2, 1))
    return arrays


def _smoothed(spikes: np.ndarray, response_type: str) -> np.ndarray:
    """Firing rates: binned spikes smoothed by a Gaussian, whose standard deviation is in the name of the type."""
    from scipy.ndimage import gaussian_filter1d  # takes a second, and configurations read our options

    deviation_s = float(response_type.removeprefix("firing_rate_").removesuffix("ms")) / 1000
    return gaussian_filter1d(spikes * FRAME_RATE_HZ, deviation_s * FRAME_RATE_HZ, axis=-1).astype(np.float32)
