"""Mean positions of neurons on the feature maps: free, shared between neurons, or predicted."""

import itertools
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jaxtyping import Array, Bool, Float, Float32, Int

from openretina_jax.errors import UserError
from openretina_jax.modules import initial
from openretina_jax.modules.layers import NeuronConstant, NeuronParam, ReferenceSession, SessionNumber, SessionParam
from openretina_jax.modules.readouts.readout import Row, rows_of, straight_through, where_rows
from openretina_jax.runtime.devices import precision
from openretina_jax.runtime.registry import construct

Ids = tuple[int, ...] | tuple[str, ...]
Positions = tuple[tuple[float, float], ...]


class OwnMeans(nnx.Module):
    """Every neuron has its own mean position, which stays inside the maps.

    Attributes:
        positions: ``(neuron, 2)``.
    """

    def __init__(self, positions: Float[Array, "neuron 2"]):
        self.positions = NeuronParam(positions)

    def __call__(self, first: Row, width: int) -> Float[Array, "row 2"]:
        """Means of a slice of neurons."""
        return _inside(rows_of(self.positions, first, width))

    def distinct(self) -> Float[Array, "neuron 2"]:
        """All means."""
        return _inside(self.positions[...])

    def project(self, rows: Bool[Array, " neuron"]) -> None:
        """Move the means of these rows into the maps."""
        self.positions[...] = where_rows(rows, self.distinct(), self.positions[...])


class SharedMeans(nnx.Module):
    """Neurons of the same id have the same mean position.

    Attributes:
        positions: ``(id, 2)``, in the order of the sorted ids.
        index: ``(neuron,)`` row of ``positions``.
    """

    def __init__(self, positions: Float[Array, "id 2"], index: Int[np.ndarray, " neuron"]):
        self.positions, self.index = nnx.Param(positions), NeuronConstant(jnp.asarray(index))

    def __call__(self, first: Row, width: int) -> Float[Array, "row 2"]:
        """Means of a slice of neurons."""
        return self.positions[...][rows_of(self.index, first, width)]

    def distinct(self) -> Float[Array, "id 2"]:
        """The mean of each id."""
        return self.positions[...]

    def project(self, rows: Bool[Array, " neuron"]) -> None:
        """Do nothing: shared means may leave the maps, positions are clipped where they are used."""
        del rows


class MappedMeans(nnx.Module):
    """Shared mean positions, which every session but the reference (the first) sees through a linear map of its own.

    Attributes:
        shared: the means as they are in the reference session.
        session: ``(neuron,)`` session of each neuron.
        reference: ``(session,)`` True for the reference session, which keeps its part when sessions are reordered.
        matrix, offset: ``(session, 2, 2)`` and ``(session, 2)`` parameters of the maps; they begin as the identity,
            which the reference session keeps.
    """

    def __init__(self, shared: SharedMeans, session: Int[np.ndarray, " neuron"]):
        n_sessions = int(session[-1]) + 1
        self.shared, self.session = shared, SessionNumber(jnp.asarray(session))
        self.reference = ReferenceSession(jnp.arange(n_sessions) == 0)
        self.matrix = SessionParam(jnp.tile(jnp.eye(2), (n_sessions, 1, 1)))
        self.offset = SessionParam(initial.full((n_sessions, 2), 0.0))

    def __call__(self, first: Row, width: int) -> Float[Array, "row 2"]:
        """Means of a slice of neurons."""
        shared, session = self.shared(first, width), rows_of(self.session, first, width)
        mapped = jnp.einsum("nij,nj->ni", self.matrix[...][session], shared, precision=precision())
        return where_rows(self.reference[...][session], shared, mapped + self.offset[...][session])

    def distinct(self) -> Float[Array, "id 2"]:
        """The mean of each id in the session without a map."""
        return self.shared.distinct()

    def project(self, rows: Bool[Array, " neuron"]) -> None:
        """Reset the map of the reference session to the identity, which weight decay shrinks."""
        del rows
        reference = self.reference[...]
        self.matrix[...] = jnp.where(reference[:, None, None], jnp.eye(2), self.matrix[...])
        self.offset[...] = jnp.where(reference[:, None], 0, self.offset[...])


class PredictedMeans(nnx.Module):
    """Mean positions predicted from other numbers, such as the places of the neurons in the recording.

    Attributes:
        source: ``(neuron, source)`` numbers, centred and scaled to at most 1.
        network: the layers, with ELU between them.

    Args:
        source_positions: one row of numbers per neuron.
        hidden_layers: hidden layers of the network (0: it is linear).
        hidden_features: units of a hidden layer.
        final_tanh: whether the network ends with a hyperbolic tangent, which keeps the means inside the maps.
        n_neurons: rows of the table.
        rngs: random streams.

    Raises:
        UserError: there are not as many rows as neurons, they differ in length, or all are the same.
    """

    def __init__(
        self,
        source_positions: tuple[tuple[float, ...], ...],
        *,
        hidden_layers: int = 0,
        hidden_features: int = 20,
        final_tanh: bool = False,
        n_neurons: int,
        rngs: nnx.Rngs,
    ):
        lengths = sorted({len(row) for row in source_positions})
        if len(source_positions) != n_neurons or len(lengths) != 1:
            raise UserError(
                f"source_positions has {len(source_positions)} rows of {' or '.join(map(str, lengths))} numbers; "
                f"it must have {n_neurons} of one length, one for each neuron of the table"
            )
        source = np.asarray(source_positions, np.float64)
        source -= source.mean(axis=0)
        if not source.any():
            raise UserError("source_positions are the same for all neurons; give each its own")
        self.source = NeuronConstant(jnp.asarray(source / np.abs(source).max(), jnp.float32))
        sizes = [lengths[0], *[hidden_features] * hidden_layers, 2]
        layers: list[Any] = []
        for inputs, outputs in itertools.pairwise(sizes):
            layers += [_linear(inputs, outputs, rngs), nnx.elu]
        self.network = nnx.Sequential(*layers[:-1], *[jnp.tanh] * final_tanh)

    def __call__(self, first: Row, width: int) -> Float[Array, "row 2"]:
        """Means of a slice of neurons."""
        return self.network(rows_of(self.source, first, width))

    def distinct(self) -> Float[Array, "neuron 2"]:
        """All means."""
        return self.network(self.source[...])

    def project(self, rows: Bool[Array, " neuron"]) -> None:
        """Do nothing: the network has no constraint."""
        del rows


def make_means(
    session: Int[np.ndarray, " neuron"],
    *,
    init_mean: float,
    initial_positions: Positions | None,
    location: Float[Array, "neuron 2"] | None,
    position_ids: Ids | None,
    position_map: bool,
    position_predictor: Mapping[str, Any] | None,
    rngs: nnx.Rngs,
) -> OwnMeans | SharedMeans | MappedMeans | PredictedMeans:
    """Make the mean positions that the options of a readout ask for.

    Args:
        session: session of each neuron.
        location: positions at which neurons with means of their own begin; NaN, or None, where they are not known.
        init_mean, initial_positions, position_ids, position_map, position_predictor, rngs: see
            ``PointGaussianReadout``.

    Raises:
        UserError: options exclude each other, or do not fit the table.
    """
    choices = {
        "initial_positions": initial_positions,
        "position_ids": position_ids,
        "position_predictor": position_predictor,
    }
    chosen = [name for name, value in choices.items() if value is not None]
    if len(chosen) > 1:
        raise UserError(f"{' and '.join(chosen)} exclude each other; give one of them")
    n_neurons = len(session)
    if position_predictor is not None:
        given = {"n_neurons": n_neurons, "rngs": rngs}
        return construct(PredictedMeans, "position_predictor", position_predictor, given)
    if position_ids is not None:
        distinct, index = numbered("position_ids", position_ids, n_neurons)
        shared = SharedMeans(initial.uniform(rngs, (distinct, 2), init_mean), index)
        return MappedMeans(shared, session) if position_map and session[-1] > 0 else shared
    if initial_positions is not None:
        return OwnMeans(_checked(initial_positions, n_neurons))
    random = initial.uniform(rngs, (n_neurons, 2), init_mean)
    return OwnMeans(random if location is None else jnp.where(jnp.isfinite(location), location, random))


def numbered(option: str, ids: Ids, n_neurons: int) -> tuple[int, Int[np.ndarray, " neuron"]]:
    """Number the distinct ids in sorted order; returns how many there are, and the number of each neuron's id.

    Args:
        option: name of the option that holds the ids, for messages.
        ids: one per neuron.
        n_neurons: rows of the table.

    Raises:
        UserError: there are not as many ids as neurons.
    """
    if len(ids) != n_neurons:
        raise UserError(f"{option} has {len(ids)} ids; it must have {n_neurons}, one for each neuron of the table")
    distinct, index = np.unique(np.asarray(ids), return_inverse=True)
    return len(distinct), index.astype(np.int32)


def _checked(positions: Positions, n_neurons: int) -> Float32[Array, "neuron 2"]:
    array = np.asarray(positions, np.float32)
    if len(array) != n_neurons or not (np.abs(array) <= 1).all():
        raise UserError(
            f"initial_positions has {len(array)} positions from {array.min()} to {array.max()}; it must have "
            f"{n_neurons} inside -1 to 1, one for each neuron of the table"
        )
    return jnp.asarray(array)


def _inside(positions: Float[Array, "neuron 2"]) -> Float[Array, "neuron 2"]:
    return straight_through(jnp.clip(positions, -1, 1), positions)


def _linear(inputs: int, outputs: int, rngs: nnx.Rngs) -> nnx.Linear:
    """A linear layer whose weights and offsets are uniform up to the inverse root of the inputs, as in torch."""

    def draw(key: Array, shape: tuple[int, ...], dtype: Any) -> Array:
        return jax.random.uniform(key, shape, dtype, -(inputs**-0.5), inputs**-0.5)

    return nnx.Linear(inputs, outputs, kernel_init=draw, bias_init=draw, rngs=rngs)
