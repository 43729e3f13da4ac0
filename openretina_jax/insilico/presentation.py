"""Presentation of artificial stimuli: the screen of a model, and responses less the response to grey.

Grey is shown before every stimulus, for as long as the model remembers.
"""

import dataclasses
import functools
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jaxtyping import Array, Float, Float32, Int

from openretina_jax.data.artificial_patterns import Course, sinusoid
from openretina_jax.data.artificial_stimuli import as_seen, full_field
from openretina_jax.errors import UserError
from openretina_jax.insilico.blocks import blocks, history_frames
from openretina_jax.insilico.targets import session_of_rows
from openretina_jax.models.model import Model

BLOCK_VALUES = 2**20  # pixels of the stimuli that a model sees at once

BRIGHT_AND_DARK = (1.0, -1.0)  # contrasts
SETTLING_S = 0.5  # seconds of a periodic stimulus before its response is measured

Movies = Float32[np.ndarray, "stimulus time height width channel"]
Traces = Float32[np.ndarray, "neuron stimulus time"]


@dataclasses.dataclass(frozen=True)
class Screen:
    """Screen that a model looks at.

    Attributes:
        height, width, channels: size of a frame.
        frame_rate_hz: frames per second (None: not known).
        pixel_size_um: side of a pixel on the retina (None: not known).
        grey: value of contrast 0 in the units of the model.
        contrast_unit: difference between contrasts 1 and 0 in the units of the model.
    """

    height: int
    width: int
    channels: int
    frame_rate_hz: float | None
    pixel_size_um: float | None
    grey: float = 0.0
    contrast_unit: float = 1.0

    @classmethod
    def of(
        cls,
        model: Model,
        *,
        frame_rate_hz: float | None = None,
        pixel_size_um: float | None = None,
        mid_grey: float | None = None,
    ) -> "Screen":
        """Describe the screen of a model's training movies.

        Args:
            model: a trained model.
            frame_rate_hz, pixel_size_um: frame rate and pixel size instead of those that the model knows.
            mid_grey: grey level of contrast 0; twice that level is contrast 1, as in ``as_seen`` (None: the mean of
                the training movies. Where that is not above 0, because the movies had no grey levels, or is not
                known, contrast 1 is 1 in the units of the model).

        Raises:
            UserError: ``mid_grey`` is given, but the model does not know the normalisation of its movies.
        """
        info = model.data_info
        if mid_grey is not None and None in (info.norm_mean, info.norm_std):
            raise UserError("mid_grey is given, but the model does not know how its movies were normalised")
        if mid_grey is None and info.norm_mean is not None and info.norm_mean > 0:
            mid_grey = info.norm_mean
        grey, bright = 0.0, 1.0
        if mid_grey is not None:
            contrasts = np.array([0.0, 1.0], np.float32)
            grey, bright = as_seen(contrasts, info.norm_mean, info.norm_std, mid_grey=mid_grey).tolist()
        return cls(
            *info.input_shape,
            info.frame_rate_hz if frame_rate_hz is None else frame_rate_hz,
            info.pixel_size_um if pixel_size_um is None else pixel_size_um,
            grey,
            bright - grey,
        )

    @property
    def size(self) -> tuple[int, int, int]:
        """(height, width, channel) of a frame."""
        return self.height, self.width, self.channels

    @property
    def rate_hz(self) -> float:
        """Frames per second.

        Raises:
            UserError: they are not known.
        """
        if self.frame_rate_hz is None:
            raise UserError(
                "the model does not know the frame rate of its movies; give screen=Screen.of(model, frame_rate_hz=...)"
            )
        return self.frame_rate_hz

    @property
    def pixel_um(self) -> float:
        """Side of a pixel on the retina.

        Raises:
            UserError: it is not known.
        """
        if self.pixel_size_um is None:
            raise UserError(
                "the model does not know the size of its pixels; give pixel_size_um (in Python to Screen.of)"
            )
        return self.pixel_size_um

    @property
    def diagonal_um(self) -> float:
        """Diagonal of the screen on the retina."""
        return float(np.hypot(self.height, self.width)) * self.pixel_um

    def frames(self, duration_s: float) -> int:
        """Number of frames, at least one."""
        return max(round(duration_s * self.rate_hz), 1)

    @classmethod
    def in_model_units(cls, model: Model) -> "Screen":
        """Describe a screen for movies in the units of the model."""
        return cls(*model.data_info.input_shape, frame_rate_hz=None, pixel_size_um=None)

    def seen(self, movies: Float32[np.ndarray, "*shape"]) -> Float32[np.ndarray, "*shape"]:
        """Convert contrasts to the units of the model."""
        return np.float32(self.grey) + np.float32(self.contrast_unit) * movies


def flicker(screen: Screen, frequency_hz: float, duration_s: float) -> Course:
    """Sinusoidal time course of contrast 1."""
    return sinusoid(frequency_hz, duration_s=duration_s, frame_rate_hz=screen.rate_hz)


def full_fields(screen: Screen, courses: Sequence[Course]) -> Movies:
    """Make full-field movies of time courses."""
    return np.stack([full_field(course, *screen.size) for course in courses])


def respond(model: Model, screen: Screen, movies: Movies) -> tuple[Traces, Float32[np.ndarray, " neuron"]]:
    """Compute the responses of all neurons to the same stimuli, by one compiled program.

    Args:
        model: any model.
        screen: its screen.
        movies: contrasts.

    Returns:
        Responses to every frame less the response to grey, and the response to grey.
    """
    graph, state = nnx.split(model)
    grey = _Grey.of(model)
    found = []
    for chosen, place in blocks(len(movies), movies[0].size, BLOCK_VALUES):
        block = _alike(graph, state, jnp.asarray(screen.seen(grey.before(movies[chosen]))))
        found.append(np.asarray(block)[: place.stop - place.start])
    return grey.subtracted(np.concatenate(found).transpose(2, 0, 1), movies.shape[1])


def respond_each(
    model: Model, screen: Screen, movies_of: Callable[[int], Movies]
) -> tuple[Traces, Float32[np.ndarray, " neuron"]]:
    """Compute the responses of every neuron to stimuli of its own, by one compiled program.

    Args:
        model: any model.
        screen: its screen.
        movies_of: contrasts of the stimuli of a neuron, by its row; equally many and long for all.

    Returns:
        Responses to every frame less the response to grey, and the response to grey.
    """
    graph, state = nnx.split(model)
    grey = _Grey.of(model)
    count, sessions = model.data_info.n_neurons, session_of_rows(model)
    first = movies_of(0)
    stimuli, frames = first.shape[:2]
    found = []
    for rows, place in blocks(count, first.size, BLOCK_VALUES):
        movies = grey.before(np.concatenate([movies_of(int(row)) for row in rows]))
        targets = np.repeat(rows, stimuli).astype(np.int32)
        block = _each(graph, state, *map(jnp.asarray, (screen.seen(movies), targets, sessions[targets])))
        found.append(np.asarray(block).reshape(len(rows), stimuli, -1)[: place.stop - place.start])
    return grey.subtracted(np.concatenate(found), frames)


@dataclasses.dataclass(frozen=True)
class _Grey:
    """Frames of grey before a stimulus.

    Attributes:
        frames: number of frames.
        future: number of the last ones whose responses see the stimulus, in models that are padded in time.
    """

    frames: int
    future: int

    @classmethod
    def of(cls, model: Model) -> "_Grey":
        future = model.receptive_field().future or 0
        return cls(history_frames(model) + 1 + future, future)

    def before(self, movies: Movies) -> Float32[np.ndarray, "stimulus longer height width channel"]:
        return np.pad(movies, ((0, 0), (self.frames, 0), (0, 0), (0, 0), (0, 0)))

    def subtracted(
        self, responses: Float32[np.ndarray, "neuron stimulus longer"], frames: int
    ) -> tuple[Traces, Float32[np.ndarray, " neuron"]]:
        """Responses to the last frames less that to grey, and that to grey; the last response is to the last frame."""
        grey = responses[:, :1, -(frames + self.future + 1), None]
        return responses[:, :, -frames:] - grey, grey[:, 0, 0]


@functools.partial(jax.jit, static_argnums=0)
def _alike(graph: Any, state: nnx.State, movies: Float[Array, "stimulus time height width channel"]) -> Array:
    """Responses (stimulus, time, neuron) of all neurons to the same stimuli."""
    model = nnx.merge(graph, state, copy=True)
    if not model.per_session:
        return model(movies)
    counts = np.array(list(model.data_info.sessions.values()))
    ends, width = np.cumsum(counts), int(counts.max())
    first = np.minimum(ends - counts, model.data_info.n_neurons - width)  # slices are equally wide

    def of_session(slice_: tuple[Array, Array]) -> Array:
        return model.respond(movies[None], slice_[0][None], width, slice_[1][None])[0]

    numbers = jnp.arange(len(counts), dtype=jnp.int32)
    responses = jax.lax.map(of_session, (jnp.asarray(first, jnp.int32), numbers))
    session = session_of_rows(model)
    return jnp.moveaxis(responses[session, :, :, np.arange(len(session)) - first[session]], 0, -1)


@functools.partial(jax.jit, static_argnums=0)
def _each(
    graph: Any,
    state: nnx.State,
    movies: Float[Array, "target time height width channel"],
    rows: Int[Array, " target"],
    session: Int[Array, " target"],
) -> Array:
    """Responses (target, time) of single neurons to stimuli of their own."""
    model = nnx.merge(graph, state, copy=True)
    return model.respond_rows(movies, rows[:, None], session if model.per_session else None)[..., 0]
