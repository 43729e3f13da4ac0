"""The objective of rows is that of training."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from openretina_jax.data.batches import DataArrays, Timelines
from openretina_jax.data.timelines import Tables
from openretina_jax.evaluation.predict import Scorer, Split
from openretina_jax.models.build import make_core_readout
from openretina_jax.models.core_readout import CoreReadout
from openretina_jax.modules.layers import NeuronParam
from openretina_jax.training.adaptation import maps, rows
from openretina_jax.training.adaptation.maps import Maps
from openretina_jax.training.adaptation.rows import Rows
from openretina_jax.training.objective import Correlation, Loss, Poisson, ResponseObjective
from tests import tiny

READOUTS: dict[str, dict[str, Any]] = {
    "gaussian": tiny.MODEL["readout"],
    "averaged": tiny.MODEL["readout"] | {"average_penalty": True},
    "factorized": {"kind": "factorized", "gamma_laplace": 0.0},
    "rough": {"kind": "factorized", "mask_constraint": "abs"},
    "point": {"kind": "point_gaussian"},
}


def made(readout: str) -> CoreReadout:
    return make_core_readout(tiny.MODEL | {"readout": READOUTS[readout]}, tiny.dataset().info)


def rows_of(model: CoreReadout, loss: Loss) -> Rows:
    tables = Tables(tiny.dataset(), per_session=True)
    return Rows(
        model, loss, Maps(model, tables, tables.training(), False), Maps(model, tables, tables.validation(), True)
    )


@pytest.mark.slow
@pytest.mark.parametrize(
    ("readout", "loss"),
    [("gaussian", Poisson()), ("averaged", Correlation()), ("factorized", Poisson()), ("rough", Poisson())],
)
def test_the_objective_is_that_of_training(readout: str, loss: Loss, monkeypatch: pytest.MonkeyPatch) -> None:
    """On one window for every session, which holds all its training frames."""
    monkeypatch.setattr(maps, "PREDICTED_FRAMES", tiny.CLIPS * tiny.CLIP_LENGTH)
    model = made(readout)
    model.project(jnp.ones(model.data_info.n_neurons, bool))
    value, gradient = rows_of(model, loss)(rows.flat(nnx.state(model.readout, NeuronParam)))
    tables = Tables(tiny.dataset(), per_session=True)
    timelines = tables.training()
    numbers = jnp.arange(len(timelines))[:, None]
    batch = tiny.gather(
        DataArrays.of(tables),
        Timelines.of(timelines),
        numbers,
        jnp.zeros_like(numbers),
        window_frames=len(timelines[0]),
    )
    graph, params, others = nnx.split(model, lambda path, _: path[0] == "readout", ...)

    def objective(params: nnx.State) -> jax.Array:
        merged = nnx.merge(graph, params, others)
        found, metrics = ResponseObjective(loss)(merged, batch, train=False, key=None)
        return (found - metrics["penalty_core"]) * len(timelines)

    expected, slope = jax.jit(jax.value_and_grad(objective))(params)
    np.testing.assert_allclose(value.sum(), expected, rtol=1e-5)
    if readout != "rough":  # there the shares of a session's rows hold at this point only
        own = rows.flat(nnx.filter_state(slope["readout"], NeuronParam))
        np.testing.assert_allclose(gradient, own, rtol=1e-3, atol=1e-3 * float(jnp.abs(own).max()))


@pytest.mark.slow
def test_scores_are_those_of_training() -> None:
    model = made("gaussian")
    fitted = rows_of(model, Poisson())
    tables = Tables(tiny.dataset(), per_session=True)
    graph, state = nnx.split(model)
    expected = Scorer(graph)((state,), DataArrays.of(tables), Split(tables.validation()))["correlation"]
    np.testing.assert_allclose(fitted.scores(fitted.table), expected, atol=1e-5)


@pytest.mark.slow
def test_rows_obey_the_constraints_of_the_model() -> None:
    fitted = rows_of(made("gaussian"), Poisson())
    readout = fitted.readout(fitted.projected(fitted.table - 1.0))
    assert (readout.features[...] >= 0).all()
    positions = rows_of(made("point"), Poisson())
    moved = positions.readout(positions.projected(positions.table + 5.0))
    assert (jnp.abs(moved.means.positions[...]) <= 1).all()


def test_a_table_holds_the_rows() -> None:
    state = nnx.state(made("point").readout, NeuronParam)
    again = rows.unflat(rows.flat(state), state)
    assert jax.tree.all(jax.tree.map(lambda a, b: bool((a == b).all()), state, again))


@pytest.mark.parametrize(("readout", "weight"), [("gaussian", 0.1), ("averaged", 0.1 / 4), ("factorized", 1.0)])
def test_weight_of_the_penalty_on_features(readout: str, weight: float) -> None:
    model = made(readout)
    found = rows_of(model, Poisson()).feature_penalty(model.readout)
    counts = np.repeat(list(tiny.dataset().info.sessions.values()), list(tiny.dataset().info.sessions.values()))
    shared = weight if readout == "gaussian" else weight / counts[:, None]
    np.testing.assert_allclose(found, np.broadcast_to(shared, found.shape), rtol=1e-5)
