"""Which windows an epoch visits."""

import dataclasses
from typing import NamedTuple

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from openretina_jax.data.timelines import Tables, Timeline
from openretina_jax.data.windows import EpochWindows, Sampler, SessionSampler, SharedSampler, make_sampler
from openretina_jax.errors import UserError
from tests import tiny

EPOCHS = 40


def timeline(length: int, group: int = 0, name: str = "a") -> Timeline:
    time = np.arange(length, dtype=np.int32)
    return Timeline(
        name=name,
        frames=time,
        rows=time,
        mirrored=False,
        session=0,
        first_neuron=group,
        n_neurons=1,
        n_sessions=1,
        order=0,
        clip_length=1,
    )


class Plan(NamedTuple):
    """A sampler in plain values: type checks of the tests must not run inside a strategy."""

    frames: int
    windows_per_step: int
    seed: int
    lengths: list[int]
    sessions: int = 1

    def sampler(self, kind: type[Sampler]) -> Sampler:
        """The sampler of groups of sessions whose timelines have these lengths."""
        timelines = [timeline(length, group) for group, length in enumerate(self.lengths) for _ in range(self.sessions)]
        return kind(timelines, window_frames=self.frames, windows_per_step=self.windows_per_step, seed=self.seed)


SEEDS = st.integers(0, 2**31)


@st.composite
def session_plans(draw: st.DrawFn) -> Plan:
    frames, windows = draw(st.integers(1, 6)), draw(st.integers(1, 4))
    lengths = st.lists(st.integers(frames * windows, 60), min_size=1, max_size=4)
    return Plan(frames, windows, draw(SEEDS), draw(lengths))


@st.composite
def shared_plans(draw: st.DrawFn) -> Plan:
    plan = draw(session_plans())
    return plan._replace(sessions=draw(st.integers(1, 3)))


def starts(windows: EpochWindows, number: int) -> np.ndarray:
    """Starts of a timeline's windows, one after the other."""
    return windows.start[windows.timeline == number]


@settings(deadline=None)
@given(session_plans(), st.integers(0, 1000))
def test_sessions_take_turns(plan: Plan, epoch: int) -> None:
    sampler, lengths = plan.sampler(SessionSampler), plan.lengths
    windows = sampler[epoch]
    assert windows.start.shape == (sampler.steps_per_epoch, 1, sampler.windows_per_step)
    assert (windows.timeline == windows.timeline[:, :, :1]).all()
    turns = windows.timeline[:, 0, 0].reshape(-1, len(lengths))
    assert (turns == turns[0]).all()
    assert sorted(turns[0].tolist()) == list(range(len(lengths)))
    assert len(turns) == max(-(-length // sampler.window_frames) // sampler.windows_per_step for length in lengths)


@settings(deadline=None)
@given(session_plans(), st.integers(0, 1000))
def test_a_pass_over_a_session_cuts_it_into_windows(plan: Plan, epoch: int) -> None:
    sampler = plan.sampler(SessionSampler)
    windows = sampler[epoch]
    for number, length in enumerate(plan.lengths):
        found = starts(windows, number).reshape(-1, sampler.windows_per_step)
        assert found.min() >= 0
        assert found.max() <= length - sampler.window_frames
        cuts = np.arange(0, length, sampler.window_frames)
        steps = len(cuts) // sampler.windows_per_step
        for first in range(0, len(found), steps):
            chosen = np.sort(found[first : first + steps].ravel())
            # each window lies within a window's length after a cut of its own
            last = np.minimum(cuts + sampler.window_frames - 1, length - sampler.window_frames)
            at = 0
            for start in chosen:
                at += int(np.argmax(last[at:] >= start))
                assert start >= min(cuts[at], length - sampler.window_frames)
                at += 1


def covered(sampler: Sampler, number: int, length: int) -> np.ndarray:
    """Frames of a timeline that the windows of many epochs touch."""
    touched = np.zeros(length, bool)
    for epoch in range(EPOCHS):
        touched[(starts(sampler[epoch], number).ravel()[:, None] + np.arange(sampler.window_frames)).ravel()] = True
    return touched


@pytest.mark.parametrize("length", [12, 13, 15])
def test_every_frame_of_a_session_has_its_turn(length: int) -> None:
    sampler = SessionSampler([timeline(length), timeline(40)], window_frames=4, windows_per_step=2, seed=0)
    assert covered(sampler, 0, length).all()
    assert covered(sampler, 1, 40).all()


@settings(deadline=None)
@given(shared_plans(), st.integers(0, 1000))
def test_shared_steps_have_a_row_for_every_group(plan: Plan, epoch: int) -> None:
    sampler = plan.sampler(SharedSampler)
    windows = sampler[epoch]
    assert windows.start.shape == (sampler.steps_per_epoch, len(plan.lengths), sampler.windows_per_step)
    for group, length in enumerate(plan.lengths):
        assert (windows.timeline[:, group] // plan.sessions == group).all()
        assert windows.start[:, group].min() >= 0
        assert windows.start[:, group].max() <= length - sampler.window_frames
    most = max(-(-length // sampler.window_frames) for length in plan.lengths)
    assert sampler.steps_per_epoch == most // sampler.windows_per_step


def test_every_frame_of_every_session_has_its_turn() -> None:
    sampler = SharedSampler(
        [timeline(30, 0), timeline(30, 0), timeline(18, 1)], window_frames=4, windows_per_step=3, seed=0
    )
    for number, length in enumerate((30, 30, 18)):
        assert covered(sampler, number, length).all()


def make(kind: str, seed: int) -> Sampler:
    """A sampler of the tiny data set."""
    return make_sampler(kind, Tables(tiny.dataset()), window_frames=10, windows_per_step=4, seed=seed)


@pytest.mark.parametrize("kind", ["session", "shared"])
def test_no_window_touches_a_validation_clip(kind: str) -> None:
    sampler = make(kind, seed=3)
    for epoch in range(EPOCHS):
        windows = sampler[epoch]
        for number, line in enumerate(sampler.timelines):
            time = starts(windows, number).ravel()[:, None] + np.arange(sampler.window_frames)
            assert not np.isin(line.frames[time] // tiny.CLIP_LENGTH, tiny.VALIDATION_CLIPS).any()


def equal(a: EpochWindows, b: EpochWindows) -> bool:
    return all(np.array_equal(getattr(a, field.name), getattr(b, field.name)) for field in dataclasses.fields(a))


@pytest.mark.parametrize("kind", ["session", "shared"])
def test_order_is_a_function_of_seed_and_epoch(kind: str) -> None:
    first, again, other = (make(kind, seed) for seed in (5, 5, 6))
    for epoch in (3, 0, 3):  # whatever came before
        assert equal(first[epoch], again[epoch])
    assert not equal(first[0], first[1])
    assert not equal(first[0], other[0])


@pytest.mark.parametrize(("kind", "neurons"), [("session", [3, 5, 4]), ("shared", [8, 8, 4])])
def test_an_order_says_which_timelines_it_takes(kind: str, neurons: list[int]) -> None:
    assert [line.n_neurons for line in make(kind, seed=0).timelines] == neurons


class LeftEyes(SessionSampler):
    @staticmethod
    def timelines_of(tables: Tables) -> list[Timeline]:
        return [line for line in tables.training() if line.mirrored]


def test_a_strangers_order_says_which_timelines_it_takes() -> None:
    assert [line.name for line in make(f"{__name__}:LeftEyes", seed=0).timelines] == ["left"]


def test_unknown_orders_and_options() -> None:
    with pytest.raises(UserError, match="batch order kind 'random' is unknown; choose among session, shared"):
        make("random", seed=0)
    with pytest.raises(
        UserError, match='batch order "shared" has no option "within_clip"; did you mean "within_clips"'
    ):
        make_sampler("shared", Tables(tiny.dataset()), window_frames=10, windows_per_step=4, seed=0, within_clip=True)


def test_session_too_short_for_a_step() -> None:
    timelines = [timeline(40, name="long"), timeline(19, name="short")]
    with pytest.raises(UserError, match=r"short: 19 training frames, .*hold 3 windows of 5 frames, but a step takes 4"):
        SessionSampler(timelines, window_frames=5, windows_per_step=4, seed=0)


@pytest.mark.parametrize("kind", [SessionSampler, SharedSampler])
def test_a_step_has_a_window(kind: type[Sampler]) -> None:
    with pytest.raises(UserError, match="windows_per_step is 0; a step has at least 1 window"):
        kind([timeline(40)], window_frames=5, windows_per_step=0, seed=0)


def test_group_too_short_for_a_step() -> None:
    with pytest.raises(UserError, match=r"short: 18 training frames, .*hold 6 windows of 3 frames, but a step takes 7"):
        SharedSampler([timeline(60, 0), timeline(18, 1, name="short")], window_frames=3, windows_per_step=7, seed=0)
