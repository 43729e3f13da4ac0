"""The child's side of a measurement: serves one repeat of a piece of work per request.

    python serving.py program.py

Any Python runs this file: it needs the standard library alone. ``program.py`` has a function ``prepare(task)``. It
returns the work, as a function that returns when all is computed, and what to say of it.

Requests and answers are JSON lines. The first request is the task; the answer is what the program says of it, and
time and memory of a first repeat, which compiles; ``compile_seconds`` that the program says are added. Then "repeat"
asks for one more repeat, and "memory" for what one needs beyond what the process holds anyway. The process ends with
its input.
"""

import ctypes
import importlib.util
import json
import math
import os
import sys
import time
from collections.abc import Callable
from types import ModuleType
from typing import Any


def serve(program: str) -> None:
    """Prepare the task of the first line, then answer every line by one repeat."""
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what libraries print must not get between the answers

    def answer(values: dict[str, Any]) -> None:
        print(json.dumps(values), file=answers, flush=True)

    task = json.loads(sys.stdin.readline())
    use_cores(task["threads"])
    work, about = load(program).prepare(task)
    before, seconds = peak_memory_mb(), about.get("compile_seconds", 0.0) + seconds_of(work)
    answer(about | {"before_mb": before, "compile_seconds": seconds, "peak_memory_mb": peak_memory_mb()})
    for request in sys.stdin:
        if json.loads(request) == "memory":
            answer({"work_memory_mb": memory_mb_of(work)})
            continue
        before = time.process_time()
        seconds = seconds_of(work)
        answer(
            {
                "seconds": seconds,
                "core_seconds": time.process_time() - before,
                "peak_memory_mb": peak_memory_mb(),
            }
        )


def use_cores(number: int) -> None:
    """Confine the process to that many cores, before any library counts them."""
    os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:number])
    os.environ["OMP_NUM_THREADS"] = str(number)


def load(program: str) -> ModuleType:
    """Import a file by its path."""
    spec = importlib.util.spec_from_file_location("program", program)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def seconds_of(work: Callable[[], Any]) -> float:
    """Wall-clock time of one repeat."""
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


def memory_mb_of(work: Callable[[], Any]) -> float:
    """By how much memory grows during one repeat, at its peak, if all that was free has been given back before.

    NaN where the system does not say, as in some sandboxes.
    """
    ctypes.CDLL(None).malloc_trim(0)
    before = _memory_mb("VmRSS")
    try:
        with open("/proc/self/clear_refs", "w", encoding="utf-8") as clear:
            clear.write("5")  # the peak begins anew
    except OSError:
        return math.nan
    work()
    return peak_memory_mb() - before


def peak_memory_mb() -> float:
    """Most memory that the process has held so far.

    From Linux itself: what ``getrusage`` says begins with the memory of the process that started this one. NaN where it
    does not say, as in some sandboxes.
    """
    return _memory_mb("VmHWM")


def _memory_mb(name: str) -> float:
    with open("/proc/self/status", encoding="utf-8") as status:
        kibibytes = next((line.split()[1] for line in status if line.startswith(name)), math.nan)
    return float(kibibytes) * 1024 / 1e6


if __name__ == "__main__":
    serve(sys.argv[1])
