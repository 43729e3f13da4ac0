"""Movies of the trials of Sridhar et al. 2025, and the files that hold them."""

import itertools
from collections.abc import Mapping
from pathlib import Path
from typing import TypeVar

import numpy as np
from jaxtyping import Int64

from openretina_jax.errors import UserError
from openretina_jax.sources.movie_cache import Movie
from openretina_jax.sources.sridhar_2025.movies import (
    Crop,
    Fixations,
    Screen,
    fixation_movie,
    noise_movie,
    read_fixations,
)

TEST_LINES = 5100  # lines of the test movie in a fixation file; those of the first trial follow
IMAGES = "stimuli_padded_4/*_img_*.npy"
_BOTH_SEEDS = "fixations/complete_fixations_seed_2022and2023_s4_fixed.txt"
FIXATION_FILES = {
    "01": _BOTH_SEEDS,
    "02": "fixations/complete_fixations_seed2022_s4.txt",
    "03": _BOTH_SEEDS,
    "04": _BOTH_SEEDS,
}
NOISE = {"01": "1", "02": "1", "03": "1", "04": "2"}  # sequence of white noise by retina

_T = TypeVar("_T")


class NaturalMovies:
    """Natural movies: images around simulated fixations.

    Methods raise UserError if a file is missing or damaged, or a retina has no movies.

    Args:
        folder: folder of the images and of the text files of fixations.
        fixation_files: text file by retina: lines of the test movie, and then those of all trials.
        screen: where the images were shown.
        opposite_flips: see ``read_fixations``.

    Raises:
        UserError: there are no images.
    """

    def __init__(self, folder: Path, fixation_files: Mapping[str, str], screen: Screen, opposite_flips: bool):
        self._folder, self._files, self._screen, self._opposite = folder, fixation_files, screen, opposite_flips
        self._read: dict[str, Fixations] = {}
        self._images = sorted(folder.glob(IMAGES))
        if not self._images:
            raise UserError(f"{folder}: has no images {IMAGES}; is it the folder of the natural movie?")

    def _of_retina(self, retina: str) -> Fixations:
        file = of_retina(self._files, retina, "fixation file")
        if file not in self._read:
            self._read[file] = read_fixations(self._folder / file, self._opposite)
        fixations = self._read[file]
        if len(fixations) < TEST_LINES:
            raise UserError(
                f"{self._folder / file}: has {len(fixations)} lines, but the test movie alone takes {TEST_LINES}"
            )
        return fixations

    def n_trials(self, retina: str, frames: int) -> int:
        """Count the trials of that many frames whose movies are in the folder."""
        return (len(self._of_retina(retina)) - TEST_LINES) // frames

    def train(self, retina: str, trials: Int64[np.ndarray, " trial"], frames: int, crop: Crop) -> Movie:
        """Return the movie of these trials, one after another."""
        lines = TEST_LINES + (trials[:, None] * frames + np.arange(frames)).ravel()
        return fixation_movie(self._images, self._of_retina(retina)[lines], self._screen, crop)

    def test(self, retina: str, frames: int, crop: Crop) -> Movie:
        """Return the test movie."""
        if frames > TEST_LINES:
            raise UserError(f"{retina}: test responses have {frames} frames, but the test movie has {TEST_LINES}")
        return fixation_movie(self._images, self._of_retina(retina)[:frames], self._screen, crop)


class NoiseMovies:
    """White noise; methods raise errors as those of ``NaturalMovies``.

    Args:
        folder: folder of the trials, and of the repeated noise.
    """

    def __init__(self, folder: Path):
        self._folder = folder

    def _trial(self, retina: str, trial: int) -> Path:
        sequence = of_retina(NOISE, retina, "white noise")
        return self._folder / f"non_repeating_stimuli_{sequence}" / f"trial_{trial:03d}" / "all_images.npy"

    def n_trials(self, retina: str, frames: int) -> int:
        """Count the trials of that many frames whose movies are in the folder."""
        del frames
        return next(trial for trial in itertools.count() if not self._trial(retina, trial).exists())

    def train(self, retina: str, trials: Int64[np.ndarray, " trial"], frames: int, crop: Crop) -> Movie:
        """Return the movie of these trials, one after another."""
        return noise_movie([self._trial(retina, trial) for trial in trials.tolist()], frames, crop)

    def test(self, retina: str, frames: int, crop: Crop) -> Movie:
        """Return the test movie."""
        sequence = of_retina(NOISE, retina, "white noise")
        return noise_movie([self._folder / f"repeating_stimuli_{sequence}" / "all_images.npy"], frames, crop)


Movies = NaturalMovies | NoiseMovies


def of_retina(by_retina: Mapping[str, _T], retina: str, what: str) -> _T:
    """Look up the entry of a retina.

    Raises:
        UserError: there is none.
    """
    if retina not in by_retina:
        raise UserError(f'retina "{retina}" has no {what}; choose among {", ".join(sorted(by_retina))}')
    return by_retina[retina]
