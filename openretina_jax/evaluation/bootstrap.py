"""Bootstrap intervals of means over neurons: how much they would move with other neurons, sessions or trials.

All resamples are matrix products and a function of the seed. Percentile intervals (Efron and Tibshirani 1993).
"""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Bool, Float, Integer

from openretina_jax.evaluation.moments import TrialMoments

LEVEL = 0.95  # of the intervals


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


def deviations_with_other_trials(
    sessions: Sequence[TrialMoments], kept: Sequence[Bool[np.ndarray, " _"]], resamples: int, seed: int
) -> dict[str, Float[np.ndarray, " resample"]]:
    """By how much means over neurons move when the trials of every session are drawn with replacement.

    What is drawn are the pseudo-values of the jackknife: how the mean changes without a trial (Efron and Tibshirani
    1993, chapter 11). A resample of the trials themselves would hold some of them twice and others not at all; its mean
    response is noisier, and every correlation lower.

    Args:
        sessions: what is known of their trials; each has at least two.
        kept: which neurons of each session take part.
        resamples: how often to draw.
        seed: of the draws.

    Returns:
        Deviations from the mean by name of the score; those of neurons that keep the score without any one trial.
    """
    rng = np.random.default_rng(seed)
    sums: dict[str, np.ndarray] = {}
    counts: dict[str, int] = {}
    for moments, neurons in zip(sessions, kept, strict=True):
        trials = moments.n_trials
        drawn = _drawn(rng, resamples, trials) / trials
        unbiased = np.sqrt(trials / (trials - 1))
        for name, without in moments.scores(1 - np.eye(trials), neurons).items():
            known = np.isfinite(without).all(axis=0)
            pseudo_values = (1 - trials) * without[:, known].sum(axis=1)
            moved = unbiased * (drawn @ (pseudo_values - pseudo_values.mean()))
            sums[name] = sums.get(name, 0) + moved
            counts[name] = counts.get(name, 0) + int(known.sum())
    return {name: moved / counts[name] if counts[name] else np.full(resamples, np.nan) for name, moved in sums.items()}


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
