import re

import numpy as np
import pytest

from openretina_jax.data.assembly import ArrayRecording, ArrayTest, from_arrays
from openretina_jax.data.dataset import Dataset
from openretina_jax.data.quality import dataset_problems, movie_table, session_table, split_half_reliability

TIME, NEURONS, TRIALS = 60, 3, 4
RNG = np.random.default_rng(0)
MOVIE = RNG.integers(256, size=(TIME, 4, 3), dtype=np.uint8)
TEST_MOVIE = RNG.integers(256, size=(20, 4, 3), dtype=np.uint8)
RESPONSES = RNG.gamma(2.0, size=(TIME, NEURONS)).astype(np.float32)
REPEATS = RNG.gamma(2.0, size=(TRIALS, 20, NEURONS)).astype(np.float32)


def dataset(responses=RESPONSES, repeats=REPEATS, test_movie=TEST_MOVIE, **options) -> Dataset:
    tests = {"clip": ArrayTest(test_movie, repeats, "trial time neuron")}
    return from_arrays({"retina": ArrayRecording(MOVIE, responses, tests)}, frame_rate_hz=30.0, **options)


def with_column(values: np.ndarray, neuron: int, number: float) -> np.ndarray:
    changed = values.copy()
    changed[..., neuron] = number
    return changed


def test_a_sound_data_set_has_no_problems():
    assert dataset_problems(dataset()) == []


def test_tables_say_what_is_in_it():
    responses = RESPONSES.copy()
    responses[:6, 1] = responses[:, 2] = np.nan
    sessions, movies = session_table(dataset(responses)), movie_table(dataset())
    row = sessions.loc["retina"]
    assert (row["movie"], row["neurons"], row["seconds"], row["tests"], row["trials"]) == ("train", 3, 2.0, 1, "4")
    assert row["missing"] == pytest.approx((6 + TIME) / (TIME * NEURONS))
    assert row["mean response"] == pytest.approx(np.nanmean(responses))
    assert row["deviation"] == pytest.approx(np.nanstd(responses[:, :2], axis=0).mean(), rel=1e-5)
    assert row["reliability"] == pytest.approx(split_half_reliability(REPEATS).mean())
    row = movies.loc["train"]
    assert (row["frames"], row["size"], row["type"]) == (TIME, "4 x 3 x 1", "uint8")
    assert (row["lowest"], row["highest"]) == (MOVIE.min(), MOVIE.max())
    np.testing.assert_allclose([row["seen mean"], row["seen deviation"]], [0, 1], atol=2e-3)


def test_reliability_is_that_of_the_mean_over_trials():
    signal = RNG.standard_normal((2000, 2))
    trials = (signal + RNG.standard_normal((10, 2000, 2))).astype(np.float32)
    # the variance of the mean of 10 trials is that of the signal and a tenth of that of the noise
    np.testing.assert_allclose(split_half_reliability(trials), 1 / 1.1, atol=0.02)
    assert np.isnan(split_half_reliability(trials[:1])).all()
    assert np.isnan(split_half_reliability(with_column(trials, 0, 1.0))).tolist() == [True, False]
    trials[0, :, 1] = np.nan
    assert split_half_reliability(trials)[1] > 0.85


PROBLEMS = {
    "silent": ({"responses": with_column(RESPONSES, 1, 0.0)}, r"retina: neurons \[1\] never change in the training"),
    "not recorded": (
        {"responses": with_column(RESPONSES, 2, np.nan)},
        r"retina: neurons \[2\] have no responses in the training",
    ),
    "silent in the test": ({"repeats": with_column(REPEATS, 0, 1.0)}, r'neurons \[0\] never change in the test "clip"'),
    "negative": ({"responses": RESPONSES - 1}, r"responses of neurons \[0, 1, 2\] are negative in the training"),
    "leak": ({"test_movie": MOVIE[5:25]}, '20 of 20 frames of the test "clip" are in the training movie too'),
    "scale": ({"normalization": (0.0, 1.0)}, 'movie "train": models see pixels of mean 1.. and deviation 7'),
}


@pytest.mark.parametrize("problem", PROBLEMS)
def test_problems_are_found(problem):
    options, said = PROBLEMS[problem]
    found = dataset_problems(dataset(**options))
    assert len(found) == (2 if problem == "scale" else 1)  # the scale is that of both movies
    assert re.search(said, found[0])


def test_all_problems_are_found_at_once():
    responses = with_column(with_column(RESPONSES, 0, 0.0), 1, -1.0)
    assert len(dataset_problems(dataset(responses, with_column(REPEATS, 2, np.nan)))) == 3
