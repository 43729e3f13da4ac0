"""Tables, problems and counts of frames: against the reference and by hand."""

import dataclasses
import itertools
import re

import numpy as np
import pytest

from openretina_jax.data.arrays import ArrayRecording, ArrayTest, from_arrays
from openretina_jax.data.dataset import Dataset
from openretina_jax.data.quality import (
    SplitStatistics,
    count_frames,
    dataset_problems,
    dataset_statistics,
    frame_numbers,
    movie_table,
    session_table,
    split_half_reliability,
    trace_notes,
)
from openretina_jax.data.timelines import Tables
from tests import tiny
from tests.goldens_case import case

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
    "silent": ({"responses": with_column(RESPONSES, 1, 0.0)}, r"^retina neurons \[1\]: no change in the training"),
    "not recorded": (
        {"responses": with_column(RESPONSES, 2, np.nan)},
        r"^retina neurons \[2\]: no responses in the training",
    ),
    "silent in the test": ({"repeats": with_column(REPEATS, 0, 1.0)}, r'neurons \[0\]: no change in the test "clip"'),
    "negative": ({"responses": np.round(RESPONSES) - 1}, r"neurons \[0, 1, 2\]: negative responses in the training"),
    "leak": ({"test_movie": MOVIE[5:25]}, '20 of 20 frames of the test "clip" are in the training movie too'),
    "scale": ({"normalization": (0.0, 1.0)}, 'movie "train": models see pixels of mean 1.. and deviation 7'),
}


@pytest.mark.parametrize("problem", PROBLEMS)
def test_problems_are_found(problem):
    options, said = PROBLEMS[problem]
    found = dataset_problems(dataset(**options))
    assert len(found) == (2 if problem == "scale" else 1)  # the scale is that of both movies
    assert re.search(said, found[0])


def test_traces_may_be_negative_unless_the_loss_is_of_rates():
    """Fluorescence is noted; shifted counts, and traces for a Poisson loss, are a problem."""
    traces, counts = dataset(RESPONSES - 1, REPEATS - 1), dataset(np.round(RESPONSES) - 1)
    assert (traces.has_negative, counts.has_negative, dataset().has_negative) == (True, True, False)
    assert [dataset_problems(traces, of_rates) == [] for of_rates in (None, False, True)] == [True, True, False]
    assert [dataset_problems(counts, of_rates) == [] for of_rates in (None, False, True)] == [False, True, False]
    (note,) = trace_notes(traces)
    share = (RESPONSES < 1).mean()
    assert note.startswith(f"retina ({share:.0%} negative): traces,")
    assert ":calcium" in note
    assert trace_notes(counts) == trace_notes(dataset()) == []


def test_all_problems_are_found_at_once():
    responses = with_column(with_column(RESPONSES, 0, 0.0), 1, -1.0)
    assert len(dataset_problems(dataset(responses, with_column(REPEATS, 2, np.nan)))) == 3


def flicker(rng: np.random.Generator, frames: int, held: int) -> np.ndarray:
    """Full-field flicker of two lights, each of which stays for some frames."""
    return np.repeat(rng.integers(2, size=frames // held), held).astype(np.uint8)


@pytest.mark.parametrize("held", [1, 4])
def test_flicker_is_compared_by_its_histories(held):
    """Its frames, and short histories, come again by chance; a part of the movie does not."""
    rng = np.random.default_rng(0)
    movie, test = flicker(rng, 6000, held), flicker(rng, 200, held)

    def found(shown: np.ndarray) -> list[str]:
        responses, repeats = rng.poisson(1.0, (6000, 2)), rng.poisson(1.0, (3, 200, 2))
        recording = ArrayRecording(
            movie, responses, {"t": ArrayTest(shown, repeats, "trial time neuron")}, movie_axes="time"
        )
        return dataset_problems(from_arrays({"retina": recording}, frame_rate_hz=60.0))

    assert found(test) == []
    (line,) = found(movie[1001:1201])
    assert re.search(r"retina: \d+ of \d+ sequences of \d+ frames of the test \"t\" are in the training", line)


def test_frames_of_the_reference() -> None:
    golden = case("data", "frame_fingerprints")
    clips = golden.array("input/x").transpose(0, 2, 3, 4, 1)
    (numbers,) = frame_numbers(np.ascontiguousarray(clips.reshape(-1, *clips.shape[2:]), np.float32))
    frames, transitions = count_frames([numbers.reshape(clips.shape[:2])])
    golden.check("unique_frames", frames)
    golden.check("unique_transitions", transitions)


def test_equal_frames_have_equal_numbers() -> None:
    movie = np.zeros((4, 2, 2, 1), np.float32)
    movie[1] = 1
    movie[3] = -0.0
    first, second = frame_numbers(movie, movie[1:])
    assert first.tolist() == [0, 1, 0, 0]
    assert second.tolist() == [1, 0, 0]
    assert count_frames([first[None], second[None]]) == (2, 3)


def test_a_data_set_of_right_and_left_eyes() -> None:
    data = tiny.dataset()
    found = dataset_statistics(Tables(data))
    kept, validated = tiny.CLIPS - len(tiny.VALIDATION_CLIPS), len(tiny.VALIDATION_CLIPS)
    within = tiny.CLIP_LENGTH - 1
    clips = [session.frame_index[:: tiny.CLIP_LENGTH] // tiny.CLIP_LENGTH for session in data.sessions]
    orders = [[clip for clip in shown if clip not in tiny.VALIDATION_CLIPS] for shown in clips]
    borders = {
        (session.mirrored, *pair)
        for session, order in zip(data.sessions, orders, strict=True)
        for pair in itertools.pairwise(order)
    }
    assert found == {
        "train": SplitStatistics(3, 2 * kept * tiny.CLIP_LENGTH, 2 * kept * within + len(borders)),
        "validation": SplitStatistics(3, 2 * validated * tiny.CLIP_LENGTH, 2 * validated * within),
        "test": SplitStatistics(3, 2 * tiny.TEST_LENGTH, 2 * (tiny.TEST_LENGTH - 1)),
        "train and validation": SplitStatistics(
            3, 2 * tiny.CLIPS * tiny.CLIP_LENGTH, 2 * tiny.CLIPS * within + len(borders)
        ),
    }


def test_a_movie_that_is_its_own_mirror_image() -> None:
    data = tiny.dataset()
    frames = data.stimuli["test"].frames
    even = dataclasses.replace(data.stimuli["test"], frames=np.concatenate([frames, frames[:, :, ::-1]], axis=2))
    train = data.stimuli["train"]
    wide = dataclasses.replace(train, frames=np.concatenate([train.frames, train.frames], axis=2))
    data = dataclasses.replace(data, stimuli={"train": wide, "test": even})
    found = dataset_statistics(Tables(data))
    assert found["test"] == SplitStatistics(3, tiny.TEST_LENGTH, tiny.TEST_LENGTH - 1)
    assert found["train"].frames == 2 * (tiny.CLIPS - 2) * tiny.CLIP_LENGTH
