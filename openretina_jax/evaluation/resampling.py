"""Confidence intervals of mean scores: over neurons or sessions (bootstrap; of few, jackknife), and over trials.

The jackknife needs all scores without each trial in turn. ``TrialMoments`` computes them from means over time of
products of two traces, which are computed once.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Integer

from openretina_jax.data.masked import STD_EPSILON, mean_of
from openretina_jax.evaluation.metrics import RATE_EPSILON, VARIANCE_EPSILON, entropy_term
from openretina_jax.evaluation.splits import SessionResponses

LEVEL = 0.95  # confidence level of the intervals
FEW_UNITS = 10  # fewer sessions or neurons are few
_BATCH = 2**22  # numbers that are drawn at once


def mean_interval(
    values: Float[np.ndarray, "neuron score"],
    unit: Integer[np.ndarray, " neuron"],
    resamples: int,
    seed: int,
) -> Float[np.ndarray, "2 score"]:
    """Ends of the ``LEVEL`` interval of means over neurons, had other units been recorded; NaN for a single unit.

    Percentiles of a bootstrap over units. They are too narrow for few units: below ``FEW_UNITS`` the interval is that
    of Student's t with the standard error of the jackknife over units (Cameron and Miller 2015, section VI).

    Args:
        values: scores; NaN are left out.
        unit: index of the unit that a neuron belongs to: the neuron itself, or its session.
        resamples: number of resamples.
        seed: seed of the draws.
    """
    known = np.isfinite(values)
    names, unit = np.unique(unit, return_inverse=True)
    sums, counts = np.zeros((len(names), values.shape[1])), np.zeros((len(names), values.shape[1]))
    np.add.at(sums, unit, np.where(known, values, 0))
    np.add.at(counts, unit, known)
    few = (counts > 0).sum(axis=0) < FEW_UNITS
    ends = np.full((2, values.shape[1]), np.nan)
    ends[:, few] = _student_interval(sums[:, few], counts[:, few])
    if not few.all():
        ends[:, ~few] = confidence_interval(bootstrap_means(sums[:, ~few], counts[:, ~few], resamples, seed))
    return ends


def bootstrap_means(
    sums: Float[np.ndarray, "unit score"], counts: Float[np.ndarray, "unit score"], resamples: int, seed: int
) -> Float[np.ndarray, "resample score"]:
    """Bootstrap means: units are drawn with replacement, as many as there are.

    Args:
        sums, counts: sum over the neurons of each unit, and how many they are.
        resamples: number of resamples.
        seed: seed of the draws.
    """
    from scipy.stats import bootstrap  # takes a second to import

    def means(sums: np.ndarray, counts: np.ndarray, axis: int) -> np.ndarray:
        return sums.sum(axis) / counts.sum(axis)

    with np.errstate(invalid="ignore"):
        drawn = bootstrap(
            (sums.T, counts.T),
            means,
            paired=True,
            axis=-1,
            n_resamples=resamples,
            batch=max(_BATCH // sums.size, 1),
            method="percentile",
            rng=np.random.default_rng(seed),
        )
    return drawn.bootstrap_distribution.T


def _student_interval(sums: np.ndarray, counts: np.ndarray) -> np.ndarray:
    """Interval of means by Student's t, with the standard error of the jackknife over units."""
    from scipy.stats import t

    total, number, units = sums.sum(axis=0), counts.sum(axis=0), (counts > 0).sum(axis=0)
    with np.errstate(invalid="ignore", divide="ignore"):
        without = np.where(counts > 0, (total - sums) / (number - counts), np.nan)
        moved = np.nansum(np.square(without - mean_of(without)), axis=0)
        reach = t.ppf((1 + LEVEL) / 2, units - 1) * np.sqrt((units - 1) / units * moved)
        return total / number + np.array([[-1], [1]]) * np.where(units > 1, reach, np.nan)


def jackknife_deviations(
    sessions: Sequence["TrialMoments"], kept: Sequence[Bool[np.ndarray, " _"]], resamples: int, seed: int
) -> dict[str, Float[np.ndarray, " resample"]]:
    """Deviations of mean scores over neurons if other trials had been recorded.

    Pseudo-values of the jackknife over trials are drawn with replacement (Efron and Tibshirani 1993, chapter 11). A
    bootstrap of the trials themselves would be biased: a resample has some trials twice and others not at all, so that
    its mean response is noisier, and every correlation lower.

    Args:
        sessions: moments of each session, which has at least two trials.
        kept: which neurons of each session count.
        resamples: number of resamples.
        seed: seed of the draws.

    Returns:
        Deviations from the mean, by name of the score, over neurons that have the score without any one trial.
    """
    rng = np.random.default_rng(seed)
    sums: dict[str, np.ndarray] = {}
    counts: dict[str, int] = {}
    for moments, neurons in zip(sessions, kept, strict=True):
        trials = moments.n_trials
        drawn = _draw_counts(rng, resamples, trials) / trials
        unbiased = np.sqrt(trials / (trials - 1))
        for name, without in moments.scores(1 - np.eye(trials), neurons).items():
            known = np.isfinite(without).all(axis=0)
            pseudo_values = (1 - trials) * without[:, known].sum(axis=1)
            moved = unbiased * (drawn @ (pseudo_values - pseudo_values.mean()))
            sums[name] = sums.get(name, 0) + moved
            counts[name] = counts.get(name, 0) + int(known.sum())
    return {name: moved / counts[name] if counts[name] else np.full(resamples, np.nan) for name, moved in sums.items()}


def confidence_interval(resampled: Float[np.ndarray, "resample *score"]) -> Float[np.ndarray, "2 *score"]:
    """Ends of the ``LEVEL`` percentile interval; NaN where no resample has a value."""
    ends = np.full((2, *resampled.shape[1:]), np.nan)
    known = np.isfinite(resampled).any(axis=0)
    tails = [50 * (1 - LEVEL), 50 * (1 + LEVEL)]
    ends[:, known] = np.nanpercentile(resampled[:, known], tails, axis=0)
    return ends


def _draw_counts(rng: np.random.Generator, resamples: int, units: int) -> np.ndarray:
    """Number of times that each unit is drawn in each resample, ``(resample, unit)``."""
    drawn = rng.integers(units, size=(resamples, units)) + units * np.arange(resamples)[:, None]
    return np.bincount(drawn.ravel(), minlength=resamples * units).reshape(resamples, units).astype(np.float64)


class _Moments(NamedTuple):
    """Means over time of traces and of products of two traces."""

    mean: np.ndarray  # (trial, neuron), as all without another comment
    product: np.ndarray  # mean product of two trials, (trial, trial, neuron)
    with_prediction: np.ndarray  # mean product with the prediction
    with_log: np.ndarray  # mean product with the logarithm of the prediction
    with_others: np.ndarray  # mean product with the mean over all neurons
    response_log: np.ndarray  # mean of response log(response), NaN for negative responses
    others: np.ndarray
    others_square: np.ndarray
    single: np.ndarray  # correlation with the prediction of the trial
    prediction: np.ndarray  # (neuron,)
    prediction_square: np.ndarray  # (neuron,)


class TrialMoments:
    """Means over time from which all scores of a session follow, for any weights of its trials.

    With equal weights the scores are those of ``tables.neuron_scores`` for neurons that were recorded throughout. For
    other neurons only the frames count that all their trials have.

    Args:
        responses: responses of one session.
    """

    def __init__(self, responses: SessionResponses):
        recorded, prediction = responses.trials.astype(np.float64), responses.prediction.astype(np.float64)
        self.n_trials = len(recorded)
        self._used = np.asarray(np.isfinite(recorded).any(axis=1))
        complete = (np.isfinite(recorded) | ~self._used[:, None]).all(axis=0) & np.isfinite(prediction)
        self._frames = complete.sum(axis=0)
        others = mean_of(recorded, -1, keepdims=True)
        with np.errstate(invalid="ignore"):
            log = np.log(prediction + RATE_EPSILON)  # NaN for a negative rate, which has no likelihood
        trials, others, prediction, log = (
            np.where(complete & self._used[:, None], recorded, 0),
            np.where(complete & self._used[:, None], others, 0),
            np.where(complete, prediction, 0),
            np.where(complete, log, 0),
        )

        def mean(of: str, *traces: np.ndarray) -> np.ndarray:
            with np.errstate(invalid="ignore", divide="ignore"):
                return np.einsum(of, *traces) / self._frames

        of_trials, product = mean("itn->in", trials), mean("itn,jtn->ijn", trials, trials)
        with_prediction, square = mean("itn,tn->in", trials, prediction), mean("tn,tn->n", prediction, prediction)
        own = with_prediction, mean("tn->n", prediction), square
        if responses.by_trial is not None:
            each = np.where(complete, responses.each_prediction.astype(np.float64), 0)
            own = mean("itn,itn->in", trials, each), mean("itn->in", each), mean("itn,itn->in", each, each)
        self._moments = _Moments(
            mean=of_trials,
            product=product,
            with_prediction=with_prediction,
            with_log=mean("itn,tn->in", trials, log),
            with_others=mean("itn,itn->in", trials, others),
            response_log=mean("itn->in", entropy_term(trials)),
            others=mean("itn->in", others),
            others_square=mean("itn,itn->in", others, others),
            single=_single(of_trials, product, *own),
            prediction=mean("tn->n", prediction),
            prediction_square=square,
        )

    def scores(
        self, weight: Float[np.ndarray, "weighting trial"], neurons: Bool[np.ndarray, " neuron"]
    ) -> dict[str, Float[np.ndarray, "weighting chosen"]]:
        """Scores of chosen neurons with weighted trials, by the names of ``tables.SCORES``.

        Noise and signal are estimated from pairs of different trials only, since a trial of weight 2 is no second
        observation of the noise.
        """
        m = _Moments(*(moment[..., neurons] for moment in self._moments))
        w = weight[:, :, None] * self._used[:, neurons]
        with np.errstate(invalid="ignore", divide="ignore"):
            return _scores(m, w, self._frames[neurons])


def _scores(m: _Moments, w: np.ndarray, frames: np.ndarray) -> dict[str, np.ndarray]:
    total = w.sum(axis=1)
    share = w / total[:, None]
    samples = total * frames
    square = np.einsum("iin->in", m.product)

    def of_trials(values: np.ndarray) -> np.ndarray:
        """Weighted mean over trials."""
        return np.einsum("bin,in->bn", share, values)

    mean = of_trials(m.mean)
    with_sum = np.einsum("bjn,ijn->bin", w, m.product)  # mean product of each trial with the weighted sum of all
    sum_square = np.einsum("bin,bin->bn", w, with_sum)
    own_square = np.einsum("bin,in->bn", w * w, square)
    pairs = total**2 - (w * w).sum(axis=1)
    pairs = np.where(pairs > 0, pairs, np.nan)  # weight of pairs of different trials

    mean_variance = sum_square / total**2 - mean**2
    prediction_variance = m.prediction_square - m.prediction**2
    with_mean = of_trials(m.with_prediction)
    correlation = _ratio(with_mean - mean * m.prediction, mean_variance, prediction_variance)
    signal = (sum_square - own_square - (total * mean) ** 2 + np.einsum("bin,in->bn", w * w, m.mean**2)) / pairs
    highest = np.sqrt(np.where(signal > 0, signal / mean_variance, np.nan))

    variance = (of_trials(square) - mean**2) * samples / (samples - 1)
    noise = ((w * (total[:, None] - w) * square).sum(axis=1) - (sum_square - own_square)) / pairs
    explainable = np.maximum(variance - noise, VARIANCE_EPSILON)
    residual = m.prediction_square - 2 * with_mean + of_trials(square)

    rest = np.where(total[:, None] > w, total[:, None] - w, np.nan)
    rest_mean = (total[:, None] * mean[:, None] - w * m.mean) / rest
    with_rest = (with_sum - w * square) / rest
    rest_square = (sum_square[:, None] - 2 * w * with_sum + w * w * square) / rest**2
    each_with_rest = _ratio(with_rest - m.mean * rest_mean, square - m.mean**2, rest_square - rest_mean**2)
    loss, null = m.prediction - of_trials(m.with_log), mean - entropy_term(np.maximum(mean, 0))
    best = mean - of_trials(m.response_log)  # NaN for responses that are no counts
    return {
        "correlation": correlation,
        "correlation_single_trials": of_trials(m.single),
        "normalized_correlation": correlation / highest,
        "max_correlation": highest,
        "mse": m.prediction_square - 2 * with_mean + sum_square / total**2,
        "poisson_loss": loss,
        "bits_per_spike": (null - loss + 0 * best) / np.where(mean > 0, mean * np.log(2), np.nan),
        "explained_deviance": 1 - (loss - best) / np.where(null > best, null - best, np.nan),
        "fev": 1 - residual / np.maximum(variance, VARIANCE_EPSILON),
        "feve": np.maximum(1 - np.maximum(residual - noise, 0) / explainable, 0),
        "variance_ratio": explainable / (variance + VARIANCE_EPSILON),
        "explainable_variance": explainable,
        "jackknife": _pooled(share, m.mean, square, rest_mean, rest_square, with_rest),
        "reliability": (share * each_with_rest).sum(axis=1),
        "global_mean": _pooled(share, m.mean, square, m.others, m.others_square, m.with_others),
    }


def _single(
    mean: np.ndarray, product: np.ndarray, with_own: np.ndarray, own: np.ndarray, own_square: np.ndarray
) -> np.ndarray:
    """Correlation of every trial with its prediction."""
    with np.errstate(invalid="ignore"):
        variance = np.einsum("iin->in", product) - mean**2
        return _ratio(with_own - mean * own, variance, np.broadcast_to(own_square - own**2, mean.shape))


def _ratio(covariance: np.ndarray, a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Correlation from a covariance and variances, which rounding may make slightly negative."""
    norm = (np.sqrt(np.maximum(a, 0)) + STD_EPSILON) * (np.sqrt(np.maximum(b, 0)) + STD_EPSILON)
    return covariance / norm


def _pooled(
    share: np.ndarray, x: np.ndarray, xx: np.ndarray, y: np.ndarray, yy: np.ndarray, xy: np.ndarray
) -> np.ndarray:
    """Correlation over all trials and times from the moments of each trial."""
    x, xx, y, yy, xy = ((share * moment).sum(axis=1) for moment in (x, xx, y, yy, xy))
    return _ratio(xy - x * y, xx - x * x, yy - y * y)
