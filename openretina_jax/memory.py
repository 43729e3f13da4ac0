"""The memory of a process."""

import ctypes
import sys

# of <malloc.h>
_TRIM_THRESHOLD, _MMAP_MAX, _ARENA_MAX = -1, -4, -8


def keep_freed_memory() -> None:
    """Let the process keep memory that it has freed, for its next use; on Linux, before JAX begins to compute.

    A step on a CPU needs hundreds of megabytes for a moment. The C library gives large pieces back to the system at
    once, which clears every page anew when the next step asks for it: that takes about a quarter of a step. The process
    may hold more, since what is freed can lie in pieces too small for the next step. Other systems and other C
    libraries are left as they are.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None) if sys.platform == "linux" else None
    if mallopt is not None:
        for option, value in ((_ARENA_MAX, 1), (_MMAP_MAX, 0), (_TRIM_THRESHOLD, 2**31 - 1)):
            mallopt(option, value)
