"""Contracts that every core and every readout keeps, and how an incomplete one is refused."""

from typing import Any

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from openretina_jax.modules.cores import CORES
from openretina_jax.modules.cores.core import Core
from openretina_jax.modules.layers import NeuronParam
from openretina_jax.modules.readouts import READOUTS
from openretina_jax.modules.readouts.readout import Readout, Row, rows_of, weigh_maps

SIZES = (3, 3)
N = sum(SIZES)
SESSION = jnp.repeat(jnp.arange(2), 3)
HEIGHT, WIDTH, FRAMES = 6, 5, 9
LAYERS = {"hidden_channels": (3,), "temporal_kernel_sizes": (4,), "spatial_kernel_sizes": (3,)}
CORE_OPTIONS: dict[str, dict[str, Any]] = {
    "identity": {"cut_first_frames": 2},
    "simple": LAYERS | {"gamma_input": 0.1, "gamma_hidden": 0.2},
    "gru": LAYERS | {"recurrent_channels": 2, "gamma_recurrent": 0.1},
}
READOUT_OPTIONS: dict[str, dict[str, Any]] = {
    "cloned": {"source": {"kind": "gaussian_mask"}},
    "separable_lnp": {"spatial_size": (3, 3), "temporal_frames": 4},
    "spatial_contrast": {"temporal_frames": 4},
}


class OnePixel(Readout):
    """As little as a readout can be: every neuron weighs the features of the first pixel."""

    def __init__(self, n_neurons: int, features: int):
        self.n_neurons = n_neurons
        self.weights = NeuronParam(jnp.arange(n_neurons * features, dtype=jnp.float32).reshape(n_neurons, features))

    def __call__(self, maps: jax.Array, first: Row = 0, width: int | None = None, *, key: Any = None) -> jax.Array:
        width = self.n_neurons if width is None else width
        return weigh_maps(maps[:, :, :1, :1], rows_of(self.weights, first, width)[:, None, None])


def make_readout(kind: str) -> tuple[Any, jax.Array]:
    """A readout of that kind, and maps for it."""
    features = 1 if kind == "spatial_contrast" else 2
    maps = jax.random.normal(jax.random.key(1), (2, FRAMES, HEIGHT, WIDTH, features))
    if kind == "one_pixel":
        return OnePixel(N, features), maps
    given = {
        "in_shape": (HEIGHT, WIDTH, features),
        "n_neurons": N,
        "session_sizes": SIZES,
        "mean_activity": jnp.linspace(0, 1, N),
        "rngs": nnx.Rngs(0),
    }
    return READOUTS.make({"kind": kind, **READOUT_OPTIONS.get(kind, {})}, given), maps


respond = nnx.jit(lambda readout, maps, first=0, width=None: readout(maps, first, width), static_argnums=(2, 3))
shifted = nnx.jit(lambda readout, maps, shift: readout.shifted(maps, shift))
project = nnx.jit(lambda readout, rows: readout.project(rows))
READOUT_KINDS = pytest.mark.parametrize("kind", ["one_pixel", *READOUTS.kinds()])
CORE_KINDS = pytest.mark.parametrize("kind", CORES.kinds())


@pytest.mark.parametrize("base", [Core, Readout])
def test_incomplete_classes_are_refused_when_built(base: type[nnx.Module]) -> None:
    class Incomplete(base):  # type: ignore[misc, valid-type]
        pass

    with pytest.raises(TypeError, match=r"abstract class Incomplete .* '?__call__"):
        Incomplete()


@READOUT_KINDS
def test_a_readout_that_looks_elsewhere(kind: str) -> None:
    """Its responses are those to maps that were moved; looking where it looked changes nothing."""
    readout, maps = make_readout(kind)
    nowhere = jnp.zeros((2, FRAMES, 2))
    np.testing.assert_allclose(shifted(readout, maps, nowhere), respond(readout, maps), rtol=2e-5, atol=1e-6)
    down = nowhere.at[..., 0].set(1)
    expected = respond(readout, jnp.pad(maps[:, :, 1:], ((0, 0), (0, 0), (0, 1), (0, 0), (0, 0))))
    if kind != "point_gaussian":  # which reads between the last row and the 0 beyond it
        np.testing.assert_allclose(shifted(readout, maps, down), expected, rtol=2e-5, atol=1e-6)


@READOUT_KINDS
def test_a_readout_reads_any_slice(kind: str) -> None:
    """One program serves slices from any row on; the last response belongs to the last map."""
    readout, maps = make_readout(kind)
    whole = np.asarray(respond(readout, maps))
    assert whole.shape == (2, FRAMES - readout.frames + 1, N)
    chex.clear_trace_counter()
    read = jax.jit(chex.assert_max_traces(lambda first: readout(maps, first, 2), n=1))
    for first in (0, 3):
        expected = whole[..., first : first + 2]
        np.testing.assert_allclose(read(jnp.asarray(first, jnp.int32)), expected, rtol=1e-5, atol=1e-6)
        np.testing.assert_allclose(respond(readout, maps, first, 2), expected, rtol=1e-5, atol=1e-6)
    later = respond(readout, maps.at[:, -1].add(1.0))
    np.testing.assert_allclose(later[:, :-1], whole[:, :-1], rtol=1e-5, atol=1e-6)


@READOUT_KINDS
def test_a_penalty_is_a_sum_over_sessions(kind: str) -> None:
    readout, _ = make_readout(kind)
    penalty = nnx.jit(lambda readout, session: readout.penalty(0, session, 2))
    alone = [penalty(readout, jnp.where(session == SESSION, session, 2)) for session in (0, 1)]
    np.testing.assert_allclose(penalty(readout, SESSION), sum(alone), rtol=1e-5)
    assert penalty(readout, jnp.full(N, 2)) == 0


@READOUT_KINDS
def test_constraints_are_kept_once_they_hold(kind: str) -> None:
    """A second projection changes nothing, and neither does one of no rows."""
    readout, maps = make_readout(kind)
    project(readout, np.ones(N, bool))
    before = jax.tree.map(np.array, nnx.state(readout))
    project(readout, np.zeros(N, bool))
    chex.assert_trees_all_equal(nnx.state(readout), before)
    project(readout, np.ones(N, bool))
    chex.assert_trees_all_close(nnx.state(readout), before, rtol=1e-6)
    chex.assert_tree_all_finite(respond(readout, maps))


@READOUT_KINDS
def test_weights_have_a_row_per_neuron_or_are_not_there(kind: str) -> None:
    readout, maps = make_readout(kind)
    for weights, shape in (
        (readout.masks(), (N, *maps.shape[2:4])),
        (readout.feature_weights(), (N, maps.shape[4])),
    ):
        assert weights is None or weights.shape == shape
    assert (readout.feature_weights() is None) == (kind in ("one_pixel", "spatial_contrast"))


@CORE_KINDS
def test_a_core(kind: str) -> None:
    """The last map belongs to the last frame, and the regulariser is the sum of the named penalties."""
    core = CORES.make({"kind": kind, **CORE_OPTIONS[kind]}, {"in_channels": 2, "n_sessions": 1, "rngs": nnx.Rngs(0)})
    stimulus = jax.random.normal(jax.random.key(0), (1, FRAMES, HEIGHT, WIDTH, 2))
    maps = nnx.jit(lambda core, stimulus: core(stimulus))(core, stimulus)
    later = nnx.jit(lambda core, stimulus: core(stimulus))(core, stimulus.at[:, -1].add(100.0))
    np.testing.assert_allclose(later[:, :-1], maps[:, :-1], rtol=1e-5, atol=1e-6)
    assert jnp.abs(later[:, -1] - maps[:, -1]).max() > 1e-3
    field = core.receptive_field()
    assert field.future == 0
    np.testing.assert_allclose(core.regularizer(), sum(core.penalties().values()), rtol=1e-6)
    assert set(core.penalties()) == {name.removeprefix("gamma_") for name in CORE_OPTIONS[kind] if "gamma" in name}
