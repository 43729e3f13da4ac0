"""Marmoset retinal ganglion cells watching natural movies and white noise (Sridhar et al. 2025,
doi:10.1371/journal.pcbi.1014157; recordings: doi:10.12751/g-node.3dfiti).

A session is one of four retinas on a multielectrode array. It saw trials, each another part of a movie, and between
them a test movie that is the same in all trials. The natural movie is a film around simulated fixations: images, and
text files with one fixation per frame. White noise is a folder per trial. The spike-triggered averages of all cells,
from white noise, lie beside them.
"""

import dataclasses
import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float32

from openretina_jax.data.dataset import Dataset, Session, Stimulus
from openretina_jax.data.sta import load_sta
from openretina_jax.errors import UserError
from openretina_jax.sources import SOURCES
from openretina_jax.sources.folders import HubFolder, fetch_folder
from openretina_jax.sources.movie_cache import Movie
from openretina_jax.sources.sridhar_2025.movies import Crop, Screen
from openretina_jax.sources.sridhar_2025.responses import UNRELIABLE_CELLS, Recording, TrialSplit, read_recording
from openretina_jax.sources.sridhar_2025.stimuli import FIXATION_FILES, Movies, NaturalMovies, NoiseMovies, of_retina

FRAME_RATE_HZ = 85.0
PIXEL_SIZE_UM = 30.0
STA_PATTERN = "cell_data_{retina}_WN_stas_cell_{cell}.npy"

PUBLISHED = {
    "natural_movie": HubFolder("open-retina/open-retina", "gollisch_lab/sridhar_2025/marmoset/natural_movie"),
    "white_noise": HubFolder("open-retina/open-retina", "gollisch_lab/sridhar_2025/marmoset/whitenoise"),
}
RETINAS = {"natural_movie": ("01", "02", "03", "04"), "white_noise": ("01", "02", "04")}
RESPONSES = {
    "natural_movie": "responses/cell_responses_{retina}_fixation_movie.pkl",
    "white_noise": "responses/cell_responses_{retina}_wn.pkl",
}
CROP = (35, 35, 55, 55)  # pixels at the top, bottom, left and right

_MIRRORS = {None: slice(None), "left_right": slice(None), "up_down": slice(None, None, -1)}  # of an STA's rows

_log = logging.getLogger(__name__)


@SOURCES("sridhar_2025")
def load_sridhar_2025(
    path: HubFolder | str | Path | None = None,
    *,
    stimulus: str = "natural_movie",
    retinas: Sequence[str] | None = None,
    cell_index: int | None = None,
    excluded_cells: Mapping[str, Sequence[int]] | None = None,
    stimulus_seed: int | None = None,
    split: TrialSplit | None = None,
    screen: Screen | None = None,
    crops: Mapping[str, tuple[int, int, int, int]] | None = None,
    subsample: int = 1,
    fixation_files: Mapping[str, str] | None = None,
    opposite_flips: bool = False,
    response_delay: int = 0,
    sta_mirror: str | None = None,
) -> Dataset:
    """Movies and the spike counts of all cells, frame by frame.

    A trial is a clip, so that validation takes whole trials. Sessions that saw the same trials of the same movie, and
    keep the same ones for validation, share a stimulus. Trials that the stimulus files do not hold are left out with a
    warning.

    Args:
        path: a folder or zip archive of the published layout (None: the published one).
        stimulus: "natural_movie" or "white_noise".
        retinas: names of the sessions (None: those of the published models).
        cell_index: the only cell of each retina that is taken (None: all but the excluded ones).
        excluded_cells: by retina (None: those with unreliable responses, as for the published models).
        stimulus_seed: take the trials of one seed of the natural movie, 2022 or 2023, alone.
        split: which trials are for training and for validation.
        screen: sizes of the screen of the natural movie.
        crops: pixels cut off the screen at the top, bottom, left and right, by retina (None: those that leave the
            middle 80 x 90 of the published screen); all must leave frames of one size.
        subsample: only every so many-th row and column of what the crop leaves is kept.
        fixation_files: text file by retina, for natural movies.
        opposite_flips: whether the flags for mirrored images mean the opposite.
        response_delay: frames by which responses are taken later than the frame on the screen.
        sta_mirror: how the stimulus is mirrored compared with that of the STAs: "left_right", "up_down" or None.

    Returns:
        Stimuli of raw pixels on the disk, and sessions whose neurons have a "cell_index" and, if the folder has STAs,
        an "rf_location": row and column of the pixel whose STA varies most in time.

    Raises:
        UserError: the files cannot be had, are damaged or do not belong together, or there is no such retina, cell,
            seed or trial.
    """
    if stimulus not in PUBLISHED:
        raise UserError(f'stimulus is "{stimulus}"; choose among {", ".join(PUBLISHED)}')
    if sta_mirror not in _MIRRORS:
        raise UserError(f'sta_mirror is "{sta_mirror}"; choose left_right, up_down or None')
    excluded = UNRELIABLE_CELLS[stimulus] if excluded_cells is None else excluded_cells
    split = split or TrialSplit()
    crops = dict.fromkeys(FIXATION_FILES, CROP) if crops is None else crops
    fetched = fetch_folder(path or PUBLISHED[stimulus])
    movies: Movies
    if stimulus == "natural_movie":
        movies = NaturalMovies(fetched.path, fixation_files or FIXATION_FILES, screen or Screen(), opposite_flips)
    else:
        movies = NoiseMovies(fetched.path)

    sessions: list[Session] = []
    stimuli: dict[str, Stimulus] = {}
    validation: dict[str, tuple[int, ...]] = {}
    names: dict[tuple[Any, ...], str] = {}

    def shown(role: str, retina: str, movie: Movie, clips: tuple[int, ...] = ()) -> str:
        """Name of a movie among the stimuli, where it is put unless it is there."""
        key = role, _place(movie), clips
        if key not in names:
            names[key] = f"{retina}/{role}" if role in stimuli else role
            stimuli[names[key]] = Stimulus(names[key], movie, FRAME_RATE_HZ, norm_mean=0.0, norm_std=1.0, raw=True)
        return names[key]

    lengths = {}
    for retina in retinas or RETINAS[stimulus]:
        top, bottom, left, right = of_retina(crops, retina, "crop")
        crop = Crop(top, bottom, left, right, subsample)
        file = fetched.path / RESPONSES[stimulus].format(retina=retina)
        recording = read_recording(
            file, retina, excluded=excluded.get(retina, ()), cell_index=cell_index, stimulus_seed=stimulus_seed
        )
        lengths[retina] = frames = recording.train.shape[1]
        used, clips = _used_trials(retina, recording, split, movies.n_trials(retina, frames))
        name = shown("train", retina, movies.train(retina, recording.trials[used], frames, crop), clips)
        test = shown("test", retina, movies.test(retina, recording.test.shape[1], crop))
        validation[name] = clips
        sessions.append(
            Session(
                name=retina,
                stimulus=name,
                responses=_later(recording.train[used], response_delay).reshape(-1, len(recording.cells)),
                frame_index=np.arange(len(used) * frames, dtype=np.int32),
                repeats={"test": _later(recording.test, response_delay)},
                test_stimuli={"test": test},
                neurons=_neurons(fetched.path / "stas", retina, recording, crop, stimuli[name], sta_mirror),
            )
        )
    if len(set(lengths.values())) > 1:
        raise UserError(f"{fetched.path}: trials of the retinas have {lengths} frames; train those that differ alone")
    return Dataset(
        stimuli=stimuli,
        sessions=tuple(sessions),
        clip_length=frames,
        validation_clips=validation,
        pixel_size_um=PIXEL_SIZE_UM * subsample,
        source={
            "publication": "sridhar_2025",
            "stimulus": stimulus,
            "files": fetched.record,
            "sta_folder": str(fetched.path / "stas"),
            "stimulus_seed": stimulus_seed,
            "split": dataclasses.asdict(split),
        },
    )


def _used_trials(
    retina: str, recording: Recording, split: TrialSplit, n_movies: int
) -> tuple[list[int], tuple[int, ...]]:
    """Trials that are used, as positions in the recording, and which of these are for validation."""
    train, validation = split.divide(len(recording.trials), retina)
    with_movie = recording.trials < n_movies
    used = [trial for trial in sorted(train + validation) if with_movie[trial]]
    kept = tuple(place for place, trial in enumerate(used) if trial in validation)
    lost = len(train) + len(validation) - len(used)
    if not 0 < len(kept) < len(used):
        raise UserError(
            f"{retina}: the stimulus files hold {n_movies} trials, which leaves {len(used) - len(kept)} for training "
            f"and {len(kept)} for validation of the {len(recording.trials)} that were recorded; both need at least one"
        )
    if lost:
        _log.warning("%s: %d trials are left out, the stimulus files hold only %d", retina, lost, n_movies)
    return used, kept


def _later(responses: Float32[np.ndarray, "trial time neuron"], delay: int) -> Float32[np.ndarray, "trial time neuron"]:
    """The response ``delay`` frames later in the place of every response; NaN where the trial is over."""
    if not 0 <= delay < responses.shape[1]:
        raise UserError(f"response_delay is {delay}; choose from 0 to {responses.shape[1] - 1} frames")
    if delay == 0:
        return responses
    later = np.full_like(responses, np.nan)
    later[:, :-delay] = responses[:, delay:]
    return later


def _neurons(
    folder: Path, retina: str, recording: Recording, crop: Crop, shown: Stimulus, mirror: str | None
) -> dict[str, np.ndarray]:
    """What is known of the neurons."""
    neurons = {"cell_index": recording.cells}
    if not folder.is_dir():
        _log.warning("%s: there is no such folder, so that it is not known where the neurons look", folder)
        return neurons
    files = [folder / STA_PATTERN.format(retina=retina, cell=cell) for cell in recording.cells]
    neurons["rf_location"] = np.array([rf_location(file, crop, shown.frames.shape[1:3], mirror) for file in files])
    return neurons


def rf_location(file: Path, crop: Crop, size: tuple[int, int], mirror: str | None) -> tuple[int, int]:
    """Row and column of the pixel of a stimulus where an STA varies most in time; the middle if it is not finite.

    Args:
        file: the STA of the whole screen.
        crop: the part of the screen that the stimulus shows.
        size: height and width of the stimulus.
        mirror: see ``load_sridhar_2025``.

    Raises:
        UserError: the file is no STA, or of another screen than the stimulus.
    """
    sta = load_sta(file, flip=mirror == "left_right")
    if crop.size(*sta.shape[1:]) != size:
        raise UserError(
            f"{file}: has {sta.shape[1]} x {sta.shape[2]} pixels, of which the crop leaves "
            f"{crop.size(*sta.shape[1:])}, but the stimulus has {size}; the STA belongs to another stimulus"
        )
    rows, columns = crop.slices(*sta.shape[1:])
    seen = sta[:, _MIRRORS[mirror]][:, rows, columns]
    if not np.isfinite(seen).all():
        _log.warning("%s: has values that are not finite; its receptive field is taken to be in the middle", file)
        return size[0] // 2, size[1] // 2
    row, column = np.unravel_index(np.argmax(seen.var(axis=0)), size)
    return int(row), int(column)


def _place(movie: Movie) -> str:
    """The file of a movie on the disk, which is named by what the movie shows."""
    return str(movie.filename)  # type: ignore[union-attr]
