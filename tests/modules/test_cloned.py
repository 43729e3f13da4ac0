"""One readout for sessions of the same neurons."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from openretina_jax.errors import UserError
from openretina_jax.modules.layers import NeuronConstant, NeuronParam
from openretina_jax.modules.readouts import READOUTS
from openretina_jax.modules.readouts.cloned import ClonedReadout

SIZE, SESSIONS = 3, 3
N = SIZE * SESSIONS
SESSION = jnp.repeat(jnp.arange(SESSIONS), SIZE)
SOURCES = [
    {"kind": "gaussian_mask", "positive": True},
    {"kind": "point_gaussian", "feature_ids": [0, 1, 0]},
    {"kind": "factorized"},
]


@nnx.jit
def penalty_of(readout: ClonedReadout, first: int, session: jax.Array) -> jax.Array:
    return readout.penalty(first, session, SESSIONS)


def make(source: dict[str, Any], sizes: tuple[int, ...] = (SIZE,) * SESSIONS, **options: Any) -> ClonedReadout:
    n = sum(sizes)
    given = {
        "in_shape": (4, 5, 2),
        "n_neurons": n,
        "session_sizes": sizes,
        "mean_activity": jnp.arange(n, dtype=jnp.float32),
        "rngs": nnx.Rngs(0),
    }
    readout = READOUTS.make({"kind": "cloned", "source": source, **options}, given)
    readout.alpha[...] = 1 + 0.1 * jnp.arange(n, dtype=jnp.float32)
    readout.beta[...] = 0.01 * jnp.arange(n, dtype=jnp.float32)
    return readout


MAPS = jax.random.normal(jax.random.key(0), (2, 3, 4, 5, 2))


@pytest.mark.slow
@pytest.mark.parametrize("source", SOURCES, ids=lambda source: source["kind"])
def test_sessions_and_slices(source: dict[str, Any]) -> None:
    readout = make(source)
    both = nnx.jit(lambda readout: (readout.source(MAPS), readout(MAPS)))(readout)
    response, whole = map(np.asarray, both)
    assert response.shape[-1] == SIZE
    np.testing.assert_allclose(whole[..., :SIZE], response, rtol=1e-6)
    for first in (SIZE, 2 * SIZE):
        rows = slice(first, first + SIZE)
        expected = response * np.asarray(readout.alpha[...])[rows] + np.asarray(readout.beta[...])[rows]
        np.testing.assert_allclose(whole[..., rows], expected, rtol=1e-6)
    read = jax.jit(lambda first: readout(MAPS, first, 4))
    for first in (0, 2, 5):
        np.testing.assert_allclose(read(jnp.asarray(first)), whole[..., first : first + 4], rtol=1e-6)
    assert readout.masks().shape == (N, 4, 5)
    np.testing.assert_allclose(
        readout.feature_weights()[SIZE:],
        jnp.tile(readout.source.feature_weights(), (2, 1)) * readout.alpha[SIZE:, None],
    )


@pytest.mark.parametrize("source", SOURCES, ids=lambda source: source["kind"])
def test_all_sessions_train_the_source(source: dict[str, Any]) -> None:
    readout = make(source)
    state = nnx.state(readout.source)
    kinds = {type(v) for _, v in nnx.to_flat_state(state)}
    assert not kinds & {NeuronParam, NeuronConstant}
    np.testing.assert_array_equal(readout.source.bias[...], jnp.arange(SIZE))


@pytest.mark.parametrize("average", [False, True])
def test_penalty(average: bool) -> None:
    source = {"kind": "gaussian_mask", "gamma_features": 3.0, "average_penalty": average}
    readout = make(source, gamma=0.5, average_penalty=average)
    reduce = jnp.mean if average else jnp.sum
    own = readout.source.penalty(0, jnp.zeros(SIZE, int), 1)
    scaled = jnp.abs(readout.feature_weights()).reshape(SESSIONS, -1)
    expected = [own, *(0.5 * reduce(scaled[1:], axis=1))]
    for session, value in enumerate(expected):
        here = penalty_of(readout, session * SIZE, SESSION[session * SIZE :][:SIZE])
        np.testing.assert_allclose(here, value, rtol=1e-5)
    np.testing.assert_allclose(penalty_of(readout, 0, SESSION), sum(expected), rtol=1e-5)
    # a slice that begins inside a session, whose rows do not count
    inside = penalty_of(readout, 1, jnp.asarray([SESSIONS, SESSIONS, 1, 1, 1]))
    np.testing.assert_allclose(inside, expected[1], rtol=1e-5)


def test_penalty_has_gradients() -> None:
    readout = make({"kind": "point_gaussian"})
    graph, params, rest = nnx.split(readout, nnx.Param, ...)

    def penalty(params: nnx.State) -> jax.Array:
        return nnx.merge(graph, params, rest).penalty(0, SESSION, SESSIONS)

    gradient = jax.jit(jax.grad(penalty))(params)
    np.testing.assert_array_equal(gradient["alpha"][...] != 0, SESSION > 0)
    assert (gradient["source"]["features"][...] > 0).all()


def test_the_first_session_has_no_gain_and_offset() -> None:
    readout = make(SOURCES[0])
    readout.source.features[...] = -jnp.ones((SIZE, 2))
    readout.alpha[...], readout.beta[...] = jnp.full(N, 2.0), jnp.full(N, 0.5)
    readout.project(jnp.arange(N) == SIZE)  # only the first neuron, of the second session
    np.testing.assert_array_equal(readout.alpha[...], [1] * SIZE + [2] * 2 * SIZE)
    np.testing.assert_array_equal(readout.beta[...], [0] * SIZE + [0.5] * 2 * SIZE)
    np.testing.assert_array_equal(readout.source.features[:, 0], [0, -1, -1])


def test_a_source_without_feature_weights_is_refused() -> None:
    with pytest.raises(UserError, match='scales the feature weights of its source, but "spatial_contrast" has none'):
        READOUTS.make(
            {"kind": "cloned", "source": {"kind": "spatial_contrast"}},
            {"in_shape": (4, 5, 1), "n_neurons": SIZE, "session_sizes": (SIZE,), "rngs": nnx.Rngs(0)},
        )


def test_unequal_sessions_are_refused() -> None:
    with pytest.raises(UserError, match=r"the same neurons in all sessions, but they have 2, 3 neurons"):
        make(SOURCES[0], sizes=(2, 3))
