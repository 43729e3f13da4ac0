"""Scores of predictions, and oracles from repeats, neuron by neuron.

The last axis of every array is the neuron. Responses to a repeated stimulus are ``(trial, time, neuron)``. NaN stands
for "not recorded" and is left out; a neuron without any value has NaN scores. Variances of a neuron that was recorded
throughout equal openretina's to the last digit.
"""

import numpy as np
from jaxtyping import Float

from openretina_jax.data.masked import correlation, mean_of, variance_of

RATE_EPSILON = 1e-16  # added to rates inside logarithms
VARIANCE_EPSILON = 1e-9  # smallest explainable variance

Trials = Float[np.ndarray, "trial time neuron"]
Traces = Float[np.ndarray, "time neuron"]
PerNeuron = Float[np.ndarray, " neuron"]


def squared_error(
    a: Float[np.ndarray, "..."], b: Float[np.ndarray, "..."], axis: int | tuple[int, ...] = 0
) -> Float[np.ndarray, "..."]:
    """Mean squared difference along an axis, or axes."""
    return mean_of(np.square(a.astype(np.float64) - b), axis)


def poisson_loss(
    response: Float[np.ndarray, "..."],
    prediction: Float[np.ndarray, "..."],
    axis: int | tuple[int, ...] = 0,
    *,
    epsilon: float = RATE_EPSILON,
) -> Float[np.ndarray, "..."]:
    """Mean of ``prediction - response log(prediction)`` along an axis.

    The negative log-likelihood of a Poisson distribution without the term that does not depend on the prediction; NaN
    if any prediction is negative, where no likelihood exists.

    Args:
        response: recorded rates or counts.
        prediction: predicted rates.
        axis: axis, or axes, along which to take the mean.
        epsilon: added to the prediction inside the logarithm.
    """
    prediction = prediction.astype(np.float64)
    with np.errstate(invalid="ignore", divide="ignore"):
        loss = prediction - response * np.log(prediction + epsilon)
    negative = (prediction + epsilon < 0).any(axis=axis)
    return np.where(negative, np.nan, mean_of(loss, axis))


def bits_per_spike(trials: Trials, prediction: Traces) -> PerNeuron:
    """Information of a prediction about single spikes, beyond their mean rate.

    ``(log L(prediction) - log L(mean)) / (spikes log 2)`` with the Poisson log-likelihoods of all trials, where the
    mean is that of the same responses (Pillow et al. 2008, doi:10.1038/nature07140; Pei et al. 2021,
    arXiv:2109.04463). NaN where a prediction or a response is negative, and without spikes.

    Args:
        trials: recorded counts, or rates, for which the unit of a spike is that of the response.
        prediction: predicted counts per frame.
    """
    loss, null, mean, _ = _poisson_losses(trials, prediction)
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(mean > 0, (null - loss) / (mean * np.log(2)), np.nan)


def explained_deviance(trials: Trials, prediction: Traces) -> PerNeuron:
    """Fraction of the Poisson deviance of single trials explained: 1 for a perfect prediction of each, 0 for the mean.

    ``1 - D(prediction) / D(mean)``, where ``D = 2 sum(r log(r / p) - (r - p))`` is twice what the log-likelihood lacks
    to its highest value (Cameron and Windmeijer 1997, doi:10.1016/S0304-4076(96)01818-0). NaN as ``bits_per_spike``.

    Args:
        trials: recorded counts or rates.
        prediction: predicted ones.
    """
    loss, null, mean, best = _poisson_losses(trials, prediction)
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where((mean > 0) & (null > best), 1 - (loss - best) / (null - best), np.nan)


def entropy_term(response: Float[np.ndarray, "..."]) -> Float[np.ndarray, "..."]:
    """``r log r``, 0 at 0; NaN for negative responses, which no count can be, and for what was not recorded."""
    response = response.astype(np.float64)
    positive = np.where(response > 0, response, 1)
    return np.where(response >= 0, positive * np.log(positive), np.nan)


def _poisson_losses(trials: Trials, prediction: Traces) -> tuple[PerNeuron, PerNeuron, PerNeuron, PerNeuron]:
    """Poisson loss of a prediction and of the mean response, the mean, and the lowest loss; NaN for negative ones."""
    loss = poisson_loss(trials, np.broadcast_to(prediction, trials.shape), (0, 1))
    counted = np.where(np.isfinite(prediction), trials, np.nan)
    mean = mean_of(counted, (0, 1))
    best = mean - mean_of(entropy_term(counted), (0, 1))
    negative = (counted < 0).any(axis=(0, 1))
    return np.where(negative, np.nan, loss), mean - entropy_term(np.maximum(mean, 0)), mean, best


def variances(trials: Trials) -> tuple[PerNeuron, PerNeuron]:
    """Unbiased total variance of single responses, and noise variance.

    The noise variance is the mean over time of the variance over trials (Cadena et al. 2019,
    doi:10.1371/journal.pcbi.1006897); NaN for a neuron without two trials at any frame.
    """
    total = _variance(trials, (0, 1))
    noise = mean_of(_variance(trials, 0))
    return total, noise


def explainable_variance(trials: Trials) -> tuple[PerNeuron, PerNeuron]:
    """Ratio of explainable to total variance, and explainable variance (Cadena et al. 2019); NaN without repeats.

    The explainable variance is the total minus the noise variance, at least ``VARIANCE_EPSILON``.
    """
    total, noise = variances(trials)
    explainable = np.maximum(total - noise, VARIANCE_EPSILON)
    return explainable / (total + VARIANCE_EPSILON), explainable


def fev(trials: Trials, prediction: Traces | Trials) -> PerNeuron:
    """Fraction of the variance of single trials explained: 1 - squared error / total variance.

    Args:
        trials: recorded responses.
        prediction: one prediction for all trials, or one for each.
    """
    total, _ = variances(trials)
    return 1 - squared_error(trials, prediction, (0, 1)) / np.maximum(total, VARIANCE_EPSILON)


def feve(trials: Trials, prediction: Traces | Trials) -> PerNeuron:
    """Fraction of the explainable variance explained (Cadena et al. 2019), from 0 to 1; NaN without repeats.

    ``1 - max(squared error - noise variance, 0) / explainable variance``, and 0 where that is negative.

    Args:
        trials: recorded responses.
        prediction: one prediction for all trials, or one for each.
    """
    ratio, explainable = explainable_variance(trials)
    noise = explainable / ratio - explainable
    unexplained = np.maximum(squared_error(trials, prediction, (0, 1)) - noise, 0)
    return np.maximum(1 - unexplained / explainable, 0)


def signal_power(trials: Trials) -> tuple[PerNeuron, PerNeuron]:
    """Signal power, and variance over time of the mean response, which still holds some noise.

    The signal power (Sahani and Linden 2003; Schoppe et al. 2016, doi:10.3389/fncom.2016.00010) is the mean covariance
    of two different trials. Only frames that all trials of a neuron have count. NaN with fewer than two trials.
    """
    used = np.isfinite(trials).any(axis=1, keepdims=True)
    complete = (np.isfinite(trials) | ~used).all(axis=0)
    trials = np.where(complete, trials.astype(np.float64), np.nan)
    count = used.sum(axis=(0, 1))
    mean = variance_of(mean_of(trials))
    single = mean_of(variance_of(trials, axis=1))
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(count > 1, (count * mean - single) / (count - 1), np.nan), mean


def normalized_correlation(trials: Trials, prediction: Traces) -> tuple[PerNeuron, PerNeuron]:
    """Correlation with the mean response relative to the highest possible one (CCnorm of Schoppe et al. 2016).

    Returns:
        The normalised correlation, ``cov(prediction, mean) / sqrt(var(prediction) signal power)``, which noise can
        lift above 1, and the highest correlation that a perfect model can reach, ``sqrt(signal power / var(mean))``.
        Both are NaN without repeats, and where the signal power is not positive.
    """
    signal, mean = signal_power(trials)
    with np.errstate(divide="ignore", invalid="ignore"):
        highest = np.sqrt(np.where(signal > 0, signal / mean, np.nan))
    return correlation(mean_of(trials), prediction) / highest, highest


def jackknife_oracle(trials: Trials) -> PerNeuron:
    """Correlation of single responses, all trials in a row, with the means of the other trials; NaN without repeats.

    It is lower than what a perfect model reaches, since the mean of the other trials is noisy.
    """
    return correlation(trials, means_of_other_trials(trials), axis=(0, 1))


def reliability(trials: Trials) -> PerNeuron:
    """Correlation of a trial with the mean of the others, mean over trials; NaN without repeats."""
    return mean_of(correlation(trials, means_of_other_trials(trials), axis=1))


def global_mean_oracle(responses: Trials | Traces) -> PerNeuron:
    """Correlation of each neuron with the mean over all neurons, itself included, at the same time.

    High where neurons share a state (movement, bleaching) more than they follow the stimulus.

    Args:
        responses: responses of the neurons of one session.
    """
    responses = responses.reshape(-1, responses.shape[-1])
    return correlation(responses, mean_of(responses, -1, keepdims=True))


def means_of_other_trials(trials: Trials) -> Trials:
    """Mean over all other trials, for every trial; NaN where no other was recorded."""
    recorded = np.isfinite(trials)
    known = np.where(recorded, trials.astype(np.float64), 0)
    count = recorded.sum(axis=0) - recorded
    return np.where(count > 0, (known.sum(axis=0) - known) / np.maximum(count, 1), np.nan)


def aligned(responses: Float[np.ndarray, "*trial time neuron"], frames: int, skip: int | None = None) -> np.ndarray:
    """Cut responses to the frames that a model predicts; the first frames of a stimulus have no prediction.

    Args:
        responses: responses to a stimulus from its beginning.
        frames: number of predicted frames.
        skip: number of frames before the first predicted one (None: predictions reach to the end).

    Raises:
        ValueError: there are fewer responses than predictions.
    """
    skip = responses.shape[-2] - frames if skip is None else skip
    if skip < 0 or skip + frames > responses.shape[-2]:
        raise ValueError(f"{frames} predictions from frame {skip} on do not fit {responses.shape[-2]} responses")
    return responses[..., skip : skip + frames, :]


def _variance(values: np.ndarray, axis: int | tuple[int, ...]) -> np.ndarray:
    """Unbiased variance of finite values; NaN with fewer than two."""
    values = values.astype(np.float64)
    count = np.isfinite(values).sum(axis=axis)
    return np.where(count > 1, variance_of(values, axis) * count / np.maximum(count - 1, 1), np.nan)
