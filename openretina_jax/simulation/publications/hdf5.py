"""Simulator of folders in the layout of ``sources/hdf5.py``: cells that watch noise in several colours."""

import dataclasses
from pathlib import Path

import h5py
import numpy as np

from openretina_jax.runtime.files import whole_file
from openretina_jax.simulation import spiking
from openretina_jax.simulation.spiking import SpikingNeurons, expected_spikes
from openretina_jax.simulation.truth import (
    TRUTH_FILE,
    Header,
    KnownSession,
    write_header,
    write_recordings,
    write_session,
)
from openretina_jax.simulation.writing import Progress, check_numbers, write_hdf5
from openretina_jax.sources.hdf5 import INFORMATION, RESPONSES, STIMULI_FOLDER, STIMULUS

FRAME_RATE_HZ = 30.0
_SHORTEST_CLIPS = 70
_BLUR = np.array([0.25, 0.5, 0.25])


@dataclasses.dataclass(frozen=True)
class SimulationConfig:
    """Size, seed and options of a simulation.

    Attributes:
        n_sessions: number of sessions; adding sessions does not change the first ones.
        neurons_per_session: number of neurons of each.
        seed: seed of all random numbers.
        n_stimuli: number of movies, "random_noise_0" and so on; each has a clip more than the one before.
        n_repeats: number of repeats of the last two movies, which are tests; the others are shown once.
        clip_length, clips: frames of a clip, and clips of the first movie.
        channels, height, width: size of a frame.
        trials: 1: responses to tests are stored trial by trial; 0: their means are, as in openretina.
        own_stimuli: 1: every session has a first movie of its own, in its file; 0: all share it.
        noise: 1: responses vary from trial to trial; 0: every trial has the expected response, by which the ceiling
            of a score is known.

    Raises:
        UserError: a number is out of range.
    """

    n_sessions: int = 2
    neurons_per_session: int = 15
    seed: int = 0
    n_stimuli: int = 4
    n_repeats: int = 20
    clip_length: int = 75
    clips: int = _SHORTEST_CLIPS
    channels: int = 3
    height: int = 16
    width: int = 8
    trials: int = 0
    own_stimuli: int = 0
    noise: int = 1

    def __post_init__(self) -> None:
        check_numbers(self, {"trials": 0, "own_stimuli": 0, "n_stimuli": 3})


def simulate(folder: Path, config: SimulationConfig, progress: Progress | None = None) -> dict[str, Path]:
    """Write stimuli, a file for each session, and the truth behind them; files of the same name are replaced.

    The truth, ``truth.h5`` beside the folder of the recordings, has a group per session with the parameters and units
    of every neuron (see ``SpikingNeurons`` and ``Scaling``; responses are in spikes per second), the channel that it
    sees, and its mean response to the first movie.

    Args:
        folder: where to write; made if missing.
        config: size, seed and options of the simulation.
        progress: called with (what is simulated, number done, number in all).

    Returns:
        The folder, by the option of ``load_hdf5`` that takes it.
    """
    target = folder / "recordings"
    rng = np.random.default_rng((config.seed, 0))
    movies = {f"random_noise_{number}": _noise(rng, config, number) for number in range(config.n_stimuli)}
    for name, movie in movies.items():
        with whole_file(target / STIMULI_FOLDER / f"{name}.npy") as stream:
            np.save(stream, movie, allow_pickle=False)
    header = Header("spiking", spiking.constants(), (config.height, config.width, config.channels), FRAME_RATE_HZ)
    with whole_file(folder / TRUTH_FILE) as stream, h5py.File(stream, "w") as truth:
        write_header(truth, header)
        if progress is not None:
            progress("simulated sessions", 0, config.n_sessions)
        for number in range(config.n_sessions):
            arrays, known = _recording(np.random.default_rng((config.seed, 1, number)), movies, config)
            write_hdf5(target / f"session_{number}.hdf5", arrays)
            write_session(truth, f"session_{number}", known)
            if progress is not None:
                progress("simulated sessions", number + 1, config.n_sessions)
        write_recordings(truth, target)
    return {"path": target}


def _noise(rng: np.random.Generator, config: SimulationConfig, number: int) -> np.ndarray:
    """Noise (channel, time, height, width) of unit variance, white in time and a little blurred in space."""
    frames = config.clip_length * (config.clips + number)
    noise = rng.standard_normal((config.channels, frames, config.height, config.width))
    for axis in (2, 3):
        noise = sum(weight * np.roll(noise, shift, axis) for weight, shift in zip(_BLUR, (-1, 0, 1), strict=True))
    return (noise / noise.std()).astype(np.float32)


def _recording(
    rng: np.random.Generator, movies: dict[str, np.ndarray], config: SimulationConfig
) -> tuple[dict[str, np.ndarray], KnownSession]:
    """The arrays of a file by their names in it, and the truth behind them."""
    neurons = SpikingNeurons.drawn(
        rng, config.neurons_per_session, height=config.height, width=config.width, centre_sd_px=1.2
    )
    colours = rng.integers(config.channels, size=len(neurons))
    own = {"random_noise_0": _noise(rng, config, 0)} if config.own_stimuli else {}
    shown = movies | own
    of_colour = [
        expected_spikes(neurons, {name: movie[colour] for name, movie in shown.items()}, 1 / FRAME_RATE_HZ)
        for colour in range(config.channels)
    ]
    arrays: dict[str, np.ndarray] = {STIMULUS + name: movie for name, movie in own.items()}
    for number, name in enumerate(shown):
        expected = np.stack([of_colour[colour][0][name][:, n] for n, colour in enumerate(colours)])
        is_test = number >= config.n_stimuli - 2
        drawn = rng.poisson(expected, (config.n_repeats if is_test else 1, *expected.shape))
        trials = (drawn if config.noise else np.broadcast_to(expected, drawn.shape)) * FRAME_RATE_HZ
        values = trials if is_test and config.trials else trials.mean(axis=0)
        arrays[RESPONSES + name] = values.astype(np.float32)
    units = {
        unit: np.array([getattr(of_colour[colour][1], unit)[n] for n, colour in enumerate(colours)])
        for unit in ("drive_mean", "drive_scale", "gain")
    }
    parameters = vars(neurons) | units | {"gain": units["gain"] * FRAME_RATE_HZ, "channel": colours}
    parameters["mean_response"] = neurons.mean_rate_hz
    arrays |= {f"{INFORMATION}/celltypes": colours, f"{INFORMATION}/species": np.array(b"simulated")}
    return arrays, KnownSession(parameters, {"celltypes": colours})
