"""The readout's rows as a table of numbers, their objective, and their validation score.

The objective of training is a sum over neurons, but for penalties that couple the neurons of a session. A session's
penalty is shared among its rows in proportion to what each has alone. That is exact for sums and means over neurons,
and holds at the point where the shares were taken for others, such as the roughness of all masks over their norm.
"""

from typing import Any, cast

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jaxtyping import Array, Float

from openretina_jax.evaluation.monitor import CorrelationScore
from openretina_jax.models.core_readout import CoreReadout
from openretina_jax.modules.layers import NeuronParam
from openretina_jax.modules.readouts.readout import Readout
from openretina_jax.training.adaptation.maps import Maps, Piece, in_order_of_time
from openretina_jax.training.objective import Loss

Table = Float[Array, "neuron number"]
PerNeuron = Float[Array, " neuron"]


class Rows:
    """Rows of a model's readout: as a table, in their constraints, and how well they predict.

    Args:
        model: model whose readout is fitted; all its rows are.
        loss: loss of predictions, whose ``samples`` balance data and penalties.
        training: maps and responses that the rows are fitted to.
        validation: those that they are scored on.
    """

    def __init__(self, model: CoreReadout, loss: Loss, training: Maps, validation: Maps):
        self._graph, self._rows, self._others = split(model.readout)
        self._training, self._validation, self._loss = training, validation, loss
        sizes = list(model.data_info.sessions.values())
        self._session, self._n_sessions = jnp.asarray(np.repeat(np.arange(len(sizes)), sizes), jnp.int32), len(sizes)
        self._data_term = jax.jit(jax.grad(self._data_terms, has_aux=True))
        self._penalty_term = jax.jit(jax.grad(self._penalty_terms, has_aux=True))
        self._clip_scores = jax.jit(self._scores_of_piece)
        self._samples = jax.jit(self._samples_of_piece)
        self.weight = self._weights()
        self.shares = jax.jit(self._shares)(self.table)

    @property
    def table(self) -> Table:
        """The rows of the model as they are, inside their constraints."""
        return jax.jit(self.projected)(flat(self._rows))

    def readout(self, table: Table) -> Readout:
        """The readout with these rows."""
        return nnx.merge(self._graph, unflat(table, self._rows), self._others, copy=True)

    def __call__(self, table: Table) -> tuple[PerNeuron, Table]:
        """Objective of every row and its gradient: one pass over the training data."""
        gradient, value = self._penalty_term(table, self.shares)
        for piece in self._training:
            more, terms = self._data_term(table, piece, self.weight)
            gradient, value = gradient + more, value + terms
        return value, gradient

    def scores(self, table: Table) -> PerNeuron:
        """Validation correlation of every neuron, a mean over clips; NaN for neurons without responses."""
        total = jnp.zeros((2, len(table)))
        for piece in self._validation:
            total = total + self._clip_scores(table, piece)
        return total[0] / total[1]

    def flat(self, readout: Readout) -> Table:
        """The rows of a readout as a table."""
        return flat(nnx.state(readout, NeuronParam))

    def feature_penalty(self, readout: Readout) -> Float[Array, "neuron feature"]:
        """Weight of the absolute value of every feature weight in the objective: the slope of the penalty above 0."""
        graph, rows, others = split(readout)

        def penalty(features: Array) -> Array:
            copy: Any = nnx.merge(graph, rows, others, copy=True)
            copy.features[...] = features
            return (self._alone(copy) * self.shares).sum()

        return jax.jit(jax.grad(penalty))(jnp.ones_like(cast(Array, readout.feature_weights())))

    def _data_terms(self, table: Table, piece: Piece, weight: PerNeuron) -> tuple[Array, PerNeuron]:
        response = piece.responses
        width, recorded = response.shape[-1], jnp.isfinite(response)
        prediction = self.readout(table)(in_order_of_time(piece.maps), piece.first, width)
        # as in ``ResponseObjective``: 0 times an infinite prediction that does not count would be NaN
        prediction = jnp.where(recorded, prediction, 0)
        sums, _ = self._loss.sums(*(x[None] for x in (prediction, without_nan(response), recorded)))
        value = jnp.zeros(len(table)).at[piece.first + jnp.arange(width)].add(sums[0]) * weight
        return value.sum(), value

    def _weights(self) -> PerNeuron:
        """Weight of every neuron's sum of losses: its data term stands for ``samples`` frames (or windows)."""
        count = jnp.zeros(len(self._session))
        for windows in self._training.responses():
            count = count + self._samples(windows.responses, windows.first)
        return jnp.where(count > 0, self._loss.samples / jnp.maximum(count, 1), 0)

    def _samples_of_piece(self, responses: Array, first: Array) -> PerNeuron:
        """Number of samples of every neuron that its loss counts, frames or windows."""
        anything = jnp.ones((1, *responses.shape))
        _, samples = self._loss.sums(anything, anything, jnp.isfinite(responses)[None])
        return jnp.zeros(len(self._session)).at[first + jnp.arange(responses.shape[-1])].add(samples[0])

    def _penalty_terms(self, table: Table, shares: PerNeuron) -> tuple[Array, PerNeuron]:
        value = self._alone(self.readout(table)) * shares
        return value.sum(), value

    def _alone(self, readout: Readout) -> PerNeuron:
        """Penalty of every row, were it alone in its session."""
        row = jnp.arange(len(self._session))
        return jax.vmap(lambda row, session: readout.penalty(row, session[None], self._n_sessions))(row, self._session)

    def _shares(self, table: Table) -> PerNeuron:
        """Part of a row's penalty alone that counts: what makes the sum over a session's rows its penalty."""
        readout = self.readout(table)
        alone = self._alone(readout)
        each = jax.ops.segment_sum(alone, self._session, self._n_sessions)

        def of_session(number: Array) -> Array:
            session = jnp.where(self._session == number, number, self._n_sessions)
            return readout.penalty(0, session, self._n_sessions)

        whole = jax.vmap(of_session)(jnp.arange(self._n_sessions, dtype=jnp.int32))
        return jnp.where(each > 0, whole / jnp.where(each > 0, each, 1), 0)[self._session]

    def projected(self, table: Table) -> Table:
        """The rows moved into their constraints."""
        readout = self.readout(table)
        readout.project(jnp.ones(len(table), bool))
        return flat(nnx.state(readout, NeuronParam))

    def _scores_of_piece(self, table: Table, piece: Piece) -> Float[Array, "2 neuron"]:
        """Sum over the clips of a piece of every neuron's correlation, and their number."""
        recorded, width = jnp.isfinite(piece.responses), piece.responses.shape[-1]
        prediction = self.readout(table)(in_order_of_time(piece.maps), piece.first, width)
        score = CorrelationScore().value(prediction, without_nan(piece.responses), recorded)
        clips = recorded.any(axis=1)
        sums = jnp.stack([jnp.where(clips, score, 0).sum(axis=0), clips.sum(axis=0).astype(score.dtype)])
        return jnp.zeros((2, len(table))).at[:, piece.first + jnp.arange(width)].add(sums)


def split(readout: Readout) -> tuple[nnx.GraphDef, nnx.State, nnx.State]:
    """Structure of a readout, its variables with a row per neuron, and the others."""
    graph, rows, others = nnx.split(readout, NeuronParam, ...)  # type: ignore[misc]
    return graph, rows, others


def flat(rows: nnx.State) -> Table:
    """Variables with a row per neuron, side by side."""
    leaves = jax.tree.leaves(rows)
    return jnp.concatenate([leaf.reshape(len(leaf), -1) for leaf in leaves], axis=1)


def unflat(table: Table, like: nnx.State) -> nnx.State:
    """Undo ``flat``."""
    leaves, structure = jax.tree.flatten(like)
    ends = np.cumsum([leaf.size // len(leaf) for leaf in leaves])[:-1]
    parts = jnp.split(table, ends, axis=1)
    return jax.tree.unflatten(structure, [part.reshape(leaf.shape) for part, leaf in zip(parts, leaves, strict=True)])


def without_nan(response: Array) -> Array:
    """Responses with 0 where nothing was recorded."""
    return jnp.where(jnp.isfinite(response), response, 0)
