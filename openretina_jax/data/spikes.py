"""Responses from spike times and traces: counts and means for every frame of a stimulus.

Times are in seconds, on the same clock as the frames (``frame_times.py``).
"""

from collections.abc import Hashable, Mapping, Sequence
from typing import Any

import numpy as np
from jaxtyping import Float32, Num

from openretina_jax.data.conversion import Numbers, check_choice, real_numbers, whole_number
from openretina_jax.data.frame_times import LONGEST_FRAME, frame_ends, times_of
from openretina_jax.errors import UserError

_OTHER_UNIT = 100  # spikes so many times later than the last frame are in another unit of time


def spikes_by_unit(
    spike_times: Numbers, spike_clusters: Numbers, units: Sequence[Hashable] | None = None
) -> dict[Any, Num[np.ndarray, " spike"]]:
    """Split the spike times of all units by their clusters, as Kilosort and phy give them.

    Args:
        spike_times: times of all spikes; Kilosort's are samples, to be divided by the sampling rate.
        spike_clusters: the unit of each spike.
        units: units to take, in this order (None: all, sorted).

    Returns:
        Spike times of every unit, by its name in ``spike_clusters``: its keys are the column ``unit`` of the neurons.

    Raises:
        UserError: the arrays differ in length, or a unit has no spike.
    """
    times, clusters = (np.asarray(values).ravel() for values in (spike_times, spike_clusters))
    if len(times) != len(clusters):
        raise UserError(
            f"there are {len(times):,} spike_times, but {len(clusters):,} spike_clusters; give one for each"
        )
    order = np.argsort(clusters, kind="stable")
    names, starts = np.unique(clusters[order], return_index=True)
    found = dict(zip(names.tolist(), np.split(times[order], starts[1:]), strict=True))
    if units is None:
        return found
    if absent := [unit for unit in units if unit not in found]:
        raise UserError(f"units {absent[:10]} have no spike in spike_clusters; leave them out of units")
    return {unit: found[unit] for unit in units}


def count_spikes(
    spike_times: Mapping[Any, Any] | Sequence[Any] | np.ndarray, frame_times: Numbers
) -> Float32[np.ndarray, "time neuron"]:
    """Count the spikes of every unit while each frame is on the screen.

    Args:
        spike_times: times of each unit's spikes, in any order: a list (MATLAB's cell array too) or, by name, a
            dictionary. A unit without spikes has an empty array.
        frame_times: times at which the frames appeared.

    Raises:
        UserError: times are not finite, or spikes and frames are not on one clock: no spike lies within the frames, or
            spikes go on a hundred times longer than the frames.
    """
    onsets = times_of("frame_times", frame_times, least=2)
    ends = frame_ends(onsets)
    units = spike_times if isinstance(spike_times, Mapping) else dict(enumerate(_cells(spike_times)))
    if not units:
        raise UserError("spike_times holds no unit; give the spike times of at least one")
    trains = {name: _train(name, times) for name, times in units.items()}
    _check_clock(np.concatenate(list(trains.values())), onsets[0], ends[-1])
    counts = np.empty((len(onsets), len(trains)), np.float32)
    for column, train in enumerate(trains.values()):
        frame = np.searchsorted(onsets, train, side="right") - 1
        shown = (frame >= 0) & (train < ends[frame])
        counts[:, column] = np.bincount(frame[shown], minlength=len(onsets))
    return counts


def _cells(spike_times: Sequence[Any] | np.ndarray) -> list[Any]:
    if isinstance(spike_times, np.ndarray):
        if spike_times.dtype != object:
            raise UserError(
                f"spike_times is an array of shape {spike_times.shape}; give a list with an array for each unit, such "
                "as [spike_times] of a single one, or split it with spikes_by_unit"
            )
        return list(spike_times.ravel())
    return list(spike_times)


def _train(name: Any, times: Any) -> np.ndarray:
    values = np.asarray(times)
    if values.size == 0:
        return np.empty(0)
    array = real_numbers(f"spike_times of unit {name}", values).ravel().astype(np.float64)
    if not np.isfinite(array).all():
        raise UserError(f"spike_times of unit {name}: hold NaN or infinity; leave them out")
    return array


def _check_clock(spikes: np.ndarray, start: float, end: float) -> None:
    if not len(spikes):
        raise UserError("spike_times holds no spike of any unit")
    within = int(((spikes >= start) & (spikes < end)).sum())
    if within and spikes.max() - start < _OTHER_UNIT * (end - start):
        return
    raise UserError(
        f"{within:,} of {len(spikes):,} spikes ({spikes.min():.6g} to {spikes.max():.6g}) lie within the frames "
        f"({start:.6g} to {end:.6g}); give both in seconds on one clock: divide samples by the sampling rate"
    )


def resample_traces(
    traces: Numbers, trace_times: Numbers, frame_times: Numbers, how: str = "interpolate"
) -> Float32[np.ndarray, "time neuron"]:
    """Bring traces, such as those of calcium imaging, to the frames of a stimulus.

    Args:
        traces: values at ``trace_times``, ``(sample,)`` of one neuron or ``(sample, neuron)``.
        trace_times: times of the samples; for neurons with times of their own, call this for each of them.
        frame_times: times at which the frames appeared.
        how: "interpolate" linearly to the middle of every frame, or take the "mean" of the samples while it is on the
            screen, which traces that were sampled faster than the movie need.

    Returns:
        Responses; NaN where nothing was recorded: before the first sample, after the last one, where an interval
        between samples is longer than 1.5 times the median, and in frames without a sample if the mean is taken.

    Raises:
        UserError: traces and times do not fit each other, or none of the frames was recorded.
    """
    check_choice("how", how, ("interpolate", "mean"))
    values = real_numbers("traces", traces).astype(np.float64)
    times = times_of("trace_times", trace_times, least=2)
    values = values[:, None] if values.ndim == 1 else values
    if values.ndim != 2 or len(values) != len(times):
        raise UserError(
            f"traces have the shape {values.shape}, but there are {len(times):,} trace_times: (sample, neuron)"
        )
    onsets = times_of("frame_times", frame_times, least=2)
    ends = frame_ends(onsets)
    found = (
        _interpolated(values, times, (onsets + ends) / 2)
        if how == "interpolate"
        else _means(values, times, onsets, ends)
    )
    if not np.isfinite(found).any():
        raise UserError(
            f"no frame ({onsets[0]:.6g} to {ends[-1]:.6g}) was recorded ({times[0]:.6g} to {times[-1]:.6g}); give both "
            "times in seconds on one clock"
        )
    return found.astype(np.float32)


def _interpolated(values: np.ndarray, times: np.ndarray, wanted: np.ndarray) -> np.ndarray:
    after = np.clip(np.searchsorted(times, wanted, side="left"), 1, len(times) - 1)
    length = times[after] - times[after - 1]
    share = np.round((wanted - times[after - 1]) / length, 9)[:, None]  # a time that is a sample's needs no other
    found = sum(
        np.where(weight != 0, weight * values[sample], 0) for weight, sample in ((1 - share, after - 1), (share, after))
    )
    unknown = (wanted < times[0]) | (wanted > times[-1]) | (length > LONGEST_FRAME * np.median(np.diff(times)))
    return np.where(unknown[:, None], np.nan, found)


def _means(values: np.ndarray, times: np.ndarray, onsets: np.ndarray, ends: np.ndarray) -> np.ndarray:
    frame = np.searchsorted(onsets, times, side="right") - 1
    shown = (frame >= 0) & (times < ends[frame])
    recorded = np.isfinite(values[shown])
    total, count = np.zeros((2, len(onsets), values.shape[1]))
    np.add.at(total, frame[shown], np.where(recorded, values[shown], 0))
    np.add.at(count, frame[shown], recorded)
    return np.where(count > 0, total / np.maximum(count, 1), np.nan)


def running_and_frozen(
    values: Num[np.ndarray, "time *rest"], running_frames: int, frozen_frames: int
) -> tuple[Num[np.ndarray, "trial running *rest"], Num[np.ndarray, "trial frozen *rest"]]:
    """Split trials in which a running part, new in each, is followed by a frozen one, the same in all.

    Args:
        values: responses or frames of all trials, one after another.
        running_frames: frames of the running part of a trial.
        frozen_frames: frames of its frozen part.

    Returns:
        The running parts, for ``response_axes="trial time neuron"`` of an ``ArrayRecording``, and the frozen ones, for
        a test.

    Raises:
        UserError: the last trial is not whole.
    """
    running, frozen = (
        whole_number(what, count, 1)
        for what, count in (("running_frames", running_frames), ("frozen_frames", frozen_frames))
    )
    trials, rest = divmod(len(values), running + frozen)
    if rest or not trials:
        raise UserError(
            f"{len(values):,} frames are {trials} trials of {running} running and {frozen} frozen frames, and {rest} "
            "frames more; cut what is no whole trial"
        )
    by_trial = values.reshape(trials, running + frozen, *values.shape[1:])
    return by_trial[:, :running], by_trial[:, running:]
