"""Several processes train together, die, and go on with another number of processes."""

import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import orbax.checkpoint as ocp
import pandas as pd
import pytest

import openretina_jax
from tests.e2e.test_train import ROOT, SIMULATED, refusal, wait_for_epochs

pytestmark = pytest.mark.slow

EPOCHS = 8
FLAGS = [
    "--config.data.simulated.n_sessions=2",
    "--config.data.simulated.neurons_per_session=9",
    "--config.model.core.simple.hidden_channels=(2,2)",
    "--config.model.core.simple.temporal_kernel_sizes=(5,3)",
    "--config.model.core.simple.spatial_kernel_sizes=(5,3)",
    "--config.train.windows.shared.windows_per_step=8",
    "--config.train.picture_every=0",
    f"--config.train.epochs={EPOCHS}",
]
TIMEOUT_S = 900
ENDS_WITHIN_S = 60  # after a process has died
# losses of epochs are means of sums that several devices make in another order
TOLERANCE = 2e-4


def free_port() -> int:
    """A port that nobody uses now."""
    with socket.socket() as probe:
        probe.bind(("localhost", 0))
        return probe.getsockname()[1]


def start(cache: Path, workdir: Path, processes: int, *flags: str) -> list[subprocess.Popen[str]]:
    """Start a run of several processes, or of one that knows nothing of others."""
    command = [sys.executable, "scripts/train.py", f"--config={SIMULATED}", *FLAGS, f"--workdir={workdir}", *flags]
    if processes > 1:
        command += [f"--coordinator=localhost:{free_port()}", f"--processes={processes}"]
    environment = os.environ | {"OPENRETINA_JAX_CACHE": str(cache)}
    numbers = [[f"--process={n}"] for n in range(processes)] if processes > 1 else [[]]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    return [subprocess.Popen([*command, *number], cwd=ROOT, env=environment, **pipes) for number in numbers]


def finish(running: Sequence[subprocess.Popen[str]]) -> list[str]:
    """What the processes of a run that ends well print, without what their connection does."""
    outputs = []
    for process in running:
        output, errors = process.communicate(timeout=TIMEOUT_S)
        assert process.returncode == 0, errors
        outputs.append("".join(line for line in output.splitlines(keepends=True) if not line.startswith("[Gloo]")))
    return outputs


@pytest.fixture(scope="module")
def alone(cache: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a run of one process."""
    workdir = tmp_path_factory.mktemp("runs") / "alone"
    finish(start(cache, workdir, 1))
    return workdir


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
def two(cache: Path, alone: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[str]]:
    """The folder of a run of two processes that share the windows, and what they printed."""
    del alone  # which wrote the recordings
    workdir = tmp_path_factory.mktemp("runs") / "two"
    return workdir, finish(start(cache, workdir, 2))


def test_two_processes_learn_what_one_learns(alone: Path, two: tuple[Path, list[str]]) -> None:
    assert_same_curves(alone, two[0])


def test_each_process_holds_its_share_of_the_responses(two: tuple[Path, list[str]]) -> None:
    assert "this process holds 50 % of the responses" in two[1][0]


def test_only_the_first_process_writes(two: tuple[Path, list[str]]) -> None:
    workdir, (first, second) = two
    assert re.search(r"^test correlation \d\.\d{4} \(\d+ neurons, 2 sessions\)$", first, re.MULTILINE)
    assert second == ""
    assert len(list((workdir / "tensorboard").iterdir())) == 1
    assert len(pd.read_csv(workdir / "neurons.csv")) == sum(openretina_jax.load(workdir).data_info.sessions.values())


def arrays(workdir: Path) -> dict[str, np.ndarray]:
    """The state after the last epoch."""
    with ocp.StandardCheckpointer() as checkpointer:
        return checkpointer.restore(workdir / "checkpoints" / str(EPOCHS) / "state")


def errors_after_death(running: Sequence[subprocess.Popen[str]], dead: int) -> list[str]:
    """Kill a process; what the others complain of before they end, too."""
    running[dead].kill()
    began = time.monotonic()
    errors = [process.communicate(timeout=TIMEOUT_S)[1] for process in running]
    assert time.monotonic() - began < ENDS_WITHIN_S
    assert all(process.returncode for process in running)
    return [*errors[:dead], *errors[dead + 1 :]]


def test_a_run_that_loses_processes_goes_on_with_others(cache: Path, alone: Path, tmp_path: Path) -> None:
    """Four share windows and neurons until one dies, two the windows until the first dies, two are told to stop."""
    running = start(cache, tmp_path, 4, "--config.mesh.data=2", "--config.mesh.neuron=2")
    wait_for_epochs(1, tmp_path, *running)
    first, *others = errors_after_death(running, 3)
    (line,) = [line for line in first.splitlines() if line.startswith("error: ")]
    assert "another process of this run has ended" in line
    assert "Traceback" not in first + "".join(others)

    running = start(cache, tmp_path, 2)
    wait_for_epochs(1, tmp_path, *running)
    (errors,) = errors_after_death(running, 0)
    # which of the two notices first is a matter of chance: our own line, or jax's
    assert re.search("another (process of this run has ended|task died)", errors)

    running = start(cache, tmp_path, 2)
    wait_for_epochs(1, tmp_path, *running)
    running[1].send_signal(signal.SIGINT)
    first, second = finish(running)
    assert re.search(r"resuming after epoch \d$", first, re.MULTILINE)
    assert re.search(r"^stopped after epoch \d; ", first, re.MULTILINE)
    assert second == ""

    finish(start(cache, tmp_path, 1))
    assert_same_curves(alone, tmp_path)
    found = [arrays(workdir) for workdir in (alone, tmp_path)]
    assert {name: array.shape for name, array in found[0].items()} == {n: array.shape for n, array in found[1].items()}


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (["--process=0"], "go together"),
        (["--coordinator=localhost:1", "--processes=2", "--process=2"], "--process is 2"),
    ],
)
def test_mistakes(cache: Path, tmp_path: Path, flags: list[str], words: str) -> None:
    (process,) = start(cache, tmp_path, 1, *flags)
    errors = process.communicate(timeout=TIMEOUT_S)[1]
    assert process.returncode == 2
    (line,) = errors.splitlines()
    assert line.startswith("error: ")
    assert words in line


@pytest.mark.parametrize(("devices", "words"), [(3, "3"), (0, "at least 1")])
def test_meshes_that_do_not_fit(cache: Path, tmp_path: Path, devices: int, words: str) -> None:
    assert words in refusal(cache, tmp_path, SIMULATED, *FLAGS, f"--config.mesh.data={devices}")
