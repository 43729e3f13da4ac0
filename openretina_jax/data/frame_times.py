"""Times at which the frames of a stimulus appeared, from triggers or from a steady rate.

All times are in seconds, on the clock of the responses. A frame is on the screen until the next one appears, but over a
pause (an interval of more than 1.5 times the median) no longer than the median interval.
"""

import dataclasses
from collections.abc import Sequence
from typing import Any, SupportsIndex

import numpy as np
from jaxtyping import Float64, Int

from openretina_jax.data.conversion import Numbers, number, real_numbers, whole_number
from openretina_jax.errors import UserError
from openretina_jax.runtime.described import counted, listed

LONGEST_FRAME = 1.5  # median intervals; what lasts longer is a pause, or a frame is missing
MOST_MISSING = 10  # triggers in a row; a longer interval is a pause, into which none are inserted


def steady_frame_times(frames: SupportsIndex, rate_hz: float, start_s: float = 0.0) -> Float64[np.ndarray, " time"]:
    """Times of frames that follow each other at a steady rate.

    Args:
        frames: number of frames.
        rate_hz: frames per second; an error in the fifth digit moves the frames after 20 minutes by 12 ms.
        start_s: time of the first frame.
    """
    count = whole_number("the number of frames", frames, 1)
    return number("start_s", start_s) + np.arange(count) / number("rate_hz", rate_hz, positive=True)


def triggered_frame_times(
    triggers: Numbers,
    frames_per_trigger: SupportsIndex = 1,
    *,
    frames: SupportsIndex | None = None,
    repair: bool = False,
    tolerance: float = 0.2,
) -> Float64[np.ndarray, " time"]:
    """Times of frames from triggers, each of which marks the first of some frames.

    Frames between two triggers are evenly spaced; those after the last trigger have the median interval.

    Args:
        triggers: times of the triggers.
        frames_per_trigger: frames from one trigger to the next.
        frames: number of frames that were shown (None: not known); the last trigger may mark fewer than the others.
        repair: whether missing and doubled triggers are repaired; see ``check_triggers``.
        tolerance: see ``check_triggers``.

    Raises:
        UserError: triggers are missing, doubled or irregular, or there are too few or too many for the frames.
    """
    every = whole_number("frames_per_trigger", frames_per_trigger, 1)
    times = check_triggers(triggers, repair=repair, tolerance=tolerance)
    last = times[-1] + np.median(np.diff(times))
    steps = np.diff(times, append=last)[:, None] / every
    found = (times[:, None] + steps * np.arange(every)).ravel()
    if frames is None:
        return found
    count = whole_number("the number of frames", frames, 1)
    if not len(found) - every < count <= len(found):
        raise UserError(
            f"{counted(len(times), 'trigger')} of {counted(every, 'frame')} mark {len(found):,} frames, but {count:,} "
            "were shown; triggers before the first or after the last one are missing or too many: cut the movie, or "
            "the triggers, so that they begin together"
        )
    return found[:count]


@dataclasses.dataclass(frozen=True)
class TriggerProblems:
    """What is wrong with a series of triggers.

    Attributes:
        doubled: indices of triggers that follow another one too soon, and without which the series is regular.
        missing: how many triggers are missing after the trigger of an index, by that index.
        irregular: indices of triggers whose interval to the next one is neither one nor several median intervals.
    """

    doubled: tuple[int, ...]
    missing: dict[int, int]
    irregular: tuple[int, ...]


def trigger_problems(triggers: Float64[np.ndarray, " trigger"], tolerance: float = 0.2) -> TriggerProblems:
    """Find triggers that are doubled, missing or irregular by their intervals.

    Args:
        triggers: rising times of at least three triggers.
        tolerance: share of the median interval by which a regular interval, or a multiple of it, may differ.
    """
    median = float(np.median(np.diff(triggers)))
    doubled: list[int] = []
    missing: dict[int, int] = {}
    irregular: list[int] = []
    before = 0  # index of the last trigger that is kept
    for index in range(1, len(triggers)):
        intervals = (triggers[index] - triggers[before]) / median
        whole = round(intervals)
        if whole >= 1 and abs(intervals - whole) <= tolerance:
            if 1 < whole <= MOST_MISSING + 1:
                missing[before] = whole - 1
            elif whole > 1:
                irregular.append(before)
        elif intervals < 0.5 and _regular_without(triggers, before, index, median, tolerance):
            doubled.append(index)
            continue
        else:
            irregular.append(before)
        before = index
    return TriggerProblems(tuple(doubled), missing, tuple(irregular))


def _regular_without(triggers: np.ndarray, before: int, index: int, median: float, tolerance: float) -> bool:
    if index + 1 == len(triggers):
        return True
    intervals = (triggers[index + 1] - triggers[before]) / median
    # a third one may follow as soon as the second
    return bool(abs(intervals - max(round(intervals), 1)) <= tolerance or intervals < 0.5)


def check_triggers(
    triggers: Numbers, *, repair: bool = False, tolerance: float = 0.2
) -> Float64[np.ndarray, " trigger"]:
    """Check that triggers follow each other regularly, and return them as one array.

    Args:
        triggers: times of the triggers.
        repair: whether to drop doubled triggers, and to insert missing ones, evenly spaced, where an interval is a
            multiple of the median. Irregular ones are always refused.
        tolerance: share of the median interval by which a regular interval, or a multiple of it, may differ.

    Raises:
        UserError: names the triggers that are missing, doubled or irregular, or do not rise.
    """
    share = number("tolerance", tolerance, positive=True)
    times = times_of("triggers", triggers)
    if len(times) < 3:
        raise UserError(f"there are {counted(len(times), 'trigger')}; give at least 3, or use steady_frame_times")
    found = trigger_problems(times, share)
    if found.irregular:
        median = float(np.median(np.diff(times)))
        raise UserError(
            f"after {_indices('trigger', found.irregular)} the next one follows after neither one nor up to "
            f"{MOST_MISSING + 1} median intervals of {median:.6g} s; cut the recording there, and take each part by "
            "itself"
        )
    if (found.doubled or found.missing) and not repair:
        what = []
        if found.missing:
            total = sum(found.missing.values())
            what.append(f"{counted(total, 'trigger')} missing after {_indices('trigger', tuple(found.missing))}")
        if found.doubled:
            what.append(f"doubled {_indices('trigger', found.doubled)}")
        raise UserError(f"{' and '.join(what)}; mend the triggers, or pass repair=True to insert and drop them")
    inserted = [
        np.linspace(times[before], times[_next_kept(before, found.doubled)], count + 2)[1:-1]
        for before, count in found.missing.items()
    ]
    return np.sort(np.concatenate([np.delete(times, found.doubled), *inserted]))


def _next_kept(index: int, dropped: Sequence[int]) -> int:
    index += 1
    while index in dropped:
        index += 1
    return index


def times_of(what: str, values: Any, *, least: int = 1) -> Float64[np.ndarray, " time"]:
    """Check that values are finite times that rise, and return them as one axis (MATLAB has two).

    Raises:
        UserError: the values are too few, not numbers, on more than one axis, not finite, or do not rise.
    """
    array = real_numbers(what, values)
    if max(array.shape) != array.size:
        raise UserError(f"{what}: must be a list of times, but have the shape {array.shape}")
    times = array.ravel().astype(np.float64)
    if len(times) < least:
        raise UserError(f"{what}: are {len(times)} times; give at least {least}")
    if not np.isfinite(times).all():
        raise UserError(f"{what}: hold NaN or infinity at {_indices('index', np.flatnonzero(~np.isfinite(times)))}")
    falls = np.flatnonzero(np.diff(times) <= 0)
    if len(falls):
        raise UserError(
            f"{what}: must rise, but do not after {_indices('index', falls)}; sort them, and leave out twins"
        )
    return times


def frame_ends(frame_times: Float64[np.ndarray, " time"]) -> Float64[np.ndarray, " time"]:
    """Times until which frames are on the screen; see the head of the module."""
    intervals = np.diff(frame_times)
    median = np.median(intervals)
    ends = np.append(frame_times[1:], frame_times[-1] + median)
    pauses = np.append(intervals > LONGEST_FRAME * median, False)
    return np.where(pauses, frame_times + median, ends)


def frames_at(frame_times: Numbers, times: Numbers) -> Int[np.ndarray, " time"]:
    """Index of the frame that is on the screen at every time, so that ``movie[frames_at(...)]`` is the movie held.

    This brings a stimulus to the rate of the responses: ``times`` are then those of the responses' frames.

    Args:
        frame_times: times at which the frames of the stimulus appeared.
        times: times at which they are wanted.

    Raises:
        UserError: no frame is on the screen at a time.
    """
    shown = times_of("frame_times", frame_times, least=2)
    wanted = times_of("times", times)
    # times that were computed in another way may be a rounding error before the frame's
    slack = 1e-6 * float(np.median(np.diff(shown)))
    index = np.searchsorted(shown, wanted + slack, side="right") - 1
    outside = (index < 0) | (wanted + slack >= frame_ends(shown)[index])
    if outside.any():
        first, last = wanted[outside][[0, -1]]
        raise UserError(
            f"at {outside.sum():,} of {len(wanted):,} times ({first:.6g} to {last:.6g} s) no frame is on the screen; "
            f"frames are shown from {shown[0]:.6g} to {frame_ends(shown)[-1]:.6g} s, with pauses: leave these times out"
        )
    return index


def frame_rate_of(what: str, frame_times: Numbers, frames: int, borders: Sequence[int] = ()) -> float:
    """Frames per second of a movie without pauses and missing frames.

    Args:
        what: name of the recording in messages.
        frame_times: times at which the frames appeared.
        frames: number of frames of the movie.
        borders: frames before which there may be a pause.

    Raises:
        UserError: there is not one time per frame, or frames are missing within clips.
    """
    times = times_of(f"{what}: frame_times", frame_times, least=2)
    if len(times) != frames:
        raise UserError(f"{what}: has {len(times):,} frame_times for {frames:,} frames of the movie; give one for each")
    intervals = np.diff(times)
    median = float(np.median(intervals))
    pauses = [int(at) for at in np.flatnonzero(intervals > LONGEST_FRAME * median) if at + 1 not in set(borders)]
    if pauses:
        raise UserError(
            f"{what}: after {_indices('frame', pauses)} the next one appears later than {LONGEST_FRAME} median "
            f"intervals of {1000 * median:.4g} ms; say by clip_starts that a clip begins after a pause, or repeat the "
            "frames that stayed on the screen"
        )
    within = np.setdiff1d(np.arange(len(intervals)), np.asarray(borders, int) - 1)
    return 1 / float(intervals[within].mean())


def _indices(noun: str, numbers: Sequence[int] | np.ndarray) -> str:
    names = [str(int(at)) for at in numbers]
    plural = {"index": "indices"}.get(noun, f"{noun}s")
    return f"{noun if len(names) == 1 else plural} {listed(names, 10)}"
