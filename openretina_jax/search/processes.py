"""Processes of trials, each with its share of the machine."""

import dataclasses
import os
import shutil
import signal
import subprocess
from collections.abc import Sequence
from pathlib import Path

from openretina_jax.errors import UserError

KILL_S = 10  # time that a killed process has to end


@dataclasses.dataclass(frozen=True)
class Place:
    """A share of the machine for one of the trials that run side by side.

    Attributes:
        cores: numbers of its processor cores (None: all).
        device: its accelerator, as CUDA_VISIBLE_DEVICES names it (None: as set for the search).
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
    """List the GPUs that may be used, without JAX, which would allocate their memory."""
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
    """A run of the training script in its own folder, where its output goes to ``output.txt``.

    Args:
        command: the training script and its flags.
        workdir: folder of the run.
        place: its share of the machine.
        lock: number of an open file that stays locked while the process lives.
    """

    def __init__(self, command: Sequence[str], workdir: Path, place: Place, lock: int):
        self.workdir, self.place = workdir, place
        workdir.mkdir(parents=True, exist_ok=True)
        environment = dict(os.environ)
        if place.device is not None:
            environment["CUDA_VISIBLE_DEVICES"] = place.device
        with self._output.open("w", encoding="utf-8") as output:
            # a new session: Ctrl-C in the terminal reaches the search, which passes it on
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
            os.sched_setaffinity(self._process.pid, place.cores)  # at once: threads inherit it

    @property
    def _output(self) -> Path:
        return self.workdir / "output.txt"

    def running(self) -> bool:
        """Whether it still runs."""
        return self._process.poll() is None

    def stop(self) -> None:
        """Ask it to end after its epoch."""
        self._process.send_signal(signal.SIGINT)

    def kill(self) -> None:
        """End it at once; its last checkpoint stays whole."""
        self._process.kill()
        self._process.wait(KILL_S)

    def failure(self) -> str | None:
        """Say in one line why it ended without a trained model; None if it has one."""
        if self._process.returncode == 0 and (self.workdir / "neurons.csv").exists():
            return None
        lines = [
            line for line in self._output.read_text(encoding="utf-8", errors="replace").splitlines() if line.strip()
        ]
        said = [line.removeprefix("error: ") for line in lines if line.startswith("error: ")] or lines
        if self._process.returncode < 0:
            said = [f"killed by {signal.Signals(-self._process.returncode).name}"]
        return said[-1].strip() if said else f"ended with status {self._process.returncode}"
