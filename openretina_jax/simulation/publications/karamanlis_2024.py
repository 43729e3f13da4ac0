"""Simulator of files in the published format of Karamanlis et al. 2024.

The format: a folder per session with a file ``..._fixationmovie_data.mat`` (HDF5), which holds photographs, traces of
gaze, and spike counts per frame, all with the axes in MATLAB's order. The number and size of the photographs, and the
lengths of the parts of the stimulus, are options here.
"""

import dataclasses
from pathlib import Path

import numpy as np

from openretina_jax.data.conversion import check_choice
from openretina_jax.simulation.scenes import gaze, natural_images
from openretina_jax.simulation.spiking import SpikingNeurons, drawn_spikes, expected_spikes
from openretina_jax.simulation.writing import Progress, check_numbers, write_hdf5
from openretina_jax.sources.karamanlis_2024 import FRAME_RATE_HZ
from openretina_jax.sources.karamanlis_2024_movies import SCREEN, render

_SEEN_PX = (60, 80)  # height and width of the movie as the cells see it
_CENTRE_PX = 1.5
_MEAN_RATES_HZ = (10.0, 30.0)


@dataclasses.dataclass(frozen=True)
class SimulationConfig:
    """Size, seed and options of a simulation.

    Attributes:
        n_sessions: number of sessions; all saw the same movie, and adding sessions does not change the first ones.
        neurons_per_session: number of neurons of each.
        seed: seed of all random numbers.
        species: "mouse" (75 frames per second) or "marmoset" (85).
        n_blocks, block_frames: number of running parts, and frames of each.
        n_trials, frozen_frames: number of presentations of the frozen part, and its frames.
        n_images, image_height, image_width: number of photographs for each of the two parts, and their size in pixels,
            at least that of the screen.
        noise: 1: responses vary from trial to trial; 0: every trial has the expected response, by which the ceiling
            of a score is known. Counts are then no bytes.

    Raises:
        UserError: a number is out of range.
    """

    n_sessions: int = 2
    neurons_per_session: int = 30
    seed: int = 0
    species: str = "mouse"
    n_blocks: int = 20
    block_frames: int = 1500
    n_trials: int = 20
    frozen_frames: int = 900
    n_images: int = 20
    image_height: int = 1000
    image_width: int = 1200
    noise: int = 1

    def __post_init__(self) -> None:
        check_numbers(self, {"image_height": SCREEN[0], "image_width": SCREEN[1]})
        check_choice("species", self.species, FRAME_RATE_HZ)


def simulate(folder: Path, config: SimulationConfig, progress: Progress | None = None) -> dict[str, Path]:
    """Write a folder of sessions; those of the same name are replaced.

    Args:
        folder: where to write; made if missing.
        config: size, seed and options of the simulation.
        progress: called with (what is simulated, number done, number in all).

    Returns:
        The folder, by the option of ``load_karamanlis_2024`` that takes it.
    """
    stimulus = _stimulus(config)
    movies = {
        "running": _seen(stimulus["runningImages"], stimulus["runningfixations"].reshape(-1, 3)),
        "frozen": _seen(stimulus["frozenImages"], stimulus["frozenfixations"]),
    }
    sessions = folder / "sessions"
    if progress is not None:
        progress("simulated sessions", 0, config.n_sessions)
    for index in range(config.n_sessions):
        rng = np.random.default_rng((config.seed, 1, index))
        neurons = SpikingNeurons.drawn(
            rng,
            config.neurons_per_session,
            height=_SEEN_PX[0],
            width=_SEEN_PX[1],
            centre_sd_px=_CENTRE_PX,
            mean_rates_hz=_MEAN_RATES_HZ,
        )
        expected, _ = expected_spikes(neurons, movies, 1 / FRAME_RATE_HZ[config.species])
        running, frozen = drawn_spikes(rng, expected["running"], expected["frozen"], config.n_trials, config.noise)
        stored = np.uint8 if config.noise else np.float32
        name = f"session_{index + 1}_{config.species}"
        write_hdf5(
            sessions / name / f"{name}_fixationmovie_data.mat",
            {
                **stimulus,
                "runningbin": running.reshape(config.n_blocks, config.block_frames, -1).astype(stored),
                "frozenbin": frozen.astype(stored),
            },
        )
        if progress is not None:
            progress("simulated sessions", index + 1, config.n_sessions)
    return {"path": sessions}


def _stimulus(config: SimulationConfig) -> dict[str, np.ndarray]:
    """The published arrays of photographs and gaze."""
    arrays = {}
    rate_hz = FRAME_RATE_HZ[config.species]
    sizes = {"running": config.n_blocks * config.block_frames, "frozen": config.frozen_frames}
    for part, n_frames in sizes.items():
        rng = np.random.default_rng((config.seed, 0, n_frames))
        images = natural_images(rng, config.n_images, config.image_height, config.image_width)
        fixations = gaze(
            rng,
            n_frames,
            rate_hz,
            image_frames=round(rate_hz),
            n_images=config.n_images,
            columns=(SCREEN[1] // 2, config.image_width - SCREEN[1] // 2),
            rows=(SCREEN[0] // 2, config.image_height - SCREEN[0] // 2),
        )
        arrays[f"{part}Images"] = np.ascontiguousarray(images.transpose(0, 2, 1))
        arrays[f"{part}fixations"] = fixations
    arrays["runningfixations"] = arrays["runningfixations"].reshape(config.n_blocks, config.block_frames, 3)
    return {name: array.astype(np.float64) if name.endswith("fixations") else array for name, array in arrays.items()}


def _seen(images: np.ndarray, fixations: np.ndarray) -> np.ndarray:
    """The movie as the cells see it, in bytes to save memory."""
    whole = fixations.astype(np.int64)
    return np.concatenate([np.rint(frames[..., 0]).astype(np.uint8) for frames in render(images, whole, _SEEN_PX)])
