"""Salamander ganglion cells and natural scenes or white noise (Maheswaranathan et al. 2023).

Paper: doi:10.1016/j.neuron.2023.06.007, data: doi:10.25740/rk663dm5577. A session is one piece of retina on an array of
electrodes. The published archive holds ``ganglion_cell_data/<session>/<stimulus>.h5``. Movies and responses have 100
frames per second; responses are firing rates smoothed in time.
"""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
from jaxtyping import Float32, Num

from openretina_jax.data.assembly import MovieRecording, RepeatedMovie, assemble
from openretina_jax.data.conversion import check_choice, number
from openretina_jax.data.dataset import Dataset
from openretina_jax.data.info import divided_unit
from openretina_jax.errors import UserError
from openretina_jax.runtime.fetch import HubFile
from openretina_jax.sources import PROBLEMS, SOURCES
from openretina_jax.sources.folders import Source, fetch_folder
from openretina_jax.sources.session_file import SessionFile, check_same_neurons, problems_of, recordings_of

PUBLISHED = HubFile("open-retina/open-retina", "baccus_lab/maheswaranathan_2023/neural_code_data.zip")
STIMULI = ("naturalscene", "whitenoise")
RESPONSE_TYPES = ("firing_rate_5ms", "firing_rate_10ms", "firing_rate_20ms")
FOLDER = "ganglion_cell_data"
FRAME_RATE_HZ = 100.0
CLIP_FRAMES = 90


@SOURCES("maheswaranathan_2023")
def load_maheswaranathan_2023(
    path: Source | None = None,
    *,
    stimulus: str = "naturalscene",
    response_type: str = "firing_rate_10ms",
    fr_normalization: float = 1.0,
    validation_clips: int = 20,
    normalize_stimuli: bool = True,
    pixel_size_um: float = 50.0,
) -> Dataset:
    """Load movies and the firing rates in response to them.

    Args:
        path: the folder or archive that holds ``ganglion_cell_data``, here or on the Hub (None: the published archive).
        stimulus: "naturalscene" or "whitenoise".
        response_type: "firing_rate_5ms", "firing_rate_10ms" or "firing_rate_20ms": the width of the filter that
            smoothed the rates in time.
        fr_normalization: divisor of the firing rates.
        validation_clips: clips of 90 frames kept for validation, drawn for each movie.
        normalize_stimuli: whether models see movies minus the mean, divided by the deviation, of the training movie.
        pixel_size_um: side of a pixel on the retina; the paper says 50, its receptive fields are more like 25.

    Returns:
        Sessions by the names of their folders, with a test "test". Negative responses and those that are not finite are
        NaN. A last response without a frame, which the published white noise has, is dropped.

    Raises:
        UserError: the files cannot be fetched or are damaged, or no session saw the stimulus.
    """
    check_choice("config.data.stimulus", stimulus, STIMULI)
    check_choice("config.data.response_type", response_type, RESPONSE_TYPES)
    number("config.data.fr_normalization", fr_normalization, positive=True)
    folder = fetch_folder(path or PUBLISHED, (f"*{stimulus}.h5",))
    files = _files(folder.path, stimulus)
    return assemble(
        recordings_of(files, lambda session: _read(session, response_type, fr_normalization)),
        clip_length=CLIP_FRAMES,
        validation=validation_clips,
        normalization=None if normalize_stimuli else (0.0, 1.0),
        frame_rate_hz=FRAME_RATE_HZ,
        pixel_size_um=pixel_size_um,
        response_unit=divided_unit("spikes/s", fr_normalization),
        source={
            "publication": "maheswaranathan_2023",
            "files": folder.record,
            "stimulus": stimulus,
            "response_type": response_type,
            "fr_normalization": fr_normalization,
        },
    )


@PROBLEMS("maheswaranathan_2023")
def problems(
    path: Source | None = None,
    stimulus: str = "naturalscene",
    response_type: str = "firing_rate_10ms",
    fr_normalization: float = 1.0,
) -> Iterator[str]:
    """List the first problem of each file, a line each; arguments as those of ``load_maheswaranathan_2023``.

    Raises:
        UserError: the files cannot be fetched, or no session saw the stimulus.
    """
    files = _files(fetch_folder(path or PUBLISHED, (f"*{stimulus}.h5",)).path, stimulus)
    yield from problems_of(files, lambda session: _read(session, response_type, fr_normalization))


def _files(folder: Path, stimulus: str) -> list[Path]:
    """The file of every session."""
    inside = folder if folder.name == FOLDER else folder / FOLDER
    if not inside.is_dir():
        found = ", ".join(sorted(file.name for file in folder.iterdir())) or "nothing"
        raise UserError(f"{folder}: has no folder {FOLDER}, but {found}; give the folder that holds it")
    files = sorted(inside.glob(f"*/*{stimulus}.h5"))
    if not files:
        raise UserError(f"{inside}: no session has a file {stimulus}.h5; is it another stimulus, or only part of it?")
    return files


def _read(session: SessionFile, response_type: str, unit: float) -> MovieRecording:
    keys = [f"{split}/response/{response_type}" for split in ("train", "test")]
    check_same_neurons(session, {key: len(session.dataset(key, "neuron time")) for key in keys})
    movie, test_movie = (session.movie(f"{split}/stimulus") for split in ("train", "test"))
    training, mean = (session.responses(key, unit=unit) for key in keys)
    trials = _trials(session, response_type, unit)
    repeats = session.repeats_with_mean("test/repeats", mean, trials)
    return MovieRecording(
        name=session.path.parent.name,
        movie=movie,
        responses=_for_frames(training, movie),
        tests={
            "test": RepeatedMovie(test_movie, np.moveaxis(_for_frames(np.moveaxis(repeats, 1, 0), test_movie), 0, 1))
        },
    )


def _trials(session: SessionFile, response_type: str, unit: float) -> Float32[np.ndarray, "trial time neuron"] | None:
    """Repeats, which lie in one array per response type, or in one per neuron whatever the type."""
    if f"test/repeats/{response_type}" in session:
        return session.responses(
            f"test/repeats/{response_type}", "trial neuron time", unit=unit, wanted="trial time neuron"
        )
    return session.stacked_repeats("test/repeats", unit=unit)


def _for_frames(
    responses: Float32[np.ndarray, "time ..."], movie: Num[np.ndarray, "frame height width channel"]
) -> Float32[np.ndarray, "answered ..."]:
    """Responses without a last bin that has no frame."""
    return responses[: len(movie)] if len(responses) == len(movie) + 1 else responses
