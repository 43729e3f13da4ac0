"""Perturbations of movies, and their effects on the responses of a model.

Perturbations are functions from a normalised movie to a movie of the same shape:

    changes = {
        "blurred": functools.partial(blurred, sigma_px=2),
        "first channel": functools.partial(one_channel, channel=0),
        "other order": cut_order(len(movie), clip_frames=150),
    }
    effect(model, movie, changes)
"""

from collections.abc import Callable, Mapping

import numpy as np
import pandas as pd
from jaxtyping import Float32, Int, Integer

from openretina_jax.data import artificial_patterns as patterns
from openretina_jax.data.artificial_stimuli import Movie, check_channel
from openretina_jax.data.conversion import check_choice
from openretina_jax.data.masked import correlation
from openretina_jax.errors import UserError
from openretina_jax.insilico.presentation import Screen, respond
from openretina_jax.models.model import Model

Perturbation = Callable[[Movie], Movie] | Integer[np.ndarray, " time"]


def blurred(movie: Movie, sigma_px: float) -> Movie:
    """Blur in space by a Gaussian of this standard deviation; the border is continued outwards."""
    return _smoothed(movie, (0.0, sigma_px, sigma_px, 0.0))


def low_passed(movie: Movie, sigma_frames: float) -> Movie:
    """Blur in time by a Gaussian of this standard deviation; first and last frame are continued outwards."""
    return _smoothed(movie, (sigma_frames, 0.0, 0.0, 0.0))


def one_channel(movie: Movie, channel: int, *, grey: float = 0.0) -> Movie:
    """Keep one channel; the others are grey."""
    channels = movie.shape[3]
    check_channel(channel, channels)
    return np.where(np.arange(channels) == channel, movie, np.float32(grey))


def swapped_channels(movie: Movie) -> Movie:
    """Reverse the order of the channels."""
    return movie[..., ::-1]


def time_reversed(movie: Movie) -> Movie:
    """Play the movie backwards."""
    return movie[::-1]


def mirrored(movie: Movie) -> Movie:
    """Mirror the movie left to right."""
    return movie[:, :, ::-1]


def cut_order(frames: int, clip_frames: int, *, seed: int = 0) -> Int[np.ndarray, " time"]:
    """Draw an order of frames in which clips follow each other at random; the frames of a clip stay together.

    Args:
        frames: frames of the movie; the last clip may be shorter.
        clip_frames: frames of a clip.
        seed: seed of the random order.

    Raises:
        UserError: a clip has no frame.
    """
    if clip_frames < 1:
        raise UserError(f"clip_frames is {clip_frames}; it must be 1 or more")
    clips = np.split(np.arange(frames), np.arange(clip_frames, frames, clip_frames))
    return np.concatenate([clips[number] for number in np.random.default_rng(seed).permutation(len(clips))])


def contrast_scaled(movie: Movie, factor: float) -> Movie:
    """Multiply the contrast around the mean of every channel."""
    mean = movie.mean(axis=(0, 1, 2))
    return mean + np.float32(factor) * (movie - mean)


def masked(
    movie: Movie,
    keep: str,
    *,
    centre_px: patterns.Position,
    radius_px: float,
    grey: float = 0.0,
) -> Movie:
    """Keep what lies within a circle, or outside of it; the rest is grey.

    Args:
        movie: normalised movie.
        keep: part that stays: "centre" or "surround".
        centre_px: row and column of the centre of the circle.
        radius_px: its radius.
        grey: value of the other pixels.

    Raises:
        UserError: there is no such part.
    """
    check_choice("keep", keep, ("centre", "surround"))
    inside = patterns.disc(*movie.shape[1:3], radius_um=radius_px, pixel_size_um=1.0, centre_px=centre_px)
    share = (inside if keep == "centre" else 1 - inside)[:, :, None]
    return np.float32(grey) + share * (movie - np.float32(grey))


def effect(model: Model, movie: Movie, perturbations: Mapping[str, Perturbation]) -> pd.DataFrame:
    """Compare the responses to perturbed movies with those to the movie itself, for all neurons by one program.

    Grey is shown before each movie.

    Args:
        model: any model.
        movie: normalised movie.
        perturbations: functions of the movie by name, or orders of its frames (see ``cut_order``): responses are then
            put back into the old order, so that the same frames are compared after another history.

    Returns:
        A row for every neuron and perturbation: ``session``, ``neuron``, ``perturbation``, ``correlation`` with the
        unperturbed response (NaN: one of them is constant), ``gain`` (slope of the regression on it), ``mean_change``
        of the mean response.

    Raises:
        UserError: a perturbed movie has another shape than the movie.
    """
    shown = [movie, *(_perturbed(movie, name, change) for name, change in perturbations.items())]
    traces, _ = respond(model, Screen.in_model_units(model), np.stack(shown).astype(np.float32))
    sessions = model.data_info.sessions
    neurons = pd.DataFrame(
        [(session, number) for session, count in sessions.items() for number in range(count)],
        columns=["session", "neuron"],
    )
    before = traces[:, 0]
    tables = []
    for number, (name, change) in enumerate(perturbations.items()):
        after = traces[:, number + 1]
        if not callable(change):
            after = after[:, np.argsort(change)]
        tables.append(neurons.assign(perturbation=name, **_comparison(before, after)))
    return pd.concat(tables, ignore_index=True)


def _comparison(
    before: Float32[np.ndarray, "neuron time"], after: Float32[np.ndarray, "neuron time"]
) -> dict[str, np.ndarray]:
    one, other = (values - values.mean(axis=1, keepdims=True, dtype=float) for values in (before, after))
    power = np.square(one).sum(axis=1)
    with np.errstate(invalid="ignore"):
        gain = (one * other).sum(axis=1) / np.where(power > 0, power, np.nan)
    return {
        "correlation": correlation(before, after, axis=1, epsilon=0.0),
        "gain": gain,
        "mean_change": after.mean(axis=1, dtype=float) - before.mean(axis=1, dtype=float),
    }


def _perturbed(movie: Movie, name: str, change: Perturbation) -> Movie:
    if not callable(change) and not np.array_equal(np.sort(change), np.arange(len(movie))):
        raise UserError(f'perturbation "{name}": an order must name each of the {len(movie)} frames once')
    changed = change(movie) if callable(change) else movie[change]
    if changed.shape != movie.shape:
        raise UserError(f'perturbation "{name}" returns a movie of shape {changed.shape}, but it was {movie.shape}')
    return changed


def _smoothed(movie: Movie, sigma: tuple[float, float, float, float]) -> Movie:
    from scipy.ndimage import gaussian_filter  # takes long to import

    return gaussian_filter(movie, sigma, mode="nearest")
