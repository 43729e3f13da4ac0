"""All that is to be measured on an accelerator, the most important first, within a time; prints one JSON line each.

    python -m benchmarks.accelerator [--minutes=6] [--reference_python=/path/to/python] [--small]

Begin with ``--small``: it does the same with tiny shapes, on a CPU too, and fails where a command does. What there was
no time for is named at the end, in a line of its own.
"""

import argparse
import dataclasses
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

ROOT = Path(__file__).parent.parent
SMALL = ("--shape=36,36,2", "--sessions=2", "--neurons=4", "--windows=16", "--frames=50", "--repeats=1")
LEAST_S = 20.0  # a command is not begun with less time left: imports and compilation take as long
LOW, HIGH = "--config=hoefling_low_res", "--config=hoefling_high_res"
TF32, FLOAT32 = "--config.train.matmul_precision=high", "--config.train.matmul_precision=highest"
BF16 = "--config.train.compute_dtype=bfloat16"


@dataclasses.dataclass(frozen=True)
class Job:
    """A command whose lines are wanted.

    Attributes:
        name: of the job.
        words: script and flags.
        against_reference: whether openretina is measured beside it.
    """

    name: str
    words: tuple[str, ...]
    against_reference: bool = False


def jobs(folder: Path, *, small: bool) -> Iterator[Job]:
    """List the commands, the most important first.

    Args:
        folder: for runs.
        small: whether shapes are tiny.
    """
    shapes = SMALL if small else ("--repeats=10", "--sessions=24")

    def speed(name: str, measures: str, *flags: str, against_reference: bool = False) -> Job:
        words = ("scripts/benchmark.py", f"--measure={measures}", *flags, *shapes)
        return Job(name, words, against_reference)

    yield speed("low resolution, TF32", "train_step,epoch,epoch_shared", LOW, TF32, against_reference=True)
    yield speed("high resolution, TF32", "train_step,epoch_shared", HIGH, TF32, against_reference=True)
    run = folder / "quick"
    size = ("--config.train.epochs=1", "--config.model.core.simple.hidden_channels=(2,2)") if small else ()
    yield Job("a short run", ("-m", "openretina_jax", "train", f"{LOW}:simulated,quick", f"--workdir={run}", *size))
    stimuli = ("--neurons=every:50", "--steps=2") if small else ("--steps=100",)
    yield Job("most exciting stimuli", ("scripts/benchmark_stimuli.py", f"--checkpoint={run}", *stimuli))
    for config, resolution in ((LOW, "low"), (HIGH, "high")):
        yield speed(f"{resolution} resolution, bfloat16", "train_step,epoch_shared", config, BF16)
        yield speed(f"{resolution} resolution, float32", "train_step,epoch_shared", config, FLOAT32)
    yield speed("high resolution, lowerings", "train_step", HIGH, TF32, "--lowering=dense,basis,factored")
    yield speed("low resolution, predictions", "forward,eval_step,stream", LOW, TF32)
    yield speed("high resolution, predictions", "forward,eval_step,stream", HIGH, TF32)
    yield speed("low resolution, population", "population", LOW, TF32)
    if not small:
        sessions = ("--config.data.simulated.n_sessions=24", "--config.train.epochs=20")
        words = ("-m", "openretina_jax", "train", f"{LOW}:simulated", f"--workdir={folder / 'run'}", TF32, *sessions)
        yield Job("20 epochs of 24 sessions", words)


def measured(wanted: Sequence[Job], minutes: float, reference_python: str | None) -> Iterator[dict[str, object]]:
    """Run commands until the time is over: their lines, what failed, and at the end what was left out."""
    ends = time.monotonic() + 60 * minutes
    for number, job in enumerate(wanted):
        left = ends - time.monotonic()
        if left < LEAST_S:
            yield {"job": "no time", "left_out": [one.name for one in wanted[number:]]}
            return
        words = [sys.executable, *job.words]
        if job.against_reference and reference_python is not None:
            words += ["--against=openretina", f"--reference_python={reference_python}"]
        began = time.monotonic()
        try:
            done = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, timeout=left)
            output, failed = done.stdout, done.returncode != 0
            reason = done.stderr.strip().splitlines()[-1:] if failed else []
        except subprocess.TimeoutExpired as error:
            output = error.stdout.decode() if isinstance(error.stdout, bytes) else error.stdout or ""
            failed, reason = True, [f"stopped after {left:.0f} s"]
        for line in output.splitlines():
            if line.startswith("{"):
                yield {"job": job.name, **json.loads(line)}
        seconds = round(time.monotonic() - began, 1)
        yield {"job": job.name, "command_s": seconds, **({"failed": " ".join(reason)} if failed else {})}


def main() -> None:
    """Read the flags and print the lines; exit status 1 if a command failed."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--minutes", type=float, default=6.0, help="time for everything")
    parser.add_argument("--reference_python", help="the Python in which openretina is installed, to measure it too")
    parser.add_argument("--small", action="store_true", help="tiny shapes, to see that every command works")
    flags = parser.parse_args()
    failed = False
    with tempfile.TemporaryDirectory() as folder:
        wanted = list(jobs(Path(folder), small=flags.small))
        for line in measured(wanted, flags.minutes, flags.reference_python):
            print(json.dumps(line), flush=True)
            failed |= "failed" in line
    sys.exit(failed)


if __name__ == "__main__":
    main()
