import shutil
from pathlib import Path

import h5py
import numpy as np
import pytest

from openretina_jax.errors import UserError
from openretina_jax.simulation.cache import simulate
from openretina_jax.sources.goldin_2022 import load_goldin_2022
from tests.sources.frozen import assert_equal_to_openretina, unpack

IMAGES, TESTS, REPEATS, NEURONS = 30, 5, 4, 3


@pytest.fixture(scope="module")
def simulated(tmp_path_factory: pytest.TempPathFactory) -> Path:
    options = {"neurons_per_session": NEURONS, "n_images": IMAGES, "n_test_images": TESTS, "n_repeats": REPEATS}
    return simulate("goldin_2022", tmp_path_factory.mktemp("simulated"), {"side": 8, **options})["path"]


@pytest.fixture
def folder(simulated: Path, tmp_path: Path) -> Path:
    """A copy that may be changed."""
    return shutil.copytree(simulated, tmp_path / "goldin_2022")


def load(folder: Path, **options):
    return load_goldin_2022(folder, **{"validation_images": 6, **options})


def first_session(folder: Path, **options):
    """The session whose file ``change`` changes."""
    return next(session for session in load(folder, **options).sessions if session.name == "mouse_session_1")


def change(folder: Path, key: str, values: np.ndarray | None) -> None:
    """Another array in the file of the first mouse, or none."""
    with h5py.File(folder / "mouse_session_1.h5", "a") as file:
        del file[key]
        if values is not None:
            file[key] = values


def read(folder: Path, key: str) -> np.ndarray:
    with h5py.File(folder / "mouse_session_1.h5") as file:
        return file[key][()]


@pytest.mark.parametrize("species", ["mouse", "axolotl"])
def test_files_are_read_as_by_openretina(tmp_path, species):
    dataset = load_goldin_2022(unpack("goldin_2022", tmp_path), species=species, validation_images=10)
    assert sorted(session.name for session in dataset.sessions) == [f"{species}_session_1", f"{species}_session_2"]
    assert_equal_to_openretina(dataset, "goldin_2022", species, movie_atol=2e-6)


def test_images_are_clips_of_one_frame(folder):
    dataset = load(folder)
    assert dataset.clip_length == 1
    assert (dataset.stimuli["train"].frames.shape, dataset.stimuli["train"].frames.dtype) == (
        (IMAGES, 8, 8, 1),
        "uint8",
    )
    assert {name: len(clips) for name, clips in dataset.validation_clips.items()} == {
        "train": 6,
        "mouse_session_2/train": 6,
    }
    assert dataset.sessions[0].repeats["test"].shape == (REPEATS, TESTS, NEURONS)
    assert dataset.info.frame_rate_hz == pytest.approx(1 / 0.3)
    assert dataset.source["files"]["files"] == 2


def test_counts_become_rates(folder):
    counts = read(folder, "train/response/binned").T
    np.testing.assert_allclose(first_session(folder).responses, counts / 0.3, rtol=1e-6)
    np.testing.assert_array_equal(first_session(folder, fr_normalization=1.0).responses, counts)


def test_stimuli_can_stay_as_they_are(folder):
    dataset = load(folder, normalize_stimuli=False)
    np.testing.assert_array_equal(dataset.stimuli["train"].normalized()[..., 0], read(folder, "train/stimulus"))


def test_what_cannot_be_a_count_is_left_out(folder, caplog):
    counts = read(folder, "train/response/binned").astype(float)
    counts[0, 3], counts[1, 5] = np.nan, -1
    change(folder, "train/response/binned", counts)
    responses = first_session(folder).responses
    assert np.argwhere(np.isnan(responses)).tolist() == [[3, 0], [5, 1]]
    assert f'2 of {IMAGES * NEURONS} values in "train/response/binned" are negative or not finite' in caplog.text


def test_without_repeats_the_mean_is_a_trial(folder):
    change(folder, "test/repeats", None)
    repeats = first_session(folder).repeats["test"]
    np.testing.assert_allclose(repeats[0], read(folder, "test/response/binned").T / 0.3, rtol=1e-6)


def test_neurons_may_have_different_numbers_of_trials(folder):
    change(folder, "test/repeats/cell02", np.repeat(read(folder, "test/repeats/cell02"), 2, axis=0))
    repeats = first_session(folder).repeats["test"]
    assert np.isfinite(repeats).all(axis=1).sum(axis=0).tolist() == [REPEATS, 2 * REPEATS, REPEATS]


def test_repeats_of_another_mean_are_not_taken(folder, caplog):
    change(folder, "test/response/binned", 2 * read(folder, "test/response/binned"))
    assert first_session(folder).repeats["test"].shape == (1, TESTS, NEURONS)
    assert "is not the published mean response" in caplog.text


def cut(folder: Path) -> None:
    file = folder / "mouse_session_1.h5"
    file.write_bytes(file.read_bytes()[:3000])


MISTAKES = {
    "truncated": (cut, "mouse_session_1.h5: is truncated or not an HDF5 file"),
    "no HDF5": (
        lambda folder: (folder / "mouse_session_1.h5").write_text("x"),
        "mouse_session_1.h5: is truncated or not an HDF5 file",
    ),
    "missing": (
        lambda folder: change(folder, "train/response/binned", None),
        '"train/response/binned" is missing; .*: beside it is nothing',
    ),
    "words": (
        lambda folder: change(folder, "train/stimulus", np.array([b"a"])),
        r'"train/stimulus" holds \|S1, not numbers',
    ),
    "axes": (
        lambda folder: change(folder, "train/stimulus", np.zeros((IMAGES, 64), np.uint8)),
        r'"train/stimulus" has shape \(30, 64\), but must have the axes \(time, height, width\)',
    ),
    "swapped": (
        lambda folder: change(folder, "train/response/binned", np.ones((IMAGES, NEURONS))),
        'numbers of neurons differ: 30 in "train/response/binned", 3 in "test/response/binned"; are axes swapped',
    ),
    "empty": (
        lambda folder: change(folder, "train/response/binned", np.ones((0, IMAGES))),
        r'"train/response/binned" is empty: shape \(0, 30\)',
    ),
    "lengths": (
        lambda folder: change(folder, "train/response/binned", np.ones((NEURONS, IMAGES - 1))),
        "mouse_session_1: responses have 29 frames, the training movie has 30",
    ),
    "repeats": (
        lambda folder: change(folder, "test/repeats/cell02", np.ones((REPEATS, TESTS + 1))),
        '"test/repeats" has repeats of 5 and 6 frames',
    ),
    "fewer repeats": (
        lambda folder: change(folder, "test/repeats/cell02", None),
        '"test/repeats" has repeats of 2 neurons and 5 frames, but their mean has 3 neurons and 5 frames',
    ),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_mistakes_are_told_with_file_and_entry(folder, mistake):
    change_files, said = MISTAKES[mistake]
    change_files(folder)
    with pytest.raises(UserError, match=said) as raised:
        load(folder)
    assert "mouse_session_1" in str(raised.value)
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"species": "frog"}, 'config.data.species is "frog"; choose among mouse, axolotl'),
        ({"fr_normalization": 0.0}, "fr_normalization is 0.0; it must be above 0"),
        ({"validation_images": IMAGES}, "validation takes 30 of 30 clips"),
    ],
)
def test_wrong_settings(folder, options, said):
    with pytest.raises(UserError, match=said):
        load(folder, **options)


def test_no_session_of_the_species(folder):
    for file in folder.glob("axolotl*"):
        file.unlink()
    with pytest.raises(UserError, match=r"goldin_2022: holds no files named \*axolotl\*\.h5 or "):
        load(folder, species="axolotl")
