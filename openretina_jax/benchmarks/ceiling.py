"""How near a program comes to the fastest matrix products of the machine."""

import math
import time
from typing import Any

import jax
import jax.numpy as jnp
from jax.extend.core import Jaxpr

from openretina_jax.modules.lowerings import inner_programs
from openretina_jax.precision import precision

ON_CPU, ON_ACCELERATOR = 2048, 8192  # rows and columns of a matrix that fills the machine
REPEATS = 5


def operations(program: Jaxpr) -> int:
    """Multiplications and additions in the matrix products and convolutions of a program.

    As the program has them: a convolution counts as a direct one. Loops of a length that is not known count once.
    """
    total = 0
    for equation in program.eqns:
        times = equation.params.get("length", 1)  # of a loop
        total += times * sum(map(operations, inner_programs(equation)))
        total += 2 * _multiplications(equation)
    return total


def _multiplications(equation: Any) -> int:
    if equation.primitive.name not in ("dot_general", "conv_general_dilated"):
        return 0
    left, right = (variable.aval for variable in equation.invars)
    (result,) = (variable.aval for variable in equation.outvars)
    numbers = equation.params["dimension_numbers"]
    if equation.primitive.name == "conv_general_dilated":
        return result.size * right.size // right.shape[numbers.rhs_spec[0]]
    (contracted, _), _ = numbers
    return result.size * math.prod(left.shape[axis] for axis in contracted)


def matmul_operations_per_second() -> float:
    """What the default device reaches in the product of two large matrices, in single precision."""
    size = ON_CPU if jax.default_backend() == "cpu" else ON_ACCELERATOR
    square = jax.jit(lambda a: jnp.matmul(a, a, precision=precision()))
    a = jnp.ones((size, size), jnp.float32)
    jax.block_until_ready(square(a))
    seconds = []
    for _ in range(REPEATS):
        began = time.perf_counter()
        jax.block_until_ready(square(a))
        seconds.append(time.perf_counter() - began)
    return 2 * size**3 / min(seconds)
