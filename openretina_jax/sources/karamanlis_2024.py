"""Retinal ganglion cells of mice and marmosets (Karamanlis et al. 2024, doi:10.1038/s41586-024-08212-3).

A session is one piece of retina on a multielectrode array. Each of its files ends with the name of a stimulus, such as
``fixationmovie_data.mat``. It holds running parts, which are shown once each (training), and a frozen part, which is
shown again and again (test).
"""

import dataclasses
import logging
from pathlib import Path

import numpy as np
from jaxtyping import Float32, Integer

from openretina_jax.data.assembly import MovieRecording, RepeatedMovie, assemble
from openretina_jax.data.conversion import check_choice, number
from openretina_jax.data.dataset import Dataset
from openretina_jax.data.info import divided_unit
from openretina_jax.errors import UserError
from openretina_jax.sources import SOURCES
from openretina_jax.sources.folders import HubFolder, fetch_folder
from openretina_jax.sources.karamanlis_2024_movies import SCREEN, fixation_movie, unpacked_movie
from openretina_jax.sources.session_file import SessionFile, open_session, recordings_of

SESSIONS = HubFolder("open-retina/open-retina", "gollisch_lab/karamanlis_2024/sessions")
FRAME_RATE_HZ = {"mouse": 75.0, "marmoset": 85.0}
STIMULI = ("fixationmovie", "frozencheckerflicker", "gratingflicker", "imagesequence")
SCREEN_PIXEL_UM = 7.5  # on the retina; 2.5 in a few recordings of marmosets, which the files do not tell

CLIP_FRAMES = 75
N_VALIDATION_CLIPS = 20
IMAGES = "image width height"
ONSET_FRAMES = 30  # what the model of the published configuration sees of the past

_log = logging.getLogger(__name__)


@dataclasses.dataclass(frozen=True, eq=False)
class BlockResponses:
    """Spike counts per frame of one session in response to one stimulus; NaN where nothing was recorded.

    Attributes:
        running: responses to the running parts, called blocks.
        frozen: responses to the presentations of the frozen part.
    """

    running: Float32[np.ndarray, "block time neuron"]
    frozen: Float32[np.ndarray, "trial test_time neuron"]


@SOURCES("karamanlis_2024")
def load_karamanlis_2024(
    path: HubFolder | str | Path | None = None,
    *,
    species: str = "mouse",
    stimulus: str = "fixationmovie",
    size: tuple[int, int] = (60, 80),
    fr_normalization: float = 1.0,
    onset_frames: int = ONSET_FRAMES,
    clip_length: int = CLIP_FRAMES,
    validation_clips: int = N_VALIDATION_CLIPS,
    split_seed: int = 42,
) -> Dataset:
    """Load movies and the responses to them.

    The files hold photographs and traces of gaze; movies are rendered from these once and kept on the disk, see
    ``karamanlis_2024_movies``. A movie that lies beside its file as openretina keeps it,
    ``..._data_extracted_stimuli_60_80.npz``, is taken instead. Other stimuli need such a movie: neither openretina nor
    this package makes them.

    The running parts follow each other as if they had been one movie, but before each there was something else on the
    screen. Responses to their first frames are therefore masked (NaN), except in the first.

    Args:
        path: folder of sessions, each a folder or a zip archive (None: the published one).
        species: "mouse" or "marmoset"; sessions have it in their names.
        stimulus: one of ``STIMULI``.
        size: height and width of the movie in pixels; the screen has 600 x 800.
        fr_normalization: divisor of the spike counts.
        onset_frames: masked frames of every running part but the first.
        clip_length: frames of a clip.
        validation_clips: number of clips kept for validation, drawn for every training movie.
        split_seed: seed of that draw.

    Returns:
        Every session of the species that has the stimulus. Its test is called "test".

    Raises:
        UserError: the files cannot be fetched, are damaged or hold something else, or there are none of the species.
    """
    number("config.data.fr_normalization", fr_normalization, positive=True)
    _check_choices(species, stimulus)
    fetched = fetch_folder(path or SESSIONS, (f"*{species}*",))
    files = session_files(fetched.path, species, stimulus)
    return assemble(
        recordings_of(
            files.values(),
            lambda session: _movie_recording(session, size, fr_normalization, onset_frames, clip_length),
        ),
        clip_length=clip_length,
        validation=validation_clips,
        seed=split_seed,
        frame_rate_hz=FRAME_RATE_HZ[species],
        pixel_size_um=SCREEN_PIXEL_UM * SCREEN[0] / size[0],
        response_unit=divided_unit("spikes per frame", fr_normalization),
        source={
            "publication": "karamanlis_2024",
            "species": species,
            "stimulus": stimulus,
            "sessions": fetched.record,
            "fr_normalization": fr_normalization,
            "onset_frames": onset_frames,
        },
    )


def load_block_responses(
    path: HubFolder | str | Path | None = None, *, species: str = "mouse", stimulus: str = "fixationmovie"
) -> dict[str, BlockResponses]:
    """Load the responses to any of the stimuli, without its movie, by session.

    Args:
        path, species, stimulus: as in ``load_karamanlis_2024``.

    Raises:
        UserError: as in ``load_karamanlis_2024``.
    """
    _check_choices(species, stimulus)
    responses = {}
    for name, file in session_files(fetch_folder(path or SESSIONS, (f"*{species}*",)).path, species, stimulus).items():
        with open_session(file) as session:
            responses[name] = _block_responses(session)
    return responses


def session_files(folder: Path, species: str, stimulus: str) -> dict[str, Path]:
    """Find the files of the sessions of a species that were shown a stimulus, by the name of the session.

    Raises:
        UserError: there is none, or a session has several.
    """
    sessions = sorted(path for path in folder.iterdir() if path.is_dir() and species in path.name)
    if not sessions:
        names = ", ".join(sorted(path.name for path in folder.iterdir())[:5]) or "nothing"
        raise UserError(
            f'{folder}: holds no session (a folder or zip archive) with "{species}" in its name, but {names}'
        )
    files = {}
    for session in sessions:
        found = sorted(session.glob(f"*{stimulus}_data.mat"))
        if len(found) > 1:
            raise UserError(
                f"{session.name}: has several files of {stimulus}: {', '.join(file.name for file in found)}; leave one"
            )
        if found:
            files[session.name] = found[0]
        else:
            _log.warning("%s: was not shown %s (no file *%s_data.mat); left out", session.name, stimulus, stimulus)
    if not files:
        raise UserError(f"{folder}: none of {len(sessions)} sessions ({species}) has a file *{stimulus}_data.mat")
    return files


def _check_choices(species: str, stimulus: str) -> None:
    check_choice("config.data.species", species, FRAME_RATE_HZ)
    check_choice("config.data.stimulus", stimulus, STIMULI)


def _block_responses(session: SessionFile) -> BlockResponses:
    running, frozen = (
        session.responses(key, axes, wanted=axes)
        for key, axes in (("runningbin", "block time neuron"), ("frozenbin", "trial time neuron"))
    )
    if running.shape[2] != frozen.shape[2]:
        raise session.error(
            f'"runningbin" {running.shape} and "frozenbin" {frozen.shape} must be (block, time, neuron) and (trial, '
            "time, neuron) of the same neurons: are axes swapped?"
        )
    return BlockResponses(running, frozen)


def _movie_recording(
    session: SessionFile, size: tuple[int, int], fr_normalization: float, onset_frames: int, clip_length: int
) -> MovieRecording:
    responses = _block_responses(session)
    n_blocks, block_frames, _ = responses.running.shape
    training, test = _movies(session, size)
    for movie, key, counts, frames in (
        (training, "runningbin", responses.running, n_blocks * block_frames),
        (test, "frozenbin", responses.frozen, responses.frozen.shape[1]),
    ):
        if len(movie) != frames:
            raise session.error(
                f'"{key}" {counts.shape} has {frames} frames, its movie {len(movie)}; they must be equally long: are '
                "axes swapped, or was one of them cut?"
            )
    if block_frames % clip_length:
        _log.warning(
            "%s: blocks of %d frames are not whole clips of %d; some clips go over the border of two blocks",
            session.path,
            block_frames,
            clip_length,
        )
    responses.running[1:, :onset_frames] = np.nan
    return MovieRecording(
        name=session.path.parent.name,
        movie=training,
        responses=responses.running.reshape(n_blocks * block_frames, -1) / np.float32(fr_normalization),
        tests={"test": RepeatedMovie(test, responses.frozen / np.float32(fr_normalization))},
        metadata={"blocks": n_blocks, "block_frames": block_frames},
    )


def _movies(session: SessionFile, size: tuple[int, int]) -> tuple[np.ndarray, np.ndarray]:
    """The training movie and the test movie."""
    archive = session.path.with_name(f"{session.path.stem}_extracted_stimuli_{size[0]}_{size[1]}.npz")
    if archive.exists():
        return unpacked_movie(archive, "train_data", size), unpacked_movie(archive, "test_data", size)
    if "runningImages" not in session:
        raise session.error(
            f"has no photographs and traces of gaze to make a movie from, but {', '.join(session.names())}; "
            f"put the movie beside it as {archive.name} (train_data, test_data), or take the responses alone by "
            "load_block_responses"
        )
    running = _fixations(session, "running")
    return (
        fixation_movie(session.dataset("runningImages", IMAGES), running.reshape(-1, 3), size),
        fixation_movie(session.dataset("frozenImages", IMAGES), _fixations(session, "frozen"), size),
    )


def _fixations(session: SessionFile, part: str) -> Integer[np.ndarray, "*shape 3"]:
    """Image, column and row of every frame: ``(block, time, 3)`` of the running part, ``(time, 3)`` of the frozen."""
    key, n_images = f"{part}fixations", len(session.dataset(f"{part}Images", IMAGES))
    axes = "block time 3" if part == "running" else "time 3"
    fixations = session.numbers(key, axes)
    if fixations.shape[-1] != 3:
        raise session.error(
            f'"{key}" must be ({axes.replace(" ", ", ")}), but has shape {fixations.shape}: are axes swapped?'
        )
    if not np.isfinite(fixations).all():
        raise session.error(f'"{key}" holds NaN or infinity')
    fixations = fixations.astype(np.int64)
    numbers = np.unique(fixations[..., 0])
    if len(numbers) and (numbers[0] < 1 or numbers[-1] > n_images):
        raise session.error(
            f'"{key}" names images {numbers[0]} to {numbers[-1]}, but "{part}Images" has images 1 to {n_images}'
        )
    return fixations
