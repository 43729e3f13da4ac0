"""What a search leaves behind: the table of trials, pictures, and the command that trains the best one."""

import shlex
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import optuna
import pandas as pd
from optuna.distributions import BaseDistribution, CategoricalDistribution
from optuna.trial import TrialState

from openretina_jax.visualize.figures import save
from openretina_jax.visualize.search import plot_importances, plot_scores, plot_slices
from openretina_jax.whole_file import whole_file

BEST = 10  # trials of the table for the terminal
NAMES = {TrialState.COMPLETE: "complete", TrialState.PRUNED: "pruned", TrialState.FAIL: "failed"}


def trial_table(study: optuna.Study) -> pd.DataFrame:
    """A row per trial: complete ones, then pruned ones with the value of their last epoch, the best first."""
    rows: list[dict[str, Any]] = []
    for trial in study.get_trials(deepcopy=False):
        attributes = trial.user_attrs
        row = {"trial": trial.number, "state": NAMES.get(trial.state, "to go on"), "value": trial.value}
        row |= {name: attributes.get(name) for name in ("epochs", "seconds")}
        rows.append(row | trial.params | {"error": attributes.get("error")})
    table = pd.DataFrame(rows).astype({"value": float, "epochs": "Int64", "seconds": float})
    better = 1 if study.direction == optuna.study.StudyDirection.MINIMIZE else -1
    order = table.assign(rank=table["state"].map({"complete": 0, "pruned": 1}).fillna(2), value=better * table["value"])
    return table.loc[order.sort_values(["rank", "value", "trial"]).index].reset_index(drop=True)


def report(
    study: optuna.Study, objective: str, workdir: Path, command: Callable[[Mapping[str, Any]], list[str]]
) -> list[str]:
    """Write ``trials.csv`` and the pictures, and say which trials are the best.

    Args:
        study: with any number of trials.
        objective: name of the values.
        workdir: where files are written.
        command: what trains a trial, from the values that it has drawn.

    Returns:
        Lines for the terminal.
    """
    table = trial_table(study)
    with whole_file(workdir / "trials.csv") as stream:
        table.to_csv(stream, index=False)
    counts = ", ".join(f"{number} {state}" for state, number in table["state"].value_counts().items())
    complete = table[table["state"] == "complete"]
    if complete.empty:
        return [f"{len(table)} trials ({counts}); none is complete yet"]
    shown = complete.head(BEST).drop(columns=["state", "error"])
    last = [name.rpartition(".")[2] for name in shown.columns]  # the end of a name is enough where it is the only one
    short = {name: end for name, end in zip(shown.columns, last, strict=True) if last.count(end) == 1}
    lines = shown.rename(columns=short | {"value": objective}).to_string(index=False, float_format="%.4g").splitlines()
    scales = {name: _scale(distribution) for name, distribution in study.best_trial.distributions.items()}
    figures = {
        "scores": plot_scores(table, objective),
        "slices": plot_slices(table, scales, objective),
    }
    if complete["value"].nunique() > 1:
        figures["importances"] = plot_importances(optuna.importance.get_param_importances(study))
    for name, figure in figures.items():
        save(figure, workdir / f"{name}.png")
    best = study.best_trial
    return [
        *lines,
        f"{len(table)} trials ({counts}); the best one is trial {best.number}, {objective} {best.value:.4f}:",
        shlex.join(command(best.params)),
    ]


def _scale(distribution: BaseDistribution) -> str | Sequence[str]:
    if isinstance(distribution, CategoricalDistribution):
        return [str(choice) for choice in distribution.choices]
    return "log" if getattr(distribution, "log", False) else "linear"
