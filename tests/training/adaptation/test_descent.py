"""Many small minimisations side by side."""

import functools
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import Array
from scipy.optimize import lsq_linear

from openretina_jax.training.adaptation import descent

RNG = np.random.default_rng(0)
ROWS, NUMBERS = 5, 4
MATRICES = RNG.normal(size=(ROWS, 12, NUMBERS)).astype(np.float32) * np.float32([1, 1, 10, 0.1])
TARGETS = RNG.normal(size=(ROWS, 12)).astype(np.float32)


def squares(x: Array) -> Array:
    """Squared distance of every row, whose numbers differ in scale."""
    return jnp.square(jnp.einsum("rin,rn->ri", MATRICES, x) - TARGETS).sum(axis=1)


def rosenbrock(x: Array) -> Array:
    """A narrow bent valley with its end at 1."""
    return 100 * jnp.square(x[:, 1] - jnp.square(x[:, 0])) + jnp.square(1 - x[:, 0])


def free(x: Array) -> Array:
    return x


def positive(x: Array) -> Array:
    return jnp.maximum(x, 0)


def minimized(
    objective: Callable[[Array], Array], project: Callable[[Array], Array], x: Array, passes: int
) -> descent.Descent:
    """The state after some passes."""
    evaluate = jax.jit(lambda x: (objective(x), jax.grad(lambda x: objective(x).sum())(x)))
    trial, advance = (jax.jit(functools.partial(step, project=project)) for step in (descent.trial, descent.advance))
    state = jax.jit(functools.partial(descent.begin, project=project))(x, *evaluate(x))
    for _ in range(passes):
        x = trial(state)
        before = state.value
        state = advance(state, x, *evaluate(x))
        assert (state.value <= before).all()
    return state


@pytest.mark.parametrize(("project", "low"), [(free, -np.inf), (positive, 0.0)])
def test_least_squares_within_bounds(project: Callable[[Array], Array], low: float) -> None:
    state = minimized(squares, project, jnp.full((ROWS, NUMBERS), 0.5), 80)
    for row in range(ROWS):
        best = lsq_linear(MATRICES[row].astype(np.float64), TARGETS[row], bounds=(low, np.inf))
        np.testing.assert_allclose(state.value[row], 2 * best.cost, rtol=1e-3)
    if low == 0:
        assert (state.x >= 0).all()


def test_a_bent_valley() -> None:
    start = jnp.asarray(RNG.uniform(-1.5, 1.5, (3, 2)), jnp.float32)
    np.testing.assert_allclose(minimized(rosenbrock, free, start, 80).x, 1, atol=1e-2)


def test_rows_do_not_see_each_other() -> None:
    start = jnp.asarray([[-1.2, 1.0], [0.5, 0.5], [1.4, -1.0]])
    together, alone = minimized(rosenbrock, free, start, 15), minimized(rosenbrock, free, start[:1], 15)
    np.testing.assert_allclose(together.x[0], alone.x[0], rtol=1e-3)


def test_a_row_at_its_minimum_ends() -> None:
    state = minimized(rosenbrock, free, jnp.asarray([[1.0, 1.0], [-1.0, 1.0]]), 3)
    assert state.ended.tolist() == [True, False]
    np.testing.assert_array_equal(state.x[0], [1, 1])


def test_a_point_that_is_not_finite_is_refused() -> None:
    state = minimized(lambda x: jnp.where(x[:, 0] > 0.6, jnp.nan, -x[:, 0]), free, jnp.asarray([[0.5]]), 20)
    assert 0.5 < state.x[0, 0] <= jnp.float32(0.6)
    assert jnp.isfinite(state.value).all()
