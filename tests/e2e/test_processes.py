"""Several processes train together, die, and go on with another number of processes."""

import re
import signal
import subprocess
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from tests.e2e.runs import (
    EPOCHS,
    NEURONS,
    SIMULATED,
    SMALL,
    TRAINED,
    Slow,
    arrays,
    follow,
    refusal,
    summary,
    wait_for_epochs,
)
from tests.runtime.test_processes import ENDS_WITHIN_S, free_port
from tests.scripts import TIMEOUT_S, call, mistake, printed, start

pytestmark = pytest.mark.slow

# losses of epochs are means of sums that several devices make in another order
TOLERANCE = 2e-4


def start_two(cache: Path, workdir: Path, *flags: str) -> list[subprocess.Popen[str]]:
    """Start a run of two processes."""
    together = (f"--workdir={workdir}", f"--coordinator=localhost:{free_port()}", "--processes=2")
    return [start("train.py", *TRAINED, *flags, *together, f"--process={n}", cache=cache) for n in range(2)]


def finish(running: Sequence[subprocess.Popen[str]]) -> list[str]:
    """What the processes of a run that ends well print, without what their connection does."""
    outputs = []
    for process in running:
        output, errors = process.communicate(timeout=TIMEOUT_S)
        assert process.returncode == 0, errors
        outputs.append("".join(line for line in output.splitlines(keepends=True) if not line.startswith("[Gloo]")))
    return outputs


def metrics(workdir: Path) -> pd.DataFrame:
    """The table of epochs of a run."""
    return pd.read_csv(workdir / "metrics.csv", index_col="epoch")


def assert_same_curves(one: Path, other: Path) -> None:
    """Both runs have the same losses and scores, to rounding."""
    first, second = metrics(one), metrics(other)
    assert first.index.tolist() == second.index.tolist() == list(range(1, EPOCHS + 1))
    for column in ("train/loss", "train/penalty_core", "train/penalty_readout", "validation/correlation"):
        np.testing.assert_allclose(second[column], first[column], rtol=TOLERANCE, err_msg=column)


@pytest.fixture(scope="module")
def survived(cache: Path, finished: tuple[Path, str], tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """The folder of a run that lost processes, and what the one printed that finished it.

    Two share windows and neurons, with two devices each, until one dies; two share the windows until the first is told
    to stop, by Ctrl-C; one goes on alone. How the second is told, and how two finish, is in ``test_stores.py``.
    """
    del finished  # whose recordings are used
    workdir = tmp_path_factory.mktemp("runs") / "survived"
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("JAX_NUM_CPU_DEVICES", "2")
        running = start_two(cache, workdir, "--config.mesh.data=2", "--config.mesh.neuron=2", follow(Slow))
    wait_for_epochs(2, workdir, *running)
    running[1].kill()
    began = time.monotonic()
    errors = running[0].communicate(timeout=TIMEOUT_S)[1]
    assert time.monotonic() - began < ENDS_WITHIN_S
    assert running[0].returncode
    (line,) = [line for line in errors.splitlines() if line.startswith("error: ")]
    assert "another process of this run has ended" in line
    assert "Traceback" not in errors
    running[1].communicate()

    running = start_two(cache, workdir, follow(Slow))
    wait_for_epochs(1, workdir, *running)
    running[0].send_signal(signal.SIGINT)
    first, second = finish(running)
    assert re.search(r"resuming after epoch \d$", first, re.MULTILINE)
    assert "stopped after epoch" in first
    assert second == ""

    return workdir, printed(call("train.py", *TRAINED, f"--workdir={workdir}", cache=cache))


def test_processes_that_come_and_go_learn_what_one_learns(
    finished: tuple[Path, str], survived: tuple[Path, str]
) -> None:
    workdir, output = survived
    assert re.search(r"resuming after epoch \d$", output, re.MULTILINE)
    summary(output)
    assert len(pd.read_csv(workdir / "neurons.csv")) == NEURONS
    assert_same_curves(finished[0], workdir)
    found = [arrays(folder) for folder in (finished[0], workdir)]
    assert {name: array.shape for name, array in found[0].items()} == {n: array.shape for n, array in found[1].items()}


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (["--process=0"], "go together"),
        (["--coordinator=localhost:1", "--processes=2", "--process=2"], "--process is 2"),
    ],
)
def test_mistakes(cache: Path, tmp_path: Path, flags: list[str], words: str) -> None:
    assert words in mistake(call("train.py", *TRAINED, f"--workdir={tmp_path}", *flags, cache=cache))


@pytest.mark.parametrize(("devices", "words"), [(3, "3"), (0, "at least 1")])
def test_meshes_that_do_not_fit(cache: Path, tmp_path: Path, devices: int, words: str) -> None:
    assert words in refusal(cache, tmp_path, SIMULATED, *SMALL, f"--config.mesh.data={devices}")
