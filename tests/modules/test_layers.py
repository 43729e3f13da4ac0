import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from openretina_jax.errors import UserError
from openretina_jax.modules import layers

NAMES = (*layers.NONLINEARITIES, *layers.PARAMETRIZED)


@pytest.mark.parametrize("name", NAMES)
def test_nonlinearities_keep_type_and_have_finite_gradients(name: str) -> None:
    apply = layers.make_nonlinearity(name)
    x = jnp.asarray([-50.0, -1.0, 0.0, 1.0, 50.0])
    assert np.isfinite(jax.jit(jax.vmap(jax.grad(apply)))(x)).all()
    assert jax.eval_shape(apply, x.astype(jnp.bfloat16)).dtype == jnp.bfloat16
    pull_back = jax.jit(lambda x, change: jax.vjp(apply, x)[1](change)[0])
    unmoved = pull_back(jnp.asarray([-200.0, 200.0]), jnp.zeros(2))  # where e^200 is infinite
    np.testing.assert_array_equal(unmoved, 0)


@pytest.mark.parametrize(
    ("name", "expected"),
    [  # at -1 and 1, by the definitions in torch's documentation
        ("leaky_relu", (-0.01, 1)),
        ("gelu", (-0.5 * math.erfc(math.sqrt(0.5)), 1 - 0.5 * math.erfc(math.sqrt(0.5)))),
        ("silu", (-1 / (1 + math.e), math.e / (1 + math.e))),
        ("selu", (1.0507009873554805 * 1.6732632423543772 * math.expm1(-1), 1.0507009873554805)),
        ("celu", (math.expm1(-1), 1)),
        ("mish", (-math.tanh(math.log1p(1 / math.e)), math.tanh(math.log1p(math.e)))),
        ("softsign", (-0.5, 0.5)),
        ("logsigmoid", (-math.log1p(math.e), -math.log1p(1 / math.e))),
        ("hardtanh", (-1, 1)),
        ("hardsigmoid", (1 / 3, 2 / 3)),
        ("hardswish", (-1 / 3, 2 / 3)),
        ("relu6", (0, 1)),
        ("parametrized_elu", (math.expm1(-1), 1)),
        ("parametrized_softplus", (math.log1p(1 / math.e), math.log1p(math.e))),
    ],
)
def test_nonlinearities_are_those_of_torch(name: str, expected: tuple[float, float]) -> None:
    found = layers.make_nonlinearity(name)(jnp.asarray([-1.0, 1.0]))
    np.testing.assert_allclose(found, expected, rtol=2e-6)


def test_unknown_nonlinearity() -> None:
    with pytest.raises(UserError, match=r'"sofplus" is unknown; choose among softplus, elu.* identity$'):
        layers.fixed_nonlinearity("sofplus")
    with pytest.raises(UserError, match=r'"sofplus" is unknown; choose among .*, parametrized_elu'):
        layers.make_nonlinearity("sofplus")


def test_parametrized_nonlinearities_are_not_shared() -> None:
    first, second = (layers.make_nonlinearity("parametrized_elu") for _ in range(2))
    assert first is not second
    assert layers.make_nonlinearity("elu") is layers.fixed_nonlinearity("elu")


def test_elu_has_the_derivatives_of_jax() -> None:
    x = jnp.asarray([-200.0, -3.0, -1e-3, 0.0, 1e-3, 200.0])
    for times in range(3):
        found, expected = layers.elu, jax.nn.elu
        for _ in range(times):
            found, expected = jax.grad(found), jax.grad(expected)
        np.testing.assert_allclose(jax.vmap(found)(x), jax.vmap(expected)(x), rtol=1e-5)


def test_elu_and_softplus_are_exact_to_single_precision() -> None:
    x = np.concatenate([-np.logspace(-30, 1.9, 3001), np.linspace(-2, 2, 3001), np.logspace(0, 30, 300)])
    x = x.astype(np.float32).astype(np.float64)
    for found, expected in (
        (layers.elu, np.where(x > 0, x, np.expm1(np.minimum(x, 0)))),
        (layers.softplus, np.logaddexp(x, 0)),
    ):
        np.testing.assert_allclose(jax.jit(found)(x.astype(np.float32)), expected, rtol=3e-7)


def test_softplus_has_the_derivatives_of_jax() -> None:
    x = jnp.asarray([-200.0, -3.0, 0.0, 1e-3, 200.0, jnp.inf, -jnp.inf])
    for times in range(3):
        found, expected = layers.softplus, jax.nn.softplus
        for _ in range(times):
            found, expected = jax.grad(found), jax.grad(expected)
        np.testing.assert_allclose(jax.vmap(found)(x), jax.vmap(expected)(x), rtol=1e-5)


def test_parametrized_elu_runs_where_jax_runs() -> None:
    """The reference's default wants a CUDA device; a large input must not spoil the gradient either."""
    module = layers.ParametrizedElu()
    x = jnp.asarray([-2.0, 0.0, 3.0, 1e4])
    np.testing.assert_allclose(module(x), jax.nn.elu(x), rtol=1e-6)

    def total(module: layers.ParametrizedElu) -> jax.Array:
        return module(x).sum()

    gradients = jax.tree.leaves(nnx.grad(total)(module))
    assert len(gradients) == 3
    assert np.isfinite(gradients).all()
    at_zero = jax.grad(layers.parametrized_elu)(0.0, 0.6, 2.0, 5.0)
    np.testing.assert_allclose(at_zero, 0.6 / 2.0, rtol=1e-6)


def test_scale_and_bias_begin_with_the_initial_value() -> None:
    x = jnp.arange(6.0).reshape(2, 3)
    np.testing.assert_array_equal(layers.Scale(3)(x), x)
    np.testing.assert_array_equal(layers.Scale(3, initial=2.0)(x), 2 * x)
    np.testing.assert_array_equal(layers.Bias(3)(x), x)
    np.testing.assert_array_equal(layers.Bias(3, initial=0.5)(x), x + 0.5)


def test_film_begins_near_the_identity() -> None:
    film = layers.FiLM(3, 50, rngs=nnx.Rngs(0))
    x = jnp.ones((2, 4, 5, 3))
    np.testing.assert_array_equal(film(x, jnp.zeros((2, 50))), x)
    deviation = film(x, jnp.ones((2, 50))) - x
    assert 0 < np.abs(deviation).max() < 0.5
    for part in (film.gamma, film.beta):
        np.testing.assert_allclose(part.kernel[...].std(), 0.01, rtol=0.3)


def test_weighted_channel_sum() -> None:
    colour = jnp.asarray(np.random.default_rng(0).random((2, 3, 4, 5, 2)), jnp.float32)
    grey = layers.WeightedChannelSum(jnp.asarray([0.3, 0.7]))
    np.testing.assert_allclose(grey(colour)[..., 0], 0.3 * colour[..., 0] + 0.7 * colour[..., 1], rtol=1e-6)
    np.testing.assert_array_equal(grey(colour[..., :1]), colour[..., :1])


def test_layers_keep_the_type_of_their_input() -> None:
    x = jnp.ones((2, 4, 3), jnp.bfloat16)
    film = layers.FiLM(3, 2, rngs=nnx.Rngs(0))
    outputs = [
        layers.Scale(3)(x),
        layers.Bias(3)(x),
        layers.WeightedChannelSum(jnp.ones(3))(x),
        film(x, jnp.ones((2, 2))),
    ]
    assert all(output.dtype == x.dtype for output in outputs)


@pytest.mark.parametrize("name", ["softplus", "exp", "relu", "elu", "leaky_relu", "identity"])
def test_the_drive_of_a_response_gives_it(name: str) -> None:
    response = jnp.asarray([1e-4, 0.05, 1.0, 30.0])
    drive = layers.inverse_nonlinearity(name, response)
    np.testing.assert_allclose(layers.NONLINEARITIES[name](drive), response, rtol=1e-4)
    assert jnp.isfinite(layers.inverse_nonlinearity(name, jnp.zeros(1))).all()


def test_not_every_drive_is_known() -> None:
    with pytest.raises(UserError, match='response of "tanh" is not known'):
        layers.inverse_nonlinearity("tanh", jnp.ones(1))
