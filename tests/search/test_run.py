"""A search finds the best trial, prunes hopeless ones, survives failures, and goes on where it was stopped."""

import contextlib
import os
import signal
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import optuna
import pandas as pd
import pytest
from optuna.trial import TrialState

from configs import hoefling_low_res
from configs.distributions import log_uniform, one_of, uniform
from openretina_jax.errors import UserError
from openretina_jax.runtime.settings import entries
from openretina_jax.search import run, study
from openretina_jax.search.run import run_search
from openretina_jax.search.space import make_space
from openretina_jax.search.study import Rules, locked, read_epochs

FAKE = Path(__file__).with_name("fake_train.py")
ENTRIES = entries(hoefling_low_res.get_config())
RATE, EPOCHS = "optimizer.learning_rate", 2
RULES = {"objective": "validation/correlation", "pruner": "none", "warmup_epochs": 0, "epochs": EPOCHS, "seed": 7}


@pytest.fixture(autouse=True)
def _no_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("JAX_PLATFORMS", "cpu")


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Look often, and draw nothing."""
    monkeypatch.setattr(study, "WAIT_S", 0.02)
    monkeypatch.setattr(run, "save", lambda figure, file: None)


def search(workdir: Path, rates: Any = None, seed: int = 0, epochs: int = EPOCHS, **changed: Any) -> list[str]:
    """A search for the learning rate of the script that takes no time."""
    rules = RULES | {name: changed.pop(name) for name in RULES.keys() & changed.keys()}
    options = {
        "distributions": {RATE: rates or log_uniform(1e-3, 0.5)},
        "entries": ENTRIES,
        "config": "configs/x.py:small",
        "given": {"train.epochs": epochs, "seed": seed},
        "program": [sys.executable, str(FAKE)],
        "workdir": workdir,
        "storage": workdir,
        "name": "x_small",
        "rules": Rules(**rules),
        "trials": 4,
        "jobs": 2,
    }
    return run_search(**(options | changed))


def trials(workdir: Path) -> list[optuna.trial.FrozenTrial]:
    return optuna.load_study(study_name="x_small", storage=f"sqlite:///{workdir}/search.sqlite").trials


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[str]]:
    """A search that nobody disturbed, one trial after the other."""
    workdir = tmp_path_factory.mktemp("finished") / "search"
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("JAX_PLATFORMS", "cpu")
        patch.setattr(study, "WAIT_S", 0.02)
        return workdir, search(workdir, jobs=1)


@pytest.mark.slow
def test_the_best_trial_and_its_command(finished: tuple[Path, list[str]]) -> None:
    workdir, lines = finished
    table = pd.read_csv(workdir / "trials.csv")
    expected = (1 - (table[RATE] - 0.01).abs()) * EPOCHS / (EPOCHS + 1)
    assert table["value"].tolist() == pytest.approx(expected.tolist())
    assert table["value"].is_monotonic_decreasing
    assert table["state"].tolist() == ["complete"] * 4
    assert table["epochs"].tolist() == [EPOCHS] * 4
    assert table["seconds"].tolist() == pytest.approx([0.2] * 4)
    best = table.iloc[0]
    (said,) = [line for line in lines if "the best one is" in line]
    assert said.startswith(f"4 trials (4 complete); the best one is trial {best['trial']}, validation/correlation")
    (command,) = [line for line in lines if line.startswith("openretina-jax train ")]
    assert command.split()[2:] == [
        "--config=configs/x.py:small",
        f"--config.train.epochs={EPOCHS}",
        "--config.seed=0",
        f"--config.{RATE}={float(best[RATE])!r}",
    ]
    assert {file.name for file in workdir.glob("*.png")} == {"scores.png", "slices.png", "importances.png"}


@pytest.mark.slow
def test_more_trials_of_the_same_search(finished: tuple[Path, list[str]], tmp_path: Path) -> None:
    """A search in two parts draws what one in one part draws; what is done is not done again."""
    search(tmp_path, jobs=1, trials=2)
    first = [(trial.number, trial.datetime_complete) for trial in trials(tmp_path)]
    search(tmp_path, jobs=1)
    assert [(trial.number, trial.datetime_complete) for trial in trials(tmp_path)[:2]] == first
    assert [trial.params for trial in trials(tmp_path)] == [trial.params for trial in trials(finished[0])]


@pytest.mark.slow
def test_failing_trials_are_written_down(tmp_path: Path) -> None:
    lines = search(tmp_path, one_of(0.01, 3.0))
    table = pd.read_csv(tmp_path / "trials.csv")
    assert set(table["state"]) == {"complete", "failed"}
    failed = table[table["state"] == "failed"]
    assert set(failed[RATE]) == {3.0}
    assert set(failed["error"]) == {"the loss was not finite at step 3"}
    assert any(f"{len(failed)} failed" in line for line in lines)


@pytest.mark.slow
def test_a_mistake_of_all_trials_ends_the_search(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="the first 5 trials have failed, the last one with: the loss was not finite"):
        search(tmp_path, one_of(3.0), trials=50)
    assert 5 <= len(trials(tmp_path)) <= 6


@pytest.mark.slow
def test_hopeless_trials_are_pruned(tmp_path: Path) -> None:
    """Once five trials are known, one that is worse than their median ends early."""
    rules = Rules(**RULES | {"pruner": "median", "warmup_epochs": 2})
    distribution = uniform(0.9, 0.95)
    space = make_space({RATE: distribution}, ENTRIES, {})
    flags = ["--config=configs/x.py:small", "--config.train.epochs=20", "--config.seed=1"]
    known = study.open_study(tmp_path / "search.sqlite", "x_small", space, flags, rules)
    good = {"value": 0.9, "intermediate_values": dict.fromkeys(range(1, 21), 0.9)}
    for _ in range(5):
        known.add_trial(optuna.trial.create_trial(params={RATE: 0.9}, distributions=dict(space), **good))
    search(tmp_path, distribution, seed=1, epochs=20, trials=6, rules=rules)
    (pruned,) = [trial for trial in trials(tmp_path) if trial.state == TrialState.PRUNED]
    assert 2 <= pruned.user_attrs["epochs"] == len(read_epochs(tmp_path / "trials" / "5")) <= 3
    assert pruned.value == pruned.intermediate_values[max(pruned.intermediate_values)]


@pytest.mark.slow
def test_a_search_that_was_killed_while_it_asked(tmp_path: Path) -> None:
    """A trial without settings is not trained."""
    space = make_space({RATE: log_uniform(1e-3, 0.5)}, ENTRIES, {})
    flags = ["--config=configs/x.py:small", f"--config.train.epochs={EPOCHS}", "--config.seed=0"]
    study.open_study(tmp_path / "search.sqlite", "x_small", space, flags, Rules(**RULES)).ask()
    search(tmp_path, trials=2)
    assert [trial.state for trial in trials(tmp_path)] == [TrialState.FAIL, TrialState.COMPLETE]
    assert not (tmp_path / "trials" / "0").exists()


@contextlib.contextmanager
def control_c(*trials: Path) -> Iterator[None]:
    """Press Ctrl-C when all trials are in their third epoch."""

    def press() -> None:
        while not all(len(read_epochs(folder)) == 3 for folder in trials):
            time.sleep(0.02)
        os.kill(os.getpid(), signal.SIGINT)

    thread = threading.Thread(target=press, daemon=True)
    thread.start()
    yield
    thread.join()


@pytest.mark.slow
def test_a_stopped_search_goes_on(tmp_path: Path) -> None:
    with control_c(*(tmp_path / "trials" / number for number in "01")):
        lines = search(tmp_path, seed=1, epochs=5, trials=3)
    assert lines[-1] == "stopped; the same command goes on from there"
    left = trials(tmp_path)
    assert [trial.state for trial in left] == [TrialState.RUNNING] * 2
    (tmp_path / "go").touch()
    search(tmp_path, seed=1, epochs=5, trials=3)
    done = trials(tmp_path)
    assert [trial.state for trial in done] == [TrialState.COMPLETE] * 3
    assert [trial.params for trial in done[:2]] == [trial.params for trial in left]
    assert [sorted(trial.intermediate_values) for trial in done] == [[1, 2, 3, 4, 5]] * 3


def test_another_search_in_the_same_place(finished: tuple[Path, list[str]], tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"holds another search called x_small \(seed: 8 now and 7 there"):
        search(finished[0], seed=0, rules=Rules(**RULES | {"seed": 8}))
    with locked(tmp_path / "search.lock"), pytest.raises(UserError, match="is held by another search"):
        search(tmp_path)
    (tmp_path / "search.sqlite").write_text("this is no data base" * 100)
    with pytest.raises(UserError, match="cannot be used as the storage"):
        search(tmp_path)


def test_the_lowest_loss() -> None:
    """The order of the table and the direction of the study follow the objective."""
    losses = optuna.create_study(direction=study.DIRECTIONS["validation/loss"])
    for value in (0.3, 0.1, 0.2):
        losses.add_trial(optuna.trial.create_trial(value=value))
    assert run.trial_table(losses)["value"].tolist() == [0.1, 0.2, 0.3]
    losses.add_trial(optuna.trial.create_trial(state=TrialState.PRUNED, value=0.05))
    losses.add_trial(optuna.trial.create_trial(state=TrialState.FAIL))
    assert run.trial_table(losses)["state"].tolist() == ["complete"] * 3 + ["pruned", "failed"]
    assert losses.best_value == 0.1
