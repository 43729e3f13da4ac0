"""What ``openretina-jax baselines`` does: the field's simple models beside a network, to the terminal and a table."""

from collections.abc import Sequence
from pathlib import Path

import ml_collections
from rich.console import Console

from openretina_jax import load
from openretina_jax.evaluation.baselines.baselines import BASELINES, fit_baselines, frames_of
from openretina_jax.evaluation.evaluate import Evaluator
from openretina_jax.evaluation.splits import chosen_splits
from openretina_jax.evaluation.tables import SummaryOptions
from openretina_jax.experiment.command_line import show_progress
from openretina_jax.experiment.data import make_dataset
from openretina_jax.experiment.evaluate import data_settings
from openretina_jax.experiment.train import use_compilation_cache
from openretina_jax.runtime.fetch import cache_folder
from openretina_jax.runtime.files import check_writable, whole_file


def baselines(
    checkpoint: str | None,
    splits: Sequence[str],
    config: ml_collections.ConfigDict | None,
    frames: int | None,
    table: Path | None,
    options: SummaryOptions,
    console: Console,
) -> None:
    """Fit the baselines of a data set, print their scores and a network's, and write a table of all neurons.

    Args:
        checkpoint: whatever ``openretina_jax.load`` opens; None: no network.
        splits: "train", "validation", "test" for all test movies, or names of test movies.
        config: its data are taken (None: those that the checkpoint was trained on).
        frames: frames that a baseline looks back to (None: as many as the network, or without one half a second).
        table: CSV file to write (None: ``baselines.csv`` in the folder of the run, where there is one).
        options: choice of neurons, and bootstrap.
        console: for the scores.

    Raises:
        UserError: the checkpoint, the data, a split or the file are not as they must be.
    """
    if table is None and checkpoint is not None and Path(checkpoint).is_dir():
        table = Path(checkpoint) / BASELINES
    if table is not None:
        check_writable(table, remedy="give another --table")
    use_compilation_cache()
    model = None if checkpoint is None else load(checkpoint)
    settings = config.to_dict()["data"] if config is not None else data_settings(str(checkpoint), None)
    dataset = make_dataset(settings, cache_folder() / "simulated", show_progress)
    chosen = chosen_splits(dataset, splits)
    networks = [] if model is None else [Evaluator(dataset)(Path(str(checkpoint)).name, model, chosen, options)]
    if frames is None:
        frames = frames_of(networks)
    found = fit_baselines(dataset, chosen, frames=frames, options=options, progress=show_progress)
    for line in found.lines(chosen, networks):
        console.print(line, soft_wrap=True, markup=False)
    if table is not None:
        with whole_file(table) as stream:
            stream.write(found.neurons(*networks).to_csv(index=False).encode())
        console.print(f"written to {table}", soft_wrap=True)
