"""Models as programs that need nothing but JAX: StableHLO with the weights inside, for movies of any length, or frame
by frame.

The file is a zip archive of the ``program`` that ``jax.export`` serialised, and ``metadata.json`` with its sessions,
shapes and rates.
"""

import hashlib
import json
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeVar

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jax import export as jax_export
from jaxtyping import Array, Float

from openretina_jax.data.info import DataInfo
from openretina_jax.errors import UserError
from openretina_jax.models.build import make_model
from openretina_jax.models.model import PROBE_FRAMES, Model
from openretina_jax.runtime import devices
from openretina_jax.runtime.files import whole_file

PLATFORMS = ("cpu", "cuda", "tpu")
PROGRAM, METADATA = "program", "metadata.json"
FORMAT = 1
NO_SESSION = -1  # number that stands for no session: what all sessions share is used
LOWERING = "dense"  # XLA's own convolution, which runs on every platform and for movies of any length


def export(model: Model, path: str | Path) -> None:
    """Write a model as one program for CPUs, GPUs and TPUs, with its weights and metadata.

    The program takes a normalised stimulus ``(batch, time, height, width, channel)`` and the number of a session. It
    returns the responses ``(batch, new_time, neuron)`` of all neurons. Batch and time may have any length.

    Args:
        model: any model.
        path: the file to write; an earlier one is replaced.
    """
    portable = _portable(model)
    graph, state = nnx.split(portable)

    def respond(stimulus: Array, session: Array) -> Array:
        def in_session(number: Array | None) -> Array:
            model = nnx.merge(graph, state, copy=True)
            first, width = jnp.zeros(1, jnp.int32), model.data_info.n_neurons
            return model.respond(stimulus[None], first, width, number)[0]

        if not portable.per_session:
            return in_session(None)
        return jax.lax.cond(session < 0, lambda: in_session(None), lambda: in_session(jnp.maximum(session, 0)[None]))

    frames = shortest_stimulus(model)
    batch, time = jax_export.symbolic_shape("batch, time", constraints=["batch >= 1", f"time >= {frames}"])
    shapes = (
        jax.ShapeDtypeStruct((batch, time, *model.data_info.input_shape), jnp.float32),
        jax.ShapeDtypeStruct((), jnp.int32),
    )
    facts = {
        "shortest_stimulus": frames,
        "per_session": portable.per_session,
        "axes": {
            "stimulus": ["batch", "time", "height", "width", "channel"],
            "responses": ["batch", "new_time", "neuron"],
        },
    }
    _write(path, jax_export.export(jax.jit(respond), platforms=PLATFORMS)(*shapes), model, facts)


def export_stream(model: Model, path: str | Path, session: str | None = None) -> None:
    """Write the predictions of a model frame by frame as one program, with its weights and metadata.

    The program takes a normalised frame ``(height, width, channel)`` and the arrays of the state, which are zeros of
    the shapes and types in the metadata's "state" before the first frame. It returns the responses ``(neuron,)`` and
    the arrays of the next state.

    Args:
        model: a model whose predictions do not depend on later frames.
        path: the file to write; an earlier one is replaced.
        session: session of the neurons (None: all sessions).

    Raises:
        UserError: the session is unknown, or the model looks into the future.
    """
    stream = _portable(model).stream(session)
    arrays, structure = jax.tree.flatten(stream.init())

    def step(frame: Array, *arrays: Array) -> tuple[Array, ...]:
        response, state = stream.step(jax.tree.unflatten(structure, arrays), frame)
        return response, *jax.tree.leaves(state)

    shapes = [jax.ShapeDtypeStruct(array.shape, array.dtype) for array in arrays]
    frame = jax.ShapeDtypeStruct(model.data_info.input_shape, jnp.float32)
    facts = {
        "state": [{"shape": list(array.shape), "dtype": array.dtype.name} for array in shapes],
        "lag": stream.lag,
        "session": session,
        "axes": {"frame": ["height", "width", "channel"], "response": ["neuron"]},
    }
    _write(path, jax_export.export(jax.jit(step), platforms=PLATFORMS)(frame, *shapes), model, facts)


def _write(path: str | Path, exported: jax_export.Exported, model: Model, facts: Mapping[str, Any]) -> None:
    program = bytes(exported.serialize())
    metadata = {
        "format": FORMAT,
        **facts,
        "platforms": list(PLATFORMS),
        "sha256": hashlib.sha256(program).hexdigest(),
        "options": model.options,
        "data_info": json.loads(model.data_info.to_json()),
    }
    with whole_file(Path(path)) as stream, zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr(METADATA, json.dumps(metadata, indent=1))
        archive.writestr(PROGRAM, program)


class ExportedModel:
    """An exported program with its metadata.

    Attributes:
        data_info: facts about the data that the model was trained on.
        options: options that the model was built from.
        shortest_stimulus: frames of the shortest stimulus that has a response.
        per_session: whether a neuron's prediction depends on the session that is asked for.
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
        """Predict responses to a normalised stimulus, as the model does.

        Args:
            stimulus: windows of a movie, normalised as ``data_info`` says.
            session: predict its neurons (None: those of all sessions, in the order of ``data_info.sessions``).

        Raises:
            UserError: the session is unknown, or the stimulus is too short or of another size than the model's.
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


class ExportedStream:
    """An exported program that predicts frame by frame; it is used as ``Stream`` is.

    Attributes:
        data_info: facts of the data that the model was trained on.
        options: options that the model was built from.
        session: session of its neurons (None: all).
        lag: frames at the beginning that have no prediction.
    """

    def __init__(self, program: jax_export.Exported, metadata: Mapping[str, Any]):
        self._program, self._state = jax.jit(program.call), metadata["state"]
        self.data_info = DataInfo.from_json(json.dumps(metadata["data_info"]))
        self.options, self.session, self.lag = metadata["options"], metadata["session"], metadata["lag"]

    def init(self) -> tuple[Array, ...]:
        """Make the state before the first frame."""
        return tuple(jnp.zeros(array["shape"], array["dtype"]) for array in self._state)

    def step(
        self,
        state: tuple[Array, ...],
        frame: Float[Array, "height width channel"] | Float[np.ndarray, "height width channel"],
    ) -> tuple[Float[Array, " neuron"], tuple[Array, ...]]:
        """Predict the responses to one more frame; NaN for the first ``lag``.

        Raises:
            UserError: the frame has another size than the model's.
        """
        if frame.shape != self.data_info.input_shape:
            raise UserError(
                f"the frame has shape {frame.shape}; the model needs (height, width, channel) = "
                f"{self.data_info.input_shape}"
            )
        response, *after = self._program(jnp.asarray(frame, jnp.float32), *state)
        return response, tuple(after)


Program = TypeVar("Program", ExportedModel, ExportedStream)


def load_exported(path: str | Path) -> ExportedModel:
    """Open a program that ``export`` wrote.

    Raises:
        UserError: there is no such file, it is damaged, it was written by a newer version, or by ``export_stream``.
    """
    return _read(path, ExportedModel)


def load_exported_stream(path: str | Path) -> ExportedStream:
    """Open a program that ``export_stream`` wrote.

    Raises:
        UserError: there is no such file, it is damaged, it was written by a newer version, or by ``export``.
    """
    return _read(path, ExportedStream)


def _read(path: str | Path, kind: type[Program]) -> Program:
    try:
        with zipfile.ZipFile(path) as archive:
            metadata = json.loads(archive.read(METADATA))
            if metadata["format"] != FORMAT:
                raise UserError(
                    f"{path}: has format {metadata['format']}, only {FORMAT} is known; update openretina_jax"
                )
            if ("state" in metadata) != (kind is ExportedStream):
                what, right = ("frame by frame", "_stream") if "state" in metadata else ("whole movies", "")
                raise UserError(f"{path}: predicts {what}; open it with openretina_jax.load_exported{right}")
            program = archive.read(PROGRAM)
            # programs of earlier versions have no hash
            if metadata.get("sha256") not in (None, hashlib.sha256(program).hexdigest()):
                raise ValueError("the program is not the one that was written")
            return kind(jax_export.deserialize(bytearray(program)), metadata)
    except UserError:
        raise
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror or error}); check the path") from error
    except Exception as error:  # arbitrary bytes can raise anything
        raise UserError(f"{path}: is damaged or no exported model ({error}); export it again") from error


def is_exported(path: str | Path) -> bool:
    """Whether a file is a program that ``export`` wrote, by the names of its parts."""
    if not zipfile.is_zipfile(path):
        return False
    with zipfile.ZipFile(path) as archive:
        return {PROGRAM, METADATA} <= set(archive.namelist())


def shortest_stimulus(model: Model) -> int:
    """Number of frames of the shortest stimulus that has a response."""

    def responses(frames: int) -> int:
        return devices.eval_shape(model, jax.ShapeDtypeStruct(model.stimulus_shape(frames), jnp.float32)).shape[1]

    some = responses(PROBE_FRAMES)
    # a core that averages over blocks of frames has a response per block
    block = round(PROBE_FRAMES / (responses(2 * PROBE_FRAMES) - some))
    return block * (PROBE_FRAMES // block - some + 1)


def _portable(model: Model) -> Model:
    """Copy a model, with convolutions that run on every platform."""
    portable = make_model(_with_lowering(model.options), model.data_info)
    nnx.update(portable, nnx.state(model))
    return portable


def _with_lowering(options: Any) -> Any:
    """Options of a model, with the portable lowering in every part that has a choice."""
    if isinstance(options, list):
        return [_with_lowering(one) for one in options]
    if not isinstance(options, dict):
        return options
    # a model knows all its options, so that a core of one's own with this one is found too
    return {name: LOWERING if name == "lowering" else _with_lowering(value) for name, value in options.items()}
