"""What a finished run leaves behind: the table of neurons, pictures, and a summary."""

import os
from pathlib import Path

import numpy as np
import pandas as pd
from flax import nnx

from openretina_jax.data.dataset import Dataset
from openretina_jax.evaluation.neurons import neuron_table, test_scores
from openretina_jax.evaluation.scores import Scorer, Split
from openretina_jax.models.core_readout import CoreReadout
from openretina_jax.training.loop import FitResult
from openretina_jax.visualize.figures import save
from openretina_jax.visualize.predictions import plot_history, plot_predictions
from openretina_jax.visualize.weights import plot_filters, plot_masks

PICTURED_NEURONS = 6


def report(result: FitResult, model: CoreReadout, dataset: Dataset, workdir: Path) -> list[str]:
    """Test the best state on every test movie, write ``neurons.csv`` and the pictures, and say it in a few lines.

    Args:
        result: of a finished run.
        model: the trained model.
        dataset: what it was trained on.
        workdir: where files are written.

    Returns:
        Lines for the terminal.
    """
    graph, params, statistics = nnx.split(model, nnx.Param, ...)
    scorer = Scorer(graph)
    neurons = neuron_table(dataset)
    validation = scorer(params, statistics, result.recordings, Split(result.tables.validation()))
    neurons["validation_correlation"] = np.asarray(validation["correlation"])
    lines = [f"best epoch {result.best_epoch} of {result.epochs}, {result.seconds:.0f} s of training"]
    lines.append(_line("validation", neurons["validation_correlation"], dataset))
    for test in dataset.test_names:
        predicted = scorer.predict(params, statistics, result.recordings, Split(result.tables.test(test)))[0]
        for name, values in test_scores(dataset, test, predicted).items():
            neurons[f"{test}_{name}"] = values
        lines.append(_line(test, neurons[f"{test}_correlation"], dataset))
        lines.append(f"  reliability of the neurons {np.nanmean(neurons[f'{test}_reliability']):.4f}")
        save(_prediction_picture(dataset, test, predicted, neurons), workdir / f"predictions_{test}.png")
    temporary = workdir / "neurons.csv.tmp"
    neurons.to_csv(temporary, index=False)
    os.replace(temporary, workdir / "neurons.csv")
    save(plot_filters(model.core, frame_rate_hz=model.data_info.frame_rate_hz), workdir / "filters.png")
    best = np.argsort(-np.nan_to_num(neurons[f"{dataset.test_names[0]}_correlation"]))[:PICTURED_NEURONS]
    names = [_name(neurons, neuron) for neuron in best]
    save(plot_masks(model.readout, [int(neuron) for neuron in best], names), workdir / "masks.png")
    save(plot_history(pd.read_csv(workdir / "metrics.csv")), workdir / "history.png")
    return lines


def _line(split: str, correlation: "pd.Series[float]", dataset: Dataset) -> str:
    known = correlation.dropna()
    return f"{split} correlation {known.mean():.4f} ({len(known)} neurons, {len(dataset.sessions)} sessions)"


def _prediction_picture(dataset: Dataset, test: str, predicted: np.ndarray, neurons: pd.DataFrame) -> "object":
    trials = np.concatenate([s.repeats[test][:, -len(predicted) :] for s in dataset.sessions if test in s.repeats], axis=2)
    shown = np.concatenate([np.full(s.n_neurons, test in s.repeats) for s in dataset.sessions])
    table = neurons[shown]
    return plot_predictions(
        np.nanmean(trials, axis=0),
        predicted[:, shown],
        table[f"{test}_correlation"].to_numpy(),
        frame_rate_hz=dataset.stimuli[test].frame_rate_hz,
        names=[_name(neurons, neuron) for neuron in table.index],
        trials=trials,
    )


def _name(neurons: pd.DataFrame, neuron: int) -> str:
    row = neurons.loc[neuron]
    return f"{row['session']} neuron {row['neuron']}"
