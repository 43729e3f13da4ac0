import shutil
from pathlib import Path

import h5py
import numpy as np
import pytest

from openretina_jax.errors import UserError
from openretina_jax.simulation.cache import simulate
from openretina_jax.sources.maheswaranathan_2023 import load_maheswaranathan_2023
from tests.sources.frozen import assert_equal_to_openretina, unpack

FRAMES, TEST_FRAMES, REPEATS, NEURONS = 300, 100, 3, 2


@pytest.fixture(scope="module")
def simulated(tmp_path_factory: pytest.TempPathFactory) -> Path:
    options = {"n_sessions": 2, "neurons_per_session": NEURONS, "seconds": 3, "test_seconds": 1, "n_repeats": REPEATS}
    return simulate("maheswaranathan_2023", tmp_path_factory.mktemp("simulated"), {"side": 6, **options})["path"]


@pytest.fixture
def folder(simulated: Path, tmp_path: Path) -> Path:
    """A copy that may be changed."""
    return shutil.copytree(simulated, tmp_path / "neural_code_data")


def load(folder: Path, **options):
    return load_maheswaranathan_2023(folder, **{"validation_clips": 1, **options})


def change(folder: Path, session: str, key: str, values: np.ndarray | None) -> None:
    with h5py.File(folder / "ganglion_cell_data" / session / "naturalscene.h5", "a") as file:
        del file[key]
        if values is not None:
            file[key] = values


@pytest.mark.parametrize(
    ("stimulus", "response_type"),
    [("naturalscene", "firing_rate_10ms"), ("whitenoise", "firing_rate_10ms"), ("naturalscene", "firing_rate_20ms")],
)
def test_files_are_read_as_by_openretina(tmp_path, stimulus, response_type):
    dataset = load_maheswaranathan_2023(
        unpack("maheswaranathan_2023", tmp_path), stimulus=stimulus, response_type=response_type, validation_clips=2
    )
    # repeats that are stored per neuron are those of firing_rate_10ms
    only_mean = "15-10-01" if response_type == "firing_rate_20ms" else None
    assert [len(session.repeats["test"]) == 1 for session in dataset.sessions] == [
        session.name == only_mean for session in dataset.sessions
    ]
    assert_equal_to_openretina(
        dataset, "maheswaranathan_2023", f"{stimulus} {response_type}", movie_atol=2e-6, no_trials_of=only_mean
    )


def test_sessions_share_a_movie_that_is_kept_once(folder):
    dataset = load(folder)
    assert {name: stimulus.frames.shape for name, stimulus in dataset.stimuli.items()} == {
        "train": (FRAMES, 6, 6, 1),
        "test": (TEST_FRAMES, 6, 6, 1),
    }
    assert [session.name for session in dataset.sessions] == ["15-10-01", "15-10-02"]
    assert [session.repeats["test"].shape for session in dataset.sessions] == 2 * [(REPEATS, TEST_FRAMES, NEURONS)]
    assert (dataset.clip_length, dataset.info.frame_rate_hz) == (90, 100.0)


def test_rates_are_divided_in_both_layouts(folder):
    once, halved = load(folder), load(folder, fr_normalization=2.0)
    for one, half in zip(once.sessions, halved.sessions, strict=True):
        np.testing.assert_allclose(half.responses, one.responses / 2, rtol=1e-6)
        np.testing.assert_allclose(half.repeats["test"], one.repeats["test"] / 2, rtol=1e-6)


def test_a_response_without_a_frame_is_dropped(folder):
    with h5py.File(folder / "ganglion_cell_data/15-10-01/whitenoise.h5") as file:
        assert file["test/response/firing_rate_10ms"].shape == (NEURONS, TEST_FRAMES + 1)
        assert file["test/stimulus"].shape[0] == TEST_FRAMES
    assert load(folder, stimulus="whitenoise").sessions[0].repeats["test"].shape == (REPEATS, TEST_FRAMES, NEURONS)


def test_the_folder_inside_is_found_too(folder):
    assert len(load(folder / "ganglion_cell_data").sessions) == 2


MISTAKES = {
    "missing": ("train/response/firing_rate_10ms", None, "15-10-02/naturalscene.h5: .*firing_rate_10ms.* is missing"),
    "lengths": (
        "train/stimulus",
        np.zeros((FRAMES - 2, 6, 6), np.uint8),
        "15-10-02: responses have 300 frames, the training movie has 298",
    ),
    "test lengths": (
        "test/stimulus",
        np.zeros((TEST_FRAMES - 2, 6, 6), np.uint8),
        '15-10-02: responses to "test" have 100 frames, stimulus "15-10-02/test" has 98',
    ),
    "repeats": (
        "test/repeats/firing_rate_10ms",
        np.ones((TEST_FRAMES, NEURONS)),
        r"15-10-02/naturalscene.h5: .* has shape \(100, 2\), but must have the axes \(trial, neuron, time\)",
    ),
    "movie": ("train/stimulus", np.full((FRAMES, 6, 6), np.nan, np.float32), "holds NaN or infinity in 300 of 300"),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_mistakes_are_told_with_file_and_entry(folder, mistake):
    key, values, said = MISTAKES[mistake]
    change(folder, "15-10-02", key, values)
    with pytest.raises(UserError, match=said) as raised:
        load(folder)
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"stimulus": "naturalscenes"}, 'stimulus is "naturalscenes"; choose among naturalscene, whitenoise'),
        ({"response_type": "binned"}, 'response_type is "binned"; choose among firing_rate_5ms'),
        ({"fr_normalization": -1.0}, "fr_normalization is -1.0; it must be above 0"),
    ],
)
def test_wrong_settings(folder, options, said):
    with pytest.raises(UserError, match=said):
        load(folder, **options)


def test_another_folder(folder):
    with pytest.raises(
        UserError, match=r"15-10-01: has no folder ganglion_cell_data, but naturalscene\.h5, whitenoise"
    ):
        load(folder / "ganglion_cell_data" / "15-10-01")
    for file in folder.rglob("whitenoise.h5"):
        file.unlink()
    with pytest.raises(UserError, match=r"neural_code_data: holds no files named \*whitenoise\.h5"):
        load(folder, stimulus="whitenoise")
