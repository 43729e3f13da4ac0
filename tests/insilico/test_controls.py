"""Broken models: what they keep of the trained one, and what not."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from openretina_jax.insilico.controls import shuffled_rows, untrained_core
from openretina_jax.models.ensemble import Ensemble
from openretina_jax.models.model import Model
from tests import tiny

MODELS = {"model": lambda: tiny.model(), "ensemble": lambda: Ensemble([tiny.model(), tiny.model(seed=1)])}


def parts(model: Model) -> dict[str, dict[tuple, np.ndarray]]:
    """Values of the core and of all else."""
    flat = {path: np.asarray(variable[...]) for path, variable in nnx.to_flat_state(nnx.state(model))}
    return {
        "core": {path: value for path, value in flat.items() if "core" in path},
        "rest": {path: value for path, value in flat.items() if "core" not in path},
    }


@pytest.mark.parametrize("kind", MODELS)
def test_only_the_core_is_fresh(kind: str) -> None:
    model = MODELS[kind]()
    before, after = parts(model), parts(untrained_core(model, seed=7))
    assert before["core"].keys() == after["core"].keys()
    assert any((before["core"][path] != value).any() for path, value in after["core"].items())
    jax.tree.map(np.testing.assert_array_equal, before["rest"], after["rest"])
    jax.tree.map(np.testing.assert_array_equal, before, parts(model))


@pytest.mark.parametrize("kind", MODELS)
def test_every_neuron_answers_as_another_one(kind: str) -> None:
    model = MODELS[kind]()
    stimulus = jax.random.normal(jax.random.key(0), model.stimulus_shape(10))
    before = np.asarray(tiny.predict(model, jnp.asarray(stimulus)))[0, -1]
    after = np.asarray(tiny.predict(shuffled_rows(model), jnp.asarray(stimulus)))[0, -1]
    assert len(set(before.round(6))) == len(before)
    same = np.abs(before - after[:, None]) < 1e-5
    np.testing.assert_array_equal(same.sum(axis=1), 1)
    np.testing.assert_array_equal(same.sum(axis=0), 1)
    assert not same.diagonal().any()
