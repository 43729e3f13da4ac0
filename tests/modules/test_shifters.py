"""Shifters of what readouts look at, and the maps that are moved under a readout."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from openretina_jax.errors import UserError
from openretina_jax.modules.readouts import READOUTS
from openretina_jax.modules.shifters import SHIFTERS, MlpShifter, moved

SESSIONS, CHANNELS, TIME = 3, 2, 7
HEIGHT, WIDTH, FEATURES, N = 11, 9, 2, 4
MEAN = np.arange(6, dtype=np.float32).reshape(SESSIONS, CHANNELS)


def make(**options: Any) -> MlpShifter:
    given = {"mean": jnp.asarray(MEAN), "deviation": jnp.full((SESSIONS, CHANNELS), 2.0), "rngs": nnx.Rngs(0)}
    return SHIFTERS.make({"kind": "mlp", **options}, given)


def trained(**options: Any) -> MlpShifter:
    """A shifter whose numbers are all other than at the start."""
    shifter, rng = make(**options), np.random.default_rng(0)
    for variable in (*shifter.biases, shifter.output):
        variable[...] = jnp.asarray(rng.standard_normal(variable.shape), jnp.float32)
    return shifter


def behaviour(seed: int = 0) -> jax.Array:
    return 3 * jax.random.normal(jax.random.key(seed), (2, TIME, CHANNELS))


def make_readout(kind: str, **options: Any) -> Any:
    given = {"in_shape": (HEIGHT, WIDTH, FEATURES), "n_neurons": N, "session_sizes": (N,), "rngs": nnx.Rngs(1)}
    return READOUTS.make({"kind": kind, **options}, given)


def maps(margin: int = 0) -> jax.Array:
    """Random maps, 0 near the border."""
    inside = jax.random.normal(jax.random.key(1), (2, TIME, HEIGHT - 2 * margin, WIDTH - 2 * margin, FEATURES))
    return jnp.pad(inside, ((0, 0), (0, 0), (margin, margin), (margin, margin), (0, 0)))


def test_nothing_is_shifted_before_training() -> None:
    np.testing.assert_array_equal(make()(behaviour(), jnp.asarray(1)), np.zeros((2, TIME, 2)))


@pytest.mark.parametrize("hidden", [(10,), (6, 5)])
def test_nothing_is_shifted_at_the_mean(hidden: tuple[int, ...]) -> None:
    shifter = trained(hidden=hidden)
    at_mean = jnp.broadcast_to(jnp.asarray(MEAN[1]), (1, TIME, CHANNELS))
    np.testing.assert_allclose(shifter(at_mean, jnp.asarray(1)), np.zeros((1, TIME, 2)), atol=1e-5)
    unknown = jnp.full((1, TIME, CHANNELS), jnp.nan)
    np.testing.assert_allclose(shifter(unknown, jnp.asarray(1)), np.zeros((1, TIME, 2)), atol=1e-5)
    assert np.abs(shifter(at_mean, jnp.asarray(0))).min() > 0.01


def test_the_shift_is_that_of_the_formula_and_bounded() -> None:
    shifter, x = trained(max_shift=4.0), np.asarray(behaviour(), np.float64)
    kernel, bias, output = (
        np.asarray(v[...][2], np.float64) for v in (*shifter.kernels, *shifter.biases, shifter.output)
    )
    units = np.tanh((x - MEAN[2]) / 2 @ kernel + bias) - np.tanh(bias)
    found = shifter(behaviour(), jnp.asarray(2))
    np.testing.assert_allclose(found, 4 * np.tanh(units @ output), rtol=1e-4, atol=1e-5)
    assert np.abs(found).max() <= 4


@pytest.mark.slow
def test_sessions_have_rows_of_their_own() -> None:
    """Gradients of a session leave the rows of others alone, and begin where there is no shift yet."""
    graph, variables = nnx.split(make())

    def loss(variables: nnx.State, session: int) -> jax.Array:
        shift = nnx.merge(graph, variables)(behaviour(), jnp.asarray(session))
        return make_readout("point_gaussian").shifted(maps(), shift).sum()

    gradient = np.asarray(jax.grad(lambda v: loss(v, 1))(variables)["output"][...])
    assert np.abs(gradient[1]).min() > 0
    np.testing.assert_array_equal(gradient[[0, 2]], 0)


def test_a_network_without_hidden_layers() -> None:
    with pytest.raises(UserError, match=r"hidden of the shifter is empty; give the units of at least one layer"):
        make(hidden=())


def test_maps_move_by_whole_pixels() -> None:
    """Rows and columns that come in are 0; not moving is no change, to the bit."""
    x = maps()
    expected = np.zeros_like(x)
    expected[:, :, :-2, 1:] = np.asarray(x)[:, :, 2:, :-1]
    np.testing.assert_array_equal(moved(x, jnp.broadcast_to(jnp.array([2.0, -1.0]), (2, TIME, 2))), expected)
    np.testing.assert_array_equal(moved(x, jnp.zeros((2, TIME, 2))), x)


def test_maps_move_by_parts_of_a_pixel_at_each_time() -> None:
    x, shift = maps(), jnp.zeros((2, TIME, 2)).at[1, 3].set(jnp.array([0.25, 0.0]))
    found = np.asarray(moved(x, shift))
    x = np.asarray(x)
    np.testing.assert_allclose(found[1, 3, :-1], 0.75 * x[1, 3, :-1] + 0.25 * x[1, 3, 1:], rtol=1e-5, atol=1e-6)
    np.testing.assert_array_equal(found[0], x[0])


def test_maps_that_are_not_moved_have_a_gradient() -> None:
    """It is that towards larger shifts; with none, a shifter could not begin to learn."""
    x, weight = maps(), maps(margin=2)
    gradient = jax.grad(lambda shift: (moved(x, shift) * weight).sum())(jnp.zeros((2, TIME, 2)))
    step = 1 / 64
    along = [np.asarray(moved(x, jnp.broadcast_to(step * axis, (2, TIME, 2))) - x) for axis in jnp.eye(2)]
    expected = np.stack([(difference * weight).sum(axis=(2, 3, 4)) / step for difference in along], axis=-1)
    np.testing.assert_allclose(gradient, expected, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("align_corners", [True, False])
def test_points_are_read_at_shifted_positions(align_corners: bool) -> None:
    """As if every neuron had been moved by hand, in pixels of the maps."""
    readout, other = (make_readout("point_gaussian", align_corners=align_corners) for _ in range(2))
    shift = jnp.array([1.5, -0.75])
    size = np.array([WIDTH, HEIGHT]) - align_corners
    other.means.positions[...] = readout.means.positions[...] + jnp.asarray(
        2 * np.array([-0.75, 1.5]) / size, jnp.float32
    )
    found = readout.shifted(maps(), jnp.broadcast_to(shift, (2, TIME, 2)))
    np.testing.assert_allclose(found, other(maps()), rtol=2e-5)
    assert np.abs(np.asarray(found - readout(maps()))).max() > 0.01


def test_a_mask_is_moved() -> None:
    """As if its centre had been moved; what it sees of the border is 0."""
    readout, other = (make_readout("gaussian_mask", nonlinearity="identity") for _ in range(2))
    for one in (readout, other):
        one.mask_log_var[...] = jnp.full(N, -3.5)
    spacing = [2 * size / max(HEIGHT, WIDTH) / (size - 1) for size in (HEIGHT, WIDTH)]
    other.mask_mean[...] = jnp.broadcast_to(jnp.asarray([-1.0, 2.0]) * jnp.asarray(spacing), (N, 2))
    found = readout.shifted(maps(margin=3), jnp.broadcast_to(jnp.array([-1.0, 2.0]), (2, TIME, 2)))
    np.testing.assert_allclose(found, other(maps(margin=3)), rtol=1e-3, atol=1e-4)
