"""Data sets of arrays with named axes: axes in order, clips, and mistakes told in one line."""

import dataclasses

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from openretina_jax.data.arrays import REPEATS, ArrayRecording, ArrayTest, from_arrays, join_recordings
from openretina_jax.data.assembly import MOVIE
from openretina_jax.data.dataset import Dataset
from openretina_jax.data.frame_times import steady_frame_times
from openretina_jax.data.timelines import Tables
from openretina_jax.data.windows import make_sampler
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


@pytest.mark.parametrize("axes", ["time", "time width", "time height", "time height width", "channel time"])
def test_movies_without_some_axes(axes):
    sizes = {"time": TIME, "height": 4, "width": 3, "channel": 2}
    movie = RNG.integers(256, size=[sizes[axis] for axis in axes.split()]).astype(np.uint8)
    test = ArrayTest(movie[..., :20] if axes == "channel time" else movie[:20], REPEATED, REPEATS)
    frames = array_dataset(array_recording(movie=movie, movie_axes=axes, tests={"clip": test})).stimuli["train"].frames
    assert frames.shape == tuple(sizes[axis] if axis in axes.split() else 1 for axis in MOVIE.split())
    np.testing.assert_array_equal(frames.ravel(), (movie.T if axes == "channel time" else movie).ravel())


def test_white_noise_of_bytes_stays_as_it_is():
    movie = np.sign(RNG.normal(size=(TIME, 4, 3))).astype(np.int8)
    frames = array_dataset(array_recording(movie=movie, tests={})).stimuli["train"].frames
    assert frames.dtype == np.int8
    assert np.shares_memory(frames, movie)


def trials_recording(**changes) -> ArrayRecording:
    """Four trials of 15 frames, as the files of MATLAB have them, and the frozen ones between them."""
    by_trial = RESPONSES.reshape(4, 15, NEURONS).transpose(2, 1, 0)
    test = ArrayTest(TEST_MOVIE, REPEATED.transpose(2, 1, 0), "neuron time trial")
    arrays = {"responses": by_trial, "response_axes": "neuron time trial", "tests": {"frozen": test}}
    return array_recording(**{**arrays, **changes})


def test_trials_become_clips():
    found = array_dataset(trials_recording())
    np.testing.assert_array_equal(found.sessions[0].responses, RESPONSES)
    np.testing.assert_array_equal(found.sessions[0].repeats["frozen"], REPEATED)
    assert (found.clip_length, found.interrupted) == (15, True)
    movie = MOVIE_ARRAY.reshape(4, 15, 4, 3)
    same = array_dataset(trials_recording(movie=movie, movie_axes="trial time height width"))
    np.testing.assert_array_equal(same.stimuli["train"].frames, found.stimuli["train"].frames)
    np.testing.assert_array_equal(same.stimuli["frozen"].frames, found.stimuli["frozen"].frames)
    assert not array_dataset(array_recording()).interrupted


@pytest.mark.parametrize("order", ["session", "shared"])
def test_no_window_crosses_an_interruption(order):
    """Nor does it where the configuration says nothing of it, so that no history is that of another trial."""
    dataset = array_dataset(trials_recording(), validation_clips=(2,))
    sampler = make_sampler(order, Tables(dataset), seed=0, window_frames=7, windows_per_step=2)
    starts = np.concatenate([sampler[epoch].start.ravel() for epoch in range(20)])
    assert (starts // 15 == (starts + 6) // 15).all()
    assert len(np.unique(starts)) > 8
    going_on = array_dataset(array_recording(), clip_length=15, validation_clips=(2,))
    sampler = make_sampler(order, Tables(going_on), seed=0, window_frames=7, windows_per_step=2)
    starts = np.concatenate([sampler[epoch].start.ravel() for epoch in range(20)])
    assert (starts // 15 != (starts + 6) // 15).any()


def test_validation_by_a_block_of_clips():
    found = array_dataset(array_recording(), clip_length=5, validation_clips=range(4, 8))
    assert found.validation_clips == {"train": (4, 5, 6, 7)}


def test_padding_of_short_trials_is_grey():
    movie, responses = MOVIE_ARRAY.astype(np.float32), RESPONSES.astype(np.float32)
    movie[27:30], responses[27:30] = np.nan, np.nan
    found = array_dataset(array_recording(movie=movie, responses=responses, clip_starts=(0, 15, 30, 45)))
    np.testing.assert_allclose(found.stimuli["train"].frames[27:30], np.nanmean(movie), rtol=1e-6)
    assert np.isnan(movie[27:30]).all(), "the user's array is not changed"
    with pytest.raises(UserError, match="holds NaN or infinity in 3 of 60 frames"):
        array_dataset(array_recording(movie=movie, responses=responses))
    responses[27:30] = 1
    with pytest.raises(UserError, match="holds NaN or infinity in 3 of 60 frames"):
        array_dataset(array_recording(movie=movie, responses=responses, clip_starts=(0, 15, 30, 45)))


def test_times_of_frames_tell_the_rate():
    times = steady_frame_times(TIME, 25.0)
    found = from_arrays({"retina": array_recording(frame_times=times)})
    assert found.stimuli["train"].frame_rate_hz == pytest.approx(25.0)
    trials = trials_recording(frame_times=times + 3.0 * (np.arange(TIME) // 15))
    assert from_arrays({"retina": trials}).stimuli["train"].frame_rate_hz == pytest.approx(25.0)
    with pytest.raises(
        UserError, match=r"^b: its frame_times say 50 frames per second, but the data set has 25 .* frames_at"
    ):
        from_arrays({"a": array_recording(), "b": array_recording(frame_times=times / 2)}, frame_rate_hz=25.0)
    with pytest.raises(UserError, match=r"^b: has no frame_times; give them, or frame_rate_hz"):
        from_arrays({"a": array_recording(frame_times=times), "b": array_recording()})
    pause = times + (np.arange(TIME) >= 20)
    with pytest.raises(UserError, match=r"^retina: after frame 19 the next one appears later"):
        from_arrays({"retina": array_recording(frame_times=pause)})


def test_several_stimuli_of_one_session():
    units = {"unit": ["a7", "b2"]}
    first = array_recording(movie=MOVIE_ARRAY[:40], responses=RESPONSES[:40], clip_starts=(0, 10), neurons=units)
    other = array_recording(movie=MOVIE_ARRAY[40:].transpose(1, 0, 2), movie_axes="height time width", tests={})
    other = dataclasses.replace(other, responses=RESPONSES[40:])
    joined = join_recordings([first, other])
    assert list(joined.clip_starts) == [0, 10, 40]
    (session,) = (found := array_dataset(joined)).sessions
    np.testing.assert_array_equal(found.stimuli["train"].frames[..., 0], MOVIE_ARRAY)
    np.testing.assert_array_equal(session.responses, RESPONSES)
    assert (found.clip_length, found.test_names, session.neurons["unit"].tolist()) == (10, ("clip",), ["a7", "b2"])
    with pytest.raises(UserError, match='two parts have a test "clip"'):
        join_recordings([first, first])
    narrow = dataclasses.replace(other, movie=MOVIE_ARRAY[40:, :, :2], movie_axes=MOVIE)
    with pytest.raises(UserError, match=r"part 0 has frames of \(4, 3, 1\) and 2 neurons, part 1 \(4, 2, 1\) and 2"):
        join_recordings([first, narrow])
