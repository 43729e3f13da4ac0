"""Kinds of model variables. The kind says how a variable is trained, sharded and saved."""

from flax import nnx


class NeuronParam(nnx.Param):
    """A trained parameter with one row per neuron: axis 0 is the neuron."""


class Constant(nnx.Variable):
    """A number that belongs to the model but is not trained."""
