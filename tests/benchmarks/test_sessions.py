"""Runs with many sessions: the recordings are in the shapes of real ones, and what is told of a run is there."""

import json
import subprocess
import sys

import numpy as np
import pytest

from benchmarks.sessions import many_sessions
from tests.scripts import ROOT


def test_sessions_are_different_and_take_no_memory() -> None:
    dataset = many_sessions(sessions=8, neurons=5, clips=6)
    assert [session.mirrored for session in dataset.sessions].count(True) == 2
    first, second = dataset.sessions[:2]
    assert not np.array_equal(first.responses, second.responses)
    assert not np.array_equal(first.frame_index, second.frame_index)
    assert np.shares_memory(first.responses, second.responses)


@pytest.mark.slow
def test_a_run_is_measured() -> None:
    sizes = ["--sessions=4", "--neurons=3", "--clips=12", "--config=hoefling_low_res:quick"]
    command = [sys.executable, "-m", "benchmarks.sessions", "--here", *sizes]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    row = json.loads(done.stdout.splitlines()[-1])
    assert row["neurons"] == 12
    for part in ("prepared", "first_epoch", "last_epoch", "report", "loaded"):
        assert row[f"{part}_s"] > 0
    assert row["peak_mb"] >= row["first_epoch_mb"] >= row["prepared_mb"] > 0
    assert row["checkpoint_mb"] > row["description_mb"] > 0
