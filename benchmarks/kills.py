"""A run that is killed at a random moment, and goes on: the same numbers, and nothing left over.

    python -m benchmarks.kills [--count=100] [--signal=KILL] [--seed=0] [--population]

A small run is trained once to its end. Then it is begun again and again, ended by a signal somewhere between its first
import and its last table, and continued with the same command. Its best model, its last state and its table of neurons
must be those of the first run to the bit, and no half-written file may be there. With KILL, INT and TERM the same is
promised; after STOP the process is continued.
"""

import argparse
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

from openretina_jax.models.saving import best_checkpoint, read_arrays, sha256_of_arrays

ROOT = Path(__file__).parent.parent
COMMAND = (
    sys.executable,
    str(ROOT / "scripts" / "train.py"),
    f"--config={ROOT}/configs/maheswaranathan_2023_lnp.py:simulated,quick",
    "--config.data.simulated.seconds=40",
    "--config.data.simulated.neurons_per_session=6",
    "--config.data.validation_clips=4",
    "--config.train.epochs=6",
    "--config.train.picture_every=3",
)
POPULATION = ("--config.population.size=2",)
STOPPED_S = 1.0


def main() -> None:
    """Read the flags, end and continue runs, and print a table; exit status 1 if one differs."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--count", type=int, default=100)
    parser.add_argument("--signal", choices=("KILL", "TERM", "INT", "STOP"), default="KILL")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--population", action="store_true")
    flags = parser.parse_args()
    command = [*COMMAND, *(POPULATION if flags.population else ())]
    with tempfile.TemporaryDirectory() as place:
        whole = Path(place, "whole")
        finish(command, whole)  # fills the caches
        began = time.monotonic()
        finish(command, Path(place, "timed"))
        seconds = time.monotonic() - began
        wanted = content(whole)
        counts: Counter[str] = Counter()
        for number in range(flags.count):
            rng = random.Random(flags.seed + number)
            workdir = Path(place, str(number))
            outcome = ended(command, workdir, rng.uniform(0, seconds), signal.Signals[f"SIG{flags.signal}"])
            finish(command, workdir)
            identical, left = content(workdir) == wanted, leftovers(workdir)
            counts[outcome] += 1
            counts["identical"] += identical
            counts["left over"] += bool(left)
            said = "identical" if identical else "DIFFERENT"
            print(f"{number}: {outcome}, {said}", *map(str, left), flush=True)
    print(f"a run takes {seconds:.1f} s; {flags.count} times SIG{flags.signal} at a random moment of it")
    for outcome in ("ended by it", "ended before", "identical", "left over"):
        print(f"{outcome:<14}{counts[outcome]:>5}")
    sys.exit(counts["identical"] != flags.count or counts["left over"] > 0)


def ended(command: list[str], workdir: Path, after: float, number: signal.Signals) -> str:
    """Begin a run and send it a signal after some seconds."""
    process = subprocess.Popen([*command, f"--workdir={workdir}"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    time.sleep(after)
    if process.poll() is not None:
        return "ended before"
    process.send_signal(number)
    if number == signal.SIGSTOP:
        time.sleep(STOPPED_S)
        process.send_signal(signal.SIGCONT)
    process.wait()
    return "ended by it"


def finish(command: list[str], workdir: Path) -> None:
    """Run to the end."""
    done = subprocess.run([*command, f"--workdir={workdir}"], stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    if done.returncode:
        raise SystemExit(f"{workdir}: exit status {done.returncode}: {done.stdout.decode()[-1000:]}")


def content(workdir: Path) -> tuple[str, str, bytes]:
    """Best model, last state, and table of neurons."""
    states = [*workdir.glob("checkpoints/*"), *workdir.glob("population/*")]
    last = max((folder for folder in states if folder.name.isdigit()), key=lambda folder: int(folder.name))
    best = best_checkpoint(workdir)
    return (
        sha256_of_arrays(read_arrays(best)),
        sha256_of_arrays(read_arrays(last)),
        (workdir / "neurons.csv").read_bytes(),
    )


def leftovers(workdir: Path) -> list[Path]:
    """Half-written files."""
    return [file for file in workdir.rglob("*") if file.name.endswith(".part") or "checkpoint-tmp" in file.name]


if __name__ == "__main__":
    main()
