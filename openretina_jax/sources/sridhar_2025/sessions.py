"""Marmoset retinal ganglion cells watching natural movies and white noise (Sridhar et al. 2025,
doi:10.1371/journal.pcbi.1014157; recordings: doi:10.12751/g-node.3dfiti).

A session is one of four retinas on a multielectrode array. It saw trials, each with another part of a movie, and
between them a test movie that was always the same. The natural movie is a film around simulated fixations: images, and
text files with one fixation per frame. White noise is a folder per trial. The spike-triggered averages of all cells,
from white noise, lie beside them.
"""

import dataclasses
import logging
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from jaxtyping import Float32

from openretina_jax.data.assembly import SharedMovies
from openretina_jax.data.conversion import check_choice
from openretina_jax.data.dataset import Dataset, Session
from openretina_jax.data.sta import load_sta
from openretina_jax.data.stimulus import Stimulus
from openretina_jax.errors import UserError
from openretina_jax.sources import SOURCES
from openretina_jax.sources.folders import HubFolder, fetch_folder
from openretina_jax.sources.movie_cache import Movie
from openretina_jax.sources.sridhar_2025.movies import Crop, Screen
from openretina_jax.sources.sridhar_2025.responses import UNRELIABLE_CELLS, RetinaResponses, TrialSplit, read_responses
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

_UNCHANGED = (0.0, 1.0)  # mean and deviation with which models see the pixels as they are
_MIRRORS = {None: slice(None), "left_right": slice(None), "up_down": slice(None, None, -1)}  # slice of an STA's rows

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
    """Load movies and the spike counts of all cells, frame by frame.

    A trial is a clip, so that validation takes whole trials. Sessions that saw the same trials of the same movie, and
    keep the same ones for validation, share a stimulus. Trials whose frames are not in the stimulus files are left out
    with a warning.

    Args:
        path: a folder or zip archive of the published layout (None: the published one).
        stimulus: "natural_movie" or "white_noise".
        retinas: names of the sessions (None: those of the published models).
        cell_index: the only cell of each retina that is taken (None: all but the excluded ones).
        excluded_cells: cells that are left out, by retina (None: those with unreliable responses, as for the published
            models).
        stimulus_seed: seed of the natural movie, 2022 or 2023, whose trials alone are taken (None: those of both).
        split: division of trials into training and validation.
        screen: screen of the natural movie.
        crops: pixels cut off the screen at the top, bottom, left and right, by retina (None: those that leave the
            middle 80 x 90 of the published screen); all must leave frames of one size.
        subsample: step between the rows, and the columns, that are kept of the cropped frame.
        fixation_files: text file of fixations by retina, for natural movies.
        opposite_flips: whether the flags of mirrored images mean the opposite.
        response_delay: frames from the one on the screen to the response that is taken for it.
        sta_mirror: how the stimulus is mirrored compared with that of the STAs: "left_right", "up_down" or None.

    Returns:
        Stimuli of raw pixels on the disk, and sessions whose neurons have a "cell_index" and, if the folder has STAs,
        an "rf_location": row and column of the pixel whose STA varies most in time.

    Raises:
        UserError: the files cannot be fetched, are damaged or do not belong together, or there is no such retina,
            cell, seed or trial.
    """
    check_choice("config.data.stimulus", stimulus, PUBLISHED)
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

    shared = SharedMovies(FRAME_RATE_HZ)
    sessions: list[Session] = []
    validation: dict[str, tuple[int, ...]] = {}
    lengths = {}
    for retina in retinas or RETINAS[stimulus]:
        top, bottom, left, right = of_retina(crops, retina, "crop")
        crop = Crop(top, bottom, left, right, subsample)
        file = fetched.path / RESPONSES[stimulus].format(retina=retina)
        recorded = read_responses(
            file, retina, excluded=excluded.get(retina, ()), cell_index=cell_index, stimulus_seed=stimulus_seed
        )
        lengths[retina] = frames = recorded.train.shape[1]
        used, clips = _used_trials(retina, recorded, split, movies.n_trials(retina, frames))
        movie = movies.train(retina, recorded.trials[used], frames, crop)
        name = shared.add(retina, "train", movie, _UNCHANGED, (_place(movie), clips))
        movie = movies.test(retina, recorded.test.shape[1], crop)
        test = shared.add(retina, "test", movie, _UNCHANGED, _place(movie))
        validation[name] = clips
        sessions.append(
            Session(
                name=retina,
                stimulus=name,
                responses=_later(recorded.train[used], response_delay).reshape(-1, len(recorded.cells)),
                frame_index=np.arange(len(used) * frames, dtype=np.int32),
                repeats={"test": _later(recorded.test, response_delay)},
                test_stimuli={"test": test},
                neurons=_neurons(fetched.path / "stas", retina, recorded, crop, shared.stimuli[name], sta_mirror),
            )
        )
    if len(set(lengths.values())) > 1:
        raise UserError(f"{fetched.path}: trials of the retinas have {lengths} frames; train those that differ alone")
    return Dataset(
        stimuli=shared.stimuli,
        sessions=tuple(sessions),
        clip_length=frames,
        validation_clips=validation,
        pixel_size_um=PIXEL_SIZE_UM * subsample,
        response_unit="spikes per frame",
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
    retina: str, recorded: RetinaResponses, split: TrialSplit, n_movies: int
) -> tuple[list[int], tuple[int, ...]]:
    """Positions of the trials that are used, and positions among these of the trials for validation."""
    train, validation = split.divide(len(recorded.trials), retina)
    with_movie = recorded.trials < n_movies
    used = [trial for trial in sorted(train + validation) if with_movie[trial]]
    kept = tuple(place for place, trial in enumerate(used) if trial in validation)
    lost = len(train) + len(validation) - len(used)
    if not 0 < len(kept) < len(used):
        raise UserError(
            f"{retina}: the stimulus files hold {n_movies} trials, which leaves {len(used) - len(kept)} for training "
            f"and {len(kept)} for validation of the {len(recorded.trials)} that were recorded; both need at least one"
        )
    if lost:
        _log.warning("%s: %d trials are left out, the stimulus files hold only %d", retina, lost, n_movies)
    return used, kept


def _later(responses: Float32[np.ndarray, "trial time neuron"], delay: int) -> Float32[np.ndarray, "trial time neuron"]:
    """Responses moved forward by ``delay`` frames; NaN at the end of a trial."""
    if not 0 <= delay < responses.shape[1]:
        raise UserError(f"response_delay is {delay}; choose from 0 to {responses.shape[1] - 1} frames")
    if delay == 0:
        return responses
    later = np.full_like(responses, np.nan)
    later[:, :-delay] = responses[:, delay:]
    return later


def _neurons(
    folder: Path, retina: str, recorded: RetinaResponses, crop: Crop, shown: Stimulus, mirror: str | None
) -> dict[str, np.ndarray]:
    """Metadata of the neurons."""
    neurons = {"cell_index": recorded.cells}
    if not folder.is_dir():
        _log.warning("%s: there is no such folder, so that receptive fields are not known", folder)
        return neurons
    files = [folder / STA_PATTERN.format(retina=retina, cell=cell) for cell in recorded.cells]
    neurons["rf_location"] = np.array([rf_location(file, crop, shown.frames.shape[1:3], mirror) for file in files])
    return neurons


def rf_location(file: Path, crop: Crop, size: tuple[int, int], mirror: str | None) -> tuple[int, int]:
    """Find the pixel of a stimulus where an STA varies most in time; the middle if the STA is not finite.

    Args:
        file: the STA of the whole screen.
        crop: the part of the screen that the stimulus shows.
        size: height and width of the stimulus.
        mirror: see ``sta_mirror`` of ``load_sridhar_2025``.

    Returns:
        Row and column.

    Raises:
        UserError: the file holds no STA, or that of another screen than the stimulus.
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
        _log.warning("%s: has values that are not finite; the middle is taken for the receptive field", file)
        return size[0] // 2, size[1] // 2
    row, column = np.unravel_index(np.argmax(seen.var(axis=0)), size)
    return int(row), int(column)


def _place(movie: Movie) -> str:
    """The file of a movie on the disk, whose name is a digest of the recipe."""
    return str(movie.filename)  # type: ignore[union-attr]
