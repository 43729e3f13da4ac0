"""The spatial contrast readout with trained filters, and where single-cell readouts begin."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from openretina_jax.data.sta import LinearFilters
from openretina_jax.modules.layers import NeuronParam
from openretina_jax.modules.readouts import READOUTS

N, SIDE, FRAMES, PATCH = 4, 12, 6, 5
GAMMAS = ("gamma_smooth_space", "gamma_smooth_time", "gamma_sparse")
respond = nnx.jit(lambda readout, movie: readout(movie))
gradient = nnx.jit(nnx.grad(lambda readout, movie: jnp.square(readout(movie)).mean(), argnums=0))


def make(kind: str = "spatial_contrast", **options: Any) -> Any:
    given = {
        "in_shape": (SIDE, SIDE, 1),
        "n_neurons": N,
        "mean_activity": jnp.array([0.05, 0.1, 0.3, 2.0]),
        "rngs": nnx.Rngs(0),
    }
    if "rf_location" in options:
        given["rf_location"] = options.pop("rf_location")
    size = {"patch": (PATCH, PATCH)} if kind == "spatial_contrast" else {"spatial_size": (PATCH, PATCH)}
    trained = {"filters": "trained"} if kind == "spatial_contrast" else {}
    return READOUTS.make({"kind": kind, "temporal_frames": FRAMES, **size, **trained, **options}, given)


def filters(significant: tuple[bool, ...] = (True,) * N) -> LinearFilters:
    """One pixel and one frame for every neuron, each elsewhere."""
    spatial, temporal = np.zeros((N, 1, SIDE, SIDE), np.float32), np.zeros((N, FRAMES), np.float32)
    centre = np.array([[2, 3], [5, 5], [9, 4], [7, 8]], np.float32)
    for neuron, (row, column) in enumerate(centre.astype(int)):
        spatial[neuron, 0, row, column] = 1
        temporal[neuron, neuron] = (-1) ** neuron
    slope = np.array([0.02, 0.05, 0.1, 0.5], np.float32)
    return LinearFilters(np.array(significant), centre, spatial, temporal, slope)


def movie(frames: int = 40) -> jax.Array:
    return jax.random.normal(jax.random.key(1), (2, frames, SIDE, SIDE, 1))


@pytest.mark.slow
def test_filters_are_trained_within_their_constraints() -> None:
    readout = make(init_w=0.5)
    slopes = gradient(readout, movie())
    assert all(np.abs(np.asarray(slopes[name][...])).max() > 0 for name in ("spatial", "temporal", "w"))
    for name, scale in {"spatial": 3.0, "temporal": -0.2, "b": 1.0}.items():  # any step
        variable = getattr(readout, name)
        assert isinstance(variable, NeuronParam)
        noise = jax.random.normal(jax.random.key(2), variable.shape)
        variable[...] = scale * (variable[...] + noise)
    before = respond(readout, movie())
    readout.project(jnp.ones(N, bool))
    np.testing.assert_allclose(respond(readout, movie()), before, rtol=1e-4, atol=1e-6)
    assert (readout.spatial[...] >= 0).all()
    assert (readout.b[...] >= 0).all()
    np.testing.assert_allclose(jnp.square(readout.spatial[...]).mean(axis=(1, 2)), 1, rtol=1e-5)
    np.testing.assert_allclose(jnp.square(readout.temporal[...]).sum(axis=1), 1, rtol=1e-5)


def test_it_responds_as_with_given_filters() -> None:
    trained, given = make(init_w=0.7), make(init_w=0.7, filters="given")
    spatial = np.random.default_rng(0).random((N, SIDE, SIDE), np.float32)
    centres = np.array([[2, 3], [5, 5], [9, 4], [7, 8]])
    for readout in (trained, given):
        readout.set_filters(spatial, np.asarray(trained.temporal[...]), centres)
    assert not isinstance(given.spatial, NeuronParam)
    np.testing.assert_allclose(respond(trained, movie()), respond(given, movie()), rtol=1e-5)


@pytest.mark.parametrize("gamma", GAMMAS)
def test_penalties_of_trained_filters(gamma: str) -> None:
    """They do not depend on the size of a filter, are larger for rough or spread ones, and none for given ones."""

    def penalty(readout: Any) -> float:
        return float(readout.penalty(0, jnp.zeros(N, int), 1))

    readout = make(**{gamma: 1.0})
    plain = penalty(readout)
    assert plain > 0
    readout.spatial[...] *= 3
    readout.temporal[...] *= 3
    assert penalty(readout) == pytest.approx(plain, rel=1e-5)
    if gamma == "gamma_sparse":
        readout.spatial[...] = jnp.ones_like(readout.spatial[...])
    else:
        signs = (-1) ** jnp.arange(FRAMES)
        readout.spatial[...] = readout.spatial[...].at[:, ::2].set(0)
        readout.temporal[...] = jnp.broadcast_to(signs, readout.temporal.shape).astype(jnp.float32)
    assert penalty(readout) > 1.05 * plain
    assert penalty(make(**{gamma: 1.0}, filters="given")) == 0


@pytest.mark.parametrize(
    ("kind", "options"),
    [("spatial_contrast", {}), ("separable_lnp", {}), ("separable_lnp", {"nonlinearity": "softplus", "bias": True})],
)
def test_offsets_start_at_the_mean(kind: str, options: dict[str, Any]) -> None:
    readout = make(kind, start_at_mean=True, **options)
    silence = respond(readout, jnp.zeros((1, FRAMES, SIDE, SIDE, 1)))[0, 0]
    np.testing.assert_allclose(silence, [0.05, 0.1, 0.3, 2.0], rtol=0.02)


@pytest.mark.parametrize("kind", ["spatial_contrast", "separable_lnp"])
def test_rows_start_at_their_filters(kind: str) -> None:
    """The response changes with the filtered movie as its slope says; other rows stay as they were."""
    options = {} if kind == "spatial_contrast" else {"normalize": False, "nonlinearity": "softplus", "bias": True}
    readout, fresh = (make(kind, start_at_mean=True, start_at_sta=True, **options) for _ in range(2))
    given = filters()
    readout.start_at(given.of(np.arange(3)), np.arange(3))
    light = np.zeros((1, FRAMES, SIDE, SIDE, 1), np.float32)
    for neuron, (row, column) in enumerate(given.centre.astype(int)[:3]):
        light[0, neuron, row, column] = 1e-2
    silent, seen = (np.asarray(respond(readout, jnp.asarray(x)))[0, 0] for x in (0 * light, light))
    signs = (-1.0) ** np.arange(3)
    np.testing.assert_allclose((seen - silent)[:3], 1e-2 * signs * given.slope[:3], rtol=0.02)
    for variable, before in zip(jax.tree.leaves(nnx.state(readout)), jax.tree.leaves(nnx.state(fresh)), strict=True):
        np.testing.assert_array_equal(variable[3], before[3])


@pytest.mark.parametrize("kind", ["spatial_contrast", "separable_lnp"])
def test_neurons_without_an_sta_are_placed_where_it_would_be_largest(kind: str) -> None:
    readout, fresh = make(kind), make(kind)
    readout.start_at(filters((True, False, True, True)), np.arange(N))
    np.testing.assert_array_equal(readout.temporal[...][1], fresh.temporal[...][1])
    np.testing.assert_array_equal(readout.corner[...][1], [3, 3])  # of 5 x 5 pixels around (5, 5)
    assert readout.masks()[1, 5, 5] > 0


def test_known_locations_stay() -> None:
    readout = make(rf_location=jnp.full((N, 2), 8), start_at_sta=True)
    np.testing.assert_array_equal(readout.masks().argmax(axis=2).max(axis=1), 8)
    readout.start_at(filters((False,) * N), np.arange(N))
    np.testing.assert_array_equal(readout.corner[...], np.full((N, 2), 6))
