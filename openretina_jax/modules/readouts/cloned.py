"""A readout shared by sessions that recorded the same neurons."""

from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Bool, Float, Float32, Int, Key, Num

from openretina_jax.errors import UserError
from openretina_jax.modules import initial
from openretina_jax.modules.layers import (
    Constant,
    NeuronConstant,
    NeuronParam,
    ReferenceSession,
    SessionConstant,
    SessionNumber,
    SessionParam,
)
from openretina_jax.modules.readouts import READOUTS
from openretina_jax.modules.readouts.readout import Readout, Row, rows_of, session_means, session_sums
from openretina_jax.modules.regularizers import absolute

# variables with a row per neuron or session, and those that take their place in the source, which all sessions share
OF_ALL_SESSIONS: dict[type, type[nnx.Variable]] = {
    NeuronParam: nnx.Param,
    SessionParam: nnx.Param,
    NeuronConstant: Constant,
    SessionNumber: Constant,
    SessionConstant: Constant,
    ReferenceSession: Constant,
}


@READOUTS("cloned")
class ClonedReadout(Readout):
    """The readout of the first session, with a gain and an offset for every neuron of the other sessions.

    All sessions hold the same neurons in the same order, and all of them train the source.

    Attributes:
        source: readout of the neurons of one session.
        original: ``(session,)`` True for the session of the source, which keeps its part when sessions are added or
            reordered.
        alpha, beta: ``(neuron,)`` gain and offset of the source's response; 1 and 0 in the original session.

    Args:
        in_shape: (height, width, feature) of the feature maps.
        n_neurons: rows of the table.
        source: kind and options of the source readout, which must have ``feature_weights``.
        gamma: weight of the L1 penalty on the source's feature weights times ``alpha``, in every session but the
            original; there it is the source's own penalty.
        average_penalty: average over a session's weights instead of summing.
        session_sizes: neurons of each session (None: there is one session).
        mean_activity: ``(neuron,)`` initial offsets; the source takes those of the first session (None: 0).
        rf_location, map_location: ``(neuron, 2)`` row and column of receptive fields in the stimulus and in the maps,
            for sources that take them.
        rngs: random streams.

    Raises:
        UserError: sessions differ in size, or the source has no such kind or option, or no feature weights.
    """

    def __init__(
        self,
        in_shape: tuple[int, int, int],
        n_neurons: int,
        *,
        source: Mapping[str, Any],
        gamma: float = 1.0,
        average_penalty: bool = False,
        session_sizes: tuple[int, ...] | None = None,
        mean_activity: Float[Array, " neuron"] | None = None,
        rf_location: Num[Array, "neuron 2"] | None = None,
        map_location: Float[Array, "neuron 2"] | None = None,
        rngs: nnx.Rngs,
    ):
        sizes = (n_neurons,) if session_sizes is None else session_sizes
        size = sizes[0]
        if set(sizes) != {size}:
            raise UserError(
                f'readout "cloned" needs the same neurons in all sessions, but they have {", ".join(map(str, sizes))} '
                "neurons; take another kind of readout, or leave out the neurons that are not in all"
            )
        self.n_neurons, self.gamma, self.average_penalty = n_neurons, gamma, average_penalty
        given = {
            "in_shape": in_shape,
            "n_neurons": size,
            "n_sessions": 1,
            "session_sizes": (size,),
            "mean_activity": None if mean_activity is None else mean_activity[:size],
            "rf_location": None if rf_location is None else rf_location[:size],
            "map_location": None if map_location is None else map_location[:size],
            "rngs": rngs,
        }
        self.source = READOUTS.make(source, given)
        if jax.eval_shape(self.source.feature_weights) is None:
            raise UserError(
                f'readout "cloned" scales the feature weights of its source, but "{source["kind"]}" has none; '
                'choose a source with feature weights, such as "gaussian_mask"'
            )
        _give_to_all_sessions(self.source)
        self.frames = self.source.frames
        self.original = ReferenceSession(jnp.arange(len(sizes)) == 0)
        self.alpha, self.beta = NeuronParam(initial.full(n_neurons, 1.0)), NeuronParam(initial.full(n_neurons, 0.0))

    def __call__(
        self,
        maps: Float[Array, "batch time height width feature"],
        first: Row = 0,
        width: int | None = None,
        *,
        key: Key[Array, ""] | None = None,
    ) -> Float[Array, "batch new_time neuron"]:
        """Responses of a slice of neurons, which may begin and end in any session."""
        width = self.n_neurons if width is None else width
        row, cloned = self._slice(first, width)
        response = self.source(maps, key=key)[..., row]
        beta = jnp.where(cloned, rows_of(self.beta, first, width), 0)
        return response * self._gains(first, width) + beta

    def masks(self) -> Float32[Array, "neuron height width"] | None:
        """Every neuron's mask, that of the source; None where that has none."""
        masks = self.source.masks()
        return None if masks is None else masks[self._slice(0, self.n_neurons)[0]]

    def feature_weights(self) -> Float32[Array, "neuron feature"]:
        """Every neuron's feature weights: those of the source times the gain."""
        return self._scaled_features(0, self.n_neurons)

    def project(self, rows: Bool[Array, " neuron"]) -> None:
        """Apply the source's constraints to the neurons of these rows; no gain and offset in the original session."""
        row, cloned = self._slice(0, len(rows))
        self.source.project(jnp.zeros(self.source.n_neurons, bool).at[row].max(rows))
        self.alpha[...] = jnp.where(cloned, self.alpha[...], 1)
        self.beta[...] = jnp.where(cloned, self.beta[...], 0)

    def centre(self) -> None:
        """Move every neuron of the source to the middle."""
        self.source.centre()

    def penalty(self, first: Row, session: Int[Array, " row"], n_sessions: int) -> Float32[Array, ""]:
        """The source's penalty in the original session, in the others absolute feature weights times the gain."""
        width = len(session)
        row, cloned = self._slice(first, width)
        reduce, over_session = (jnp.mean, session_means) if self.average_penalty else (jnp.sum, session_sums)
        size = reduce(absolute(self._scaled_features(first, width)), axis=1)
        penalty = self.gamma * over_session(size, jnp.where(cloned, session, n_sessions), n_sessions).sum()
        # the session that the slice gives to every row of the source; rows outside the slice do not count
        outside = jnp.full(self.source.n_neurons, n_sessions, session.dtype)
        original = outside.at[jnp.where(cloned, len(outside), row)].set(session, mode="drop")
        return penalty + self.source.penalty(0, original, n_sessions)

    def _slice(self, first: Row, width: int) -> tuple[Int[Array, " row"], Bool[Array, " row"]]:
        """The source's row for each row of a slice, and whether it belongs to another session than the original.

        Rows that fill up the shares of several devices belong to no session.
        """
        row = jax.lax.dynamic_slice_in_dim(jnp.arange(self.alpha.shape[0]), first, width)
        session, row = jnp.divmod(row, self.source.n_neurons)
        return row, ~self.original[...].at[session].get(mode="fill", fill_value=False)

    def _gains(self, first: Row, width: int) -> Float[Array, " row"]:
        return jnp.where(self._slice(first, width)[1], rows_of(self.alpha, first, width), 1)

    def _scaled_features(self, first: Row, width: int) -> Float[Array, "row feature"]:
        row, _ = self._slice(first, width)
        return self.source.feature_weights()[row] * self._gains(first, width)[:, None]


def _give_to_all_sessions(readout: Readout) -> None:
    """Turn variables with a row per neuron or session into variables that all sessions share."""
    modules = [node for _, node in nnx.iter_graph(readout) if isinstance(node, nnx.Module)]
    for module in modules:
        for name, value in list(vars(module).items()):
            if type(value) in OF_ALL_SESSIONS:
                setattr(module, name, OF_ALL_SESSIONS[type(value)](value[...]))
