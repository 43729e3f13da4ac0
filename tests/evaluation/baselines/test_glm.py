"""Penalised regressions: the minimum is that of an independent library, and of the formula where there is one."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from openretina_jax.evaluation.baselines.glm import (
    Design,
    Weights,
    drive,
    fit_output,
    loss_of,
    minimize,
    null_weights,
    output,
    predict,
)

TIME, FEATURES, NEURONS = 500, 6, 3


def problem(own: int = 0, seed: int = 0) -> tuple[Design, jax.Array, Weights]:
    """Features, and counts of neurons that follow them."""
    keys = iter(jax.random.split(jax.random.key(seed), 6))
    design = Design(
        jax.random.normal(next(keys), (TIME, FEATURES)), jax.random.normal(next(keys), (TIME, own, NEURONS))
    )
    truth = Weights(
        0.4 * jax.random.normal(next(keys), (FEATURES, NEURONS)),
        0.3 * jax.random.normal(next(keys), (own, NEURONS)),
        jnp.asarray([-0.5, 0.3, -1.5]),
    )
    counts = jax.random.poisson(next(keys), predict("softplus", design, truth)).astype(jnp.float32)
    return design, counts, truth


def fit(link, design, response, recorded=None, strength=0.02) -> Weights:
    recorded = jnp.ones(response.shape, bool) if recorded is None else recorded
    start = null_weights(link, design, response, recorded)
    strengths = jnp.full(response.shape[1], strength)
    return minimize(link, design, response, recorded, strengths, start, iterations=200, tolerance=1e-10)


@pytest.mark.slow  # nemos takes seconds to import
@pytest.mark.parametrize("link", ["exp", "softplus"])
def test_weights_are_those_of_nemos(link: str) -> None:
    """The same objective: mean Poisson loss + strength / 2 |w|^2, without a penalty on the offset."""
    import nemos

    design, response, _ = problem()
    found = fit(link, design, response)
    regressor = nemos.glm.PopulationGLM(
        observation_model="Poisson",
        inverse_link_function={"exp": jnp.exp, "softplus": jax.nn.softplus}[link],
        regularizer="Ridge",
        regularizer_strength=0.02,
        solver_name="LBFGS",
        solver_kwargs={"tol": 1e-5, "maxiter": 2000},
    ).fit(design.stimulus, response)
    np.testing.assert_allclose(found.stimulus, regressor.coef_, atol=2e-4)
    np.testing.assert_allclose(found.offset, regressor.intercept_, atol=2e-4)


@pytest.mark.slow
def test_a_squared_error_has_the_weights_of_ridge_regression() -> None:
    design, response, _ = problem()
    found = fit("identity", design, response, strength=0.1)
    x, y = (np.asarray(one, np.float64) for one in (design.stimulus, response))
    centred = x - x.mean(axis=0)
    expected = np.linalg.solve(centred.T @ centred / TIME + 0.1 * np.eye(FEATURES), centred.T @ y / TIME)
    np.testing.assert_allclose(found.stimulus, expected, atol=1e-4)
    np.testing.assert_allclose(found.offset, y.mean(axis=0) - x.mean(axis=0) @ expected, atol=1e-4)


@pytest.mark.parametrize("link", [pytest.param("exp", marks=pytest.mark.slow), "softplus", "identity"])
def test_at_the_minimum_nothing_pulls(link: str) -> None:
    """With features of each neuron's own, and far from a diagonal Gram matrix."""
    design, response, _ = problem(own=2)
    design = design._replace(stimulus=design.stimulus @ (jnp.eye(FEATURES) + 0.8))
    found = fit(link, design, response)

    def objective(weights: Weights) -> jax.Array:
        penalty = 0.5 * 0.02 * (jnp.square(weights.stimulus).sum() + jnp.square(weights.own).sum())
        return loss_of(link, drive(design, weights), response).mean(axis=0).sum() + penalty

    start = null_weights(link, design, response, jnp.ones(response.shape, bool))
    first, last = (max(jnp.abs(leaf).max() for leaf in jax.grad(objective)(one)) for one in (start, found))
    assert last < 1e-3 * first


@pytest.mark.slow
def test_what_was_not_recorded_does_not_count() -> None:
    design, response, _ = problem()
    recorded = jnp.ones(response.shape, bool).at[:200, 1].set(False)
    wrong = jnp.where(recorded, response, jnp.nan)
    found = fit("softplus", design, wrong, recorded)
    rest = Design(design.stimulus[200:], design.own[200:, :, 1:2])
    alone = fit("softplus", rest, response[200:, 1:2])
    np.testing.assert_allclose(found.stimulus[:, 1], alone.stimulus[:, 0], atol=2e-4)
    np.testing.assert_allclose(found.stimulus[:, 0], fit("softplus", design, response).stimulus[:, 0], atol=2e-4)


@pytest.mark.parametrize("poisson", [True, False])
def test_a_nonlinearity_is_found_again(poisson: bool) -> None:
    x = jax.random.normal(jax.random.key(0), (4000, 2))
    truth = jnp.asarray([[0.7, 1.5, -0.5, 0.0 if poisson else -1.0], [0.0, -0.8, 0.5, 0.0 if poisson else 0.3]])
    expected = jax.vmap(output, in_axes=(0, 1), out_axes=1)(truth, x)
    found = fit_output(3 * x, expected, jnp.ones(x.shape, bool), poisson)
    np.testing.assert_allclose(jax.vmap(output, in_axes=(0, 1), out_axes=1)(found, 3 * x), expected, atol=0.02)
