"""The contract of whole models."""

import abc
import functools
import json
from collections.abc import Mapping, Sequence
from typing import Any, NoReturn

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jaxtyping import Array, Bool, Float, Int, Key

from openretina_jax.data.info import DataInfo
from openretina_jax.errors import UserError
from openretina_jax.models.stream import Stream
from openretina_jax.modules.cores.core import ReceptiveField, with_history
from openretina_jax.runtime import devices
from openretina_jax.runtime.described import Described
from openretina_jax.runtime.programs import hashable, kept

PROBE_FRAMES = 512  # longer than any receptive field that has an end
CAUSAL_PROBE = 8  # predictions by which causality is measured
CAUSAL_TOLERANCE = 1e-5  # rounding of lowerings that touch later frames


class Model(Described, nnx.Module):
    """Base of whole models, which training, evaluation and notebooks use.

    A subclass writes ``respond``, ``receptive_field`` and ``per_session``, and where its parameters are constrained
    ``project`` and ``project_gradient``. It inherits the call by the name of a session, predictions frame by frame
    (``stream``), checks of the stimulus, and the facts that follow from these (``lag``, ``is_causal``).

    Attributes:
        data_info: facts about the data that the model was built for.
        options: options that it was built from, as plain values.
        trains: names of the parts that are trained (None: all).
    """

    trains: tuple[str, ...] | None = None

    def __init__(self, options: Mapping[str, Any], data_info: DataInfo):
        self.data_info = nnx.static(data_info)
        self._options = json.dumps(options)  # text: what is fixed in a model must be hashable for nnx.jit

    @property
    def options(self) -> dict[str, Any]:
        """Options that the model was built from, as plain values."""
        return json.loads(self._options)

    def _facts(self) -> dict[str, str]:
        parameters = sum(value.size for value in jax.tree.leaves(nnx.state(self, nnx.Param)))
        seen = self.data_info._facts()
        return {"neurons": seen["neurons"], "stimulus": seen["frames"], "parameters": f"{parameters:,}"}

    @property
    @abc.abstractmethod
    def per_session(self) -> bool:
        """Whether predictions depend on the session beyond the rows of its neurons."""

    @property
    def reads_behaviour(self) -> bool:
        """Whether ``respond`` takes ``behaviour``, that of the session of each part."""
        return False

    @abc.abstractmethod
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
        """Compute the responses of a slice of neurons for each part of a batch.

        Args:
            stimulus: normalised movie windows.
            first: first row of the slice of each part.
            width: neurons of a slice.
            session: number of the session of each part (None: use what all sessions share).
            train: whether the core is in training mode.
            key: random key in training (None: nothing is random).
            condition: condition of every window, for cores that take one (None: that of its session).

        A model whose ``reads_behaviour`` is true also takes ``behaviour``, ``(part, batch, time, channel)`` as it was
        recorded; without, it predicts what neurons respond at the mean behaviour.
        """

    def respond_rows(
        self,
        stimulus: Float[Array, "target time height width channel"],
        rows: Int[Array, "target member"],
        session: Int[Array, " target"] | None = None,
    ) -> Float[Array, "target new_time member"]:
        """Compute the responses of chosen neurons, each target's to a stimulus of its own.

        A model that can read single rows of its table overrides this, so that it does not compute all of them.

        Args:
            stimulus: normalised movie, one for each target.
            rows: rows of the neurons that each target consists of.
            session: number of the session of each target (None: use what all sessions share).
        """
        responses = self.respond(stimulus[:, None], jnp.zeros(len(rows), jnp.int32), self.data_info.n_neurons, session)
        return jnp.take_along_axis(responses[:, 0], rows[:, None], axis=-1)

    def __call__(
        self,
        stimulus: Float[Array, "batch time height width channel"]
        | Float[np.ndarray, "batch time height width channel"],
        session: str | None = None,
        *,
        condition: Float[Array, "batch condition"] | Float[np.ndarray, "batch condition"] | None = None,
        behaviour: Float[Array, "_ _ behaviour"] | Float[np.ndarray, "_ _ behaviour"] | None = None,
    ) -> Float[Array, "batch new_time neuron"]:
        """Predict the responses to a normalised stimulus.

        Frames with NaN or infinity make NaN of the predictions that depend on them, and of no others.

        Args:
            stimulus: windows of a movie, normalised as ``data_info`` says.
            session: session of the neurons (None: all sessions, in the order of ``data_info.sessions``).
            condition: condition of every window, for cores that take one (None: that of its session).
            behaviour: behaviour of the session at every frame, ``(batch, time, channel)`` as it was recorded, for
                models with a shifter; where it is NaN, so are the predictions (None: those at the mean behaviour).

        Raises:
            UserError: the session is unknown, the stimulus has other pixels or channels than the model's, or it is no
                longer than the model's lag; or there is behaviour that the model cannot read.
        """
        self.check_stimulus(stimulus)
        if behaviour is not None:
            self.check_behaviour(behaviour, session, stimulus.shape[:2])
        graph, state = nnx.split(self)
        first, width, number = self.slice_of(session)
        predict = kept(_predictor, graph) if hashable(graph) else _predictor(graph).__wrapped__
        try:
            responses = predict(state, stimulus, first, width, number, condition, behaviour)
        except (ArithmeticError, TypeError, ValueError) as error:
            self.check_length(stimulus.shape[1], error)
            raise
        if responses.shape[1] == 0:
            self.check_length(stimulus.shape[1])
        return responses

    def check_length(self, frames: int, cause: Exception | None = None) -> None:
        """Refuse a stimulus that is no longer than the lag.

        Raises:
            UserError: names both.
        """
        if frames < PROBE_FRAMES and frames <= self.lag:
            raise UserError(
                f"the stimulus has {frames} frames, but the model predicts none of the first {self.lag} (its lag); "
                "give a longer one, such as with frames of grey before it"
            ) from cause

    def _depends(self, frames: Bool[Array, "batch time"], count: int) -> Bool[Array, "batch new_time"]:
        """Mark the predictions, those of the last ``count`` frames, that depend on any of the marked frames."""
        field, n_frames = self.receptive_field(), frames.shape[1]
        if field.future is None:
            return jnp.broadcast_to(frames.any(axis=1, keepdims=True), (len(frames), count))
        own = np.arange(n_frames - count, n_frames)
        first = np.zeros_like(own) if field.past is None else np.maximum(own - field.past, 0)
        after = np.minimum(own + field.future + 1, n_frames)
        so_far = jnp.pad(jnp.cumsum(frames, axis=1, dtype=jnp.int32), ((0, 0), (1, 0)))
        return so_far[:, after] > so_far[:, first]

    def __reduce__(self) -> NoReturn:
        raise UserError(
            "a model cannot be pickled; write it with openretina_jax.save(model, folder), and give the other process "
            "the folder, for openretina_jax.load"
        )

    def check_stimulus(self, stimulus: Array | np.ndarray | jax.ShapeDtypeStruct) -> None:
        """Refuse a stimulus of other pixels or channels than the model's.

        Raises:
            UserError: says what it has and what it needs.
        """
        if stimulus.shape[2:] != self.data_info.input_shape:
            raise UserError(
                f"the stimulus has (height, width, channel) {stimulus.shape[2:]}, the model needs "
                f"{self.data_info.input_shape}; axes are (batch, time, height, width, channel)"
            )

    def check_behaviour(self, behaviour: Array | np.ndarray, session: str | None, shape: tuple[int, ...]) -> None:
        """Refuse behaviour that the model cannot read.

        Args:
            behaviour: with axes (batch, time, channel).
            session: whose it is.
            shape: batch and time of the stimulus.

        Raises:
            UserError: the model has no shifter, no session is named, or the shape is another.
        """
        if not self.reads_behaviour:
            raise UserError("behaviour is given, but the model has no shifter (config.model.shifter); leave it out")
        if session is None:
            raise UserError("behaviour is given, but no session; name the one whose behaviour it is")
        self.rows(session)
        wanted = (*shape, len(self.data_info.behaviour[session]["mean"]))
        if behaviour.shape != wanted:
            raise UserError(f"behaviour has (batch, time, channel) {behaviour.shape}, but must have {wanted}")

    def begin(self) -> Any:
        """Make the history that ``advance`` needs before the first frame: arrays of zeros, in any pytree.

        Here it is the stimulus; a model overrides both to keep what it computed of earlier frames.

        Raises:
            UserError: the model's memory has no end.
        """
        frames = self.receptive_field().ending(self)
        return jnp.zeros(self.stimulus_shape(max(frames, self.lag + 1) - 1))

    def advance(
        self,
        history: Any,
        frame: Float[Array, "1 1 height width channel"],
        first: Int[Array, "1"],
        width: int,
        session: Int[Array, "1"] | None = None,
    ) -> tuple[Float[Array, " neuron"], Any]:
        """Compute the responses of a slice of neurons to one more frame, and the history with it.

        ``Stream`` calls it, and knows that responses to the first ``lag`` frames mean nothing.

        Args:
            history: that of the frames before, from ``begin`` or the last call.
            frame: normalised frame.
            first, width, session: as for ``respond``.
        """
        stimulus, history = with_history(history, frame)
        return self.respond(stimulus[None], first, width, session)[0, 0, -1], history

    def stream(self, session: str | None = None) -> Stream:
        """Make predictions frame by frame, with constant memory: those for the whole stimulus, as frames arrive.

            stream = model.stream("session_1")
            state = stream.init()
            for frame in frames:
                response, state = stream.step(state, frame)

        Args:
            session: session of the neurons (None: all sessions, in the order of ``data_info.sessions``).

        Raises:
            UserError: the session is unknown, or the model looks into the future.
        """
        return Stream(self, *self.slice_of(session))

    def project(self, rows: Bool[Array, " neuron"]) -> None:
        """Move the parameters into their constraints, which every step does before it uses them.

        Args:
            rows: neurons in the step; the rows of others stay as they are.
        """
        del rows

    def project_gradient(self, gradient: nnx.State) -> nnx.State:
        """Remove from the gradient what would lead out of the constraints."""
        return gradient

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

    def slice_of(self, session: str | None) -> tuple[Int[Array, "1"], int, Int[Array, "1"] | None]:
        """First row, number of rows, and number of a session (None: of all sessions), as ``respond`` takes them."""
        if session is None:
            return jnp.zeros(1, jnp.int32), self.data_info.n_neurons, None
        first, width = self.rows(session)
        return jnp.asarray([first]), width, jnp.asarray([list(self.data_info.sessions).index(session)])

    def stimulus_shape(self, time_steps: int, batch: int = 1) -> tuple[int, int, int, int, int]:
        """Shape of a stimulus of that many frames: (batch, time, height, width, channel)."""
        return (batch, time_steps, *self.data_info.input_shape)

    @property
    def lag(self) -> int:
        """Frames by which a prediction is shorter than its stimulus."""
        graph, variables = nnx.split(self)
        leaves, structure = jax.tree.flatten(variables)
        return kept(_lag, graph, structure, tuple((leaf.shape, leaf.dtype) for leaf in leaves))

    @abc.abstractmethod
    def receptive_field(self) -> ReceptiveField:
        """Frames and pixels of the stimulus that a prediction depends on, before the readout pools over space."""

    def is_causal(self) -> bool:
        """Whether no prediction depends on frames that come after its own.

        The last prediction belongs to the last frame of the stimulus. This is measured: for a random stimulus, the
        gradient of early predictions with respect to the frames after them must be 0.
        """
        frames = self.lag + CAUSAL_PROBE
        stimulus = jax.random.normal(jax.random.key(0), self.stimulus_shape(frames))
        early = CAUSAL_PROBE // 2

        def early_responses(stimulus: Array) -> Array:
            return self(stimulus)[:, :early].sum()

        gradient = jnp.abs(jax.jit(jax.grad(early_responses))(stimulus)).max(axis=(0, 2, 3, 4))
        later = self.lag + early
        return bool(gradient[later:].max() <= CAUSAL_TOLERANCE * gradient.max())


def _predictor(graph: nnx.GraphDef[Model]) -> Any:
    """Make the program that predicts; operation by operation, hundreds would be compiled for a first prediction."""

    @functools.partial(jax.jit, static_argnums=3)
    def predict(
        state: nnx.State,
        movie: Array | np.ndarray,
        first: Array,
        width: int,
        session: Array | None,
        condition: Array | np.ndarray | None,
        behaviour: Array | np.ndarray | None,
    ) -> Float[Array, "batch new_time neuron"]:
        model, movie = nnx.merge(graph, state, copy=True), jnp.asarray(movie)
        # a convolution by transforms or matrix products multiplies all frames, at least by 0: NaN would spread to all
        bad = ~jnp.isfinite(movie).all(axis=(2, 3, 4))
        movie = jnp.where(bad[..., None, None, None], 0, movie)
        given = None if condition is None else jnp.asarray(condition)
        also: dict[str, Any] = {} if behaviour is None else {"behaviour": jnp.asarray(behaviour, jnp.float32)[None]}
        responses = model.respond(movie[None], first, width, session, condition=given, **also)[0]
        if behaviour is not None:
            known = jnp.isfinite(also["behaviour"][0, :, -responses.shape[1] :]).all(axis=-1, keepdims=True)
            responses = jnp.where(known, responses, jnp.nan)
        return jnp.where(model._depends(bad, responses.shape[1])[..., None], jnp.nan, responses)

    return predict


def _lag(graph: nnx.GraphDef[Model], structure: Any, arrays: Sequence[tuple[tuple[int, ...], Any]]) -> int:
    """Lag of a model, of which a whole prediction is traced: something to do once."""
    variables = jax.tree.unflatten(structure, [jax.ShapeDtypeStruct(shape, dtype) for shape, dtype in arrays])

    def predict(variables: nnx.State) -> Array:
        model = nnx.merge(graph, variables)
        return model(jnp.zeros(model.stimulus_shape(PROBE_FRAMES)))

    return PROBE_FRAMES - devices.eval_shape(predict, variables).shape[1]


def path_name(path: tuple[Any, ...]) -> str:
    """Format a path as in Python: ``("layers", 0, "sin")`` is ``layers[0].sin``."""
    return "".join(f"[{key}]" if isinstance(key, int) else f".{key}" for key in path).removeprefix(".")
