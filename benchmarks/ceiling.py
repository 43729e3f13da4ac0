"""How fast the largest matrix products of the machine are."""

import time

import jax
import jax.numpy as jnp

from openretina_jax.runtime.devices import precision

ON_CPU, ON_ACCELERATOR = 2048, 8192  # rows and columns of a matrix that fills the machine
REPEATS = 5


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
