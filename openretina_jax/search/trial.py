"""One trial: a training script in a process of its own, read from outside."""

import csv
import dataclasses
import os
import shutil
import signal
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

from openretina_jax.errors import UserError

SCORE = "validation/correlation"  # the best epoch, whose model is kept, is that with the highest one
KILL_S = 10  # a process that was told to end at once has so long


@dataclasses.dataclass(frozen=True)
class Place:
    """What a trial may use of the machine, so that trials side by side do not share it.

    Attributes:
        cores: numbers of processor cores (None: all).
        device: of the accelerator, as CUDA_VISIBLE_DEVICES names it (None: as it is).
    """

    cores: frozenset[int] | None = None
    device: str | None = None


def make_places(jobs: int) -> list[Place]:
    """Divide the machine: a GPU for each job if there are any, and equal shares of the cores.

    Raises:
        UserError: there are fewer GPUs than jobs.
    """
    if jobs < 1:
        raise UserError(f"--jobs is {jobs}; take at least 1")
    devices = _gpus()
    if devices and jobs > len(devices):
        raise UserError(
            f"--jobs is {jobs}, but every trial needs a GPU and there are {len(devices)}; take fewer jobs, or set "
            "JAX_PLATFORMS=cpu"
        )
    cores = sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else []
    shares = [frozenset(cores[job::jobs]) or None for job in range(jobs)] if jobs > 1 else [None]
    return [Place(share, devices[job] if devices else None) for job, share in enumerate(shares)]


def _gpus() -> list[str]:
    """GPUs that may be used, without a look through JAX, which would take their memory."""
    if os.environ.get("JAX_PLATFORMS") == "cpu":
        return []
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    if visible is not None:
        return [device for device in visible.split(",") if device.strip()]
    if shutil.which("nvidia-smi") is None:
        return []
    listed = subprocess.run(["nvidia-smi", "--list-gpus"], capture_output=True, text=True, check=False)
    return [str(number) for number, _ in enumerate(listed.stdout.splitlines())] if listed.returncode == 0 else []


class TrialProcess:
    """A run of the training script in a folder of its own; what it prints goes to ``output.txt`` there.

    Args:
        command: the training script and its flags.
        workdir: of the run.
        place: what it may use.
        lock: open file that stays locked while the process lives.
    """

    def __init__(self, command: Sequence[str], workdir: Path, place: Place, lock: int):
        self.workdir, self.place = workdir, place
        workdir.mkdir(parents=True, exist_ok=True)
        environment = dict(os.environ)
        if place.device is not None:
            environment["CUDA_VISIBLE_DEVICES"] = place.device
        with self._output.open("w") as output:
            # a session of its own: Ctrl-C in the terminal is for the search, which passes it on
            self._process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                env=environment,
                start_new_session=True,
                pass_fds=[lock],
            )
        if place.cores is not None:
            os.sched_setaffinity(self._process.pid, place.cores)  # before it has any threads

    @property
    def _output(self) -> Path:
        return self.workdir / "output.txt"

    def running(self) -> bool:
        """Whether it still runs."""
        return self._process.poll() is None

    def stop(self) -> None:
        """Let it end after its epoch."""
        self._process.send_signal(signal.SIGINT)

    def kill(self) -> None:
        """End it at once; its last checkpoint is whole."""
        self._process.kill()
        self._process.wait(KILL_S)

    def epochs(self) -> list[dict[str, float]]:
        """The rows of its table of epochs; the last one may be half written, and is then left out."""
        return read_epochs(self.workdir)

    def failure(self) -> str | None:
        """Why it ended without a trained model, in one line; None if it has one."""
        if self._process.returncode == 0 and (self.workdir / "neurons.csv").exists():
            return None
        lines = [line for line in self._output.read_text(errors="replace").splitlines() if line.strip()]
        said = [line.removeprefix("error: ") for line in lines if line.startswith("error: ")] or lines
        if self._process.returncode < 0:
            said = [f"killed by {signal.Signals(-self._process.returncode).name}"]
        return said[-1].strip() if said else f"ended with status {self._process.returncode}"


def read_epochs(workdir: Path) -> list[dict[str, float]]:
    """The whole rows of a run's ``metrics.csv``; none if it has none yet."""
    file = workdir / "metrics.csv"
    if not file.exists():
        return []
    text = file.read_text()
    rows = csv.DictReader(text[: text.rfind("\n") + 1].splitlines())
    return [{name: float(value) for name, value in row.items()} for row in rows]


def final_value(epochs: Sequence[Mapping[str, float]], objective: str) -> float:
    """The objective of the model that a run keeps: that of the epoch with the best validation correlation."""
    return max(epochs, key=lambda row: row[SCORE])[objective]
