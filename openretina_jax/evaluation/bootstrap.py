"""Bootstrap intervals of means over neurons: how much they would move with other neurons, sessions or trials.

All resamples are matrix products and a function of the seed. Percentile intervals (Efron and Tibshirani 1993).
"""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Bool, Float, Integer

from openretina_jax.evaluation.moments import TrialMoments

LEVEL = 0.95  # of the intervals
TRIAL_CHUNK = 100  # resamples of trials at once


def resampled_means(
    values: Float[np.ndarray, "neuron score"],
    unit: Integer[np.ndarray, " neuron"],
    resamples: int,
    seed: int,
) -> Float[np.ndarray, "resample score"]:
    """Means over neurons when units of them are drawn with replacement, as many as there are.

    Args:
        values: NaN are left out.
        unit: number of the unit that a neuron comes with: itself, or its session.
        resamples: how often to draw.
        seed: of the draws.
    """
    known = np.isfinite(values)
    names, unit = np.unique(unit, return_inverse=True)
    sums, counts = np.zeros((len(names), values.shape[1])), np.zeros((len(names), values.shape[1]))
    np.add.at(sums, unit, np.where(known, values, 0))
    np.add.at(counts, unit, known)
    drawn = _drawn(np.random.default_rng(seed), resamples, len(names))
    with np.errstate(invalid="ignore"):
        return (drawn @ sums) / (drawn @ counts)


def means_of_resampled_trials(
    sessions: Sequence[TrialMoments], kept: Sequence[Bool[np.ndarray, " neuron"]], resamples: int, seed: int
) -> dict[str, Float[np.ndarray, " resample"]]:
    """Means over neurons when the trials of every session are drawn with replacement.

    A resample in which a session's trials are all the same one has no noise variance there; its neurons are then left
    out of scores that need it.

    Args:
        sessions: what is known of their trials.
        kept: which neurons of each session take part.
        resamples: how often to draw.
        seed: of the draws.
    """
    rng = np.random.default_rng(seed)
    sums: dict[str, np.ndarray] = {}
    counts: dict[str, np.ndarray] = {}
    for moments, neurons in zip(sessions, kept, strict=True):
        drawn = _drawn(rng, resamples, moments.n_trials)
        chunks = [moments.scores(drawn[k : k + TRIAL_CHUNK], neurons) for k in range(0, resamples, TRIAL_CHUNK)]
        for name in chunks[0]:
            values = np.concatenate([chunk[name] for chunk in chunks])
            sums[name] = sums.get(name, 0) + np.nansum(values, axis=1)
            counts[name] = counts.get(name, 0) + np.isfinite(values).sum(axis=1)
    with np.errstate(invalid="ignore"):
        return {name: sums[name] / counts[name] for name in sums}


def centred(resampled: Float[np.ndarray, "resample *score"], estimate: Float[np.ndarray, "*score"]) -> np.ndarray:
    """Resamples moved so that their mean is the estimate.

    A resample of trials holds fewer different ones than there are, so its mean response is noisier and fits less well:
    how resamples differ says something of the estimate, where they lie does not.
    """
    known = np.isfinite(resampled)
    mean = np.where(known, resampled, 0).sum(axis=0) / np.maximum(known.sum(axis=0), 1)
    return resampled - mean + estimate


def interval(resampled: Float[np.ndarray, "resample *score"]) -> Float[np.ndarray, "2 *score"]:
    """Ends of the ``LEVEL`` interval; NaN where no resample has a value."""
    ends = np.full((2, *resampled.shape[1:]), np.nan)
    known = np.isfinite(resampled).any(axis=0)
    tails = [50 * (1 - LEVEL), 50 * (1 + LEVEL)]
    ends[:, known] = np.nanpercentile(resampled[:, known], tails, axis=0)
    return ends


def _drawn(rng: np.random.Generator, resamples: int, units: int) -> np.ndarray:
    """How often each unit is drawn in each resample."""
    drawn = rng.integers(units, size=(resamples, units)) + units * np.arange(resamples)[:, None]
    return np.bincount(drawn.ravel(), minlength=resamples * units).reshape(resamples, units).astype(np.float64)
