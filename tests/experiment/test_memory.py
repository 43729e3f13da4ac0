import subprocess
import sys

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


def test_memory_is_used_again_without_the_system():
    kept, given_back = (
        int(subprocess.run([sys.executable, "-c", PROGRAM, word], capture_output=True, text=True, check=True).stdout)
        for word in ("keep", "give back")
    )
    if sys.platform == "linux":
        assert kept < 100
        assert given_back > 10 * kept
    else:  # other systems are left as they are
        assert kept > 0
