"""The life of a search: trials are drawn, run side by side, judged after every epoch, and recorded."""

import contextlib
import csv
import dataclasses
import logging
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
import optuna
from optuna.trial import TrialState
from sqlalchemy.exc import SQLAlchemyError

from openretina_jax.errors import UserError
from openretina_jax.runtime.processes import interruptible
from openretina_jax.search.processes import Place, TrialProcess
from openretina_jax.search.space import Space

_log = logging.getLogger(__name__)

DIRECTIONS: dict[str, Literal["maximize", "minimize"]] = {
    "validation/correlation": "maximize",
    "validation/loss": "minimize",
}
PRUNERS = ("median", "hyperband", "none")
WAIT_S = 0.2  # between two looks at the trials
GIVE_UP = 5  # if so many trials fail and none has worked, the mistake is not in their settings
BEST = "validation/best"  # best score so far, whichever the run monitors (config.stopping.score)


def read_epochs(workdir: Path) -> list[dict[str, float]]:
    """Read the epochs of a run from its ``metrics.csv``, but for a last row that is still being written."""
    file = workdir / "metrics.csv"
    if not file.exists():
        return []
    text = file.read_text(encoding="utf-8")
    rows = csv.DictReader(text[: text.rfind("\n") + 1].splitlines())
    return [{name: float(value) for name, value in row.items()} for row in rows]


def final_value(epochs: Sequence[Mapping[str, float]], objective: str) -> float:
    """Objective of the model that a run keeps: that of the first epoch with the best of what the run monitors."""
    best = epochs[-1][BEST]
    return next(row for row in epochs if row[BEST] == best)[objective]


@dataclasses.dataclass(frozen=True)
class Rules:
    """Rules by which a search draws, judges and prunes trials.

    Attributes:
        objective: column of ``metrics.csv``, one of ``DIRECTIONS``.
        pruner: one of ``PRUNERS``.
        warmup_epochs: number of epochs before a trial may be pruned.
        epochs: largest number of epochs of a trial.
        seed: seed of the draws. A draw depends on the seed, the trial's number and the results before it.
    """

    objective: str
    pruner: str
    warmup_epochs: int
    epochs: int
    seed: int


def open_study(storage: Path, name: str, space: Space, command: Sequence[str], rules: Rules) -> optuna.Study:
    """Open the study of a name, or begin it.

    Args:
        storage: an SQLite file, made if missing.
        name: name of the study in it.
        space: the space of the search.
        command: flags common to all trials.
        rules: rules of the search.

    Raises:
        UserError: the file is no data base, or holds another search of that name.
    """
    storage.parent.mkdir(parents=True, exist_ok=True)
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    try:
        study = optuna.create_study(
            storage=f"sqlite:///{storage.absolute()}",
            study_name=name,
            direction=DIRECTIONS[rules.objective],
            pruner=make_pruner(rules),
            load_if_exists=True,
        )
        space_text = {key: optuna.distributions.distribution_to_json(value) for key, value in space.items()}
        about = {"flags": list(command), **dataclasses.asdict(rules), "space": space_text}
        known = study.user_attrs.get("about")
    except (SQLAlchemyError, optuna.exceptions.OptunaError) as error:
        raise UserError(f"{storage} cannot be used as the storage of a search: {str(error).splitlines()[0]}") from None
    if known is None:
        study.set_user_attr("about", about)
    elif different := [key for key in about if about[key] != known.get(key)]:
        said = "; ".join(f"{key}: {about[key]} now and {known.get(key)} there" for key in different)
        raise UserError(f"{storage} holds another search called {name} ({said}); give another --workdir or --storage")
    return study


def make_pruner(rules: Rules) -> optuna.pruners.BasePruner:
    """Make the rule that ends hopeless trials early."""
    if rules.pruner == "median":
        return optuna.pruners.MedianPruner(n_warmup_steps=rules.warmup_epochs)
    if rules.pruner == "hyperband":
        first = min(max(rules.warmup_epochs, 1), rules.epochs)
        return optuna.pruners.HyperbandPruner(min_resource=first, max_resource=rules.epochs)
    return optuna.pruners.NopPruner()


@dataclasses.dataclass
class _Running:
    """A trial with its process; ``reported`` holds the epochs that the study has seen."""

    trial: optuna.Trial
    process: TrialProcess
    reported: set[int]
    pruned: bool = False


class Search:
    """Runs trials until there are enough of them, or until the user stops it.

    Trials that a stopped search has left unfinished go on from their last checkpoint.

    Args:
        study: the study, from ``open_study``.
        space: the space of the search.
        rules: rules of the search.
        command: makes the training command of a trial from the settings that were drawn for it.
        workdir: folder of the search; trial 7 is the run in ``trials/7`` below it.
        trials: number of trials, those of earlier searches included.
        places: a share of the machine for each of the trials that run side by side.
        lock: number of an open file that stays locked while a trial runs.
    """

    def __init__(
        self,
        study: optuna.Study,
        space: Space,
        rules: Rules,
        *,
        command: Callable[[Mapping[str, Any]], list[str]],
        workdir: Path,
        trials: int,
        places: Sequence[Place],
        lock: int,
    ):
        self._study, self._space, self._rules = study, space, rules
        self._command, self._workdir, self._lock = command, workdir, lock
        known = study.get_trials(deepcopy=False)
        self._left = [trial for trial in known if trial.state == TrialState.RUNNING]
        for trial in self._left[:]:
            if trial.params.keys() != space.keys():  # the search was killed while it drew the settings
                self._left.remove(trial)
                study.tell(trial.number, state=TrialState.FAIL)
        self._asked, self._trials = len(known), trials
        self._free, self._running = list(places), list[_Running]()
        self._failures, self._works = 0, False

    def run(self) -> bool:
        """Run the trials.

        Returns:
            True at the end of the search, False if the user stopped it.

        Raises:
            UserError: the first trials have all failed.
        """
        try:
            with interruptible() as interrupted:
                while self._running or self._more():
                    while self._free and self._more():
                        self._start(self._free.pop(0))
                    time.sleep(WAIT_S)
                    for one in self._running[:]:
                        self._look(one)
                    if interrupted:
                        self._stop()
                        return False
            return True
        finally:
            for one in self._running:
                one.process.kill()

    def _more(self) -> bool:
        return bool(self._left) or self._asked < self._trials

    def _start(self, place: Place) -> None:
        if self._left:
            frozen = self._left.pop(0)
            # only a Trial can report, and only the storage's own id makes one of a trial in the storage
            trial, reported = optuna.Trial(self._study, frozen._trial_id), set(frozen.intermediate_values)
        else:
            self._study.sampler = make_sampler(self._rules.seed, self._asked)
            trial, reported = self._study.ask(dict(self._space)), set()
            self._asked += 1
        folder = self._workdir / "trials" / str(trial.number)
        command = [*self._command(trial.params), f"--workdir={folder}"]
        self._running.append(_Running(trial, TrialProcess(command, folder, place, self._lock), reported))
        _log.info("trial %d %s: %s", trial.number, "goes on" if reported else "begins", said(trial.params))

    def _look(self, one: _Running) -> None:
        """Report new epochs; prune the trial if it is hopeless, and record its end if its process has ended."""
        ended = not one.process.running()  # asked before the table is read, so that no epoch is missed
        for row in read_epochs(one.process.workdir):
            epoch = int(row["epoch"])
            if one.pruned or epoch in one.reported:
                continue
            one.trial.report(row[self._rules.objective], epoch)
            one.reported.add(epoch)
            if not ended and one.trial.should_prune():
                one.pruned = True
                one.process.stop()
        if ended:
            self._tell(one)

    def _tell(self, one: _Running) -> None:
        """Record how a trial has ended, and free its place."""
        self._running.remove(one)
        self._free.append(one.process.place)
        epochs, number = read_epochs(one.process.workdir), one.trial.number
        if epochs:
            one.trial.set_user_attr("epochs", int(epochs[-1]["epoch"]))
            one.trial.set_user_attr("seconds", epochs[-1]["seconds"])
        failure = one.process.failure()
        if failure is None:
            value = final_value(epochs, self._rules.objective)
            self._study.tell(number, value)
            _log.info("trial %d: %s %.4f after %d epochs", number, self._rules.objective, value, len(epochs))
        elif one.pruned:
            self._study.tell(number, state=TrialState.PRUNED)
            _log.info("trial %d: pruned after epoch %d", number, max(one.reported))
        else:
            one.trial.set_user_attr("error", failure)
            self._study.tell(number, state=TrialState.FAIL)
            _log.warning("trial %d: failed: %s", number, failure)
            self._failures += 1
        self._works |= one.pruned or failure is None
        if self._failures == GIVE_UP and not self._works:
            raise UserError(f"the first {GIVE_UP} trials have failed, the last one with: {failure}")

    def _stop(self) -> None:
        """Let the processes end after their epochs; the next search finishes trials that are not done."""
        for one in self._running:
            if not one.pruned:  # a pruned one was asked to end before
                one.process.stop()
        for one in self._running[:]:
            while one.process.running():
                time.sleep(WAIT_S)
            if one.pruned or one.process.failure() is None:
                self._look(one)
        self._running.clear()


def make_sampler(seed: int, number: int) -> optuna.samplers.BaseSampler:
    """Make the sampler of a trial's settings, which are the same whether or not the search was stopped before."""
    return optuna.samplers.TPESampler(seed=int(np.random.SeedSequence((seed, number)).generate_state(1)[0]))


def said(params: Mapping[str, Any]) -> str:
    """Format settings and their values in one line."""
    return ", ".join(
        f"{name} = {value:.4g}" if isinstance(value, float) else f"{name} = {value}" for name, value in params.items()
    )


@contextlib.contextmanager
def locked(file: Path) -> Iterator[int]:
    """Lock a file against other searches, and yield its file number for the processes of trials.

    Raises:
        UserError: another search, or a trial of one that was killed, holds the lock; or the system has no such locks.
    """
    try:
        import fcntl  # of Unix alone: a lock that processes of trials inherit
    except ModuleNotFoundError:
        raise UserError("a search needs Linux or macOS; on Windows use WSL, or optuna in a notebook") from None
    file.parent.mkdir(parents=True, exist_ok=True)
    with file.open("w", encoding="utf-8") as stream:
        try:
            fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise UserError(
                f"{file} is held by another search, or by a trial of one that was killed; wait for it, or end it"
            ) from None
        yield stream.fileno()
