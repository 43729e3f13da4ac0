"""Windows gathered on the device equal plain indexing on the host."""

import dataclasses
import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from openretina_jax.data import batches_of
from openretina_jax.data.batches import Batch, DataArrays, Timelines
from openretina_jax.data.dataset import Dataset
from openretina_jax.data.timelines import ALIGNED_BYTES, Tables, Timeline, aligned
from openretina_jax.data.windows import make_sampler
from openretina_jax.errors import UserError
from tests import tiny

FRAMES = 9


@pytest.fixture(scope="module")
def data() -> Dataset:
    """The tiny data set, with a neuron that was not recorded for a while."""
    first, *others = tiny.dataset().sessions
    responses = first.responses.copy()
    responses[:100, 1] = np.nan
    return dataclasses.replace(tiny.dataset(), sessions=(dataclasses.replace(first, responses=responses), *others))


@pytest.fixture(scope="module")
def tables(data: Dataset) -> Tables:
    return Tables(data)


def batch(tables: Tables, timelines: list[Timeline], number: np.ndarray, start: np.ndarray) -> Batch:
    """Windows of the timelines ``number``, one per row, or one per window."""
    table, windows = Timelines.of(timelines), jnp.asarray(start)
    numbers = jnp.broadcast_to(jnp.asarray(number).reshape(len(start), -1), windows.shape)
    return tiny.gather(DataArrays.of(tables), table, numbers, windows, window_frames=FRAMES)


def check(tables: Tables, timelines: list[Timeline], number: np.ndarray, start: np.ndarray) -> None:
    """Compare a batch with indexing, timeline by timeline and window by window."""
    found = batch(tables, timelines, number, start)
    assert found.stimulus.dtype == found.responses.dtype == jnp.float32
    for step, (line, begins) in enumerate(zip(number, start, strict=True)):
        timeline = timelines[line]
        columns = np.arange(timeline.first_neuron, timeline.first_neuron + timeline.n_neurons)
        mask = np.asarray(found.neuron_mask[step])
        np.testing.assert_array_equal(found.first_neuron[step] + np.flatnonzero(mask), columns)
        assert found.n_sessions[step] == timeline.n_sessions
        for window, begin in enumerate(begins):
            time = slice(begin, begin + FRAMES)
            frames = tables.frames()[timeline.frames[time]]
            seen = frames[:, :, ::-1] if timeline.mirrored else frames
            np.testing.assert_array_equal(found.stimulus[step, window], seen)
            recorded = tables.responses[timeline.rows[time]][:, columns]
            np.testing.assert_array_equal(found.responses[step, window][:, mask], recorded)


def test_sessions_one_by_one(tables: Tables) -> None:
    number = np.array([2, 0, 1, 0])
    start = np.array([[0, 100, 135], [3, 77, 77], [135, 1, 20], [9, 0, 44]])
    check(tables, tables.training(), number, start)


def test_sessions_together(tables: Tables) -> None:
    check(tables, tables.shared_training(), np.array([0, 2]), np.array([[0, 26], [115, 48]]))


def test_windows_of_a_row_may_follow_different_sessions(tables: Tables) -> None:
    lines = tables.shared_training()
    mixed = batch(tables, lines, np.array([[0, 1]]), np.array([[20, 31]]))
    for window, (number, start) in enumerate(((0, 20), (1, 31))):
        alone = batch(tables, lines, np.array([number]), np.array([[start]]))
        np.testing.assert_array_equal(mixed.stimulus[:, window], alone.stimulus[:, 0])
        np.testing.assert_array_equal(mixed.responses[:, window], alone.responses[:, 0])


def test_neurons_know_the_history_of_their_own_order(tables: Tables) -> None:
    found = batch(tables, tables.shared_training(), np.array([[0, 1]]), np.array([[20, 31]]))
    first = np.arange(8) < tiny.NEURONS["right_1"]
    np.testing.assert_array_equal(found.own_order[0], [first, ~first])
    np.testing.assert_array_equal(found.clip_time[0], (np.array([[20], [31]]) + np.arange(FRAMES)) % tiny.CLIP_LENGTH)


def test_test_movie(tables: Tables) -> None:
    check(tables, tables.test("test"), np.array([1, 0]), np.array([[0], [21]]))


def test_slice_at_the_end_of_the_table(tables: Tables, data: Dataset) -> None:
    found = batch(tables, tables.training(), np.array([0, 1, 2]), np.zeros((3, 1), int))
    widest = max(tiny.NEURONS.values())
    np.testing.assert_array_equal(found.first_neuron, [0, 3, data.n_neurons - widest])
    np.testing.assert_array_equal(found.neuron_mask, [[1, 1, 1, 0, 0], [1] * 5, [0, 1, 1, 1, 1]])


def test_unrecorded_responses_are_nan(tables: Tables, data: Dataset) -> None:
    found = batch(tables, tables.training()[:1], np.array([0]), np.array([[0]]))
    unrecorded = np.isnan(np.asarray(found.responses[0, 0]))
    assert unrecorded[:, 1].all()
    assert not unrecorded[:, [0, 2]].any()


def test_mirrored_frames_are_flipped_along_width(tables: Tables) -> None:
    left = tables.training()[2]
    assert left.mirrored
    found = batch(tables, [left, dataclasses.replace(left, mirrored=False)], np.array([0, 1]), np.array([[5], [5]]))
    np.testing.assert_array_equal(found.stimulus[0], found.stimulus[1][:, :, :, ::-1])
    assert (found.stimulus[0] != found.stimulus[1]).any()


WINDOWS = {"window_frames": FRAMES, "windows_per_step": 3}


@pytest.mark.parametrize("order", ["session", "shared"])
def test_batches_of_a_data_set_are_those_of_training(order: str, data: Dataset, tables: Tables) -> None:
    sampler = make_sampler(order, tables, seed=4, **WINDOWS)
    found = list(batches_of(data, order=order, seed=4, epochs=2, **WINDOWS))
    assert len(found) == 2 * sampler.steps_per_epoch
    for number in (0, len(found) - 1):
        epoch, step = divmod(number, sampler.steps_per_epoch)
        windows = sampler[epoch]
        expected = batch(tables, sampler.timelines, windows.timeline[step], windows.start[step])
        for one, other in zip(jax.tree.leaves(found[number]), jax.tree.leaves(expected), strict=True):
            np.testing.assert_array_equal(one, other)


def test_batches_without_end_have_one_shape(data: Dataset) -> None:
    found = itertools.islice(batches_of(data, **WINDOWS), 40)
    assert len({str([leaf.shape for leaf in jax.tree.leaves(one)]) for one in found}) == 1


def test_wrong_options_of_batches_are_known_before_the_first(data: Dataset) -> None:
    with pytest.raises(UserError, match='batch order "shared" has no option "within_clip"'):
        batches_of(data, **WINDOWS, within_clip=True)
    with pytest.raises(UserError, match="but a step takes 40; lower windows_per_step"):
        batches_of(data, window_frames=FRAMES, windows_per_step=40)


def test_timelines_are_stacked_field_by_field(tables: Tables) -> None:
    lines = tables.training()
    stacked = Timelines.of(lines)
    for field in dataclasses.fields(Timeline):
        if field.name in ("name", "borders"):  # which the device does not need
            continue
        value = getattr(stacked.each, field.name)
        for number, line in enumerate(lines):
            own = value[number][: len(line)] if value.ndim > 1 else value[number]
            np.testing.assert_array_equal(own, getattr(line, field.name))
    np.testing.assert_array_equal(stacked.length, [len(line) for line in lines])
    assert stacked.n_columns == max(line.n_neurons for line in lines)


def test_arrays_of_the_data_move_to_the_device_unchanged(tables: Tables) -> None:
    here, there = (jax.tree.leaves(arrays) for arrays in (DataArrays.on_host(tables), DataArrays.of(tables)))
    for one, other in zip(here, there, strict=True):
        assert one.dtype == other.dtype
        np.testing.assert_array_equal(one, other)


def test_tables_exist_once_on_a_cpu(tables: Tables, monkeypatch: pytest.MonkeyPatch) -> None:
    frames = tables.frames()
    monkeypatch.setattr(tables, "frames", lambda: frames)
    arrays = DataArrays.of(tables)
    for here, there in ((frames, arrays.frames), (tables.responses, arrays.responses)):
        assert here.ctypes.data % ALIGNED_BYTES == 0
        assert there.unsafe_buffer_pointer() == here.ctypes.data


def test_a_single_movie_is_copied(data: Dataset) -> None:
    """It may be changed, or its file."""
    sessions = tuple(dataclasses.replace(session, repeats={}) for session in data.sessions)
    alone = dataclasses.replace(data, stimuli={"train": data.stimuli["train"]}, sessions=sessions)
    room = aligned(alone.stimuli["train"].frames.shape, np.float32)
    room[:] = alone.stimuli["train"].frames
    alone = dataclasses.replace(alone, stimuli={"train": dataclasses.replace(data.stimuli["train"], frames=room)})
    there = DataArrays.of(Tables(alone)).frames
    assert there.unsafe_buffer_pointer() != room.ctypes.data
    np.testing.assert_array_equal(there, room)
