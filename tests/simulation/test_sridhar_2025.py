import pickle

import numpy as np
import pytest

from openretina_jax.errors import UserError
from openretina_jax.experiment.data import make_dataset
from openretina_jax.simulation.cache import simulate, simulator_names
from openretina_jax.simulation.publications.sridhar_2025 import SimulationConfig
from openretina_jax.sources.sridhar_2025.stimuli import TEST_LINES
from tests.sources.sridhar_2025_files import small, write


@pytest.fixture(scope="module")
def natural(tmp_path_factory):
    return write(tmp_path_factory.mktemp("natural"), "natural_movie")


def files(folder):
    return {str(file.relative_to(folder)): file.read_bytes() for file in folder.rglob("*") if file.is_file()}


def test_files_are_a_function_of_the_seed(natural, tmp_path):
    first, again = files(natural), files(write(tmp_path, "natural_movie"))
    assert first == again
    assert {file.name for file in tmp_path.iterdir()} == {"natural_movie", "truth.h5"}
    assert {name.split("/")[0] for name in first} == {"fixations", "responses", "stas", "stimuli_padded_4"}
    assert "stas/cell_data_03_WN_stas_cell_3.npy" in first


def test_a_seed_shows_its_first_frames_again(natural):
    config = small("natural_movie")
    lines = next((natural / "fixations").glob("*2022and2023*")).read_text().splitlines()
    assert len(lines) == TEST_LINES + config.n_trials * config.frames_per_trial
    trials = [lines[TEST_LINES + trial * config.frames_per_trial :][: config.frames_per_trial] for trial in range(20)]
    assert trials[0] == trials[9] != trials[10] == trials[19]


def test_layout_of_responses(natural):
    folder = natural / "responses"
    first, second = (
        pickle.loads((folder / f"cell_responses_{retina}_fixation_movie.pkl").read_bytes()) for retina in ("01", "02")
    )
    assert first["train_responses"].shape == (4, 25, 20)
    assert first["test_responses"].shape == (4, 40, 20)
    assert first["seeds"] == [2022, 2023]
    assert first["trial_separation"] == {2022: list(range(10)), 2023: list(range(10, 20))}
    assert second["train_responses"].shape == (4, 25, 10)
    assert set(second) == {"train_responses", "test_responses"}


def test_white_noise_of_two_sequences(tmp_path):
    folder = simulate("sridhar_2025", tmp_path, {"n_sessions": 4}, ["stimulus=white_noise", *texts()])["path"]
    first, second = (
        np.load(folder / f"non_repeating_stimuli_{sequence}" / "trial_001" / "all_images.npy") for sequence in "12"
    )
    assert first.shape == (20, 24, 25)
    assert set(np.unique(first)) == {-1, 1}
    assert (first != second).any()
    assert (folder / "repeating_stimuli_2" / "all_images.npy").exists()


def texts():
    config = small("white_noise")
    names = ("n_trials", "frames_per_trial", "test_frames", "height", "width", "margin_rows", "margin_columns")
    return [f"{name}={getattr(config, name)}" for name in names]


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"stimulus": "film"}, 'stimulus is "film"; choose among natural_movie, white_noise'),
        ({"n_sessions": 5}, "n_sessions is 5; it must be at most 4"),
        ({"neurons_per_session": 2}, "neurons_per_session is 2; it must be at least 3"),
        ({"test_frames": 5101}, "test_frames is 5101; it must be at most 5100"),
        ({"n_trials": 0}, "n_trials is 0; it must be at least 1"),
        ({"seed": -1}, "seed is -1; it must be at least 0"),
        ({"margin_rows": 75}, "leaves nothing of frames of 150 x 200 pixels"),
    ],
)
def test_wrong_numbers(options, words):
    with pytest.raises(UserError, match=words):
        SimulationConfig(**options)


def test_it_is_a_source(tmp_path):
    assert "sridhar_2025" in simulator_names()
    tiny = {"n_sessions": 1, "neurons_per_session": 3, "n_trials": 1, "frames_per_trial": 2, "test_frames": 2}
    screen = {"height": 4, "width": 4, "padding": 1, "margin_rows": 1, "margin_columns": 1, "n_images": 1}
    settings = {"source": "sridhar_2025", "path": "x", "simulated": {"enabled": True, **tiny, **screen}}
    with pytest.raises(UserError, match=r"simulated\.enabled and config\.data\.path are both set"):
        make_dataset(settings, tmp_path / "simulated")
