import os
import subprocess
import sys

import pytest

# a program that frees and takes 40 MB again and again, and prints how many pages the system had to hand out for it
PROGRAM = """
import resource, sys
import numpy as np
from openretina_jax.experiment.command_line import keep_freed_memory

if sys.argv[1] == "keep":
    keep_freed_memory()
np.ones(10_000_000, np.float32)
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(5):
    np.ones(10_000_000, np.float32)
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""

# a program that runs on some cores, takes memory in eight threads, and prints how many arenas the C library has
ARENAS = """
import ctypes, os, re, sys, threading
from openretina_jax.experiment.command_line import keep_freed_memory

os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[: int(sys.argv[1])])
keep_freed_memory()
libc, everyone = ctypes.CDLL(None), threading.Barrier(8)
libc.malloc.restype = libc.fdopen.restype = ctypes.c_void_p

def take():
    libc.malloc(100)
    everyone.wait()

threads = [threading.Thread(target=take) for _ in range(8)]
[thread.start() for thread in threads]
[thread.join() for thread in threads]
read, write = os.pipe()
file = ctypes.c_void_p(libc.fdopen(write, b"w"))
libc.malloc_info(0, file)
libc.fclose(file)
print(len(re.findall(b"<heap nr", os.read(read, 2**16))))
"""

# a program that imports what a run needs, and prints how often Python looked for garbage
IMPORTS = """
import gc, sys
from openretina_jax.experiment.command_line import collect_garbage_rarely

if sys.argv[1] == "rarely":
    collect_garbage_rarely()
import openretina_jax.experiment.train
print(sum(generation["collections"] for generation in gc.get_stats()))
"""


def printed(program: str, word: str) -> int:
    """The number that a program prints."""
    return int(subprocess.run([sys.executable, "-c", program, word], capture_output=True, text=True, check=True).stdout)


@pytest.mark.skipif(sys.platform != "linux", reason="other systems are left as they are")
def test_each_core_has_an_arena() -> None:
    """But one core has but one, in which large pieces stay."""
    cores = len(os.sched_getaffinity(0))
    assert printed(ARENAS, "1") == 1
    assert printed(ARENAS, str(cores)) == (1 if cores == 1 else min(cores + 2, 9))


@pytest.mark.slow
def test_garbage_is_collected_rarely() -> None:
    assert printed(IMPORTS, "rarely") < printed(IMPORTS, "often") / 4


def test_memory_is_used_again_without_the_system():
    kept, given_back = (printed(PROGRAM, word) for word in ("keep", "give back"))
    if sys.platform == "linux":
        assert kept < 100
        assert given_back > 10 * kept
    else:  # other systems are left as they are
        assert kept > 0
