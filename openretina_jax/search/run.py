"""A whole search: from plain settings to the best trial."""

import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from openretina_jax.search.report import report
from openretina_jax.search.space import as_flag, as_flags, make_space
from openretina_jax.search.study import Rules, Search, locked, open_study
from openretina_jax.search.trial import make_places
from openretina_jax.settings import Entries, check_effect


def run_search(
    *,
    distributions: Mapping[str, Any],
    entries: Entries,
    config: str,
    given: Mapping[str, Any],
    script: Path,
    workdir: Path,
    storage: Path,
    name: str,
    rules: Rules,
    trials: int,
    jobs: int,
) -> list[str]:
    """Search, or go on with a search; write its table and pictures.

    Args:
        distributions: what is searched, see ``search.space``.
        entries: of the configuration.
        config: file and words of the configuration, as the training script takes them.
        given: settings that the user has fixed, by their dotted names.
        script: that trains.
        workdir: everything of the search goes there.
        storage: an SQLite file, or a folder for one; made if missing.
        name: of the study in it.
        rules: of the search.
        trials: number of trials, those of earlier calls included.
        jobs: trials side by side.

    Returns:
        Lines for the terminal.

    Raises:
        UserError: the space, the storage or the number of jobs is wrong, the search runs already, or no trial works.
    """
    space = make_space(distributions, entries, given)
    check_effect(given, entries, free=space)
    places = make_places(jobs)
    if storage.is_dir() or not storage.suffix:
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
            command=lambda drawn: [sys.executable, str(script), *flags_of(drawn)],
            workdir=workdir,
            trials=trials,
            places=places,
            lock=lock,
        )
        finished = search.run()
        lines = report(
            study, rules.objective, workdir, lambda drawn: ["python", os.path.relpath(script), *flags_of(drawn)]
        )
    lines += [f"{what:<12}{workdir / file}" for what, file in (("trials", "trials.csv"), ("pictures", "*.png"))]
    if not finished:
        lines.append("stopped; the same command goes on from there")
    return lines
