"""The table of neurons: who they are and how well they are predicted."""

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
from jaxtyping import Float

from openretina_jax.data.dataset import DataInfo, Dataset
from openretina_jax.data.recorded import correlation, mean_of
from openretina_jax.evaluation import metrics, oracles
from openretina_jax.evaluation.responses import SessionResponses

# what a score is, in the order of tables and reports; docs/evaluation.md has the formulas
SCORES = {
    "correlation": "correlation with the mean over trials",
    "correlation_clips": "the same within each clip, mean over clips",
    "correlation_single_trials": "correlation with a single trial, mean over trials",
    "normalized_correlation": "correlation relative to the best possible one (CCnorm)",
    "max_correlation": "best possible correlation with the mean over trials",
    "mse": "squared error from the mean over trials",
    "poisson_loss": "Poisson loss of the mean over trials",
    "fev": "fraction of the variance of single trials explained",
    "feve": "fraction of the explainable variance explained",
    "variance_ratio": "explainable / total variance",
    "explainable_variance": "total - noise variance",
    "jackknife": "correlation of single trials with the mean of the others",
    "reliability": "the same, trial by trial",
    "global_mean": "correlation with the mean over the session's neurons",
}
CELL_TYPE_COLUMNS = ("cell_type_name", "cell_type")


def neuron_table(dataset: Dataset) -> pd.DataFrame:
    """One row per neuron in the order of the readout: session, number within it, metadata of neuron and session."""
    parts = []
    for session in dataset.sessions:
        columns = {"session": session.name, "neuron": np.arange(session.n_neurons), **session.metadata}
        for name, values in session.neurons.items():
            if values.ndim == 1:
                columns[name] = values
            else:
                columns |= {f"{name}_{axis}": values[:, axis] for axis in range(values.shape[1])}
        parts.append(pd.DataFrame(columns))
    return pd.concat(parts, ignore_index=True)


def neuron_names(info: DataInfo) -> list[str]:
    """A name for every neuron in the order of the readout: its session and its number there."""
    return [f"{session} neuron {number}" for session, count in info.sessions.items() for number in range(count)]


def score_table(responses: Sequence[SessionResponses]) -> pd.DataFrame:
    """Scores of every neuron of these sessions: a row per neuron, a column per score.

    Args:
        responses: of each session to one split.

    Returns:
        Columns ``session``, ``neuron``, ``trials``, those of ``SCORES``, and ``correlation_0``, ``mse_0``, ... of every
        trial; NaN where a score is not known.
    """
    parts = []
    for session in responses:
        identity = {"session": session.session, "neuron": np.arange(session.recorded.shape[-1])}
        parts.append(pd.DataFrame({**identity, **neuron_scores(session), **trial_scores(session)}))
    return pd.concat(parts, ignore_index=True)


def neuron_scores(responses: SessionResponses) -> dict[str, Float[np.ndarray, " neuron"]]:
    """The number of trials and the scores of every neuron of a session, by the names of ``SCORES``."""
    trials, prediction = responses.trials, responses.prediction
    mean = mean_of(trials)
    ratio, explainable = metrics.explainable_variance(trials)
    normalized, highest = metrics.normalized_correlation(trials, prediction)
    clips = correlation(mean_of(responses.recorded), responses.predicted, axis=1)
    scores = {
        "trials": np.isfinite(trials).any(axis=1).sum(axis=0).astype(np.float64),
        "correlation": correlation(mean, prediction),
        "correlation_clips": mean_of(clips),
        "correlation_single_trials": mean_of(correlation(trials, prediction, axis=1)),
        "normalized_correlation": normalized,
        "max_correlation": highest,
        "mse": metrics.squared_error(mean, prediction),
        "poisson_loss": metrics.poisson_loss(mean, prediction),
        "fev": metrics.fev(trials, prediction),
        "feve": metrics.feve(trials, prediction),
        "variance_ratio": ratio,
        "explainable_variance": explainable,
        "jackknife": oracles.jackknife_oracle(trials),
        "reliability": oracles.reliability(trials),
        "global_mean": oracles.global_mean_oracle(trials),
    }
    assert scores.keys() == {"trials", *SCORES}
    return scores


def trial_scores(responses: SessionResponses) -> dict[str, Float[np.ndarray, " neuron"]]:
    """Correlation with, and squared error from, every single trial."""
    scores = {}
    for number, trial in enumerate(responses.trials):
        scores[f"correlation_{number}"] = correlation(trial, responses.prediction)
        scores[f"mse_{number}"] = metrics.squared_error(trial, responses.prediction)
    return scores


def with_metadata(scores: pd.DataFrame, dataset: Dataset) -> pd.DataFrame:
    """A table of scores with the metadata of its neurons and sessions, in the order of the readout."""
    return scores.merge(neuron_table(dataset), on=["session", "neuron"], how="left", validate="many_to_one")


def cell_type_column(columns: Mapping[str, object] | pd.DataFrame) -> str | None:
    """The column that tells the types of neurons, by name if it can; None if there is none."""
    return next((name for name in CELL_TYPE_COLUMNS if name in columns), None)
