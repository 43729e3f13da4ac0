"""Alignment of responses and movie over a recording: an offset, a drift, a jump, and axes that two movies disagree on.

All of it compares time courses of STAs (``triggered_averages.py``). Each segment of a recording is shifted against the
whole until the products of the time courses of all significant neurons are largest. With noise of deviation 1, and a
course ``k`` of which the segment holds the share ``a``, the variance of that shift is ``1 / (a^2 sum k'^2)``.
"""

import dataclasses
import math

import numpy as np
from jaxtyping import Float

from openretina_jax.data.dataset import Dataset, Session
from openretina_jax.data.masked import mean_of
from openretina_jax.data.triggered_averages import SEGMENTS, TriggeredAverages, averaged, peaks, standardized
from openretina_jax.runtime.described import counted

LEAST_SHIFT = 0.75  # frames between the ends of a recording that are called a drift or a jump
MOST_SHIFT = 8  # frames between a segment and the whole
_SURE = 5.5  # deviations
_CLEAR_SEGMENT = 6.0  # deviations of the product of the time courses of a segment and the whole
_ROUNDS = 3  # of aligning the segments
_STEP = 3  # frames between neighbouring segments
_SYSTEMATIC = 0.05  # frames by which shifts of segments may differ whatever the noise
_SHORTEST_TEST = 3  # times the number of lags
_SHORTEST_SEGMENT = 4  # times the number of lags
_NEAR = 6  # frames by which a test may be shifted against the training movie


@dataclasses.dataclass(frozen=True)
class Shift:
    """How the lag of the responses changes in a recording.

    Attributes:
        frames: change from the beginning to the end.
        at: frame at which it jumps (None: it drifts).
    """

    frames: float
    at: int | None


def offset(averages: TriggeredAverages) -> float | None:
    """Median lag of the significant neurons, if most of them respond before the movie changes; else None."""
    lags = averages.best_lag(averages.kernel)[averages.significant]
    return float(np.median(lags)) if len(lags) and (lags < -0.5).mean() > 0.5 else None


def lags_by_third(averages: TriggeredAverages) -> Float[np.ndarray, "neuron 3"]:
    """Best lag of each neuron in each third of the recording."""
    thirds = averages.of_segment.reshape(3, SEGMENTS // 3, *averages.of_segment.shape[1:]).sum(axis=1)
    sign = np.sign(np.take_along_axis(averages.kernel, np.abs(averages.kernel).argmax(axis=1)[:, None], axis=1))
    return np.stack([averages.lags[0] + peaks(third * sign) for third in thirds], axis=1)


def shift_of(averages: TriggeredAverages, frames: int) -> Shift | None:
    """Find a drift or a jump of the lag over a recording.

    A straight line and a step, each from all segments by weighted least squares, compete; either must explain the
    shifts far better than none does.

    Args:
        averages: STAs of the session.
        frames: length of the recording.

    Returns:
        The better of the two, or None where the lag is steady or no neuron tells.
    """
    if frames < _SHORTEST_SEGMENT * SEGMENTS * len(averages.lags):
        return None
    shifts, variance = _segment_shifts(averages)
    if np.isfinite(variance).sum() < SEGMENTS - 1:
        return None
    weights = 1 / (variance + _SYSTEMATIC**2)
    middle = (np.arange(SEGMENTS) + 0.5) / SEGMENTS
    known = np.where(np.isfinite(variance), shifts, 0)
    line = _fit(known, weights, middle)
    borders = np.linspace(0, 1, 20 * SEGMENTS + 1)[6:-6]
    edges = np.arange(SEGMENTS + 1) / SEGMENTS
    steps = [_fit(known, weights, np.clip(edges[1:] - at, 0, 1 / SEGMENTS) * SEGMENTS) for at in borders]
    best = int(np.argmax([gain for _, gain in steps]))
    size, gain = max(line, steps[best], key=lambda fit: fit[1])
    if gain < _SURE**2 or abs(size) < LEAST_SHIFT:
        return None
    return Shift(size, None if (size, gain) == line else round(float(borders[best]) * frames))


def clear_part(averages: TriggeredAverages, frames: int) -> tuple[int, int] | None:
    """Frames of a recording between which the STAs are clear, if they are gone in most other parts; else None.

    Of the time courses of the clearest segment all others should hold as much, less the noise; they hold less than a
    third, although they were recorded.
    """
    segments = averages.of_segment[:, averages.significant]
    reach = min(MOST_SHIFT, len(averages.lags) - 3)
    if not segments.shape[1] or reach < 1 or frames < _SHORTEST_SEGMENT * SEGMENTS * len(averages.lags):
        return None
    power = np.square(segments).sum(axis=(1, 2))
    best = int(power.argmax())
    expected = power[best] - segments[best].size
    moved = np.stack([_moved(segments[best], by) for by in range(-reach, reach + 1)])
    found = np.einsum("snl,rnl->sr", segments, moved, optimize=True).max(axis=1)
    others = found[(power > 0) & (np.arange(SEGMENTS) != best)]
    sure = _SURE * math.sqrt(power[best])
    if len(others) < SEGMENTS // 2 or np.median(others) > expected / 3 or expected - np.median(others) < sure:
        return None
    return round(best / SEGMENTS * frames), round((best + 1) / SEGMENTS * frames)


def _fit(values: np.ndarray, weights: np.ndarray, course: np.ndarray) -> tuple[float, float]:
    """Weight of a course beside a constant, and by how much it lowers the sum of weighted squares."""
    centred = course - np.average(course, weights=weights)
    rest = values - np.average(values, weights=weights)
    power = float((weights * centred**2).sum())
    if power == 0:
        return 0.0, 0.0
    size = float((weights * centred * rest).sum()) / power
    return size, size**2 * power


def _segment_shifts(averages: TriggeredAverages) -> tuple[np.ndarray, np.ndarray]:
    """Shift of every segment against the whole in frames, and its variance, infinite where the segment is not clear."""
    kernel = averages.kernel[averages.significant]
    segments = averages.of_segment[:, averages.significant]
    reach = min(MOST_SHIFT, len(averages.lags) - 3)
    if not len(kernel) or reach < 1:
        return np.zeros(SEGMENTS), np.full(SEGMENTS, np.inf)
    starts = (kernel, _chained(segments, min(reach, _STEP)))
    shifts, gains, course, power = max((_aligned(segments, one, reach) for one in starts), key=lambda found: found[-1])
    slopes = np.gradient(course, axis=1)
    # differences of noise over two frames have a variance of a half
    steepness = max(float(np.square(slopes).sum()) - 0.5 * course.size, 0.1 * float(np.square(slopes).sum()))
    clear = gains > _CLEAR_SEGMENT * math.sqrt(power)
    return shifts, np.where(clear, 1 / np.maximum((gains / power) ** 2 * steepness, 1e-12), np.inf)


def _aligned(
    segments: Float[np.ndarray, "segment neuron lag"], course: Float[np.ndarray, "neuron lag"], reach: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray, float]:
    """Align segments with a time course that becomes their mean: shifts, products, the course, its power."""
    for _ in range(_ROUNDS):
        moved = np.stack([_moved(course, by) for by in range(-reach, reach + 1)])
        products = np.einsum("snl,rnl->sr", segments, moved, optimize=True)
        gains, power, used = products.max(axis=1), float(np.square(course).sum()), course
        shifts = np.where(gains > _CLEAR_SEGMENT * math.sqrt(power), peaks(products) - reach, 0)
        # the whole, in which a drift is a blur, becomes the mean of the aligned segments
        back = [_moved(one, -by) for one, by in zip(segments, shifts - shifts.mean(), strict=True)]
        course = np.sum(back, axis=0) / math.sqrt(SEGMENTS)
    return shifts, gains, used, power


def _chained(segments: Float[np.ndarray, "segment neuron lag"], step: int) -> Float[np.ndarray, "neuron lag"]:
    """Mean of segments each of which is aligned with those before it, for a drift that leaves nothing of the whole."""
    together, shift, shifts = segments[0], 0, [0]
    for segment in segments[1:]:
        tried = range(shift - step, shift + step + 1)
        shift = max(tried, key=lambda by: float((segment * _moved(together, by)).sum()))
        together = together + _moved(segment, -shift)
        shifts.append(shift)
    return _moved(together, float(np.mean(shifts))) / math.sqrt(SEGMENTS)


def _moved(kernel: Float[np.ndarray, "neuron lag"], by: float | np.floating | int) -> Float[np.ndarray, "neuron lag"]:
    """Time courses so many frames later, between frames by linear interpolation, with 0 where nothing is known."""
    whole, rest = divmod(by, 1)
    if rest:
        return (1 - rest) * _moved(kernel, whole) + rest * _moved(kernel, whole + 1)
    result, frames = np.zeros_like(kernel), int(whole)
    if frames >= 0:
        result[:, frames:] = kernel[:, : kernel.shape[1] - frames]
    else:
        result[:, :frames] = kernel[:, -frames:]
    return result


def _same(maps: np.ndarray) -> np.ndarray:
    return maps


TURNS = {
    "as they are": _same,
    "mirrored left to right": lambda maps: maps[:, :, ::-1],
    "mirrored top to bottom": lambda maps: maps[:, ::-1],
    "turned by 180 degrees": lambda maps: maps[:, ::-1, ::-1],
    "with height and width swapped": lambda maps: maps.swapaxes(1, 2),
    "turned by 90 degrees": lambda maps: maps.swapaxes(1, 2)[:, ::-1],
    "turned by 270 degrees": lambda maps: maps.swapaxes(1, 2)[:, :, ::-1],
    "with height and width swapped and turned by 180 degrees": lambda maps: maps.swapaxes(1, 2)[:, ::-1, ::-1],
}


def disagreement_of_test(
    dataset: Dataset, session: Session, test: str, averages: TriggeredAverages, steady: bool = True
) -> str | None:
    """Say how a test disagrees with the training movie of a session: in its axes, or by a shift in time.

    The STAs of the training movie, turned in all ways, predict the mean response to the test. What its responses,
    shifted far in time, correlate with them is chance.

    Args:
        dataset: the data set.
        session: the session.
        test: name of the test.
        averages: STAs of the session.
        steady: whether its lag is steady, so that a shift of the test means something.

    Returns:
        What must be done with the frames of one of the two movies, or with the responses; None if the test agrees, is
        shorter than three times the lags, or no neuron tells.
    """
    chosen = averages.significant
    trials = session.repeats[test]
    if trials.shape[1] < _SHORTEST_TEST * len(averages.lags) or not chosen.any() or len(averages.lags) == 1:
        return None
    movie = dataset.stimuli[session.test_stimulus(test)]
    small = averaged(movie.frames, averages.whitening.square)
    if small.shape[1:] != averages.size:
        return None
    white = averages.whitening.white(small)
    scores, _ = standardized(mean_of(trials[..., chosen]).astype(np.float32))
    maps = averages.weights[chosen].reshape(-1, *averages.size)
    square = averages.size[0] == averages.size[1]
    turned = {name: turn(maps) for name, turn in TURNS.items() if square or turn(maps).shape == maps.shape}
    found = {name: _correlation_by_shift(white, one, averages, scores) for name, one in turned.items()}
    plain = found["as they are"]
    far = np.ones(len(plain), bool)
    far[: len(averages.lags)] = far[-len(averages.lags) :] = False
    best = max(found, key=lambda name: found[name][0])
    chance = float(np.std(np.concatenate([one[far] for one in found.values()])))
    if (
        found[best][0] > _SURE * chance
        and found[best][0] - plain[0] > _SURE * chance
        and plain[0] < 0.5 * found[best][0]
    ):
        return f"fits the training movie only with its frames {best}; bring the two movies into one orientation"
    near = np.roll(plain, _NEAR)[: 2 * _NEAR + 1]
    by = int(near.argmax()) - _NEAR
    if steady and near.max() > _SURE * chance and near.max() - plain[0] > max(_SURE * chance, 0.15 * near.max()):
        late = "later" if by > 0 else "earlier"
        return f"has responses {counted(abs(by), 'frame')} {late} after the movie than the training has; shift them"
    return None


def _correlation_by_shift(
    white: np.ndarray, maps: np.ndarray, averages: TriggeredAverages, scores: np.ndarray
) -> Float[np.ndarray, " time"]:
    """Correlation of responses with the prediction of turned STAs, mean over neurons, by the shift of the responses."""
    drive = white @ maps.reshape(len(maps), -1).T
    spectrum = np.fft.rfft(drive, axis=0)
    kernel = np.zeros_like(drive)
    kernel[averages.lags % len(drive)] = averages.kernel[averages.significant].T
    predicted = np.fft.irfft(spectrum * np.fft.rfft(kernel, axis=0), len(drive), axis=0)
    predicted = (predicted - predicted.mean(axis=0)) / np.maximum(predicted.std(axis=0), 1e-12)
    by_shift = np.fft.irfft(np.conj(np.fft.rfft(predicted, axis=0)) * np.fft.rfft(scores, axis=0), len(drive), axis=0)
    return by_shift.mean(axis=1) / len(drive)
