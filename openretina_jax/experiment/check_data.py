"""Check of a data set before anything is trained on it: what is in it, and what is wrong with it."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd
from rich.console import Console

from openretina_jax.data.dataset import Dataset
from openretina_jax.data.neuron_quality import neuron_problems, neuron_quality, unrelated
from openretina_jax.data.quality import dataset_problems, movie_table, said_once, session_table, trace_notes
from openretina_jax.data.timelines import Tables
from openretina_jax.data.triggered_averages import TriggeredAverages, triggered_averages
from openretina_jax.data.windows import SAMPLERS
from openretina_jax.errors import UserError
from openretina_jax.experiment.command_line import show_progress
from openretina_jax.experiment.data import make_dataset, source_problems
from openretina_jax.experiment.progress import new_console
from openretina_jax.experiment.recipe import order_options
from openretina_jax.runtime.described import counted
from openretina_jax.runtime.fetch import cache_folder
from openretina_jax.runtime.files import check_writable
from openretina_jax.training.objective import LOSSES

PICTURE, NEURONS = "data.png", "data_neurons.csv"
_PRINTED_NEURONS = 30


def check_data(
    data: Mapping[str, Any],
    train: Mapping[str, Any] | None,
    folder: Path | None,
    console: Console,
    loss: str | None = None,
) -> list[str]:
    """Print tables of movies and sessions, and all problems; draw a picture.

    Args:
        data: ``config.data``.
        train: ``config.train``, whose windows must fit into the data (None: not checked).
        folder: where the picture is written (None: none is drawn).
        console: where tables and problems are printed.
        loss: ``config.objective.loss.kind``, which the responses must suit (None: not chosen yet).

    Returns:
        Problems, a line each: those of the files if these cannot be read, or else those of the data set.

    Raises:
        UserError: the files cannot be had, or the folder cannot be written.
    """
    if folder is not None:
        check_writable(folder, remedy="give another --folder")
    cache = cache_folder() / "simulated"
    problems = source_problems(data, cache, show_progress)
    if problems:
        return _conclude(console, problems)
    dataset = make_dataset(data, cache, show_progress)
    of_rates = None if loss is None else LOSSES[loss].of_rates
    return check_dataset(dataset, console, folder, window_problems(dataset, train) if train else [], of_rates)


def check_dataset(
    dataset: Dataset,
    console: Console | None = None,
    folder: Path | None = None,
    known: Sequence[str] = (),
    of_rates: bool | None = None,
) -> list[str]:
    """Print tables of the movies, sessions and neurons of a data set, and its problems; draw a picture.

    Args:
        dataset: data set from files or arrays.
        console: where tables and problems are printed (None: standard output).
        folder: where the picture, and the whole table of the neurons, are written (None: nowhere).
        known: problems that are known already, which are printed too.
        of_rates: whether the loss of the training takes rates alone (None: it is not chosen yet, and will suit traces).

    Returns:
        All problems, a line each: of movies and responses, of their alignment, and of single neurons.
    """
    console = console or new_console()
    for title, table in (("movies", movie_table(dataset)), ("sessions", session_table(dataset))):
        _print_table(console, title, table)
    averages = triggered_averages(dataset)
    neurons = neuron_quality(dataset, averages)
    shown = neurons.head(_PRINTED_NEURONS).drop(columns=["rf_row", "rf_column"])  # a line of a terminal is short
    _print_table(console, "neurons", shown.set_index(["session", "neuron"]))
    if (rest := len(neurons) - _PRINTED_NEURONS) > 0:
        console.print(f"and {counted(rest, 'neuron')} more" + ("" if folder is None else f", in {folder / NEURONS}"))
    console.print(
        f"{counted(dataset.n_neurons, 'neuron')}, clips of {counted(dataset.clip_length, 'frame')}, for validation "
        + ", ".join(f"{len(clips)} of {name}" for name, clips in dataset.validation_clips.items()),
        soft_wrap=True,
    )
    for line in [*unrelated(averages), *(trace_notes(dataset) if of_rates is None else ())]:
        console.print(f"note: {line}", soft_wrap=True, markup=False)
    if folder is not None:
        console.print(f"picture     {draw(dataset, folder, averages)}", soft_wrap=True)
        neurons.to_csv(folder / NEURONS, index=False)
        console.print(f"neurons     {folder / NEURONS}", soft_wrap=True)
    return _conclude(
        console, [*known, *dataset_problems(dataset, of_rates), *said_once(neuron_problems(dataset, averages))]
    )


def window_problems(dataset: Dataset, train: Mapping[str, Any]) -> list[str]:
    """List the sessions that have fewer windows than a step takes of each, a line each."""
    windows, sampler = order_options(train), SAMPLERS[train["order"]]
    found = []
    for timeline in sampler.timelines_of(Tables(dataset)):
        try:
            sampler([timeline], **windows, seed=0)
        except UserError as error:
            found.append(str(error))
    return found


def draw(dataset: Dataset, folder: Path, averages: Mapping[str, TriggeredAverages]) -> Path:
    """The picture of a data set and its STAs, in a folder that is made if missing."""
    from openretina_jax.visualize.data import plot_dataset  # matplotlib takes a second to import
    from openretina_jax.visualize.style import save

    folder.mkdir(parents=True, exist_ok=True)
    save(plot_dataset(dataset, averages), folder / PICTURE)
    return folder / PICTURE


def _conclude(console: Console, problems: list[str]) -> list[str]:
    for problem in problems:
        console.print(f"problem: {problem}", soft_wrap=True, markup=False)
    console.print(counted(len(problems), "problem") if problems else "no problems")
    return problems


def _print_table(console: Console, title: str, table: pd.DataFrame) -> None:
    console.print(f"{title}:")
    text = table.to_string(float_format=lambda value: f"{value:.4g}", na_rep="-")
    console.print(text, soft_wrap=True, markup=False)
