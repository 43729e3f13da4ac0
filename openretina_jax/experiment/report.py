"""What a finished run leaves behind: the table of neurons, pictures, and a summary."""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from flax import nnx

from openretina_jax.evaluation.predict import Scorer
from openretina_jax.evaluation.splits import split_responses
from openretina_jax.evaluation.tables import SCORES, headline, neuron_table, score_table
from openretina_jax.experiment.pictures import weight_pictures
from openretina_jax.models.ensemble import Ensemble
from openretina_jax.models.model import Model
from openretina_jax.models.saving import SCORE, best_checkpoint, load_model, read_about, save_model
from openretina_jax.runtime.described import counted
from openretina_jax.runtime.files import whole_file
from openretina_jax.runtime.processes import is_first
from openretina_jax.training.feed import Feed
from openretina_jax.training.loop import FitResult
from openretina_jax.training.population import member_folder
from openretina_jax.visualize.scores import plot_history, plot_traces
from openretina_jax.visualize.style import Figure, save


def report(result: FitResult, model: Model, data: Feed, workdir: Path) -> tuple[dict[str, float], list[str]]:
    """Test the best state on every test movie, write ``neurons.csv`` and the pictures, and say it in a few lines.

    Args:
        result: of a finished run.
        model: the trained model.
        data: what it was trained on; its sharding is active.
        workdir: where files are written, by the first of several processes.

    Returns:
        Mean correlation of every split, such as "test_correlation", and lines for the terminal.
    """
    graph, variables = nnx.graphdef(model), (data.sharding.state(nnx.state(model)),)
    dataset, scorer, neurons = data.dataset, Scorer(graph), neuron_table(data.dataset)
    validation = scorer(variables, data.recordings, data.validation)
    neurons["validation_correlation"] = ranking = np.asarray(validation["correlation"])
    lines = [f"best epoch {result.best_epoch} of {result.epochs}, {result.seconds:.0f} s of training"]
    lines.append(headline("validation", ranking, len(dataset.sessions)))
    scores = {"validation_correlation": float(np.nanmean(ranking))}
    figures: dict[str, Figure] = {}
    info = dataset.info
    for test in dataset.test_names:
        responses = split_responses(test, data.tables, scorer, variables, data.recordings, data.split)
        table = score_table(responses)
        correlation = table["correlation"].to_numpy()
        shown = table[["session", "neuron", *SCORES]].rename(columns={name: f"{test}_{name}" for name in SCORES})
        neurons = neurons.merge(shown, on=["session", "neuron"], how="left")
        ranking = neurons[f"{test}_correlation"].to_numpy()
        lines.append(headline(test, ranking, len(dataset.sessions)))
        scores[f"{test}_correlation"] = float(np.nanmean(ranking))
        figures[f"predictions_{test}"] = plot_traces(
            responses,
            correlation,
            info.frame_rate_hz,
            unit=info.response_unit,
            single_images=info.single_images,
        )
    if is_first():
        _write_table(neurons, workdir / "neurons.csv")
        figures["history"] = plot_history(pd.read_csv(workdir / "metrics.csv"))
        for name, figure in (figures | weight_pictures(model, ranking)).items():
            save(figure, workdir / f"{name}.png")
    return scores, lines


def report_members(
    data: Feed, members: Sequence[Mapping[str, float | int]], workdir: Path, n_ensemble: int | None
) -> tuple[Path, list[str]]:
    """Test the members of a population and their ensemble, and write ``members.csv`` and the ensemble.

    Args:
        data: what they were trained on.
        members: what each has of its own, by the names of settings.
        workdir: of the run.
        n_ensemble: how many members, from the best on, make the ensemble (None: all).

    Returns:
        Folder of the best member's run, and lines for the terminal.
    """
    folders = [member_folder(workdir, number) for number in range(len(members))]
    rows: list[dict[str, Any]] = []
    for number, (folder, values) in enumerate(zip(folders, members, strict=True)):
        row: dict[str, Any] = {"member": number, **values, "best_epoch": None, SCORE: math.nan}
        if any((folder / "checkpoints").glob("*")):  # else its first epoch failed
            saved = read_about(best_checkpoint(folder))
            row |= {"best_epoch": str(saved["epoch"]), SCORE: saved[SCORE]}
            row |= _tests(data, load_model(folder))
        rows.append(row)
    table = pd.DataFrame(rows).sort_values(SCORE, ascending=False, kind="stable")
    _write_table(table, workdir / "members.csv")
    ranked = [folders[number] for number in table["member"][table[SCORE].notna()]]
    chosen = ranked[:n_ensemble]
    ensemble = Ensemble([load_model(folder) for folder in chosen])
    save_model(ensemble, workdir / "ensemble")
    lines = table.to_string(index=False, float_format="%.4g").splitlines()
    scores = _tests(data, ensemble)
    said = "".join(f", {name.replace('_', ' ')} {score:.4f}" for name, score in scores.items())
    return ranked[0], [*lines, f"ensemble of {counted(len(chosen), 'member')}{said}", f"best member: {ranked[0].name}"]


def _tests(data: Feed, model: Model) -> dict[str, float]:
    """Mean correlation of a model on every test movie."""
    scorer, variables = Scorer(nnx.graphdef(model)), (nnx.state(model),)
    responses = {
        test: split_responses(test, data.tables, scorer, variables, data.recordings, data.split)
        for test in data.dataset.test_names
    }
    return {f"{test}_correlation": float(score_table(of)["correlation"].mean()) for test, of in responses.items()}


def _write_table(neurons: pd.DataFrame, file: Path) -> None:
    with whole_file(file) as stream:
        neurons.to_csv(stream, index=False)
