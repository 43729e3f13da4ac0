"""The table of neurons: who they are and how well they are predicted."""

import numpy as np
import pandas as pd
from jaxtyping import Float, Float32

from openretina_jax.data.dataset import DataInfo, Dataset
from openretina_jax.data.timelines import mean_over_trials


def neuron_table(dataset: Dataset) -> pd.DataFrame:
    """One row per neuron in the order of the readout: session, number within it, metadata."""
    parts = []
    for session in dataset.sessions:
        columns = {"session": session.name, "neuron": np.arange(session.n_neurons)}
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


def test_scores(
    dataset: Dataset, test: str, predicted: Float32[np.ndarray, "time neuron"]
) -> dict[str, Float[np.ndarray, " neuron"]]:
    """Scores of every neuron on a test movie; NaN for neurons that were not shown it.

    Args:
        dataset: holds the recorded trials.
        test: name of the movie.
        predicted: responses to the end of the movie.

    Returns:
        ``correlation`` of the prediction with the mean over trials; ``correlation_single_trials``, its mean over
        trials; ``reliability``, the correlation of a trial with the mean of the others, averaged over trials; ``mse``.
    """
    names = ("correlation", "correlation_single_trials", "reliability", "mse")
    scores = {name: np.full(dataset.n_neurons, np.nan) for name in names}
    first = 0
    for session in dataset.sessions:
        columns = slice(first, first + session.n_neurons)
        first += session.n_neurons
        if test not in session.repeats:
            continue
        trials = session.repeats[test][:, -len(predicted) :].astype(np.float64)
        mean, prediction = mean_over_trials(trials), predicted[:, columns].astype(np.float64)
        scores["correlation"][columns] = _correlation(prediction, mean)
        scores["correlation_single_trials"][columns] = np.mean([_correlation(prediction, t) for t in trials], axis=0)
        scores["mse"][columns] = mean_over_trials(np.square(prediction - mean))
        if len(trials) > 1:
            others = [_correlation(t, mean_over_trials(np.delete(trials, k, axis=0))) for k, t in enumerate(trials)]
            scores["reliability"][columns] = np.mean(others, axis=0)
    return scores


def _correlation(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Pearson correlation over the recorded part of axis 0; 0 where either is constant, NaN where none is recorded."""
    recorded = np.isfinite(a) & np.isfinite(b)
    count = recorded.sum(axis=0)

    def centred(x: np.ndarray) -> np.ndarray:
        x = np.where(recorded, x, 0)
        return np.where(recorded, x - x.sum(axis=0) / np.maximum(count, 1), 0)

    x, y = centred(a), centred(b)
    norm = np.sqrt(np.square(x).sum(axis=0) * np.square(y).sum(axis=0))
    correlation = np.divide((x * y).sum(axis=0), norm, out=np.zeros(norm.shape), where=norm > 0)
    return np.where(count > 0, correlation, np.nan)
