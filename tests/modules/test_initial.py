"""Initial values are those of ``jax.random`` and of flax, to the bit, whatever their shape."""

from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from openretina_jax.modules import initial

SHAPES = ((1, 1), (3, 5), (4, 7, 6, 6), (8, 2, 21, 5, 5), (2, 40000))


def of_flax(distribution: str, scale: float, mode: str) -> Callable[[nnx.Rngs, tuple[int, ...]], jax.Array]:
    made: Any = nnx.initializers.variance_scaling(scale, mode, distribution, in_axis=1, out_axis=0)
    return lambda rngs, shape: made(rngs.params(), shape)


CASES = {
    "normal": (initial.normal, lambda rngs, shape: rngs.params.normal(shape)),
    "mean": (
        lambda rngs, shape: initial.normal(rngs, shape, 1 / 7, 0.01),
        lambda rngs, shape: 1 / 7 + 0.01 * rngs.params.normal(shape),
    ),
    "uniform": (
        lambda rngs, shape: initial.uniform(rngs, shape, 0.3),
        lambda rngs, shape: rngs.params.uniform(shape, minval=-0.3, maxval=0.3),
    ),
    "uniform_in": (initial.uniform_in, of_flax("uniform", 1 / 3, "fan_in")),
    "glorot": (initial.glorot, of_flax("normal", 1.0, "fan_avg")),
    "truncated_glorot": (initial.truncated_glorot, of_flax("truncated_normal", 1.0, "fan_avg")),
}


@pytest.mark.parametrize("name", CASES)
def test_numbers(name: str) -> None:
    ours, theirs = CASES[name]
    for seed, shape in enumerate(SHAPES):
        found, expected = ours(nnx.Rngs(seed), shape), theirs(nnx.Rngs(seed), shape)
        assert (found.dtype, found.shape) == (jnp.float32, shape)
        np.testing.assert_array_equal(found, expected)


def test_numbers_of_a_function_that_is_traced() -> None:
    def draw() -> jax.Array:
        return initial.normal(nnx.Rngs(0), (3, 5))

    np.testing.assert_allclose(jax.jit(draw)(), draw(), rtol=1e-6)
    assert jax.eval_shape(draw).shape == (3, 5)


@pytest.mark.parametrize("settings", [jax.default_prng_impl("rbg"), jax.threefry_partitionable(False)])
def test_numbers_of_other_generators(settings: AbstractContextManager[None]) -> None:
    with settings:
        np.testing.assert_array_equal(initial.normal(nnx.Rngs(0), (3, 5)), nnx.Rngs(0).params.normal((3, 5)))


def test_kernels_of_every_neuron() -> None:
    flax = nnx.initializers.glorot_normal(in_axis=2, out_axis=1, batch_axis=0)
    for kernel in ((2, 3, 5, 5), (1, 2, 11)):
        expected = flax(nnx.Rngs(0).params(), (7, *kernel), jnp.float32)
        np.testing.assert_array_equal(initial.truncated_glorot(nnx.Rngs(0), (7, *kernel), kernel), expected)


def test_one_value() -> None:
    np.testing.assert_array_equal(initial.full((2, 3), 0.1), jnp.full((2, 3), jnp.float32(0.1)))
    assert initial.full(4, 1.0).shape == (4,)
