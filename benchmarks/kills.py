"""Work that is ended by a signal at a random moment, and goes on: the same numbers, and nothing left over.

    python -m benchmarks.kills [--works=run,saving,...] [--signals=KILL,TERM,INT,STOP] [--count=N] [--seed=0]

Every kind of work is done once to its end. Then it is begun again and again, ended by a signal, and continued with the
same command. What it has made must be the same to the bit as the first time, no half-written file may be left, and what
a signal leaves behind must open at once. KILL is sent to work of all kinds; TERM, INT twice, and STOP, after which the
process is continued, to runs. Processes are forks of one that has imported everything: imports write nothing.
"""

import argparse
import importlib
import multiprocessing
import os
import random
import signal
import sys
import tempfile
import time
import traceback
from collections import Counter
from collections.abc import Callable
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

from benchmarks.works import WORKS, Run, Task

SIGNALS = ("KILL", "TERM", "INT", "STOP")
OTHERS = 6  # times that a signal besides KILL is sent
TRIES = 10  # of moments, until one comes before the end
SOONER = 0.7  # share of the time, after a moment that came too late
TWICE_S = 0.3  # between two INT
STOPPED_S = 2.0
ALONE_S = 60  # that a process may go on after it has lost another one
HELD_S = 600  # that a trial may go on whose search is dead
IMPORTED = ("experiment.report", "evaluation.compare", "visualize.page", "search.run")  # what all processes need
COLUMNS = ("ended", "opens", "identical", "left over", "traceback", "waits")
_FORK = multiprocessing.get_context("fork")


def main() -> None:
    """Read the flags, end and continue work, and print a table; exit status 1 if anything is wrong."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--works", default=",".join(WORKS))
    parser.add_argument("--signals", default=",".join(SIGNALS))
    parser.add_argument("--count", type=int, help="of each kind of work; default: what the kinds say")
    parser.add_argument("--seed", type=int, default=0)
    flags = parser.parse_args()
    kinds = flags.works.split(",")
    if any(WORKS[kind].after_run for kind in kinds):
        for module in IMPORTED:
            importlib.import_module(f"openretina_jax.{module}")
    os.environ["PYTHONPATH"] = str(Path(__file__).parent.parent)  # of the trials of a search
    counts: dict[tuple[str, str], Counter[str]] = {}
    with tempfile.TemporaryDirectory() as name:
        place = Path(name)
        os.environ["OPENRETINA_JAX_CACHE"] = str(place / "cache")
        campaign = Campaign(place, flags.seed)
        for kind in kinds:
            for sent in flags.signals.split(",") if kind == "run" else ["KILL"]:
                counts[kind, sent] = campaign.end_and_continue(kind, sent, flags.count)
    print(f"{'work':<20}{'signal':<8}", *(f"{column:>10}" for column in COLUMNS), sep="")
    for (kind, sent), count in counts.items():
        print(f"{kind:<20}{sent:<8}", *(f"{count[column]:>10}" for column in COLUMNS), sep="")
    sys.exit(any(faults(count) for count in counts.values()))


def faults(count: Counter[str]) -> bool:
    """Whether something was not as promised."""
    wrong = any(count[column] for column in ("left over", "traceback", "waits"))
    return wrong or not count["ended"] == count["opens"] == count["identical"]


class Campaign:
    """Work in subfolders of a place.

    Args:
        place: empty folder.
        seed: seed of the moments.
    """

    def __init__(self, place: Path, seed: int):
        self._place, self._seed = place, seed
        self._known: dict[str, tuple[Any, float]] = {}  # see ``_whole``, by kind

    def end_and_continue(self, kind: str, sent: str, count: int | None) -> Counter[str]:
        """End work of a kind by a signal and continue it, some times; count what comes of it."""
        work, folder = WORKS[kind](self._place), self._place / kind.replace(" ", "_")
        if work.after_run:
            finish_once(WORKS["run"](self._place), self._place / "run")
        if kind not in self._known:
            self._known[kind] = self._whole(work, folder)
        wanted, seconds = self._known[kind]
        counts: Counter[str] = Counter()
        for number in range(count or (work.times if sent == "KILL" else OTHERS)):
            rng = random.Random(f"{kind} {sent} {self._seed + number}")
            for attempt in range(TRIES):
                here = folder / f"{sent}_{number}_{attempt}"
                found = end(work, here, rng, seconds, sent)
                if found["ended"]:
                    break
                seconds *= SOONER  # the machine was busier when the time was taken
            in_fork(work.check, here)
            found["opens"] = 1
            finish(work, here)
            found["identical"] = in_fork(work.content, here) == wanted
            found["left over"] = bool(left := work.left_over(here))
            counts += Counter(found)
            print(f"{kind}, {sent} {number}:", *(name for name in COLUMNS if found.get(name)), *left, flush=True)
        return counts

    def _whole(self, work: Run, folder: Path) -> tuple[Any, float]:
        """What work makes that is not ended, and the seconds in which a signal can end it."""
        whole = finish_once(work, folder)
        if work.within_s is not None:
            return in_fork(work.content, whole), work.within_s
        timed = folder / "timed"
        in_fork(work.prepare, timed)
        processes = start(work, timed)
        wait_for(work.moment(random.Random(0)), timed, processes)
        began = time.monotonic()
        for process in processes:
            process.join()
        return in_fork(work.content, whole), time.monotonic() - began


def end(work: Run, folder: Path, rng: random.Random, seconds: float, sent: str) -> dict[str, int]:
    """Begin work and send a signal at a random moment of it."""
    in_fork(work.prepare, folder)
    processes = start(work, folder)
    wait_for(work.moment(rng), folder, processes)
    time.sleep(rng.uniform(0, seconds))
    chosen = [process for process in processes if process.is_alive()]
    if len(chosen) > 1:
        chosen = rng.choice([chosen[:1], chosen[1:], chosen])
    for process in chosen:
        send(process, sent)
    waits = 0
    for process in processes:
        process.join(ALONE_S if len(processes) > 1 else None)
        if process.is_alive():
            waits += 1
            process.kill()
            process.join()
    return {"ended": bool(chosen), "traceback": "Traceback" in said(folder), "waits": waits}


def send(process: BaseProcess, name: str) -> None:
    """Send a signal; INT is sent twice, and after STOP the process is continued."""
    assert process.pid is not None
    number = signal.Signals[f"SIG{name}"]
    os.kill(process.pid, number)
    if name == "INT":
        time.sleep(TWICE_S)
        if process.is_alive():
            os.kill(process.pid, number)
    if name == "STOP":
        time.sleep(STOPPED_S)
        os.kill(process.pid, signal.SIGCONT)


def start(work: Run, folder: Path) -> list[BaseProcess]:
    """Start the processes of work."""
    processes: list[BaseProcess] = [
        _FORK.Process(target=child, args=(task, output(folder, number)))
        for number, task in enumerate(work.tasks(folder))
    ]
    for process in processes:
        process.start()
    return processes


def child(task: Task, into: Path) -> None:
    """Do a task; what it prints goes to the end of a file."""
    with into.open("ab") as stream:
        os.dup2(stream.fileno(), 1)
        os.dup2(stream.fileno(), 2)
    try:
        task()
    except Exception:
        traceback.print_exc()
        sys.exit(1)


def output(folder: Path, number: int) -> Path:
    """File of what a process prints."""
    return folder.with_name(f"{folder.name}.{number}.txt")


def said(folder: Path) -> str:
    """What the processes of a folder have printed."""
    files = sorted(folder.parent.glob(f"{folder.name}.*.txt"))
    return "".join(file.read_text(encoding="utf-8", errors="replace") for file in files)


def finish(work: Run, folder: Path) -> None:
    """Do work to its end, or continue it; a search waits for the trial of the one that was killed."""
    until = time.monotonic() + HELD_S
    while True:
        processes = start(work, folder)
        for process in processes:
            process.join()
        if not any(process.exitcode for process in processes):
            return
        if "is held by another search" not in said(folder)[-1000:] or time.monotonic() > until:
            raise SystemExit(f"{folder} did not end well: {said(folder)[-3000:]}")
        time.sleep(1)


def finish_once(work: Run, folder: Path) -> Path:
    """Do work to its end in the subfolder "whole", if it is not there yet."""
    whole = folder / "whole"
    if not whole.exists():
        folder.mkdir(exist_ok=True)
        in_fork(work.prepare, whole)
        finish(work, whole)
    return whole


def wait_for(pattern: str | None, folder: Path, processes: list[BaseProcess]) -> None:
    """Wait until a file is there, or the work is done."""
    while pattern is not None and not any(folder.glob(pattern)) and any(one.is_alive() for one in processes):
        time.sleep(0.002)


def in_fork(function: Callable[[Path], Any], folder: Path) -> Any:
    """The result of a function, from a process of its own: this one must not begin to compute, or it cannot fork."""
    with _FORK.Pool(1) as pool:
        return pool.apply(function, (folder,))


if __name__ == "__main__":
    main()
