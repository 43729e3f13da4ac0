"""Multiplications of programs, counted by hand."""

import jax
import jax.numpy as jnp
from jax import lax

from openretina_jax.models.summary import multiplications

A, B = jnp.zeros((7, 20, 3)), jnp.zeros((7, 3, 30))


def counted(program, *arrays: jax.Array) -> int:
    return multiplications(jax.make_jaxpr(program)(*arrays).jaxpr, "").total()


def test_products_count_in_batches_loops_and_functions() -> None:
    of_a_product = 20 * 3 * 30
    assert counted(jnp.matmul, A, B) == 7 * of_a_product
    assert counted(lambda a, b: lax.map(lambda both: jnp.tanh(jax.jit(jnp.matmul)(*both)), (a, b)), A, B) == (
        7 * of_a_product
    )
    assert counted(jnp.add, A, A) == 0


def test_convolutions_count_as_direct_ones() -> None:
    x, kernel = jnp.zeros((2, 10, 8, 6, 4)), jnp.zeros((3, 5, 5, 4, 9))

    def convolve(x: jax.Array, kernel: jax.Array) -> jax.Array:
        return lax.conv_general_dilated(x, kernel, (1, 1, 1), "VALID", dimension_numbers=("NDHWC", "DHWIO", "NDHWC"))

    outputs = 2 * 8 * 4 * 2
    assert counted(convolve, x, kernel) == outputs * 3 * 5 * 5 * 4 * 9


def test_products_of_all_devices_count() -> None:
    mesh = jax.sharding.AbstractMesh((4,), ("data",))
    sharded = jax.sharding.PartitionSpec("data")

    def multiply(a: jax.Array, b: jax.Array) -> jax.Array:
        return jax.shard_map(jnp.matmul, mesh=mesh, in_specs=(sharded, sharded), out_specs=sharded)(a, b)

    rows = jnp.zeros((8, 20, 3)), jnp.zeros((8, 3, 30))
    assert counted(multiply, *rows) == counted(jnp.matmul, *rows)
