"""Simulator of folders in the published layout of Sridhar et al. 2025.

Retinas "01", "02" and so on watch a natural movie or white noise. The movie consists of drifting textures around
simulated fixations; seeds change every ten trials, and the tenth trial of a seed shows the frames of its first again.
A retina has the same cells in both; the first two respond to nothing. The spike-triggered averages beside the movie are
those of white noise without end, with a little noise added. Compared with them, the natural movie is mirrored left to
right.
"""

import dataclasses
import pickle
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from jaxtyping import Float32, Int64

from openretina_jax.data.conversion import check_choice
from openretina_jax.runtime.files import whole_file, whole_folder
from openretina_jax.simulation import spiking
from openretina_jax.simulation.scenes import spatial_frequencies
from openretina_jax.simulation.spiking import SpikingNeurons, expected_spikes
from openretina_jax.simulation.truth import (
    TRUTH_FILE,
    Header,
    KnownSession,
    write_header,
    write_recordings,
    write_session,
)
from openretina_jax.simulation.writing import Progress, check_numbers
from openretina_jax.sources.sridhar_2025.movies import Crop, Screen
from openretina_jax.sources.sridhar_2025.sessions import FRAME_RATE_HZ, PUBLISHED, RESPONSES, STA_PATTERN
from openretina_jax.sources.sridhar_2025.stimuli import (
    FIXATION_FILES,
    IMAGES,
    NOISE,
    TEST_LINES,
    Movies,
    NaturalMovies,
    NoiseMovies,
)

N_UNRELIABLE = 2  # cells of every retina without a receptive field

_SEEDS = (2022, 2023)
_SEED_TRIALS = 10
_OTHER_TESTS = "01"  # the second half of its test trials followed another movie
_IMAGE_FRAMES = 3  # frames of the screen for one of the film
_SCENE_IMAGES = 10
_DRIFT_PX = 0.3  # per frame
_STA_FRAMES = 30
_STA_NOISE = 0.02  # relative to the largest value
_FIXATION_S = 0.3


@dataclasses.dataclass(frozen=True)
class SimulationConfig:
    """Size, seed and options of a simulation.

    Attributes:
        stimulus: "natural_movie" or "white_noise".
        n_sessions: number of retinas, at most 4; the second has one seed, and so half the trials.
        neurons_per_session: number of cells of each, at least 3.
        n_trials: number of trials of the retinas with both seeds.
        frames_per_trial: frames of a trial.
        test_frames: frames of the test movie, at most 5100.
        test_trials: number of its repeats.
        height, width: size of the screen in pixels.
        padding: border of the images of the natural movie, in pixels.
        margin_rows, margin_columns: pixels at each side of the screen without receptive-field centres.
        n_images: number of images of the natural movie.
        centre_sd_px: typical size of a receptive field's centre.
        seed: seed of all random numbers.
        noise: 1: responses vary from trial to trial; 0: every trial has the expected response, by which the ceiling
            of a score is known.

    Raises:
        UserError: a number is out of range.
    """

    stimulus: str = "natural_movie"
    n_sessions: int = 4
    neurons_per_session: int = 12
    n_trials: int = 20
    frames_per_trial: int = 600
    test_frames: int = 850
    test_trials: int = 20
    height: int = 150
    width: int = 200
    padding: int = 50
    margin_rows: int = 35
    margin_columns: int = 55
    n_images: int = 120
    centre_sd_px: float = 3.0
    seed: int = 0
    noise: int = 1

    def __post_init__(self) -> None:
        check_choice("stimulus", self.stimulus, PUBLISHED)
        least = {"neurons_per_session": N_UNRELIABLE + 1, "margin_rows": 0, "margin_columns": 0}
        check_numbers(self, least, most={"n_sessions": len(FIXATION_FILES), "test_frames": TEST_LINES})
        self.crop.slices(self.height, self.width)

    @property
    def screen(self) -> Screen:
        """Screen of the natural movie."""
        return Screen(self.height, self.width, self.padding)

    @property
    def crop(self) -> Crop:
        """Screen without its margins."""
        return Crop(self.margin_rows, self.margin_rows, self.margin_columns, self.margin_columns)

    @property
    def retinas(self) -> tuple[str, ...]:
        """Names of the sessions."""
        return tuple(FIXATION_FILES)[: self.n_sessions]


def simulate(folder: Path, config: SimulationConfig, progress: Progress | None = None) -> dict[str, Path]:
    """Write movies, responses, spike-triggered averages and the truth; files of the same name are replaced.

    The truth, ``truth.h5`` beside the folder of the stimulus, has a group per retina with the parameters and units of
    every cell (see ``SpikingNeurons`` and ``Scaling``) on the cropped screen, as the movie shows it.

    Args:
        folder: where to write; made if missing.
        config: size, seed and options of the simulation.
        progress: called with (what is simulated, number done, number in all).

    Returns:
        The folder, by the option of ``load_sridhar_2025`` that takes it.
    """
    header = Header(
        "spiking",
        spiking.constants(),
        (*config.crop.size(config.height, config.width), 1),
        FRAME_RATE_HZ,
        identity="cell_index",
    )
    with (
        whole_file(folder / TRUTH_FILE) as stream,
        h5py.File(stream, "w") as truth,
        whole_folder(folder / config.stimulus) as work,
    ):
        write_header(truth, header)
        movies: Movies
        if config.stimulus == "natural_movie":
            _write_film(np.random.default_rng((config.seed, 0)), work, config)
            movies = NaturalMovies(work, FIXATION_FILES, config.screen, opposite_flips=False)
        else:
            _write_noise(np.random.default_rng((config.seed, 1)), work, config)
            movies = NoiseMovies(work)
        if progress is not None:
            progress("simulated retinas", 0, config.n_sessions)
        for number, retina in enumerate(config.retinas):
            write_session(truth, retina, _simulate_retina(work, config, movies, retina, number))
            if progress is not None:
                progress("simulated retinas", number + 1, config.n_sessions)
        write_recordings(truth, work)
    return {"path": folder / config.stimulus}


def _simulate_retina(work: Path, config: SimulationConfig, movies: Movies, retina: str, number: int) -> KnownSession:
    """Write the responses and the averages of one retina, and tell the truth behind them."""
    rng = np.random.default_rng((config.seed, 2, number))
    height, width = config.crop.size(config.height, config.width)
    cells = SpikingNeurons.drawn(
        rng, config.neurons_per_session, height=height, width=width, centre_sd_px=config.centre_sd_px
    )
    _write_stas(rng, work / "stas", retina, cells, config)
    natural = config.stimulus == "natural_movie"
    if natural:
        column = width - 1 - cells.centre_px[:, 1]
        cells = dataclasses.replace(cells, centre_px=np.stack([cells.centre_px[:, 0], column], axis=1))
    both = natural and retina != "02"
    n_trials = config.n_trials if both or not natural else min(config.n_trials, _SEED_TRIALS)
    train = movies.train(retina, np.arange(n_trials), config.frames_per_trial, config.crop)
    test = movies.test(retina, config.test_frames, config.crop)
    rates, scaling = expected_spikes(cells, {"train": train[..., 0], "test": test[..., 0]}, 1 / FRAME_RATE_HZ)
    for rate in rates.values():
        rate[:, :N_UNRELIABLE] = rates["train"][:, :N_UNRELIABLE].mean(axis=0)
    shown = np.repeat(rates["test"].T[..., None], config.test_trials, axis=2)
    if both and retina == _OTHER_TESTS:
        half = config.test_trials - config.test_trials // 2
        shown[..., half:] = np.roll(shown[..., half:], config.test_frames // 2, axis=1)
    trials = rates["train"].reshape(n_trials, config.frames_per_trial, -1)
    expected = {"train_responses": trials.transpose(2, 1, 0), "test_responses": shown}
    content: dict[str, Any] = {
        name: (rng.poisson(mean) if config.noise else mean).astype(np.float64) for name, mean in expected.items()
    }
    if both:
        of_seed = np.arange(n_trials) // _SEED_TRIALS
        content["seeds"] = list(_SEEDS[: of_seed.max() + 1])
        content["trial_separation"] = {
            seed: np.flatnonzero(of_seed == place).tolist() for place, seed in enumerate(content["seeds"])
        }
    file = work / RESPONSES[config.stimulus].format(retina=retina)
    file.parent.mkdir(parents=True, exist_ok=True)
    with file.open("wb") as stream:
        pickle.dump(content, stream, protocol=4)
    return _truth(cells, scaling, rates["train"].mean(axis=0))


def _truth(cells: SpikingNeurons, scaling: spiking.Scaling, mean_response: np.ndarray) -> KnownSession:
    """Parameters of the cells, of which the first have no receptive field."""
    silent = np.arange(len(cells)) < N_UNRELIABLE
    resting = np.logaddexp(0, -spiking.OUTPUT_SLOPE * cells.threshold)  # output to no drive
    parameters = vars(cells) | {
        "polarity": np.where(silent, 0, cells.polarity),
        "drive_mean": np.where(silent, 0, scaling.drive_mean),
        "drive_scale": np.where(silent, 1, scaling.drive_scale),
        "gain": np.where(silent, mean_response / resting, scaling.gain),
        "channel": np.zeros(len(cells), np.int64),
        "mean_response": mean_response,
    }
    return KnownSession(parameters, {"cell_index": np.arange(len(cells))})


def _write_stas(
    rng: np.random.Generator, folder: Path, retina: str, cells: SpikingNeurons, config: SimulationConfig
) -> None:
    """Write the spike-triggered averages on the whole screen: the weights of every cell in space and time."""
    folder.mkdir(parents=True, exist_ok=True)
    corner = (config.margin_rows, config.margin_columns)
    fields = dataclasses.replace(cells, centre_px=cells.centre_px + corner).receptive_fields(
        config.height, config.width
    )
    kernels = cells.temporal_kernels(FRAME_RATE_HZ)[:_STA_FRAMES][::-1]
    for cell in range(len(cells)):
        sta = np.multiply.outer(kernels[:, cell], fields[..., cell]).astype(np.float32)
        if cell < N_UNRELIABLE:
            sta[:] = 0
        noise = _STA_NOISE * np.abs(kernels[:, cell]).max() * np.abs(fields[..., cell]).max()
        sta += noise * rng.standard_normal(sta.shape, np.float32)
        np.save(folder / STA_PATTERN.format(retina=retina, cell=cell), sta)


def _write_film(rng: np.random.Generator, work: Path, config: SimulationConfig) -> None:
    """Write the images and the fixations of the natural movie."""
    _write_images(rng, work / Path(IMAGES).parent, config)
    lines = TEST_LINES + config.n_trials * config.frames_per_trial
    fixations = _fixations(rng, lines, config)
    for first in range(0, config.n_trials - _SEED_TRIALS + 1, _SEED_TRIALS):
        again = fixations[TEST_LINES + first * config.frames_per_trial :][: config.frames_per_trial]
        fixations[TEST_LINES + (first + _SEED_TRIALS - 1) * config.frames_per_trial :][: config.frames_per_trial] = (
            again
        )
    first_seed = TEST_LINES + min(config.n_trials, _SEED_TRIALS) * config.frames_per_trial
    for file, end in ((FIXATION_FILES["01"], lines), (FIXATION_FILES["02"], first_seed)):
        (work / file).parent.mkdir(parents=True, exist_ok=True)
        text = "".join(f"{image} 0.0 11.8 {x} {y} {flag}\n" for image, x, y, flag in fixations[:end].tolist())
        (work / file).write_text(text, encoding="utf-8")


def _write_images(rng: np.random.Generator, folder: Path, config: SimulationConfig) -> None:
    """Write drifting textures with the spectrum of natural images, a new one every few images."""
    folder.mkdir(parents=True)
    size = (config.width + config.padding, config.height + config.padding)
    texture, velocity = np.empty(0), np.zeros(2)
    for number in range(config.n_images):
        if number % _SCENE_IMAGES == 0:
            texture, velocity = _texture(rng, size), rng.normal(0, 2, 2)
        shift = np.round(velocity * (number % _SCENE_IMAGES)).astype(int)
        image = np.pad(np.roll(texture, shift, axis=(0, 1)), config.padding)
        np.save(folder / f"{number:05d}_img_{10000 + number}.npy", image)


def _texture(rng: np.random.Generator, size: tuple[int, int]) -> Float32[np.ndarray, "x y"]:
    """Grey levels from 0 to 255 whose amplitude falls with the inverse of spatial frequency."""
    spectrum = np.fft.rfft2(rng.standard_normal(size)) / spatial_frequencies(*size)
    texture = np.fft.irfft2(spectrum, size)
    return np.clip(127.5 + 50 * texture / texture.std(), 0, 255).astype(np.float32)


def _fixations(rng: np.random.Generator, count: int, config: SimulationConfig) -> Int64[np.ndarray, "time 4"]:
    """Image, x, y and flag of every frame: fixations with small drifts, each at another place of the image."""
    new = rng.random(count) < 1 / (_FIXATION_S * FRAME_RATE_HZ)
    new[0] = True
    fixation = np.cumsum(new) - 1
    middle = np.array([config.width, config.height]) / 2
    centres = middle + config.padding * rng.uniform(-0.5, 1.5, (fixation[-1] + 1, 2))
    drift = np.cumsum(rng.normal(0, _DRIFT_PX, (count, 2)), axis=0)
    start = np.maximum.accumulate(np.where(new, np.arange(count), 0))
    places = centres[fixation] + drift - drift[start]
    # the border of the images holds what the screen shows beyond them
    places = np.clip(np.floor(places), middle - config.padding, middle + 2 * config.padding)
    image = np.arange(count) // _IMAGE_FRAMES % config.n_images
    flag = (rng.random(fixation[-1] + 1) < 0.5)[fixation]
    return np.column_stack([image, places, flag]).astype(np.int64)


def _write_noise(rng: np.random.Generator, work: Path, config: SimulationConfig) -> None:
    """Write white noise: pixels of -1 and 1."""

    def write(folder: str, frames: int) -> None:
        (work / folder).mkdir(parents=True)
        white = rng.integers(0, 2, (config.height, config.width, frames), np.int8)
        np.save(work / folder / "all_images.npy", 2 * white - 1)

    for sequence in sorted({NOISE[retina] for retina in config.retinas}):
        for trial in range(config.n_trials):
            write(f"non_repeating_stimuli_{sequence}/trial_{trial:03d}", config.frames_per_trial)
        write(f"repeating_stimuli_{sequence}", config.test_frames)
