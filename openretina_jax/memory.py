"""The memory of a process and of its programs."""

import ctypes
import sys

import jax

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


def compiler_options(rematerialize: bool = False) -> dict[str, str] | None:
    """Of programs that train; None on accelerators.

    On CPUs the compiler begins work as early as it can, for the sake of threads, and keeps what comes of it in memory.
    The other order is as fast. It also takes away the barriers that keep apart what is computed again for the gradient,
    and then finds that it has that already.

    Args:
        rematerialize: whether intermediate results are computed again for the gradient.
    """
    if jax.default_backend() != "cpu":
        return None
    options = {"xla_cpu_scheduler_type": "CPU_SCHEDULER_TYPE_MEMORY_OPTIMIZED"}
    return options | ({"xla_disable_hlo_passes": "cse_barrier_expander"} if rematerialize else {})
