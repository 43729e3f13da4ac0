"""Trials share the machine, hold the lock of their search, and are judged by their epochs."""

import dataclasses
import os
import subprocess
import sys
import time
from pathlib import Path

import optuna
import pytest

from openretina_jax.errors import UserError
from openretina_jax.search import processes
from openretina_jax.search.processes import Place, TrialProcess, make_places
from openretina_jax.search.study import Rules, final_value, locked, make_pruner, read_epochs

RULES = Rules("validation/correlation", "none", warmup_epochs=0, epochs=2, seed=7)


@pytest.fixture(autouse=True)
def _no_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("JAX_PLATFORMS", "cpu")


def test_pruners() -> None:
    hyperband = make_pruner(dataclasses.replace(RULES, pruner="hyperband", warmup_epochs=RULES.epochs + 1))
    scores = optuna.create_study(pruner=hyperband)
    first = scores.ask()
    first.report(0.1, RULES.epochs)
    assert not first.should_prune()
    assert isinstance(hyperband, optuna.pruners.HyperbandPruner)
    assert isinstance(make_pruner(RULES), optuna.pruners.NopPruner)


def test_a_trial_keeps_the_lock_of_a_search_that_was_killed(tmp_path: Path) -> None:
    code = "import time; time.sleep(60)"
    with locked(tmp_path / "lock") as lock:
        process = TrialProcess([sys.executable, "-c", code], tmp_path / "trial", Place(), lock)
    with pytest.raises(UserError, match="a trial of one that was killed"), locked(tmp_path / "lock"):
        pass
    process.kill()
    assert process.failure() == "killed by SIGKILL"
    with locked(tmp_path / "lock"):
        pass


def test_places(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda process: {0, 1, 2, 3, 7}, raising=False)
    assert make_places(1) == [Place()]
    assert make_places(2) == [Place(frozenset({0, 2, 7})), Place(frozenset({1, 3}))]
    monkeypatch.delenv("JAX_PLATFORMS")
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "3,GPU-5")
    assert [place.device for place in make_places(2)] == ["3", "GPU-5"]
    with pytest.raises(UserError, match="--jobs is 3, but every trial needs a GPU and there are 2"):
        make_places(3)
    with pytest.raises(UserError, match="--jobs is 0"):
        make_places(0)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES")
    listed = subprocess.CompletedProcess([], 0, stdout="GPU 0: H100\nGPU 1: H100\n")
    monkeypatch.setattr(processes.shutil, "which", lambda name: name)
    monkeypatch.setattr(processes.subprocess, "run", lambda *_, **__: listed)
    assert [place.device for place in make_places(1)] == ["0"]


def test_a_trial_sees_its_share_of_the_machine(tmp_path: Path) -> None:
    code = "import os; print(os.environ['CUDA_VISIBLE_DEVICES'], *os.sched_getaffinity(0))"
    core = min(os.sched_getaffinity(0))
    with locked(tmp_path / "lock") as lock:
        process = TrialProcess([sys.executable, "-c", code], tmp_path / "trial", Place(frozenset({core}), "5"), lock)
        while process.running():
            time.sleep(0.02)
    assert (tmp_path / "trial" / "output.txt").read_text() == f"5 {core}\n"
    assert process.failure() == f"5 {core}"  # it has trained nothing


def test_epochs_are_read_while_they_are_written(tmp_path: Path) -> None:
    assert read_epochs(tmp_path) == []
    table = "epoch,validation/best,validation/loss\n1,0.5,0.2\n2,0.5,0.1\n"
    (tmp_path / "metrics.csv").write_text(table + "3,0.")
    rows = read_epochs(tmp_path)
    assert [row["epoch"] for row in rows] == [1, 2]
    assert final_value(rows, "validation/loss") == 0.2
    # a run that monitors its loss: the lowest so far is the best
    falling = [{"validation/best": best, "validation/correlation": score} for best, score in ((0.3, 0.6), (0.2, 0.5))]
    assert final_value(falling, "validation/correlation") == 0.5
