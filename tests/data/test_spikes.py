"""Spike times and traces become responses to frames."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from openretina_jax.data.frame_times import steady_frame_times
from openretina_jax.data.spikes import count_spikes, resample_traces, running_and_frozen, spikes_by_unit
from openretina_jax.errors import UserError

FRAMES = steady_frame_times(10, 10.0, start_s=5.0)


def test_spikes_are_counted_while_a_frame_is_shown():
    counts = count_spikes([[4.99, 5.0, 5.05, 5.55, 6.01], np.empty((0, 0))], FRAMES)
    expected = np.zeros((10, 2))
    expected[0, 0], expected[5, 0] = 2, 1
    np.testing.assert_array_equal(counts, expected)


def test_no_spike_of_a_pause_is_counted():
    times = np.array([0.0, 1.0, 2.0, 10.0, 11.0])
    np.testing.assert_array_equal(count_spikes([[2.5, 5.0, 10.5]], times)[:, 0], [0, 0, 1, 1, 0])


@settings(max_examples=25)
@given(st.integers(0, 2**31), st.integers(1, 4))
def test_counts_are_those_of_a_histogram(seed, n_units):
    rng = np.random.default_rng(seed)
    times = np.cumsum(rng.uniform(0.9, 1.1, 31))
    clusters = rng.integers(n_units, size=200)
    spikes = rng.uniform(0, times[-1], 200)
    found = count_spikes(spikes_by_unit(spikes, clusters, units=sorted(set(clusters.tolist()))), times[:-1])
    edges = np.append(times[:-1], times[-2] + np.median(np.diff(times[:-1])))
    for column, unit in enumerate(sorted(set(clusters.tolist()))):
        np.testing.assert_array_equal(found[:, column], np.histogram(spikes[clusters == unit], edges)[0])


def test_spikes_of_kilosort_are_split_by_unit():
    found = spikes_by_unit([0.1, 0.2, 0.3, 0.4], np.array([[7], [3], [7], [12]]))
    assert {unit: times.tolist() for unit, times in found.items()} == {3: [0.2], 7: [0.1, 0.3], 12: [0.4]}
    assert list(spikes_by_unit([0.1, 0.2, 0.3], [7, 3, 12], units=[12, 3])) == [12, 3]
    with pytest.raises(UserError, match=r"units \[4\] have no spike"):
        spikes_by_unit([0.1], [7], units=[4])
    with pytest.raises(UserError, match="there are 2 spike_times, but 1 spike_clusters"):
        spikes_by_unit([0.1, 0.2], [7])


@pytest.mark.parametrize(
    ("spikes", "message"),
    [
        ([[5.1, np.nan]], "spike_times of unit 0: hold NaN or infinity"),
        ([[0.1, 0.2]], r"0 of 2 spikes \(0.1 to 0.2\) lie within the frames \(5 to 6\); give both in seconds"),
        ([[6, 30_000, 180_000]], r"0 of 3 spikes .* divide samples by the sampling rate"),
        ([[5.5, 30_000.0]], r"1 of 2 spikes .* divide samples by the sampling rate"),
        (np.array([5.1, 5.2]), r"spike_times is an array of shape \(2,\); give a list"),
        ({}, "spike_times holds no unit"),
        ([[], []], "spike_times holds no spike of any unit"),
    ],
)
def test_spikes_that_are_not_on_the_clock_of_the_frames(spikes, message):
    with pytest.raises(UserError, match=message):
        count_spikes(spikes, FRAMES)


def test_traces_are_interpolated_in_the_middle_of_frames():
    times = np.arange(5.0, 5.71, 0.05)
    traces = np.stack([times, 2 * times], axis=1)
    traces[9, 1] = np.nan
    found = resample_traces(traces, times, FRAMES)
    np.testing.assert_allclose(found[:7, 0], FRAMES[:7] + 0.05, rtol=1e-6)
    assert np.isnan(found[7:]).all()
    np.testing.assert_array_equal(np.isnan(found[:, 1]), np.isin(np.arange(10), [4, 7, 8, 9]))


def test_traces_between_unknown_samples_are_unknown():
    times = np.delete(np.arange(0, 10, 0.5), [8, 9])
    found = resample_traces(np.ones(18), times, steady_frame_times(10, 1.0))
    np.testing.assert_array_equal(np.isnan(found[:, 0]), np.arange(10) == 4)
    unknown = np.where(np.arange(18) == 3, np.nan, 1.0)
    found = resample_traces(unknown, times, steady_frame_times(10, 1.0))
    np.testing.assert_array_equal(np.isnan(found[:, 0]), np.isin(np.arange(10), [1, 4]))


def test_means_of_samples_in_a_frame():
    times = np.array([5.0, 5.02, 5.04, 5.11, 5.32])
    found = resample_traces([1.0, 3.0, np.nan, 7.0, 9.0], times, FRAMES, how="mean")[:, 0]
    np.testing.assert_array_equal(found[:4], [2.0, 7.0, np.nan, 9.0])
    assert np.isnan(found[4:]).all()


def test_traces_of_another_clock():
    with pytest.raises(UserError, match=r"no frame \(5 to 6\) was recorded \(5000 to 6000\); give both times"):
        resample_traces([1.0, 2.0], [5000, 6000], FRAMES)
    with pytest.raises(UserError, match=r"traces have the shape \(3, 1\), but there are 2 trace_times"):
        resample_traces([1.0, 2.0, 3.0], [5.0, 6.0], FRAMES)


def test_running_and_frozen_parts_are_split():
    values = np.arange(20)[:, None]
    running, frozen = running_and_frozen(values, 3, 2)
    np.testing.assert_array_equal(running[..., 0], [[0, 1, 2], [5, 6, 7], [10, 11, 12], [15, 16, 17]])
    np.testing.assert_array_equal(frozen[..., 0], [[3, 4], [8, 9], [13, 14], [18, 19]])
    with pytest.raises(UserError, match="20 frames are 2 trials of 5 running and 3 frozen frames, and 4 frames more"):
        running_and_frozen(values, 5, 3)
