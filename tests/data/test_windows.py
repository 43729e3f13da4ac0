"""Which windows an epoch visits."""

import dataclasses
from typing import NamedTuple

import grain
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from openretina_jax.data.timelines import Tables, Timeline
from openretina_jax.data.windows import EpochWindows, SessionOrder, SharedOrder
from openretina_jax.errors import UserError
from tests import tiny

Order = SessionOrder | SharedOrder
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
    """An order in plain values: type checks of the tests must not run inside a strategy."""

    frames: int
    windows_per_step: int
    seed: int
    lengths: list[int]
    sessions: int = 1

    def order(self, kind: type[Order]) -> Order:
        """The order of groups of sessions whose timelines have these lengths."""
        timelines = [timeline(length, group) for group, length in enumerate(self.lengths) for _ in range(self.sessions)]
        return kind(timelines, frames=self.frames, windows_per_step=self.windows_per_step, seed=self.seed)


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
    order, lengths = plan.order(SessionOrder), plan.lengths
    windows = order[epoch]
    assert windows.start.shape == (order.steps_per_epoch, 1, order.windows_per_step)
    assert (windows.timeline == windows.timeline[:, :, :1]).all()
    turns = windows.timeline[:, 0, 0].reshape(-1, len(lengths))
    assert (turns == turns[0]).all()
    assert sorted(turns[0].tolist()) == list(range(len(lengths)))
    assert len(turns) == max(-(-length // order.frames) // order.windows_per_step for length in lengths)


@settings(deadline=None)
@given(session_plans(), st.integers(0, 1000))
def test_a_pass_over_a_session_cuts_it_into_windows(plan: Plan, epoch: int) -> None:
    order = plan.order(SessionOrder)
    windows = order[epoch]
    for number, length in enumerate(plan.lengths):
        found = starts(windows, number).reshape(-1, order.windows_per_step)
        assert found.min() >= 0
        assert found.max() <= length - order.frames
        cuts = np.arange(0, length, order.frames)
        steps = len(cuts) // order.windows_per_step
        for first in range(0, len(found), steps):
            chosen = np.sort(found[first : first + steps].ravel())
            # each window lies within a window's length after a cut of its own
            last = np.minimum(cuts + order.frames - 1, length - order.frames)
            at = 0
            for start in chosen:
                at += int(np.argmax(last[at:] >= start))
                assert start >= min(cuts[at], length - order.frames)
                at += 1


def covered(order: Order, number: int, length: int) -> np.ndarray:
    """Frames of a timeline that the windows of many epochs touch."""
    touched = np.zeros(length, bool)
    for epoch in range(EPOCHS):
        touched[(starts(order[epoch], number).ravel()[:, None] + np.arange(order.frames)).ravel()] = True
    return touched


@pytest.mark.parametrize("length", [12, 13, 15])
def test_every_frame_of_a_session_has_its_turn(length: int) -> None:
    order = SessionOrder([timeline(length), timeline(40)], frames=4, windows_per_step=2, seed=0)
    assert covered(order, 0, length).all()
    assert covered(order, 1, 40).all()


@settings(deadline=None)
@given(shared_plans(), st.integers(0, 1000))
def test_shared_steps_have_a_row_for_every_group(plan: Plan, epoch: int) -> None:
    order = plan.order(SharedOrder)
    windows = order[epoch]
    assert windows.start.shape == (order.steps_per_epoch, len(plan.lengths), order.windows_per_step)
    for group, length in enumerate(plan.lengths):
        assert (windows.timeline[:, group] // plan.sessions == group).all()
        assert windows.start[:, group].min() >= 0
        assert windows.start[:, group].max() <= length - order.frames
    most = max(-(-length // order.frames) for length in plan.lengths)
    assert order.steps_per_epoch == most // order.windows_per_step


def test_every_frame_of_every_session_has_its_turn() -> None:
    order = SharedOrder([timeline(30, 0), timeline(30, 0), timeline(18, 1)], frames=4, windows_per_step=3, seed=0)
    for number, length in enumerate((30, 30, 18)):
        assert covered(order, number, length).all()


def make(kind: str, seed: int) -> tuple[Order, list[Timeline]]:
    """An order of the tiny data set, and its timelines."""
    tables = Tables(tiny.dataset())
    if kind == "session":
        return SessionOrder(tables.training(), frames=10, windows_per_step=4, seed=seed), tables.training()
    return SharedOrder(tables.shared_training(), frames=10, windows_per_step=4, seed=seed), tables.shared_training()


@pytest.mark.parametrize("kind", ["session", "shared"])
def test_no_window_touches_a_validation_clip(kind: str) -> None:
    order, timelines = make(kind, seed=3)
    for epoch in range(EPOCHS):
        windows = order[epoch]
        for number, line in enumerate(timelines):
            time = starts(windows, number).ravel()[:, None] + np.arange(order.frames)
            assert not np.isin(line.frames[time] // tiny.CLIP_LENGTH, tiny.VALIDATION_CLIPS).any()


def equal(a: EpochWindows, b: EpochWindows) -> bool:
    return all(np.array_equal(getattr(a, field.name), getattr(b, field.name)) for field in dataclasses.fields(a))


@pytest.mark.parametrize("kind", ["session", "shared"])
def test_order_is_a_function_of_seed_and_epoch(kind: str) -> None:
    first, again, other = (make(kind, seed)[0] for seed in (5, 5, 6))
    for epoch in (3, 0, 3):  # whatever came before
        assert equal(first[epoch], again[epoch])
    assert not equal(first[0], first[1])
    assert not equal(first[0], other[0])


@pytest.mark.parametrize("kind", ["session", "shared"])
def test_grain_reads_an_epoch(kind: str) -> None:
    order, _ = make(kind, seed=5)
    assert equal(grain.MapDataset.source(order)[7], order[7])


def test_session_too_short_for_a_step() -> None:
    timelines = [timeline(40, name="long"), timeline(19, name="short")]
    with pytest.raises(UserError, match=r"short: 19 training frames, .*hold 3 windows of 5 frames, but a step takes 4"):
        SessionOrder(timelines, frames=5, windows_per_step=4, seed=0)


@pytest.mark.parametrize("kind", [SessionOrder, SharedOrder])
def test_a_step_has_a_window(kind: type[SessionOrder] | type[SharedOrder]) -> None:
    with pytest.raises(
        UserError, match=r"windows_per_step \(config.train.windows\) is 0; a step has at least 1 window"
    ):
        kind([timeline(40)], frames=5, windows_per_step=0, seed=0)


def test_group_too_short_for_a_step() -> None:
    with pytest.raises(UserError, match=r"short: 18 training frames, .*hold 6 windows of 3 frames, but a step takes 7"):
        SharedOrder([timeline(60, 0), timeline(18, 1, name="short")], frames=3, windows_per_step=7, seed=0)
