"""What ``scripts/evaluate.py`` does: models and data from disk, scores to the terminal and to a folder."""

import dataclasses
import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import ml_collections
import numpy as np
import pandas as pd
from rich.console import Console

from openretina_jax import load
from openretina_jax.data.dataset import Dataset
from openretina_jax.data.quality import SplitStatistics, dataset_statistics
from openretina_jax.errors import UserError, require
from openretina_jax.evaluation.evaluate import Evaluation, Evaluator
from openretina_jax.evaluation.splits import chosen_splits
from openretina_jax.evaluation.tables import SummaryOptions, opening_lines, plain, score_lines, statistics_lines
from openretina_jax.experiment.command_line import show_progress
from openretina_jax.experiment.data import make_dataset
from openretina_jax.experiment.provenance import provenance
from openretina_jax.experiment.train import IN_MEMORY, use_compilation_cache
from openretina_jax.models.saving import best_checkpoint, read_about
from openretina_jax.runtime.fetch import cache_folder
from openretina_jax.runtime.files import check_writable, whole_folder

if TYPE_CHECKING:
    from openretina_jax.evaluation.baselines.baselines import Baselines

_OWN_FILES = ("summary.json", "comparison.csv")  # that tell an evaluation from another folder
_REMEDY = "give another --folder"


@dataclasses.dataclass(frozen=True)
class Output:
    """What is written, and where.

    Attributes:
        folder: made, whole or not at all; None: nothing is written.
        table: file name of the table of neurons, which ends in .csv or .parquet.
        responses: whether predicted and recorded responses are written too.
        overwrite: whether a folder that exists is replaced.
        baselines: whether the field's simple models are fitted, and their scores written, too.

    Raises:
        UserError: the folder exists, or the table needs a library that is not there.
    """

    folder: Path | None
    table: str = "neurons.csv"
    responses: bool = False
    overwrite: bool = False
    baselines: bool = False

    def __post_init__(self) -> None:
        if Path(self.table).suffix not in (".csv", ".parquet") or Path(self.table).name != self.table:
            raise UserError(f"--table is {self.table}; give a file name that ends in .csv or .parquet")
        if self.table.endswith(".parquet"):
            require("pyarrow", "parquet", f"--table is {self.table}")
        if self.folder is None:
            if self.responses:
                raise UserError("--responses needs --folder, where they are written")
        elif self.folder.exists() and not self.overwrite:
            raise UserError(f"{self.folder} exists; give another --folder, or --overwrite")
        elif self.folder.exists() and not any((self.folder / name).is_file() for name in _OWN_FILES):
            raise UserError(f"{self.folder} holds no evaluation, and is not overwritten; give another --folder")


def evaluate(
    checkpoints: Sequence[str],
    splits: Sequence[str],
    config: ml_collections.ConfigDict | None,
    options: SummaryOptions,
    output: Output,
    console: Console,
) -> None:
    """Evaluate one model, or several and their differences, and print and write the scores.

    Args:
        checkpoints: whatever ``openretina_jax.load`` opens.
        splits: "train", "validation", "test" for all test movies, or names of test movies.
        config: its data are taken (None: those that the first checkpoint was trained on).
        options: how neurons are chosen and means are resampled.
        output: what is written.
        console: for the report.

    Raises:
        UserError: a checkpoint, the data, a split or the folder are not as they must be.
    """
    # scipy.stats takes a second to import, and matplotlib another one
    from openretina_jax.evaluation.baselines.baselines import BASELINES, fit_baselines, frames_of
    from openretina_jax.evaluation.compare import compare, distinct_names, lines

    names = distinct_names(checkpoints)
    if output.folder is not None:
        check_writable(output.folder, remedy=_REMEDY)
    use_compilation_cache()
    models = [load(path) for path in checkpoints]
    dataset = make_dataset(data_settings(checkpoints[0], config), cache_folder() / "simulated", show_progress)
    chosen = chosen_splits(dataset, splits)
    evaluator = Evaluator(dataset)
    evaluations = [evaluator(name, model, chosen, options) for name, model in zip(names, models, strict=True)]
    statistics = dataset_statistics(evaluator.tables)
    for evaluation in evaluations:
        print_report(evaluation, console)
    found = None
    if output.baselines:
        frames = frames_of(evaluations)
        found = fit_baselines(dataset, chosen, frames=frames, options=options, progress=show_progress)
        for line in found.lines(chosen, evaluations):
            console.print(line, soft_wrap=True, markup=False)
    for line in statistics_lines(statistics):
        console.print(line, soft_wrap=True)
    differences = pd.DataFrame()
    if len(evaluations) > 1:
        parts = {split: compare(evaluations, split, options) for split in chosen}
        for split, part in parts.items():
            console.print(f"\n{split}: paired differences", soft_wrap=True)
            for line in lines(part):
                console.print(line, soft_wrap=True, markup=False)
        differences = pd.concat(parts, names=["split"]).reset_index("split").reset_index(drop=True)
    if output.folder is None:
        return
    with whole_folder(output.folder, remedy=_REMEDY) as folder:
        for evaluation, checkpoint in zip(evaluations, checkpoints, strict=True):
            own = folder if len(evaluations) == 1 else folder / evaluation.name
            own.mkdir(parents=True, exist_ok=True)
            about = {"model": evaluation.name, "checkpoint": checkpoint, **data_facts(dataset, statistics)}
            about |= {"options": dataclasses.asdict(options), "provenance": provenance(checkpoint, dataset, options)}
            write(evaluation, own, about, dataset, output, found)
        if len(evaluations) > 1:
            write_comparison(evaluations, differences, folder)
        if found is not None:
            found.neurons(*evaluations).to_csv(folder / BASELINES, index=False)
    console.print(f"written to {output.folder}", soft_wrap=True)


def data_settings(checkpoint: str, config: ml_collections.ConfigDict | None) -> dict[str, Any]:
    """The settings of the data: those of a configuration, or of the run that a checkpoint is of.

    Raises:
        UserError: there are none.
    """
    if config is not None:
        settings = config.to_dict()
        if "data" not in settings:
            raise UserError('the configuration has no entry "data"; take one such as configs/hoefling_low_res.py')
        return settings["data"]
    try:
        recorded = read_about(best_checkpoint(Path(checkpoint)))["config"].get("data")
    except UserError:  # it was loaded, so it is no damaged checkpoint, but a model from elsewhere
        recorded = None
    if recorded is None:
        raise UserError(f"{checkpoint} does not say which data it was trained on; give their --config")
    if recorded["source"] == IN_MEMORY:
        raise UserError(
            f"{checkpoint} was trained on arrays in memory, which no file holds; call openretina_jax.evaluate(model, "
            "dataset) in Python"
        )
    return recorded


def print_report(evaluation: Evaluation, console: Console) -> None:
    """The scores of every split."""
    console.print(f"model {evaluation.name}, which predicts from frame {evaluation.lag} on", soft_wrap=True)
    for summary in evaluation.summaries.values():
        for line in (*opening_lines(summary), *score_lines(summary), ""):
            console.print(line, soft_wrap=True, markup=False)


def data_facts(dataset: Dataset, statistics: dict[str, SplitStatistics]) -> dict[str, Any]:
    """What was evaluated on."""
    return {
        "data": {
            "sessions": len(dataset.sessions),
            "neurons": dataset.n_neurons,
            "statistics": {split: dataclasses.asdict(one) for split, one in statistics.items()},
            "source": dict(dataset.source),
        }
    }


def write(
    evaluation: Evaluation,
    folder: Path,
    about: dict[str, Any],
    dataset: Dataset,
    output: Output,
    baselines: "Baselines | None" = None,
) -> None:
    """Write the table of neurons, the summary, the page, and the responses if they are asked for."""
    from openretina_jax.visualize.page import evaluation_page

    table = folder / output.table
    if table.suffix == ".parquet":
        evaluation.neurons.to_parquet(table, index=False)
    else:
        evaluation.neurons.to_csv(table, index=False)
    splits = {split: summary.to_json() for split, summary in evaluation.summaries.items()}
    summary = {**about, "lag": evaluation.lag, "splits": splits}
    (folder / "summary.json").write_text(json.dumps(plain(summary), indent=1, allow_nan=False), encoding="utf-8")
    page = evaluation_page(evaluation, dataset, about.get("provenance"), baselines)
    (folder / "report.html").write_text(page, encoding="utf-8")
    if output.responses:
        arrays = {
            f"{split}/{session.session}/{name}": getattr(session, name)
            for split, sessions in evaluation.responses.items()
            for session in sessions
            for name in ("recorded", "predicted")
        }
        np.savez(folder / "responses.npz", **arrays)


def write_comparison(evaluations: Sequence[Evaluation], differences: pd.DataFrame, folder: Path) -> None:
    """Write the paired differences as a table and as a page."""
    from openretina_jax.visualize.page import comparison_page

    differences.to_csv(folder / "comparison.csv", index=False)
    (folder / "comparison.html").write_text(comparison_page(evaluations, differences), encoding="utf-8")
