"""Models as programs that need nothing but JAX: StableHLO with the weights inside, for movies of any length.

The file is a zip archive: ``program`` is what ``jax.export`` serialised, ``metadata.json`` says what goes in and out.
"""

import json
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jax import export as jax_export
from jaxtyping import Array, Float

from openretina_jax.data.dataset import DataInfo
from openretina_jax.errors import UserError
from openretina_jax.models.build import make_model
from openretina_jax.models.model import PROBE_FRAMES, Model
from openretina_jax.runtime.files import whole_file

PLATFORMS = ("cpu", "cuda", "tpu")
PROGRAM, METADATA = "program", "metadata.json"
FORMAT = 1
NO_SESSION = -1  # the program then computes what is common to all sessions
LOWERING = "dense"  # the library's convolution, which all platforms have, for movies of any length


def export(model: Model, path: str | Path) -> None:
    """Write a model as one program for CPUs, GPUs and TPUs, with its weights and what one must know to use it.

    The program takes a normalised stimulus ``(batch, time, height, width, channel)`` and the number of a session, and
    gives the responses ``(batch, new_time, neuron)`` of all neurons; batch and time are free.

    Args:
        model: any model.
        path: the file to write; an earlier one is replaced.

    Raises:
        UserError: the file cannot be written.
    """
    portable = _portable(model)
    graph, state = nnx.split(portable)

    def respond(stimulus: Array, session: Array) -> Array:
        def of(number: Array | None) -> Array:
            model = nnx.merge(graph, state, copy=True)
            rows = model.data_info.n_neurons
            return model.respond(stimulus[None], jnp.zeros(1, jnp.int32), rows, number)[0]

        if not portable.per_session:
            return of(None)
        return jax.lax.cond(session < 0, lambda: of(None), lambda: of(jnp.maximum(session, 0)[None]))

    frames = shortest_stimulus(model)
    batch, time = jax_export.symbolic_shape("batch, time", constraints=["batch >= 1", f"time >= {frames}"])
    shapes = (
        jax.ShapeDtypeStruct((batch, time, *model.data_info.input_shape), jnp.float32),
        jax.ShapeDtypeStruct((), jnp.int32),
    )
    exported = jax_export.export(jax.jit(respond), platforms=PLATFORMS)(*shapes)
    metadata = {
        "format": FORMAT,
        "shortest_stimulus": frames,
        "per_session": portable.per_session,
        "axes": {
            "stimulus": ["batch", "time", "height", "width", "channel"],
            "responses": ["batch", "new_time", "neuron"],
        },
        "platforms": list(PLATFORMS),
        "options": model.options,
        "data_info": json.loads(model.data_info.to_json()),
    }
    with whole_file(Path(path)) as stream, zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr(METADATA, json.dumps(metadata, indent=1))
        archive.writestr(PROGRAM, bytes(exported.serialize()))


class ExportedModel:
    """A program that was exported, and what it knows of its data.

    Attributes:
        data_info: what the model knew of its data.
        options: what the model was built from.
        shortest_stimulus: frames of the shortest stimulus that has a response.
        per_session: whether predictions depend on the session beyond the rows of its neurons.
    """

    def __init__(self, program: jax_export.Exported, metadata: Mapping[str, Any]):
        self._program = jax.jit(program.call)
        self.data_info = DataInfo.from_json(json.dumps(metadata["data_info"]))
        self.options, self.per_session = metadata["options"], metadata["per_session"]
        self.shortest_stimulus = metadata["shortest_stimulus"]

    def __call__(
        self,
        stimulus: Float[Array, "batch time height width channel"]
        | Float[np.ndarray, "batch time height width channel"],
        session: str | None = None,
    ) -> Float[Array, "batch new_time neuron"]:
        """Predicted responses to a normalised stimulus, as those of the model.

        Args:
            stimulus: windows of a movie, normalised as ``data_info`` says.
            session: whose neurons (None: those of all sessions, in the order of ``data_info.sessions``).

        Raises:
            UserError: the session is unknown, the stimulus has other pixels or channels than the model's, or it is too
                short.
        """
        if stimulus.shape[2:] != self.data_info.input_shape or stimulus.shape[1] < self.shortest_stimulus:
            raise UserError(
                f"the stimulus has shape {stimulus.shape}; the model needs (batch, time, height, width, channel) = "
                f"(any, at least {self.shortest_stimulus}, {', '.join(map(str, self.data_info.input_shape))})"
            )
        sessions = self.data_info.sessions
        if session is not None and session not in sessions:
            raise UserError(f'the model has no session "{session}"; it has {", ".join(sessions)}')
        names = list(sessions)
        number = NO_SESSION if session is None else names.index(session)
        responses = self._program(jnp.asarray(stimulus, jnp.float32), jnp.int32(number))
        if session is None:
            return responses
        first = sum(sessions[name] for name in names[:number])
        return responses[..., first : first + sessions[session]]


def load_exported(path: str | Path) -> ExportedModel:
    """A program that ``export`` wrote, ready to be called.

    Raises:
        UserError: there is no such file, it is damaged, or it was written by a newer version.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            metadata = json.loads(archive.read(METADATA))
            if metadata["format"] != FORMAT:
                raise UserError(
                    f"{path}: has format {metadata['format']}, only {FORMAT} is known; update openretina_jax"
                )
            return ExportedModel(jax_export.deserialize(bytearray(archive.read(PROGRAM))), metadata)
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror or error}); check the path") from error
    except (zipfile.BadZipFile, KeyError, ValueError, TypeError) as error:
        raise UserError(f"{path}: is damaged or no exported model ({error}); export it again") from error


def shortest_stimulus(model: Model) -> int:
    """Frames of the shortest stimulus that has a response; a core may average over blocks of frames first."""

    def responses(frames: int) -> int:
        return jax.eval_shape(model, jax.ShapeDtypeStruct(model.stimulus_shape(frames), jnp.float32)).shape[1]

    some = responses(PROBE_FRAMES)
    block = round(PROBE_FRAMES / (responses(2 * PROBE_FRAMES) - some))
    return block * (PROBE_FRAMES // block - some + 1)


def _portable(model: Model) -> Model:
    """The same model, computed in a way that all platforms have."""
    portable = make_model(_with_lowering(model.options), model.data_info)
    nnx.update(portable, nnx.state(model))
    return portable


def _with_lowering(options: Any) -> Any:
    """Options of a model in which every core that has a choice computes its convolutions in the portable way."""
    if isinstance(options, list):
        return [_with_lowering(one) for one in options]
    if not isinstance(options, dict):
        return options
    changed = {name: _with_lowering(value) for name, value in options.items()}
    return changed | {"lowering": LOWERING} if options.get("kind") in ("simple", "gru") else changed
