"""Correlations of responses with the movie before and after them (spike-triggered averages, STAs), for checks.

Pixels that are correlated in time would smear an average, and make it begin before the response does. The movie is
therefore whitened in time: each pixel is replaced by what its own last frames do not predict, by an autoregression that
all pixels share (Yule and Walker). A neuron's response then correlates with no frame that came after it, and without a
relation every correlation is a standard normal number, whatever the autocorrelation of the response.

Large frames are averaged over squares of pixels, and a movie is read in blocks, never whole as floats.
"""

import dataclasses
import itertools
import math
from collections.abc import Iterator

import numpy as np
from jaxtyping import Float, Float32, Int
from scipy.linalg import solve_toeplitz
from scipy.stats import norm

from openretina_jax.data.dataset import Dataset, Session
from openretina_jax.data.stimulus import Frames, blocks

MOST_PIXELS = 600  # of the averaged frames
SEGMENTS = 6  # of a recording, in which STAs are compared
ORDER = 8  # frames of the autoregression
CHANCE = 1e-4  # of a neuron without any relation to be called significant
_BEFORE_S, _AFTER_S = 0.2, 0.7  # span of lags
_FEWEST_LAGS, _MOST_LAGS = (4, 8), (12, 40)
_FAR = 29  # frames between lags that are too long for any response
_MANY_FRAMES = 20_000  # enough for an autocorrelation
_NEURONS = 64  # at a time
_FRAMES = 1024  # of a product


@dataclasses.dataclass(frozen=True)
class Whitening:
    """How a movie becomes white: averages over squares, mean and deviation of these, and the autoregression.

    Attributes:
        square: side of the squares in pixels.
        mean, deviation: statistics of the averaged pixels.
        coefficients: weights of the frames before, the last one first.
        scale: deviation of what they do not predict.
    """

    square: int
    mean: Float32[np.ndarray, " pixel"]
    deviation: Float32[np.ndarray, " pixel"]
    coefficients: Float[np.ndarray, " order"]
    scale: float

    @classmethod
    def of(cls, frames: Frames, order: int) -> "tuple[Whitening, Float32[np.ndarray, 'time height width channel']]":
        """The whitening of a training movie, and the averaged movie."""
        square = max(1, math.ceil(math.sqrt(math.prod(frames.shape[1:]) / MOST_PIXELS)))
        small = averaged(frames, square)
        flat = small.reshape(len(small), -1)
        mean, deviation = flat.mean(axis=0, dtype=np.float64), flat.std(axis=0, dtype=np.float64)
        seen = (flat[:_MANY_FRAMES] - mean) / np.where(deviation > 0, deviation, np.inf)
        count = min(order, len(seen) // 4)
        products = [float((seen[lag:] * seen[: len(seen) - lag]).mean()) for lag in range(count + 1)]
        products[0] = max(products[0], 1e-12) * 1.001  # a movie that hardly changes would have no solution
        weights = solve_toeplitz(products[:-1], products[1:]) if count else np.empty(0)
        scale = math.sqrt(max(products[0] - float(np.dot(weights, products[1:])), 1e-6 * products[0]))
        divisor = np.where(deviation > 0, deviation, np.inf).astype(np.float32)
        return cls(square, mean.astype(np.float32), divisor, weights, scale), small

    def white(self, small: Float32[np.ndarray, "time height width channel"]) -> Float32[np.ndarray, "time pixel"]:
        """An averaged movie, in the order shown, made white; its first frames, which have no past, are 0."""
        flat = (small.reshape(len(small), -1) - self.mean) / self.deviation
        result = flat.copy()
        for lag, weight in enumerate(self.coefficients, 1):
            result[lag:] -= np.float32(weight) * flat[:-lag]
        result[: len(self.coefficients)] = 0
        return result / np.float32(self.scale)


def averaged(frames: Frames, square: int) -> Float32[np.ndarray, "time small_height small_width channel"]:
    """Frames averaged over squares of pixels; the last squares of a row or column may be smaller."""
    if square == 1:
        return np.concatenate([block.astype(np.float32) for block in blocks(frames)])
    _, height, width, _ = frames.shape
    rows, columns = (np.arange(0, size, square) for size in (height, width))
    pixels = np.minimum(square, height - rows)[:, None, None] * np.minimum(square, width - columns)[:, None]
    step = max(1, 2**22 // math.prod(frames.shape[1:]))
    parts = []
    for start in range(0, len(frames), step):
        block = frames[start : start + step].astype(np.float32)
        lines = np.stack([block[:, row : row + square].sum(axis=1) for row in rows], axis=1)
        sums = np.stack([lines[:, :, column : column + square].sum(axis=2) for column in columns], axis=2)
        parts.append(sums / pixels.astype(np.float32))
    return np.concatenate(parts)


@dataclasses.dataclass(frozen=True, eq=False)
class TriggeredAverages:
    """STAs of the neurons of a session, as z-scores, and the time courses at their best pixels.

    Attributes:
        whitening: how the movie was made white.
        size: height, width and channels of the averaged movie.
        lags: frames from the movie to the response; below 0 the movie comes later.
        z_score: largest absolute correlation of each neuron, in the whole recording or in one of its segments; 1 is the
            deviation of a neuron without any relation.
        threshold: z-score from which a neuron is significant.
        spatial: STA of each neuron at its best lag.
        weights: its significant pixels, of norm 1.
        kernel: correlation with these, at every lag; noise has the deviation 1.
        of_segment: the same in each of ``SEGMENTS`` equal parts of the recording, with noise of deviation 1.
    """

    whitening: Whitening
    size: tuple[int, int, int]
    lags: Int[np.ndarray, " lag"]
    z_score: Float[np.ndarray, " neuron"]
    threshold: float
    spatial: Float32[np.ndarray, "neuron height width channel"]
    weights: Float32[np.ndarray, "neuron pixel"]
    kernel: Float[np.ndarray, "neuron lag"]
    of_segment: Float[np.ndarray, "segment neuron lag"]

    @property
    def significant(self) -> np.ndarray:
        """Which neurons have an STA that chance does not explain."""
        return self.z_score > self.threshold

    def best_lag(self, kernel: Float[np.ndarray, "neuron lag"]) -> Float[np.ndarray, " neuron"]:
        """Lag of the largest absolute value of each time course, between frames by a parabola."""
        return self.lags[0] + peaks(np.abs(kernel))


def triggered_averages(dataset: Dataset) -> dict[str, TriggeredAverages]:
    """STAs of all sessions by name; sessions that saw one movie in one order share its white version."""
    shown: dict[tuple[str, bytes], tuple[Whitening, tuple[int, int, int], np.ndarray]] = {}
    found = {}
    single = dataset.clip_length == 1
    for session in dataset.sessions:
        stimulus = dataset.stimuli[session.stimulus]
        key = session.stimulus, session.frame_index.tobytes()
        if key not in shown:
            whitening, small = Whitening.of(stimulus.frames, 0 if single else ORDER)
            in_order = np.array_equal(session.frame_index, np.arange(len(small)))
            white = whitening.white(small if in_order else small[session.frame_index])
            shown = {key: (whitening, small.shape[1:], white)}  # sessions of one movie are neighbours
        whitening, size, white = shown[key]
        lags = np.arange(1) if single else lags_of(stimulus.frame_rate_hz)
        parts = dataset.parts(session) if dataset.interrupted else None
        found[session.name] = _averages_of(session, whitening, size, white, lags, parts)
    return found


def lags_of(rate_hz: float) -> Int[np.ndarray, " lag"]:
    """Lags in frames, from those at which no neuron can respond yet to those of slow ones."""
    before, after = (
        int(np.clip(round(seconds * rate_hz), least, most))
        for seconds, least, most in zip((_BEFORE_S, _AFTER_S), _FEWEST_LAGS, _MOST_LAGS, strict=True)
    )
    return np.arange(-before, after + 1)


def _averages_of(
    session: Session,
    whitening: Whitening,
    size: tuple[int, int, int],
    white: Float32[np.ndarray, "time pixel"],
    lags: Int[np.ndarray, " lag"],
    movie_parts: Int[np.ndarray, " time"] | None,
) -> TriggeredAverages:
    scores, _ = standardized(session.responses)
    bounds = np.linspace(0, len(white), SEGMENTS + 1).astype(int)
    # the variance of a sum of responses times white pixels is the sum of the squared responses
    powers = np.stack([np.square(scores[start:end]).sum(axis=0) for start, end in itertools.pairwise(bounds)])
    far = lags[-1] + _FAR * np.arange(1, 9)
    parts = []
    for columns in _slices(session.n_neurons):
        here = scores[:, columns]
        sums = _correlations(here, white, lags, bounds, movie_parts)
        power = np.maximum(powers[:, columns], 1)
        total = power.sum(axis=0)
        usable = far[far < len(white) // 2]
        noise = 1.0
        if len(usable):  # a movie that is not quite white, or whose contrast varies
            chance = _correlations(here, white, usable, bounds[[0, -1]], movie_parts)[0]
            chance /= np.sqrt(total)[:, None, None]
            variance = float(np.square(chance).sum()) / (len(chance) * len(usable) * _varying(whitening))
            noise = max(1.0, math.sqrt(variance))
        deviation = np.sqrt(power) * np.float32(noise)
        # of the whole recording, or of the segment where it is clearest: a drift blurs the whole
        z_score, spatial = _clearest(sums.sum(axis=0) / (np.sqrt(total) * np.float32(noise))[:, None, None])
        for part, scale in zip(sums, deviation, strict=True):
            of_part, map_of_part = _clearest(part / scale[:, None, None])
            spatial = np.where((of_part > z_score)[:, None], map_of_part, spatial)
            z_score = np.maximum(z_score, of_part)
        weights = np.where(np.abs(spatial) > 0.5 * z_score[:, None], spatial, 0)
        weights /= np.maximum(np.linalg.norm(weights, axis=1, keepdims=True), 1e-12)
        courses = np.einsum("snlp,np->snl", sums, weights, optimize=True)
        kernel = courses.sum(axis=0) / (np.sqrt(total) * np.float32(noise))[:, None]
        parts.append((z_score, spatial, weights, kernel, courses / deviation[..., None]))
    z_score, spatial, weights, kernel = (np.concatenate([part[place] for part in parts]) for place in range(4))
    return TriggeredAverages(
        whitening=whitening,
        size=size,
        lags=lags,
        z_score=z_score.astype(np.float64),
        threshold=float(norm.isf(CHANCE / (2 * (1 + SEGMENTS) * len(lags) * _varying(whitening)))),
        spatial=spatial.reshape(-1, *size),
        weights=weights,
        kernel=kernel.astype(np.float64),
        of_segment=np.concatenate([part[4] for part in parts], axis=1).astype(np.float64),
    )


def _clearest(
    z_scores: Float32[np.ndarray, "neuron lag pixel"],
) -> tuple[Float32[np.ndarray, " neuron"], Float32[np.ndarray, "neuron pixel"]]:
    """Largest absolute z-score of each neuron, and the pixels at its lag."""
    lag = np.abs(z_scores).max(axis=2).argmax(axis=1)
    spatial = z_scores[np.arange(len(z_scores)), lag]
    return np.abs(spatial).max(axis=1), spatial


def _varying(whitening: Whitening) -> int:
    """Number of pixels that change."""
    return max(int(np.isfinite(whitening.deviation).sum()), 1)


def standardized(
    responses: Float32[np.ndarray, "time neuron"],
) -> tuple[Float32[np.ndarray, "time neuron"], np.ndarray]:
    """Responses of mean 0 and deviation 1, 0 where nothing was recorded; and where something was."""
    recorded = np.isfinite(responses)
    count = np.maximum(recorded.sum(axis=0), 1)
    mean = np.where(recorded, responses, 0).sum(axis=0, dtype=np.float64) / count
    centred = np.where(recorded, responses - mean.astype(np.float32), 0)
    deviation = np.sqrt(np.square(centred, dtype=np.float64).sum(axis=0) / count)
    return (centred / np.where(deviation > 0, deviation, np.inf)).astype(np.float32), recorded


def _slices(count: int) -> Iterator[slice]:
    return (slice(start, start + _NEURONS) for start in range(0, count, _NEURONS))


def _correlations(
    scores: Float32[np.ndarray, "time neuron"],
    white: Float32[np.ndarray, "time pixel"],
    lags: Int[np.ndarray, " lag"],
    bounds: Int[np.ndarray, " border"],
    movie_parts: Int[np.ndarray, " time"] | None,
) -> Float32[np.ndarray, "segment neuron lag pixel"]:
    """Sums of responses times the movie ``lag`` frames before, in each segment, within the parts of the movie.

    The responses of all lags share a product: where cores are busy, each product would wait for the threads of the one
    before, hundreds of times in all.
    """
    found = np.zeros((len(bounds) - 1, scores.shape[1], len(lags), white.shape[1]), np.float32)
    for of_segment, (begin, stop) in zip(found, itertools.pairwise(bounds.tolist()), strict=True):
        reached = range(max(0, begin - int(lags[-1])), min(len(white), stop - int(lags[0])), _FRAMES)
        for first in reached:
            last = min(first + _FRAMES, reached.stop)
            chosen = np.zeros((*of_segment.shape[:2], last - first), np.float32)
            for place, lag in enumerate(lags.tolist()):
                start, end = max(first, begin - lag), min(last, stop - lag)
                if end <= start:
                    continue
                responses = scores[start + lag : end + lag].T
                if movie_parts is not None:
                    responses = responses * (movie_parts[start + lag : end + lag] == movie_parts[start:end])
                chosen[:, place, start - first : end - first] = responses
            of_segment += np.tensordot(chosen, white[first:last], axes=1)
    return found


def peaks(values: Float[np.ndarray, "*rows lag"]) -> Float[np.ndarray, "*rows"]:
    """Place of the largest value along the last axis, between samples by a parabola through its neighbours."""
    best = values.argmax(axis=-1)
    if values.shape[-1] < 3:
        return best.astype(np.float64)
    inner = np.clip(best, 1, values.shape[-1] - 2)
    before, middle, after = (
        np.take_along_axis(values, (inner + step)[..., None], axis=-1)[..., 0] for step in (-1, 0, 1)
    )
    bend = before - 2 * middle + after
    step = np.where(bend < 0, 0.5 * (before - after) / np.where(bend < 0, bend, -1), 0)
    return np.where(inner == best, inner + np.clip(step, -0.5, 0.5), best)
