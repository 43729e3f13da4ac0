"""Predictions frame by frame, for experiments that are driven by them."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jaxtyping import Array, Float, Int

from openretina_jax.errors import UserError


class StreamState(NamedTuple):
    """All that the next prediction depends on; zeros before the first frame.

    Attributes:
        history: what the model keeps of earlier frames; its size does not grow.
        frames: frames so far.
        finite: frames since the last one with NaN or infinity, or since the beginning.
    """

    history: Any
    frames: Int[Array, ""]
    finite: Int[Array, ""]


class Stream:
    """Predictions of a model frame by frame, see ``Model.stream``.

    ``step`` is pure: a state can be kept, and continued in several ways. The model is read when the stream is made;
    later changes of its parameters do not count.

    Attributes:
        lag: frames at the beginning that have no prediction.

    Args:
        model: a ``Model`` whose predictions do not depend on later frames.
        first, width, session: slice of neurons, see ``Model.slice_of``.

    Raises:
        UserError: the model looks into the future.
    """

    def __init__(self, model: Any, first: Int[Array, "1"], width: int, session: Int[Array, "1"] | None):
        field = model.receptive_field()
        if field.future is None:
            raise UserError(
                "the model computes fewer maps than frames (downsample_input or strides in time), so that a frame has "
                "no prediction of its own; predict whole movies instead"
            )
        if field.future:
            raise UserError(
                f"a prediction of this model depends on {field.future} later frames, since its core is padded in time; "
                "train it with input_padding and hidden_padding of (0, height, width)"
            )
        self.lag, self._past = model.lag, field.past
        self._first, self._width, self._session = first, width, session
        self._graph, self._variables = nnx.split(model)
        self._model = nnx.merge(self._graph, self._variables, copy=True)
        self._advance = jax.jit(self._advanced)

    def init(self) -> StreamState:
        """Make the state before the first frame."""
        return StreamState(self._model.begin(), jnp.int32(0), jnp.int32(0))

    def step(
        self,
        state: StreamState,
        frame: Float[Array, "height width channel"] | Float[np.ndarray, "height width channel"],
    ) -> tuple[Float[Array, " neuron"], StreamState]:
        """Predict the responses to one more frame.

        They are NaN for the first ``lag`` frames, and as long as a frame with NaN or infinity lies in the receptive
        field, as for whole stimuli.

        Args:
            state: that after the frame before.
            frame: normalised frame.

        Raises:
            UserError: the frame has other pixels or channels than the model's.
        """
        self._model.check_stimulus(jax.ShapeDtypeStruct((1, 1, *np.shape(frame)), jnp.float32))
        return self._advance(self._variables, state, jnp.asarray(frame, jnp.float32))

    def _advanced(self, variables: Any, state: StreamState, frame: Array) -> tuple[Array, StreamState]:
        model: Any = nnx.merge(self._graph, variables, copy=True)
        good = jnp.isfinite(frame).all()
        shown = jnp.where(good, frame, 0)[None, None]
        responses, history = model.advance(state.history, shown, self._first, self._width, self._session)
        finite = jnp.where(good, state.finite + 1, 0)
        never_bad = finite > state.frames
        valid = (state.frames >= self.lag) & (never_bad if self._past is None else never_bad | (finite > self._past))
        return jnp.where(valid, responses, jnp.nan), StreamState(history, state.frames + 1, finite)
