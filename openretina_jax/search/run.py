"""A whole search, from plain settings to the report of the best trial."""

import shlex
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import optuna
import pandas as pd
from optuna.distributions import BaseDistribution, CategoricalDistribution
from optuna.trial import TrialState

from openretina_jax.errors import UserError
from openretina_jax.runtime.files import check_local, whole_file
from openretina_jax.runtime.settings import Entries, check_effect
from openretina_jax.search.processes import make_places
from openretina_jax.search.space import as_flag, as_flags, make_space
from openretina_jax.search.study import Rules, Search, locked, open_study
from openretina_jax.visualize.search import plot_importances, plot_scores, plot_slices
from openretina_jax.visualize.style import save

SQLITE = (".sqlite", ".sqlite3", ".db")
BEST = 10  # trials in the terminal's table
NAMES = {TrialState.COMPLETE: "complete", TrialState.PRUNED: "pruned", TrialState.FAIL: "failed"}


def run_search(
    *,
    distributions: Mapping[str, Any],
    entries: Entries,
    config: str,
    given: Mapping[str, Any],
    program: Sequence[str],
    workdir: Path,
    storage: Path,
    name: str,
    rules: Rules,
    trials: int,
    jobs: int,
) -> list[str]:
    """Search, or continue a search; write its table and pictures.

    Args:
        distributions: a distribution for each setting that is searched, see ``search.space``.
        entries: entries of the configuration.
        config: file and words of the configuration, as the training script takes them.
        given: settings that the user has fixed, by their dotted names.
        program: the training command, to which flags are added.
        workdir: folder of the search.
        storage: an SQLite file (ending in .sqlite, .sqlite3 or .db), or a folder for one; made if missing.
        name: name of the study in the storage.
        rules: rules of the search.
        trials: number of trials, those of earlier calls included.
        jobs: number of trials side by side.

    Returns:
        Lines for the terminal.

    Raises:
        UserError: the space, the folders or the number of jobs is wrong, the search runs already, or no trial works.
    """
    for place in (workdir, storage):
        check_local(place)
    space = make_space(distributions, entries, given)
    check_effect(given, entries, free=space)
    places = make_places(jobs)
    if storage.is_dir() or storage.suffix not in SQLITE:
        storage = storage / "search.sqlite"
    flags = [f"--config={config}", *(f"--config.{key}={as_flag(value)}" for key, value in given.items())]

    def flags_of(drawn: Mapping[str, Any]) -> list[str]:
        return [f"--config={config}", *as_flags({**given, **drawn}, entries)]

    with locked(storage.with_suffix(".lock")) as lock:
        study = open_study(storage, name, space, flags, rules)
        workdir.mkdir(parents=True, exist_ok=True)

        search = Search(
            study,
            space,
            rules,
            command=lambda drawn: [*program, *flags_of(drawn)],
            workdir=workdir,
            trials=trials,
            places=places,
            lock=lock,
        )
        finished = search.run()
        lines = report(study, rules.objective, workdir, lambda drawn: ["openretina-jax", "train", *flags_of(drawn)])
    tried = study.get_trials(deepcopy=False)
    if finished and tried and all(trial.state == TrialState.FAIL for trial in tried):
        raise UserError(f"all {len(tried)} trials have failed, the last one with: {tried[-1].user_attrs.get('error')}")
    lines += [f"{what:<12}{workdir / file}" for what, file in (("trials", "trials.csv"), ("pictures", "*.png"))]
    if not finished:
        lines.append("stopped; the same command goes on from there")
    return lines


def trial_table(study: optuna.Study) -> pd.DataFrame:
    """Table with a row per trial: complete ones first, then pruned ones with their last value, each from the best."""
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
    """Write ``trials.csv`` and the pictures, and describe the best trials.

    Args:
        study: the study; it may have no trial yet.
        objective: name of the trials' values.
        workdir: folder for the files.
        command: makes the training command of a trial from the settings that were drawn for it.

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
    last = [name.rpartition(".")[2] for name in shown.columns]  # a name is cut to its end where that is unique
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
