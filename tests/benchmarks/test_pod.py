"""A step of several devices on paper is the one that is compiled."""

import json
import os
import subprocess
import sys

import pytest

from tests.scripts import ROOT


@pytest.mark.slow
@pytest.mark.parametrize("neuron", [1, 2])
def test_paper_and_program_agree(neuron: int) -> None:
    command = [sys.executable, "-m", "benchmarks.pod", "--here", "--sessions=3", "--neurons=5", f"--neuron={neuron}"]
    options = {"cwd": ROOT, "env": os.environ | {"JAX_NUM_CPU_DEVICES": "4"}, "capture_output": True, "text": True}
    row = json.loads(subprocess.run(command, check=True, **options).stdout.splitlines()[-1])
    assert row["devices"] == 4
    assert row["kinds"] == "all-reduce"
    assert row["messages"] == row["messages, paper"]
    assert row["sent MB"] == pytest.approx(row["sent MB, paper"], abs=2e-6 if neuron == 1 else 1e-4)
    assert row["data MB"] == pytest.approx(row["data MB, paper"], rel=2e-3)
