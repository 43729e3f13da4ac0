"""How fast the machine is: its largest matrix products, and what one core hands to another."""

import os
import threading
import time

import jax
import jax.numpy as jnp
import numpy as np

from openretina_jax.runtime.devices import precision

ON_CPU, ON_ACCELERATOR = 2048, 8192  # rows and columns of a matrix that fills the machine
REPEATS = 5
HANDED_OVER, HANDOVERS = 2**18, 200  # numbers, 1 MB, and how often


def matmul_operations_per_second(dtype: str = "float32") -> float:
    """What the default device reaches in the product of two large matrices of that type."""
    size = ON_CPU if jax.default_backend() == "cpu" else ON_ACCELERATOR
    square = jax.jit(lambda a: jnp.matmul(a, a, precision=precision()))
    a = jnp.ones((size, size), dtype)
    jax.block_until_ready(square(a))
    seconds = []
    for _ in range(REPEATS):
        began = time.perf_counter()
        jax.block_until_ready(square(a))
        seconds.append(time.perf_counter() - began)
    return 2 * size**3 / min(seconds)


def handover_bytes_per_second(writer: int, reader: int) -> float:
    """How fast a core writes an array that another core has read before, as the threads of a program do all the time.

    Cores that share a cache write nearly as fast as alone. Where they do not, every line is fetched from the other's
    cache, and two threads can be slower than one. Virtual machines move between both from one minute to the next.

    Args:
        writer, reader: numbers of two cores that this process may use.
    """
    array, ones, turns = np.zeros(HANDED_OVER, np.float32), np.ones(HANDED_OVER, np.float32), threading.Barrier(2)
    seconds = []

    def write() -> None:
        os.sched_setaffinity(threading.get_native_id(), {writer})
        for _ in range(HANDOVERS):
            began = time.perf_counter()
            np.multiply(ones, ones, out=array)
            seconds.append(time.perf_counter() - began)
            turns.wait()  # the other core reads
            turns.wait()

    def read() -> None:
        os.sched_setaffinity(threading.get_native_id(), {reader})
        for _ in range(HANDOVERS):
            turns.wait()
            array.sum()
            turns.wait()

    threads = [threading.Thread(target=part) for part in (write, read)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return array.nbytes / float(np.median(seconds))
