"""The core + readout model of all sessions."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jaxtyping import Array, Float

from openretina_jax.data.dataset import DataInfo
from openretina_jax.errors import UserError


class CoreReadout(nnx.Module):
    """A core shared by all sessions and a readout with one row per neuron.

    Attributes:
        core: stimulus to feature maps.
        readout: feature maps to responses.
        data_info: what the model knows of its data.
    """

    def __init__(self, core: Any, readout: Any, data_info: DataInfo):
        self.core, self.readout = core, readout
        self.data_info = nnx.static(data_info)

    def __call__(
        self,
        stimulus: Float[Array, "batch time height width channel"]
        | Float[np.ndarray, "batch time height width channel"],
        session: str | None = None,
    ) -> Float[Array, "batch new_time neuron"]:
        """Predicted responses to a normalised stimulus.

        Args:
            stimulus: windows of a movie, normalised as ``data_info`` says.
            session: whose neurons (None: those of all sessions, in the order of ``data_info.sessions``).

        Raises:
            UserError: the session is unknown, or the stimulus has other pixels or channels than the model's.
        """
        if stimulus.shape[2:] != self.data_info.input_shape:
            raise UserError(
                f"the stimulus has (height, width, channel) {stimulus.shape[2:]}, the model needs "
                f"{self.data_info.input_shape}; axes are (batch, time, height, width, channel)"
            )
        start, width = (0, self.data_info.n_neurons) if session is None else self.rows(session)
        return self.readout(self.core(jnp.asarray(stimulus)), start, width)

    def rows(self, session: str) -> tuple[int, int]:
        """First row and number of rows of a session in the readout's table.

        Raises:
            UserError: the model has no such session.
        """
        start = 0
        for name, count in self.data_info.sessions.items():
            if name == session:
                return start, count
            start += count
        known = ", ".join(self.data_info.sessions)
        raise UserError(f'the model has no session "{session}"; it has {known}')

    def stimulus_shape(self, time_steps: int, batch: int = 1) -> tuple[int, int, int, int, int]:
        """Shape of a stimulus of that many frames: (batch, time, height, width, channel)."""
        return (batch, time_steps, *self.data_info.input_shape)

    @property
    def lag(self) -> int:
        """Frames by which a prediction is shorter than its stimulus."""
        return lag(self.core, self.data_info.input_shape)


def lag(core: Any, input_shape: tuple[int, int, int]) -> int:
    """Frames by which a core's output is shorter than its input."""
    return PROBE_FRAMES - output_shape(core, input_shape)[0]


def output_shape(core: Any, input_shape: tuple[int, int, int]) -> tuple[int, int, int, int]:
    """(time, height, width, feature) of a core's output for a probe of ``PROBE_FRAMES`` frames.

    Raises:
        UserError: nothing is left of the frames: the kernels are larger than the image.
    """
    probe = jax.ShapeDtypeStruct((1, PROBE_FRAMES, *input_shape), jnp.float32)
    shape = jax.eval_shape(core, probe).shape[1:]
    if min(shape) <= 0:
        raise UserError(
            f"a stimulus of {input_shape[0]} x {input_shape[1]} pixels leaves (time, height, width, feature) {shape} "
            "after the core; take smaller kernels or pad more"
        )
    return shape


PROBE_FRAMES = 512  # longer than any receptive field
