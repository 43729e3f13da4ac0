"""Kinds of model variables. The kind says how a variable is trained, sharded and saved, and what its first axis is."""

from flax import nnx


class NeuronParam(nnx.Param):
    """A trained parameter with one row per neuron: axis 0 is the neuron."""


class SessionParam(nnx.Param):
    """A trained parameter with one row per session: axis 0 is the session."""


class Constant(nnx.Variable):
    """A number that belongs to the model but is not trained."""


class NeuronConstant(Constant):
    """A constant with one row per neuron: axis 0 is the neuron."""


class SessionConstant(Constant):
    """A constant with one row per session: axis 0 is the session."""


class SessionNumber(NeuronConstant):
    """The number of every neuron's session, which follows the order of the sessions."""


class ReferenceSession(SessionConstant):
    """Which session the parameters of all others are relative to: true in its row, wherever that comes to lie."""
