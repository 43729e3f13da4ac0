"""How well responses predict each other: what a model without any stimulus could reach."""

import numpy as np

from openretina_jax.data.recorded import correlation, mean_of
from openretina_jax.evaluation.metrics import PerNeuron, Traces, Trials


def means_of_other_trials(trials: Trials) -> Trials:
    """For every trial the mean of the others that were recorded; NaN where there is none."""
    recorded = np.isfinite(trials)
    known = np.where(recorded, trials.astype(np.float64), 0)
    count = recorded.sum(axis=0) - recorded
    return np.where(count > 0, (known.sum(axis=0) - known) / np.maximum(count, 1), np.nan)


def jackknife_oracle(trials: Trials) -> PerNeuron:
    """Correlation of all single responses, one trial after the other, with the means of the other trials.

    It is lower than what a perfect model reaches, since the mean of the other trials is noisy. NaN without repeats.
    """
    return correlation(trials, means_of_other_trials(trials), axis=(0, 1))


def reliability(trials: Trials) -> PerNeuron:
    """Mean over trials of the correlation of a trial with the mean of the others; NaN without repeats."""
    return mean_of(correlation(trials, means_of_other_trials(trials), axis=1))


def global_mean_oracle(responses: Trials | Traces) -> PerNeuron:
    """Correlation of each neuron with the mean over all neurons at the same time, its own response among them.

    High where neurons share a state (movement, bleaching) more than they follow the stimulus.

    Args:
        responses: of the neurons of one session; trials follow each other.
    """
    responses = responses.reshape(-1, responses.shape[-1])
    return correlation(responses, mean_of(responses, -1, keepdims=True))
