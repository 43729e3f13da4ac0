"""What a finished run leaves behind: the table of neurons, pictures, and a summary."""

import os
from pathlib import Path

import numpy as np
import pandas as pd
from flax import nnx
from jaxtyping import Float

from openretina_jax.data.dataset import Dataset
from openretina_jax.data.timelines import mean_over_trials
from openretina_jax.evaluation.neurons import neuron_names, neuron_table, test_scores
from openretina_jax.evaluation.scores import Scorer, Split
from openretina_jax.models.core_readout import Model
from openretina_jax.processes import is_first
from openretina_jax.training.loop import FitResult
from openretina_jax.training.pictures import weight_pictures
from openretina_jax.training.sharding import Sharding
from openretina_jax.visualize.figures import Figure, save
from openretina_jax.visualize.predictions import plot_history, plot_predictions


def report(result: FitResult, model: Model, dataset: Dataset, workdir: Path, sharding: Sharding) -> list[str]:
    """Test the best state on every test movie, write ``neurons.csv`` and the pictures, and say it in a few lines.

    Args:
        result: of a finished run.
        model: the trained model.
        dataset: what it was trained on.
        workdir: where files are written, by the first of several processes.
        sharding: of the run; it is active.

    Returns:
        Lines for the terminal.
    """
    graph, variables = nnx.graphdef(model), (sharding.state(nnx.state(model)),)
    scorer, neurons = Scorer(graph), neuron_table(dataset)
    validation = scorer(variables, result.recordings, Split(result.tables.validation()))
    neurons["validation_correlation"] = ranking = np.asarray(validation["correlation"])
    lines = [f"best epoch {result.best_epoch} of {result.epochs}, {result.seconds:.0f} s of training"]
    lines.append(_line("validation", ranking, dataset))
    figures: dict[str, Figure] = {}
    for test in dataset.test_names:
        predicted = scorer.predict(variables, result.recordings, Split(result.tables.test(test)))[0]
        for name, values in test_scores(dataset, test, predicted).items():
            neurons[f"{test}_{name}"] = values
        ranking = neurons[f"{test}_correlation"].to_numpy()
        lines.append(_line(test, ranking, dataset))
        figures[f"predictions_{test}"] = _predictions(dataset, test, predicted, neurons)
    if is_first():
        _write_table(neurons, workdir / "neurons.csv")
        figures["history"] = plot_history(pd.read_csv(workdir / "metrics.csv"))
        for name, figure in (figures | weight_pictures(model, ranking)).items():
            save(figure, workdir / f"{name}.png")
    return lines


def _line(split: str, correlation: Float[np.ndarray, " neuron"], dataset: Dataset) -> str:
    known = correlation[np.isfinite(correlation)]
    return f"{split} correlation {known.mean():.4f} ({len(known)} neurons, {len(dataset.sessions)} sessions)"


def _write_table(neurons: pd.DataFrame, file: Path) -> None:
    temporary = file.with_name(f".{file.name}.tmp")
    neurons.to_csv(temporary, index=False)
    os.replace(temporary, file)


def _predictions(
    dataset: Dataset, test: str, predicted: Float[np.ndarray, "time neuron"], neurons: pd.DataFrame
) -> Figure:
    """Traces of the neurons that were shown the movie; a trial that one session lacks is NaN there."""
    shown = [session for session in dataset.sessions if test in session.repeats]
    n_trials = max(len(session.repeats[test]) for session in shown)
    trials = np.concatenate(
        [
            np.pad(trials, ((0, n_trials - len(trials)), (0, 0), (0, 0)), constant_values=np.nan)
            for trials in (session.repeats[test][:, -len(predicted) :] for session in shown)
        ],
        axis=2,
    )
    names = neuron_names(dataset.info)
    table = neurons[neurons["session"].isin([session.name for session in shown])]
    return plot_predictions(
        mean_over_trials(trials),
        predicted[:, table.index],
        table[f"{test}_correlation"].to_numpy(),
        frame_rate_hz=dataset.stimuli[test].frame_rate_hz,
        names=[names[neuron] for neuron in table.index],
        trials=trials,
    )
