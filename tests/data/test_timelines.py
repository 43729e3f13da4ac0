"""Timelines show every neuron the frames it saw, and find its responses to them."""

import dataclasses
from typing import NamedTuple

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from openretina_jax.data.dataset import Dataset, Session
from openretina_jax.data.stimulus import Stimulus
from openretina_jax.data.timelines import Tables, Timeline
from openretina_jax.errors import UserError
from tests import tiny

SESSION = 1000  # the response of session s at time t is SESSION * s + t
TEST = "after"


class Shown(NamedTuple):
    """What one session was shown: clips in order, whether mirrored, whether the test movie; its neurons."""

    order: list[int]
    mirrored: bool
    test: bool
    n_neurons: int


class Plan(NamedTuple):
    """A data set in plain values: type checks of the tests must not run inside a strategy."""

    clip_length: int
    clips: int
    validation_clips: list[int]
    sessions: list[Shown]

    def dataset(self) -> Dataset:
        """Frames hold their own number, responses the session and time."""
        movies = {"before": 2, "movie": self.clips * self.clip_length, TEST: 3}
        stimuli = {
            name: Stimulus(name, np.arange(count, dtype=np.float32)[:, None, None, None], 30.0)
            for name, count in movies.items()
        }
        sessions = tuple(self._session(number, shown) for number, shown in enumerate(self.sessions))
        return Dataset(stimuli, sessions, self.clip_length, {"movie": tuple(self.validation_clips)})

    def _session(self, number: int, shown: Shown) -> Session:
        frames = tiny.whole_clips(np.array(shown.order), self.clip_length)
        time = SESSION * number + np.arange(len(frames), dtype=np.float32)
        responses = np.tile(time[:, None], shown.n_neurons)
        trials = np.tile(SESSION * number + np.arange(3, dtype=np.float32)[:, None], (2, 1, shown.n_neurons))
        return Session(str(number), "movie", responses, frames, {TEST: trials} if shown.test else {}, shown.mirrored)


@st.composite
def plans(draw: st.DrawFn) -> Plan:
    """Some sessions saw a clip twice, some not all clips, some were not shown the test movie."""
    clips = draw(st.integers(2, 5))
    validation = draw(st.lists(st.integers(0, clips - 1), min_size=1, max_size=clips - 1, unique=True))
    others = [clip for clip in range(clips) if clip not in validation]
    training = st.lists(st.sampled_from(others), min_size=1, max_size=clips + 2)
    orders = training.flatmap(lambda chosen: st.permutations([*validation, *chosen]))
    sessions = st.builds(Shown, orders, st.booleans(), st.booleans(), st.integers(1, 3))
    return Plan(draw(st.integers(1, 4)), clips, validation, draw(st.lists(sessions, min_size=1, max_size=4)))


def seen(tables: Tables, timeline: Timeline) -> np.ndarray:
    """Numbers of the frames on a timeline."""
    return tables.frames()[timeline.frames, 0, 0, 0].astype(int)


def recorded(tables: Tables, timeline: Timeline) -> np.ndarray:
    """Responses on a timeline, ``(time, neuron)``."""
    columns = slice(timeline.first_neuron, timeline.first_neuron + timeline.n_neurons)
    return tables.responses[timeline.rows, columns]


def sessions_of(data: Dataset, timeline: Timeline) -> list[Session]:
    """The sessions whose neurons a timeline holds."""
    ends = np.cumsum([session.n_neurons for session in data.sessions])
    first, last = timeline.first_neuron, timeline.first_neuron + timeline.n_neurons
    found = [s for s, end in zip(data.sessions, ends, strict=True) if first < end <= last]
    assert sum(session.n_neurons for session in found) == timeline.n_neurons
    assert len(found) == timeline.n_sessions
    assert {session.mirrored for session in found} == {timeline.mirrored}
    return found


def times(data: Dataset, tables: Tables, timeline: Timeline) -> dict[str, np.ndarray]:
    """When each session of a timeline saw its frames, told from the responses; fails unless it saw those frames."""
    responses = recorded(tables, timeline)
    found, first = {}, 0
    for session in sessions_of(data, timeline):
        own = responses[:, first : first + session.n_neurons]
        first += session.n_neurons
        assert (own == own[:, :1]).all()
        number, time = np.divmod(own[:, 0].astype(int), SESSION)
        assert (number == int(session.name)).all()
        np.testing.assert_array_equal(session.frame_index[time], seen(tables, timeline))
        found[session.name] = time
    return found


@settings(deadline=None)
@given(plans())
def test_training_timelines_hold_all_that_is_not_validation(plan: Plan) -> None:
    data = plan.dataset()
    tables = Tables(data)
    timelines = tables.training()
    assert [timeline.name for timeline in timelines] == [session.name for session in data.sessions]
    for timeline, session in zip(timelines, data.sessions, strict=True):
        validation = np.isin(session.frame_index // data.clip_length, data.validation_clips["movie"])
        np.testing.assert_array_equal(times(data, tables, timeline)[session.name], np.flatnonzero(~validation))


@settings(deadline=None)
@given(plans())
def test_shared_timelines_are_those_of_sessions_with_the_neurons_of_their_groups(plan: Plan) -> None:
    data = plan.dataset()
    tables = Tables(data)
    for shared, own in zip(tables.shared_training(), tables.training(), strict=True):
        assert shared.name == own.name
        np.testing.assert_array_equal(seen(tables, shared), seen(tables, own))
        found = times(data, tables, shared)
        assert own.name in found
        for session in sessions_of(data, shared):
            # every neuron of the group answers the frames shown, wherever its own session saw them
            np.testing.assert_array_equal(session.frame_index[found[session.name]], seen(tables, shared))


@settings(deadline=None)
@given(plans())
def test_validation_clips_come_in_their_given_order(plan: Plan) -> None:
    data = plan.dataset()
    tables = Tables(data)
    frames = tiny.whole_clips(np.array(data.validation_clips["movie"]), data.clip_length)
    found: list[str] = []
    for timeline in tables.validation():
        np.testing.assert_array_equal(seen(tables, timeline), frames)
        found += times(data, tables, timeline)
    assert found == [session.name for session in data.sessions]


@settings(deadline=None)
@given(plans())
def test_test_movies_have_the_mean_over_trials(plan: Plan) -> None:
    data = plan.dataset()
    tables = Tables(data)
    found: list[str] = []
    for timeline in tables.test(TEST):
        np.testing.assert_array_equal(seen(tables, timeline), [0, 1, 2])
        sessions = sessions_of(data, timeline)
        found += [session.name for session in sessions]
        number = np.repeat([int(session.name) for session in sessions], [session.n_neurons for session in sessions])
        expected = SESSION * number + np.arange(3)[:, None]
        np.testing.assert_array_equal(recorded(tables, timeline), expected)
    assert found == [session.name for session in data.sessions if TEST in session.repeats]


def test_sessions_that_saw_the_same_clips_share_a_timeline() -> None:
    tables = Tables(tiny.dataset())
    for timelines in (tables.validation(), tables.test("test")):
        assert [timeline.name for timeline in timelines] == ["right_1", "left"]
        assert [timeline.mirrored for timeline in timelines] == [False, True]
        assert [timeline.n_neurons for timeline in timelines] == [8, 4]
        assert [timeline.n_sessions for timeline in timelines] == [2, 1]
    shared = tables.shared_training()
    assert [timeline.n_neurons for timeline in shared] == [8, 8, 4]
    assert [timeline.order for timeline in shared] == [0, 1, 2]


def test_equal_orders_of_clips_have_one_number() -> None:
    data = tiny.dataset()
    first, second, left = data.sessions
    twin = dataclasses.replace(second, frame_index=first.frame_index)
    tables = Tables(dataclasses.replace(data, sessions=(first, twin, left)))
    assert [timeline.order for timeline in tables.training()] == [0, 0, 2]
    np.testing.assert_array_equal(tables.order, [0] * 8 + [2] * 4)


def test_nothing_is_copied() -> None:
    data = tiny.dataset()
    movie = {"train": data.stimuli["train"]}
    sessions = tuple(dataclasses.replace(session, repeats={}) for session in data.sessions)
    tables = Tables(dataclasses.replace(data, stimuli=movie, sessions=sessions))
    assert tables.frames() is movie["train"].frames
    assert tables.responses.shape == (tables.n_frames, data.n_neurons)


def test_missing_trials_are_left_out_of_the_mean() -> None:
    data = tiny.dataset()
    session = data.sessions[0]
    trials = session.repeats["test"].copy()
    trials[0, 3, 1] = trials[:, 4, 1] = np.nan
    changed = dataclasses.replace(session, repeats={"test": trials})
    tables = Tables(dataclasses.replace(data, sessions=(changed, *data.sessions[1:])))
    found = recorded(tables, tables.test("test")[0])[:, 1]
    np.testing.assert_allclose(found[3], trials[1:, 3, 1].mean(), rtol=1e-6)
    assert np.flatnonzero(np.isnan(found)).tolist() == [4]


def test_session_of_a_column() -> None:
    np.testing.assert_array_equal(Tables(tiny.dataset()).session, [0] * 3 + [1] * 5 + [2] * 4)


def test_timelines_of_one_session_each() -> None:
    tables = Tables(tiny.dataset(), per_session=True)
    for timelines in (tables.training(), tables.shared_training(), tables.validation(), tables.test("test")):
        assert [(line.session, line.n_neurons, line.n_sessions) for line in timelines] == [
            (0, 3, 1),
            (1, 5, 1),
            (2, 4, 1),
        ]


def test_no_validation_clips() -> None:
    with pytest.raises(UserError, match="validation_clips is empty, but training needs a validation score"):
        Tables(dataclasses.replace(tiny.dataset(), validation_clips={})).validation()
