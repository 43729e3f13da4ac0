"""Ganglion cells of mouse and axolotl watching natural images (Goldin et al. 2022, doi:10.1038/s41467-022-33242-8).

A session is one piece of retina on an array of electrodes. It saw images for 300 ms each, most of them once and some
test images many times; the response to an image is the number of spikes while it was shown. The published folder has
an HDF5 file per session, whose name tells the species.
"""

from collections.abc import Iterator
from pathlib import Path

from openretina_jax.data.assembly import MovieRecording, RepeatedMovie, assemble
from openretina_jax.data.conversion import check_choice, number
from openretina_jax.data.dataset import Dataset
from openretina_jax.data.info import divided_unit
from openretina_jax.sources import PROBLEMS, SOURCES
from openretina_jax.sources.folders import FetchedFolder, HubFolder, Source, fetch_folder
from openretina_jax.sources.session_file import (
    SUFFIXES,
    SessionFile,
    check_same_neurons,
    problems_of,
    recordings_of,
)

PUBLISHED = HubFolder("open-retina/open-retina", "marre_lab/goldin_2022")
SPECIES = ("mouse", "axolotl")
IMAGE_S = 0.3
_RESPONSES = ("train/response/binned", "test/response/binned")


@SOURCES("goldin_2022")
def load_goldin_2022(
    path: Source | None = None,
    *,
    species: str = "mouse",
    fr_normalization: float = IMAGE_S,
    validation_images: int = 640,
    normalize_stimuli: bool = True,
    pixel_size_um: float = 28.0,
) -> Dataset:
    """Load natural images, which are movies of one frame, and the responses to them.

    Args:
        path: a folder with a file per session, here or on the Hub, or an archive of it (None: the published folder).
        species: "mouse" or "axolotl".
        fr_normalization: divisor of the spike counts; 0.3 (seconds) gives spikes per second.
        validation_images: images kept for validation, drawn for each session.
        normalize_stimuli: whether models see images minus the mean, divided by the deviation, of the training images.
        pixel_size_um: side of a pixel on the retina.

    Returns:
        Sessions by the names of their files, with a test "test". Negative responses and those that are not finite are
        NaN. Frames per second are images per second.

    Raises:
        UserError: the files cannot be fetched or are damaged, or there is no session of the species.
    """
    number("config.data.fr_normalization", fr_normalization, positive=True)
    folder = _fetched(path, species)
    return assemble(
        recordings_of(_files(folder, species), lambda session: _read(session, fr_normalization)),
        clip_length=1,
        validation=validation_images,
        normalization=None if normalize_stimuli else (0.0, 1.0),
        frame_rate_hz=1 / IMAGE_S,
        pixel_size_um=pixel_size_um,
        response_unit="spikes/s" if fr_normalization == IMAGE_S else divided_unit("spikes per image", fr_normalization),
        source={
            "publication": "goldin_2022",
            "files": folder.record,
            "species": species,
            "fr_normalization": fr_normalization,
        },
    )


@PROBLEMS("goldin_2022")
def problems(path: Source | None = None, species: str = "mouse", fr_normalization: float = IMAGE_S) -> Iterator[str]:
    """List the first problem of each file, a line each; arguments as those of ``load_goldin_2022``.

    Raises:
        UserError: the folder cannot be fetched, or there is no session of the species.
    """
    files = _files(_fetched(path, species), species)
    yield from problems_of(files, lambda session: _read(session, fr_normalization))


def _fetched(path: Source | None, species: str) -> FetchedFolder:
    check_choice("config.data.species", species, SPECIES)
    return fetch_folder(path or PUBLISHED, tuple(f"*{species}*{suffix}" for suffix in (*SUFFIXES, ".zip")))


def _files(folder: FetchedFolder, species: str) -> list[Path]:
    return sorted(file for file in folder.path.rglob(f"*{species}*") if file.suffix.lower() in SUFFIXES)


def _read(session: SessionFile, unit: float) -> MovieRecording:
    counts = {key: len(session.dataset(key, "neuron time")) for key in _RESPONSES}
    check_same_neurons(session, counts)
    training, mean = (session.responses(key, unit=unit) for key in _RESPONSES)
    repeats = session.stacked_repeats("test/repeats", unit=unit)
    return MovieRecording(
        name=session.path.stem,
        movie=session.movie("train/stimulus"),
        responses=training,
        tests={
            "test": RepeatedMovie(
                movie=session.movie("test/stimulus"),
                repeats=session.repeats_with_mean("test/repeats", mean, repeats),
            )
        },
    )
