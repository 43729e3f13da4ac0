"""The core + readout model of all sessions."""

from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int, Key

from openretina_jax.data.info import DataInfo
from openretina_jax.errors import UserError
from openretina_jax.models.model import PROBE_FRAMES, Model
from openretina_jax.modules.cores.core import Core, ReceptiveField, with_history
from openretina_jax.modules.readouts.readout import Readout
from openretina_jax.modules.shifters import Shifter
from openretina_jax.runtime import devices


class CoreReadout(Model):
    """A core that all sessions share and a readout with one row per neuron.

    Attributes:
        core: turns stimuli into feature maps.
        readout: turns feature maps into responses.
        shifter: turns behaviour into shifts of the readout, or None.

    Raises:
        UserError: there is a shifter, but not a map for every frame.
    """

    def __init__(
        self,
        core: Core,
        readout: Readout,
        options: Mapping[str, Any],
        data_info: DataInfo,
        shifter: Shifter | None = None,
    ):
        super().__init__(options, data_info)
        self.core, self.readout, self.shifter = core, readout, shifter
        if shifter is not None and self.receptive_field().future is None:
            raise UserError(
                "a shifter needs a map for every frame, but the core makes fewer (downsample_input or strides in time)"
            )

    def _facts(self) -> dict[str, str]:
        parts = ("core", "readout", "shifter")
        kinds: dict[str, str] = {part: self.options[part]["kind"] for part in parts if part in self.options}
        field = self.receptive_field()
        frames = "no end" if field.frames is None else f"{field.frames} frames"
        return {**kinds, **super()._facts(), "receptive field": f"{frames}, {field.height} x {field.width} pixels"}

    @property
    def per_session(self) -> bool:
        """Whether the core has parameters or conditions of its own for every session."""
        return self.core.per_session

    @property
    def reads_behaviour(self) -> bool:
        """Whether there is a shifter."""
        return self.shifter is not None

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
        behaviour: Float[Array, "part batch time behaviour"] | None = None,
    ) -> Float[Array, "part batch new_time neuron"]:
        """Compute the responses of a slice of neurons for each part of a batch, see ``Model``.

        Without behaviour nothing is shifted, as at the mean behaviour.
        """
        core_key, readout_key = (None, None) if key is None else jax.random.split(key)
        keys = None if readout_key is None else jax.random.split(readout_key, len(first))

        def of_windows(model: CoreReadout, key: Array | None, windows: Any, parts: Any) -> Array:
            (stimulus, condition, behaviour), (first, session, keys) = windows, parts
            given = {} if condition is None else {"condition": condition}
            maps = model.core(stimulus, train=train, key=key, session=session, **given)
            maps = maps.reshape(len(first), -1, *maps.shape[1:])
            if behaviour is None:
                responses = jax.vmap(lambda part, row, key: model.readout(part, row, width, key=key))(maps, first, keys)
            else:
                of_maps = behaviour.reshape(*maps.shape[:2], *behaviour.shape[1:])[:, :, -maps.shape[2] :]
                shift = jax.vmap(model.shift)(of_maps, session)
                responses = jax.vmap(
                    lambda part, shift, row, key: model.readout.shifted(part, shift, row, width, key=key)
                )(maps, shift, first, keys)
            return responses.reshape(-1, *responses.shape[2:])

        if behaviour is not None:
            behaviour = behaviour.reshape(-1, *behaviour.shape[2:])
        windows = stimulus.reshape(-1, *stimulus.shape[2:])
        # nothing is before the core, so the backward pass comes to it last
        responses = devices.map_windows(
            of_windows,
            self,
            core_key,
            (windows, condition, behaviour),
            (first, session, keys),
            train=train,
            last="core",
        )
        return responses.reshape(*stimulus.shape[:2], *responses.shape[1:])

    def shifts(
        self, behaviour: Float[Array, "time channel"] | Float[np.ndarray, "time channel"], session: str
    ) -> Float[Array, "time 2"]:
        """Compute how far a session's neurons look away at every time, along height and width in pixels of the maps.

        Args:
            behaviour: as it was recorded.
            session: name of the session.

        Raises:
            UserError: the model has no shifter, no such session, or other channels.
        """
        self.check_behaviour(behaviour[None], session, (1, len(behaviour)))
        number = list(self.data_info.sessions).index(session)
        return self.shift(jnp.asarray(behaviour, jnp.float32), jnp.asarray(number))

    def shift(
        self, behaviour: Float[Array, "*batch time channel"], session: Int[Array, ""]
    ) -> Float[Array, "*batch time 2"]:
        """Compute the shifts of the readout of a session by number, see ``Shifter``."""
        assert self.shifter is not None, "only a model with a shifter reads behaviour"
        return self.shifter(behaviour, session)

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
        maps, _ = devices.eval_shape(lambda core, *arrays: core.advance(*arrays), self.core, history, frame)
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
    shape = devices.eval_shape(core, probe).shape[1:]
    if min(shape) <= 0:
        raise UserError(
            f"a stimulus of {input_shape[0]} x {input_shape[1]} pixels leaves (time, height, width, feature) {shape} "
            "after the core; take smaller kernels or pad more"
        )
    return shape
