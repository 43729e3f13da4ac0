"""Behaviour of recordings: checks, statistics, and its rows beside those of the responses."""

import dataclasses
from typing import Any

import numpy as np
import pytest

from openretina_jax.data import ArrayRecording, ArrayTest, from_arrays, join_recordings
from openretina_jax.data.batches import batches_of
from openretina_jax.data.dataset import Dataset
from openretina_jax.data.fingerprint import fingerprint
from openretina_jax.data.info import DataInfo
from openretina_jax.data.timelines import Tables
from openretina_jax.errors import UserError
from tests import tiny

TIME, TRIALS, TEST_TIME, NEURONS, CHANNELS = 60, 3, 20, 2, 2
RNG = np.random.default_rng(0)
MOVIE, TEST_MOVIE = RNG.standard_normal((TIME, 4, 3)), RNG.standard_normal((TEST_TIME, 4, 3))
RESPONSES, REPEATS = RNG.random((TIME, NEURONS)), RNG.random((TRIALS, TEST_TIME, NEURONS))
EYE, TEST_EYE = RNG.standard_normal((TIME, CHANNELS)), RNG.standard_normal((TRIALS, TEST_TIME, CHANNELS))


def recording(**changes: Any) -> ArrayRecording:
    test = ArrayTest(TEST_MOVIE, REPEATS, "trial time neuron", TEST_EYE)
    return ArrayRecording(
        **({"movie": MOVIE, "responses": RESPONSES, "tests": {"clip": test}, "behaviour": EYE} | changes)
    )


def dataset(**changes: Any) -> Dataset:
    return from_arrays({"retina": recording(**changes)}, frame_rate_hz=30.0)


def test_axes_are_named() -> None:
    test = ArrayTest(TEST_MOVIE, REPEATS, "trial time neuron", TEST_EYE.transpose(2, 0, 1), "channel trial time")
    (session,) = dataset(behaviour=EYE.T, behaviour_axes="channel time", tests={"clip": test}).sessions
    np.testing.assert_array_equal(session.behaviour, EYE.astype(np.float32))
    np.testing.assert_array_equal(session.test_behaviour["clip"], TEST_EYE.astype(np.float32))
    assert "behaviour: 2 channels" in repr(session)
    single = ArrayTest(TEST_MOVIE, REPEATS[0], "time neuron", TEST_EYE[0, :, 0], "time")
    (session,) = dataset(behaviour=EYE[:, 0], behaviour_axes="time", tests={"clip": single}).sessions
    assert (session.behaviour.shape, session.test_behaviour["clip"].shape) == ((TIME, 1), (1, TEST_TIME, 1))


def test_trials_are_joined_in_time() -> None:
    by_trial = RESPONSES.reshape(3, 20, NEURONS), EYE.reshape(3, 20, CHANNELS)
    (session,) = dataset(
        responses=by_trial[0],
        response_axes="trial time neuron",
        behaviour=by_trial[1],
        behaviour_axes="trial time channel",
    ).sessions
    np.testing.assert_array_equal(session.behaviour, EYE.astype(np.float32))


def test_statistics_are_those_of_training_without_nan() -> None:
    eye = np.column_stack([EYE[:, 0], np.full(TIME, 7.0)])
    eye[3, 0] = np.nan
    test = ArrayTest(TEST_MOVIE, REPEATS, "trial time neuron", 100 + TEST_EYE)
    info = dataset(behaviour=eye, tests={"clip": test}).info
    assert info.behaviour["retina"]["mean"] == pytest.approx([np.nanmean(eye[:, 0]), 7.0])
    assert info.behaviour["retina"]["deviation"] == pytest.approx([np.nanstd(eye[:, 0]), 1.0])
    assert DataInfo.from_json(info.to_json()).behaviour == info.behaviour
    assert tiny.dataset().info.behaviour == {}


def test_joined_recordings_keep_it() -> None:
    joined = join_recordings([recording(), recording(tests={})])
    np.testing.assert_array_equal(joined.behaviour, np.concatenate([EYE, EYE]).astype(np.float32))
    np.testing.assert_array_equal(joined.tests["clip"].behaviour, TEST_EYE.astype(np.float32))
    with pytest.raises(UserError, match="some parts have behaviour of other channels than others, or none"):
        join_recordings([recording(), recording(tests={}, behaviour=None)])


def test_a_run_notices_other_behaviour() -> None:
    whole, other = dataset(), dataset(behaviour=EYE + 1)
    assert fingerprint(whole) != fingerprint(other)
    assert whole.source != other.source


NO_EYE = ArrayTest(TEST_MOVIE, REPEATS, "trial time neuron")
MISTAKES = {
    "frames": ({"behaviour": EYE[1:]}, "behaviour has 59 frames, the responses have 60"),
    "a test without": (
        {"tests": {"clip": NO_EYE}},
        r"has behaviour in the tests \[\], but responses to \['clip'\]; give it for each trial of each test",
    ),
    "a test alone": ({"behaviour": None}, r"has behaviour in the tests \['clip'\], but none in the training movie"),
    "trials": (
        {"tests": {"clip": dataclasses.replace(NO_EYE, behaviour=TEST_EYE[1:])}},
        r'behaviour in test "clip" has \(trial, time, channel\) \(2, 20, 2\), but must have \(3, 20, 2\)',
    ),
    "axes": ({"behaviour_axes": "time place"}, 'channels of behaviour: its axes are called "time place"'),
    "infinity": ({"behaviour": np.full((TIME, 2), np.inf)}, "the channels of behaviour hold infinity"),
    "nothing": (
        {"behaviour": np.full((TIME, 2), np.nan)},
        "a channel of the behaviour is NaN throughout; leave it out",
    ),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_mistakes_are_one_line(mistake: str) -> None:
    changes, said = MISTAKES[mistake]
    with pytest.raises(UserError, match=said) as raised:
        dataset(**changes)
    assert "retina" in str(raised.value)
    assert "\n" not in str(raised.value)


def test_sessions_have_the_same_channels() -> None:
    with pytest.raises(UserError, match=r"as many channels of behaviour, but they have {'a': 2, 'b': 0}"):
        from_arrays({"a": recording(tests={}), "b": recording(behaviour=None, tests={})}, frame_rate_hz=30.0)


def test_behaviour_lies_beside_the_responses() -> None:
    """On every timeline, in whatever order clips were shown; every trial of a test is a clip."""
    data = tiny.with_behaviour()
    tables = Tables(data, with_behaviour=True)
    assert tables.behaviour is not None
    for timelines in (tables.training(), tables.validation(), tables.test("test")):
        assert [timeline.n_sessions for timeline in timelines] == [1, 1, 1]
    for session, timeline, tested in zip(data.sessions, tables.training(), tables.test("test"), strict=True):
        columns = slice(timeline.first_neuron, timeline.first_neuron + timeline.n_neurons)
        kept = ~np.isin(session.frame_index // data.clip_length, data.validation_clips["train"])
        shown = tables.behaviour[timeline.rows, timeline.session]
        np.testing.assert_array_equal(shown, session.behaviour[kept])
        known = np.isfinite(session.behaviour).all(axis=1)[:, None]
        expected = np.where(known, session.responses, np.nan)[kept]
        np.testing.assert_array_equal(tables.responses[timeline.rows, columns], expected)

        trials, frames, _ = session.repeats["test"].shape
        assert (tested.clip_length, len(tested)) == (frames, trials * frames)
        np.testing.assert_array_equal(tested.frames, np.tile(tested.frames[:frames], trials))
        in_trials = tables.behaviour[tested.rows, tested.session].reshape(trials, frames, -1)
        np.testing.assert_array_equal(in_trials, session.test_behaviour["test"])
        recorded = tables.responses[tested.rows, columns].reshape(trials, frames, -1)
        expected = session.repeats["test"].copy()
        expected[:, 8:10] = np.nan
        np.testing.assert_array_equal(recorded, expected)


def test_models_without_shifter_read_all_responses() -> None:
    tables = Tables(tiny.with_behaviour())
    assert tables.behaviour is None
    np.testing.assert_array_equal(tables.responses, Tables(tiny.dataset()).responses)


def test_batches_have_the_behaviour_of_their_session() -> None:
    data = tiny.with_behaviour()
    options: dict[str, Any] = {"order": "session", "window_frames": 10, "windows_per_step": 2, "epochs": 1}
    with pytest.raises(UserError, match="the model reads behaviour, but the recordings have none"):
        batches_of(tiny.dataset(), with_behaviour=True, **options)
    for batch in batches_of(data, with_behaviour=True, **options):
        assert batch.behaviour is not None
        session = data.sessions[int(batch.session[0])]
        kept = ~np.isin(session.frame_index // data.clip_length, data.validation_clips["train"])
        eye, recorded = session.behaviour[kept], session.responses[kept]
        for window in range(2):
            shown = np.asarray(batch.behaviour[0, window])
            (start,) = (n for n in range(len(eye)) if _equal(eye[n : n + 10], shown))
            responses = np.asarray(batch.responses[0, window])[:, np.asarray(batch.neuron_mask[0])]
            unknown = np.isnan(shown).any(axis=1)
            np.testing.assert_array_equal(responses[~unknown], recorded[start : start + 10][~unknown])
            assert np.isnan(responses[unknown]).all()


def _equal(one: np.ndarray, other: np.ndarray) -> bool:
    return one.shape == other.shape and np.array_equal(one, other, equal_nan=True)
