"""All that is to be measured on an accelerator, the most important first, within a time; prints one JSON line each.

    python -m benchmarks.accelerator [--minutes=6] [--against=torch] [--reference_python=/path/to/python] [--small]

Begin with ``--small``: it does the same with tiny models, on a CPU too, and fails where a command does;
``benchmarks/gpu.sh`` does both. Recordings are simulated before the time begins, on the CPU. Lines are printed as they
come, so that a stop loses none. What there was no time for is named at the end, in a line of its own.
"""

import argparse
import contextlib
import dataclasses
import json
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parent.parent
LEAST_S = 20.0  # a command is not begun with less time left: imports and compilation take as long
LOW, HIGH = "hoefling_low_res", "hoefling_high_res"
PRECISIONS = {
    "TF32": ("--config.train.matmul_precision=high",),
    "bfloat16": ("--config.train.matmul_precision=high", "--config.train.compute_dtype=bfloat16"),
    "float32": ("--config.train.matmul_precision=highest",),
}
WINDOWS = {LOW: 128, HIGH: 64}  # of a step, as openretina's configurations have it
SMALL_MODEL = {LOW: 2, HIGH: 4}  # layers
# two processes may compute at the same time, each of which would take three quarters of the memory
ENVIRONMENT = {"XLA_PYTHON_CLIENT_PREALLOCATE": "false"}


@dataclasses.dataclass(frozen=True)
class Job:
    """A command whose lines are wanted.

    Attributes:
        name: of the job.
        words: script and flags.
    """

    name: str
    words: tuple[str, ...]


@dataclasses.dataclass(frozen=True)
class Sizes:
    """What is measured.

    Attributes:
        folder: for the run.
        small: whether models and recordings are tiny.
        against: flags of ``scripts/benchmark.py`` for the reference.
        threads: cores of each process.
    """

    folder: Path
    small: bool = False
    against: tuple[str, ...] = ()
    threads: int = 1

    def speed(self, config: str, precision: str, measures: str, *flags: str, repeats: int = 10) -> Job:
        """A job of ``scripts/benchmark.py``."""
        name = " ".join([config, precision, measures, *(flag for flag in flags if flag not in self.against)])
        words = [f"--config={config}", f"--measure={measures}", f"--threads={self.threads}", *PRECISIONS[precision]]
        if self.small:
            words += ["--shape=12,12,2", "--sessions=2", "--neurons=4", "--windows=4", "--frames=75", "--repeats=1"]
            words += _small(SMALL_MODEL[config])
        else:
            words += ["--sessions=24", f"--windows={WINDOWS[config]}", f"--repeats={repeats}"]
        return Job(name, ("scripts/benchmark.py", *words, *flags))

    def run(self) -> tuple[str, ...]:
        """Words of a run that prints its scores."""
        sessions, neurons = (2, 6) if self.small else (24, 75)
        sizes = {"n_sessions": sessions, "neurons_per_session": neurons}
        curve = {"kind": "benchmarks.curve:Curve", "seconds": 0 if self.small else 75}
        words = ["-m", "openretina_jax", "train", f"--config={LOW}:simulated", f"--workdir={self.folder}"]
        words += [f"--config.data.simulated.{name}={value}" for name, value in sizes.items()]
        words += [*PRECISIONS["TF32"], "--config.train.picture_every=0", f"--config.callbacks=({curve},)"]
        return (*words, *(_small(SMALL_MODEL[LOW]) if self.small else ()))

    def jobs(self) -> Iterator[Job]:
        """List the commands, the most important first."""
        stimuli = ("--neurons=every:6", "--steps=2") if self.small else ("--neurons=every:8", "--steps=100")
        yield self.speed(LOW, "TF32", "train_step", *self.against)
        yield self.speed(HIGH, "TF32", "train_step", *self.against)
        yield self.speed(LOW, "TF32", "epoch,epoch_shared", repeats=3)
        yield Job("24 sessions", self.run())
        yield Job("most exciting stimuli", ("scripts/benchmark_stimuli.py", f"--checkpoint={self.folder}", *stimuli))
        for config in (LOW, HIGH):
            yield self.speed(config, "bfloat16", "train_step", *self.against)
            yield self.speed(config, "float32", "train_step", *self.against)
        yield self.speed(HIGH, "TF32", "train_step", "--lowering=dense,basis")
        yield self.speed(HIGH, "TF32", "eval_step,epoch_shared", repeats=3)
        yield self.speed(LOW, "TF32", "forward,eval_step,stream,population", repeats=3)


def _small(layers: int) -> list[str]:
    sizes = {"hidden_channels": (2,) * layers, "temporal_kernel_sizes": (3,) * layers}
    sizes |= {"spatial_kernel_sizes": (3,) * layers, "hidden_padding": (0, 1, 1)}
    return [f"--config.model.core.simple.{name}={value}".replace(" ", "") for name, value in sizes.items()]


def measured(wanted: Sequence[Job], minutes: float) -> Iterator[dict[str, Any]]:
    """Run commands until the time is over: their lines, what failed, and at the end what was left out."""
    ends = time.monotonic() + 60 * minutes
    for number, job in enumerate(wanted):
        left = ends - time.monotonic()
        if left < LEAST_S:
            yield {"job": "no time", "left_out": [one.name for one in wanted[number:]]}
            return
        began = time.monotonic()
        for line in lines([sys.executable, *job.words], left):
            yield {"job": job.name, **line}
        yield {"job": job.name, "command_s": round(time.monotonic() - began, 1)}


def lines(command: Sequence[str], seconds: float) -> Iterator[dict[str, Any]]:
    """The JSON lines that a command prints, as they come, and at the end why it ``failed``, if it did.

    It ends, with all processes that it has begun, when the time is over or nobody wants more lines.
    """
    with (
        tempfile.TemporaryFile("w+", encoding="utf-8", errors="replace") as complaints,
        subprocess.Popen(
            command,
            cwd=ROOT,
            stdout=subprocess.PIPE,
            stderr=complaints,
            text=True,
            env=ENVIRONMENT | os.environ,
            start_new_session=True,
        ) as process,
    ):
        late = threading.Event()

        def end() -> None:
            late.set()
            _end_group(process)

        timer = threading.Timer(seconds, end)
        timer.start()
        try:
            assert process.stdout is not None
            for line in process.stdout:
                if line.startswith("{"):
                    yield json.loads(line)
            if process.wait():
                complaints.seek(0)
                last = complaints.read().strip().splitlines()[-1:]
                yield {"failed": f"stopped after {seconds:.0f} s" if late.is_set() else " ".join(last)}
        finally:
            timer.cancel()
            _end_group(process)


def _end_group(process: subprocess.Popen[str]) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)


def main() -> None:
    """Read the flags and print the lines; exit status 1 if a command failed."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--minutes", type=float, default=6.0, help="time for everything")
    parser.add_argument("--against", choices=["openretina", "torch"], help="training steps of this beside ours")
    parser.add_argument("--reference_python", default=sys.executable, help="the Python in which that is installed")
    parser.add_argument("--small", action="store_true", help="tiny models, to see that every command works")
    flags = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("stopped"))  # commands end, too
    against = (f"--against={flags.against}", f"--reference_python={flags.reference_python}") if flags.against else ()
    failed = False
    with tempfile.TemporaryDirectory() as folder:
        sizes = Sizes(Path(folder) / "run", flags.small, against, len(os.sched_getaffinity(0)))
        simulated = [sys.executable, *sizes.run(), "--dry_run"]
        subprocess.run(simulated, cwd=ROOT, check=True, stdout=sys.stderr, env=os.environ | {"JAX_PLATFORMS": "cpu"})
        for line in measured(list(sizes.jobs()), flags.minutes):
            print(json.dumps(line), flush=True)
            failed |= "failed" in line
    sys.exit(failed)


if __name__ == "__main__":
    main()
