"""Broken models: controls that a score against the truth must tell from a trained model."""

import numpy as np
from flax import nnx

from openretina_jax.models.build import make_model
from openretina_jax.models.ensemble import Ensemble
from openretina_jax.models.model import Model
from openretina_jax.modules.layers import NeuronConstant, NeuronParam, SessionNumber


def untrained_core(model: Model, seed: int = 0) -> Model:
    """Make a model with a fresh core; all else, such as the places of the neurons, is as trained.

    Args:
        model: a trained model; it is not changed.
        seed: seed of the fresh core.
    """
    fresh = make_model(model.options, model.data_info, seed)
    trained = dict(nnx.to_flat_state(nnx.state(model)))
    nnx.update(fresh, nnx.from_flat_state([(path, trained[path]) for path in trained if "core" not in path]))
    return fresh


def shuffled_rows(model: Model, seed: int = 0) -> Model:
    """Make a model in which every neuron has the readout of another one.

    Args:
        model: a trained model; it is not changed.
        seed: seed of the order.
    """
    graph, state = nnx.split(model)
    order = np.random.default_rng(seed).permutation(model.data_info.n_neurons)
    other = np.empty_like(order)
    other[order] = np.roll(order, 1)
    axis = 1 if isinstance(model, Ensemble) else 0  # an axis of members comes before that of neurons

    def shuffled(variable: nnx.Variable) -> nnx.Variable:
        per_neuron = isinstance(variable, NeuronParam | NeuronConstant) and not isinstance(variable, SessionNumber)
        return variable.replace(variable[...].take(other, axis=axis)) if per_neuron else variable

    moved = [(path, shuffled(variable)) for path, variable in nnx.to_flat_state(state)]
    return nnx.merge(graph, nnx.from_flat_state(moved), copy=True)
