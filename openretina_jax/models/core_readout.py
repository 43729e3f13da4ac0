"""The core + readout model of all sessions."""

from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int, Key

from openretina_jax.data.info import DataInfo
from openretina_jax.errors import UserError
from openretina_jax.models.model import PROBE_FRAMES, Model
from openretina_jax.modules.cores.core import Core, ReceptiveField, with_history
from openretina_jax.modules.readouts.readout import Readout
from openretina_jax.runtime import devices


class CoreReadout(Model):
    """A core that all sessions share and a readout with one row per neuron.

    Attributes:
        core: turns stimuli into feature maps.
        readout: turns feature maps into responses.
    """

    def __init__(self, core: Core, readout: Readout, options: Mapping[str, Any], data_info: DataInfo):
        super().__init__(options, data_info)
        self.core, self.readout = core, readout

    def _facts(self) -> dict[str, str]:
        kinds = {part: self.options[part]["kind"] for part in ("core", "readout")}
        field = self.receptive_field()
        frames = "no end" if field.frames is None else f"{field.frames} frames"
        return {**kinds, **super()._facts(), "receptive field": f"{frames}, {field.height} x {field.width} pixels"}

    @property
    def per_session(self) -> bool:
        """Whether the core has parameters or conditions of its own for every session."""
        return self.core.per_session

    def respond(
        self,
        stimulus: Float[Array, "part batch time height width channel"],
        first: Int[Array, " part"],
        width: int,
        session: Int[Array, " part"] | None = None,
        *,
        train: bool = False,
        key: Key[Array, ""] | None = None,
        condition: Float[Array, "windows condition"] | None = None,
    ) -> Float[Array, "part batch new_time neuron"]:
        """Compute the responses of a slice of neurons for each part of a batch, see ``Model``."""
        core_key, readout_key = (None, None) if key is None else jax.random.split(key)
        keys = None
        if readout_key is not None:
            keys = jax.random.split(readout_key, max(len(first), devices.count(devices.DATA)))

        def of_windows(model: CoreReadout, key: Array | None, windows: Any, parts: Any) -> Array:
            (stimulus, condition), (first, session, keys) = windows, parts
            given = {} if condition is None else {"condition": condition}
            maps = model.core(stimulus, train=train, key=key, session=session, **given)
            maps = maps.reshape(len(first), -1, *maps.shape[1:])
            responses = jax.vmap(lambda part, row, key: model.readout(part, row, width, key=key))(maps, first, keys)
            return responses.reshape(-1, *responses.shape[2:])

        windows = stimulus.reshape(-1, *stimulus.shape[2:])
        # nothing is before the core, so the backward pass comes to it last
        responses = devices.map_windows(
            of_windows, self, core_key, (windows, condition), (first, session, keys), train=train, last="core"
        )
        return responses.reshape(*stimulus.shape[:2], *responses.shape[1:])

    def respond_rows(
        self,
        stimulus: Float[Array, "target time height width channel"],
        rows: Int[Array, "target member"],
        session: Int[Array, " target"] | None = None,
    ) -> Float[Array, "target new_time member"]:
        """Compute the responses of chosen neurons by one pass of the core, see ``Model``."""
        maps = self.core(stimulus, session=session)

        def response(maps: Array, row: Array) -> Array:
            return self.readout(maps[None], row, 1)[0, :, 0]

        return jax.vmap(jax.vmap(response, in_axes=(None, 0), out_axes=-1))(maps, rows)

    def begin(self) -> dict[str, Any]:
        """Make the history before the first frame: the core's, and the maps that the readout looks back to."""
        history = self.core.begin(self.data_info.input_shape)
        frame = jax.ShapeDtypeStruct(self.stimulus_shape(1), jnp.float32)
        maps, _ = jax.eval_shape(lambda core, *arrays: core.advance(*arrays), self.core, history, frame)
        return {"core": history, "maps": jnp.zeros((1, self.readout.frames - 1, *maps.shape[2:]), maps.dtype)}

    def advance(
        self,
        history: Any,
        frame: Float[Array, "1 1 height width channel"],
        first: Int[Array, "1"],
        width: int,
        session: Int[Array, "1"] | None = None,
    ) -> tuple[Float[Array, " neuron"], Any]:
        """Compute the responses of a slice of neurons to one more frame, see ``Model``."""
        newest, core = self.core.advance(history["core"], frame, session)
        maps, past = with_history(history["maps"], newest)
        return self.readout(maps, first[0], width)[0, -1], {"core": core, "maps": past}

    def project(self, rows: Bool[Array, " neuron"]) -> None:
        """Apply the readout's constraints to these rows."""
        self.readout.project(rows)

    def receptive_field(self) -> ReceptiveField:
        """Frames and pixels of the stimulus that a prediction depends on, see ``Model``."""
        return self.core.receptive_field(self.readout.frames)


def output_shape(core: Core, input_shape: tuple[int, int, int]) -> tuple[int, int, int, int]:
    """Compute (time, height, width, feature) of a core's output for a probe of ``PROBE_FRAMES`` frames.

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
