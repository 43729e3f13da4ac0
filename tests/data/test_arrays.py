"""Data sets of arrays with named axes: axes in order, clips, and mistakes told in one line."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from openretina_jax.data.arrays import REPEATS, ArrayRecording, ArrayTest, from_arrays
from openretina_jax.data.assembly import MOVIE
from openretina_jax.data.dataset import Dataset
from openretina_jax.errors import UserError

TIME, HEIGHT, WIDTH, NEURONS, TRIALS = 60, 4, 3, 2, 5
RNG = np.random.default_rng(0)
MOVIE_ARRAY = RNG.integers(256, size=(TIME, HEIGHT, WIDTH), dtype=np.uint8)
RESPONSES = RNG.poisson(2.0, (TIME, NEURONS))
TEST_MOVIE = MOVIE_ARRAY[:20]
REPEATED = RNG.poisson(2.0, (TRIALS, 20, NEURONS)).astype(np.float64)


def array_recording(**changes):
    arrays = {"movie": MOVIE_ARRAY, "responses": RESPONSES, "tests": {"clip": ArrayTest(TEST_MOVIE, REPEATED, REPEATS)}}
    return ArrayRecording(**{**arrays, **changes})


def array_dataset(*recordings: ArrayRecording, **options) -> Dataset:
    named = {f"retina_{number}": one for number, one in enumerate(recordings)}
    return from_arrays(named, **{"frame_rate_hz": 30.0, **options})


def test_arrays_become_a_data_set():
    found = array_dataset(array_recording(neurons={"cell_type": np.array([1, 2])}), clip_length=10, validation_clips=2)
    (session,) = found.sessions
    np.testing.assert_array_equal(found.stimuli["train"].frames[..., 0], MOVIE_ARRAY)
    np.testing.assert_array_equal(session.responses, RESPONSES)
    np.testing.assert_array_equal(session.repeats["clip"], REPEATED)
    np.testing.assert_array_equal(session.neurons["cell_type"], [1, 2])
    assert (found.clip_length, len(found.validation_clips["train"]), found.test_names) == (10, 2, ("clip",))
    assert found.stimuli["train"].norm_mean == pytest.approx(MOVIE_ARRAY.mean())
    normalized = found.stimuli["train"].normalized()
    np.testing.assert_allclose([normalized.mean(), normalized.std()], [0, 1], atol=2e-3)


def test_channels_have_names():
    assert array_dataset(array_recording(), channels=["green"]).info.channels == ["green"]
    assert array_dataset(array_recording()).info.channels is None
    with pytest.raises(UserError, match="channels are named green, UV, but frames have the shapes"):
        array_dataset(array_recording(), channels=["green", "UV"])


@settings(max_examples=15)
@given(st.permutations(MOVIE.split()), st.permutations(REPEATS.split()))
def test_named_axes_are_put_in_order(movie_axes, repeat_axes):
    def shuffled(values, axes, order):
        return values.transpose([axes.split().index(name) for name in order])

    coloured = np.stack([MOVIE_ARRAY, MOVIE_ARRAY // 2], axis=-1)
    one = array_recording(
        movie=shuffled(coloured, MOVIE, movie_axes),
        movie_axes=" ".join(movie_axes),
        responses=RESPONSES.T,
        response_axes="neuron time",
        tests={
            "clip": ArrayTest(
                shuffled(coloured[:20], MOVIE, movie_axes),
                shuffled(REPEATED, REPEATS, repeat_axes),
                " ".join(repeat_axes),
            )
        },
    )
    found = array_dataset(one, clip_length=10)
    np.testing.assert_array_equal(found.stimuli["train"].frames, coloured)
    np.testing.assert_array_equal(found.sessions[0].responses, RESPONSES)
    np.testing.assert_array_equal(found.sessions[0].repeats["clip"], REPEATED)


def test_a_mean_over_trials_is_a_single_one():
    one = array_recording(tests={"clip": ArrayTest(TEST_MOVIE, REPEATED.mean(axis=0).T, "neuron time")})
    np.testing.assert_allclose(array_dataset(one).sessions[0].repeats["clip"], REPEATED.mean(axis=0)[None], rtol=1e-6)


def test_recordings_of_one_movie_share_it():
    found = array_dataset(array_recording(), array_recording(responses=RESPONSES[:, :1], tests={}))
    assert sorted(found.stimuli) == ["clip", "train"]
    assert [session.n_neurons for session in found.sessions] == [2, 1]
    assert array_dataset(array_recording()).source != array_dataset(array_recording(responses=RESPONSES + 1)).source


def test_missing_responses_stay_missing():
    values = RESPONSES.astype(float)
    values[5, 1] = np.nan
    assert np.argwhere(np.isnan(array_dataset(array_recording(responses=values)).sessions[0].responses)).tolist() == [
        [5, 1]
    ]


@pytest.mark.parametrize(
    ("clip_starts", "options", "length"),
    [((), {}, 6), ((), {"frame_rate_hz": 1.0}, 5), ((0, 12, 30), {}, 6), ((0, 12, 30), {"clip_length": 3}, 3)],
)
def test_clips_cross_no_border(clip_starts, options, length):
    assert array_dataset(array_recording(clip_starts=clip_starts), **options).clip_length == length


MISTAKES = {
    "three axes without names": (
        {"movie": MOVIE_ARRAY, "movie_axes": "channel time height width"},
        r'the training movie: has shape \(60, 4, 3\), but must have the 4 axes "channel time height width"',
    ),
    "other names": ({"response_axes": "cell time"}, 'its axes are called "cell time"; name each of time, neuron once'),
    "a name twice": ({"response_axes": "time time"}, 'its axes are called "time time"; name each of time, neuron once'),
    "swapped": ({"responses": RESPONSES.T}, "responses have 2 frames, the training movie has 60; .* are axes swapped"),
    "test": (
        {"tests": {"clip": ArrayTest(TEST_MOVIE[1:], REPEATED, REPEATS)}},
        'responses to "clip" have 20 frames, stimulus "clip" has 19',
    ),
    "neurons": (
        {"tests": {"clip": ArrayTest(TEST_MOVIE, REPEATED[..., :1], REPEATS)}},
        'responses to test "clip" have 1 neurons, the others 2; are axes swapped',
    ),
    "columns": ({"neurons": {"cell_type": np.ones(3)}}, '"cell_type"\\] has 3 entries for 2 neurons'),
    "infinity": (
        {"responses": np.full((TIME, NEURONS), np.inf)},
        "the responses hold infinity; put NaN where nothing was recorded",
    ),
    "words": ({"movie": np.array(["a"])}, r"the training movie: must hold real numbers, but is <U1 of shape \(1,\)"),
    "complex": ({"responses": RESPONSES * 1j}, "the responses: must hold real numbers, but is complex128"),
    "empty": ({"responses": RESPONSES[:, :0]}, r"must hold real numbers, but is int64 of shape \(60, 0\)"),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_mistakes_are_told_with_the_recording(mistake):
    changes, said = MISTAKES[mistake]
    with pytest.raises(UserError, match=said) as raised:
        array_dataset(array_recording(**changes))
    assert "retina_0" in str(raised.value)
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"frame_rate_hz": 0.0}, "frame_rate_hz is 0.0; it must be above 0"),
        ({"clip_length": 10, "validation_clips": 6}, "validation takes 6 of 6 clips"),
        ({"clip_length": 7}, "retina_0: a clip begins at frame 10, which is no multiple of clip_length 7"),
        ({"validation_clips": (99,)}, r"validation clips \[99\] were never shown"),
    ],
)
def test_wrong_options(options, said):
    with pytest.raises(UserError, match=said):
        array_dataset(array_recording(clip_starts=(0, 10)), **options)


def test_no_recordings():
    with pytest.raises(UserError, match="there are no recordings"):
        array_dataset()
