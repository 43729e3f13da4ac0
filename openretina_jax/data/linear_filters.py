"""Linear filters of neurons, separable in space and time, from their STAs: where single-cell models begin.

Space is the STA at its best lag, time its course over the lags, both of the movie made white in time (see
``triggered_averages``). A least-squares fit of the responses to the movie seen through both says how strong they are.
"""

import dataclasses

import numpy as np
from jaxtyping import Float32
from scipy.ndimage import gaussian_filter, uniform_filter

from openretina_jax.data.dataset import Dataset, Session
from openretina_jax.data.sta import LinearFilters
from openretina_jax.data.stimulus import Stimulus
from openretina_jax.data.triggered_averages import TriggeredAverages, Whitening, averaged, triggered_averages

FITTED_FRAMES = 20_000  # are enough for the strength of a filter
BLUR = 0.7  # standard deviation in pixels of the averaged movie, against single noisy ones
_LEAST = 1e-12


def linear_filters(dataset: Dataset, frames: int) -> LinearFilters:
    """Find the filters of all neurons in the training clips.

    Args:
        dataset: data set; its validation clips are not looked at.
        frames: frames of the temporal filters.
    """
    training = dataclasses.replace(dataset, sessions=tuple(_training(dataset, one) for one in dataset.sessions))
    averages = triggered_averages(training)
    parts = [
        _of_session(session, training.stimuli[session.stimulus], averages[session.name], frames)
        for session in training.sessions
    ]
    names = [field.name for field in dataclasses.fields(LinearFilters)]
    return LinearFilters(**{name: np.concatenate([getattr(part, name) for part in parts]) for name in names})


def _training(dataset: Dataset, session: Session) -> Session:
    """A session without its responses to the clips kept for validation."""
    kept = np.isin(session.frame_index // dataset.clip_length, dataset.kept_for_validation(session))
    return dataclasses.replace(session, responses=np.where(kept[:, None], np.float32(np.nan), session.responses))


def _of_session(session: Session, stimulus: Stimulus, averages: TriggeredAverages, frames: int) -> LinearFilters:
    maps = gaussian_filter(averages.weights.reshape(-1, *averages.size), (0, BLUR, BLUR, 0), mode="constant")
    temporal = _time_courses(averages, frames)
    sign = np.where(maps.sum(axis=(1, 2, 3)) < 0, np.float32(-1), np.float32(1))
    maps, temporal = maps * sign[:, None, None, None], temporal * sign[:, None]
    square, shape = averages.whitening.square, stimulus.frames.shape[1:]
    spatial = np.repeat(np.repeat(maps, square, axis=1), square, axis=2)[:, : shape[0], : shape[1]]
    norm = np.maximum(np.sqrt(np.square(spatial).sum(axis=(1, 2, 3), keepdims=True)), _LEAST)
    slope = _slopes(session, stimulus, maps / norm * square**2, temporal, averages.whitening)
    mirrored = slice(None, None, -1 if session.mirrored else 1)
    spatial = np.ascontiguousarray((spatial / norm)[:, :, mirrored].transpose(0, 3, 1, 2), np.float32)
    return LinearFilters(averages.significant, _peaks(spatial, square), spatial, temporal, slope)


def _time_courses(averages: TriggeredAverages, frames: int) -> Float32[np.ndarray, "neuron frame"]:
    """Weights of the frames up to that of the response, of norm 1, for a movie as it is, not made white."""
    after = averages.kernel[:, averages.lags >= 0]
    whitening = np.concatenate([[1.0], -averages.whitening.coefficients])
    course = np.stack([np.convolve(one, whitening)[: after.shape[1]] for one in after])
    course = np.pad(course[:, :frames], [(0, 0), (0, max(frames - course.shape[1], 0))])[:, ::-1]
    return (course / np.maximum(np.linalg.norm(course, axis=1, keepdims=True), _LEAST)).astype(np.float32)


def _slopes(
    session: Session,
    stimulus: Stimulus,
    weights: Float32[np.ndarray, "neuron height width channel"],
    temporal: Float32[np.ndarray, "neuron frame"],
    whitening: Whitening,
) -> Float32[np.ndarray, " neuron"]:
    """Slopes of the least-squares lines from the filtered movie to the responses."""
    shown = session.frame_index[:FITTED_FRAMES]
    first, end = int(shown.min()), int(shown.max()) + 1
    shift, scale = stimulus.shift_and_scale if stimulus.raw else (0.0, 1.0)
    small = (averaged(stimulus.frames[first:end], whitening.square) - np.float32(shift)) / np.float32(scale)
    seen = small[shown - first].reshape(len(shown), -1) @ weights.reshape(len(weights), -1).T
    slopes = np.zeros(len(weights), np.float32)
    for neuron, (signal, kernel) in enumerate(zip(seen.T, temporal, strict=True)):
        response = session.responses[: len(shown), neuron]
        drive = np.convolve(signal, kernel[::-1])[: len(signal)]
        known = np.isfinite(response)
        known[: len(kernel)] = False
        if known.any() and (variance := drive[known].var(dtype=np.float64)) > 0:
            centred = drive[known] - drive[known].mean(dtype=np.float64)
            slopes[neuron] = (centred * response[known]).mean(dtype=np.float64) / variance
    return slopes


def _peaks(spatial: Float32[np.ndarray, "neuron channel height width"], square: int) -> Float32[np.ndarray, "neuron 2"]:
    """Row and column where the power of the filters, averaged over neighbours, is largest."""
    power = uniform_filter(np.square(spatial).sum(axis=1), (0, 2 * square + 1, 2 * square + 1), mode="constant")
    places = power.reshape(len(power), -1).argmax(axis=1)
    return np.stack(np.unravel_index(places, power.shape[1:]), axis=1).astype(np.float32)
