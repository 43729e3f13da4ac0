"""A data set from numpy arrays: recordings of one's own, in a notebook."""

import dataclasses
import hashlib
import math
from collections.abc import Mapping, Sequence

import numpy as np
from jaxtyping import Num

from openretina_jax.data.assembly import MovieRecording, RepeatedMovie, assemble, check_lengths
from openretina_jax.data.axes import MOVIE, REPEATS, RESPONSES, arranged
from openretina_jax.data.dataset import Dataset
from openretina_jax.data.stimulus import blocks
from openretina_jax.errors import UserError

_DEFAULT_CLIP_S = 5.0


@dataclasses.dataclass(frozen=True, eq=False)
class ArrayTest:
    """A test movie and the responses to its repeats.

    Attributes:
        movie: raw pixels; axes as in ``ArrayRecording``.
        responses: to all repeats, or to one, or their mean.
        axes: names of the axes of the responses, in their order: "trial time neuron", "neuron trial time" or the like,
            or without "trial". Nothing is concluded from shapes.
    """

    movie: np.ndarray
    responses: np.ndarray
    axes: str


@dataclasses.dataclass(frozen=True, eq=False)
class ArrayRecording:
    """Movie and responses of one recording, frame by frame at the same rate.

    Attributes:
        movie: raw pixels of the training movie, in the order shown; may lie on disk (``np.memmap``).
        responses: to every frame; NaN where nothing was recorded.
        tests: test movies, by name.
        movie_axes: names of the axes of all movies; without "channel" there is one colour.
        response_axes: names of the axes of ``responses``.
        clip_starts: frames of the training movie that begin a clip, if it was put together from clips.
        neurons: what is known of the neurons (cell types, ...): arrays with an entry per neuron, by name.
    """

    movie: np.ndarray
    responses: np.ndarray
    tests: Mapping[str, ArrayTest] = dataclasses.field(default_factory=dict)
    movie_axes: str = MOVIE
    response_axes: str = RESPONSES
    clip_starts: Sequence[int] = ()
    neurons: Mapping[str, np.ndarray] = dataclasses.field(default_factory=dict)


def dataset_from_arrays(
    recordings: Mapping[str, ArrayRecording],
    *,
    frame_rate_hz: float,
    clip_length: int | None = None,
    validation_clips: int | Sequence[int] | None = None,
    normalization: tuple[float, float] | None = None,
    pixel_size_um: float | None = None,
    seed: int = 42,
) -> Dataset:
    """See ``Dataset.from_arrays``."""
    if not recordings:
        raise UserError("there are no recordings; give at least one, by its name")
    if not frame_rate_hz > 0:
        raise UserError(f"frame_rate_hz is {frame_rate_hz}; it must be above 0")
    arranged_recordings = {name: _arranged(name, recording) for name, recording in recordings.items()}
    length = clip_length or _clip_length(recordings, arranged_recordings, frame_rate_hz)
    _check_clip_starts(recordings, length)
    if validation_clips is None:
        shortest = min(len(recording.movie) for recording in arranged_recordings.values())
        validation_clips = max(shortest // length // 10, 1)
    return assemble(
        arranged_recordings.values(),
        clip_length=length,
        validation=validation_clips if isinstance(validation_clips, int) else tuple(validation_clips),
        seed=seed,
        normalization=normalization,
        frame_rate_hz=float(frame_rate_hz),
        pixel_size_um=pixel_size_um,
        source={
            "publication": "arrays",
            "sha256": {name: _digest(recording) for name, recording in arranged_recordings.items()},
        },
    )


def _arranged(name: str, recording: ArrayRecording) -> MovieRecording:
    movie = _movie(f"{name}: the training movie", recording.movie, recording.movie_axes)
    responses = _responses(f"{name}: the responses", recording.responses, recording.response_axes, RESPONSES)
    tests = {
        test: _test(f'{name}: test "{test}"', shown, recording.movie_axes) for test, shown in recording.tests.items()
    }
    result = MovieRecording(name=name, movie=movie, responses=responses, tests=tests, neurons=recording.neurons)
    check_lengths(result)
    for test, shown in tests.items():
        if shown.repeats.shape[2] != responses.shape[1]:
            raise UserError(
                f'{name}: responses to test "{test}" have {shown.repeats.shape[2]} neurons, the others '
                f"{responses.shape[1]}; are axes swapped?"
            )
    return result


def _test(what: str, test: ArrayTest, movie_axes: str) -> RepeatedMovie:
    wanted = REPEATS if "trial" in test.axes.split() else RESPONSES
    responses = _responses(f"{what}, responses", test.responses, test.axes, wanted)
    return RepeatedMovie(
        movie=_movie(f"{what}, movie", test.movie, movie_axes),
        repeats=responses if wanted == REPEATS else responses[None],
    )


def _movie(what: str, pixels: np.ndarray, axes: str) -> Num[np.ndarray, "time height width channel"]:
    if axes == MOVIE and pixels.ndim == len(MOVIE.split()) - 1:
        axes = "time height width"
    _check_numbers(what, pixels)
    return arranged(pixels, axes, MOVIE, what)


def _responses(what: str, values: np.ndarray, axes: str, wanted: str) -> np.ndarray:
    _check_numbers(what, values)
    result = np.ascontiguousarray(arranged(values, axes, wanted, what), np.float32)
    if np.isinf(result).any():
        raise UserError(f"{what} hold infinity; put NaN where nothing was recorded")
    return result


def _check_numbers(what: str, values: np.ndarray) -> None:
    if values.dtype.kind not in "biuf" or 0 in values.shape:
        raise UserError(f"{what}: must hold real numbers, but is {values.dtype} of shape {values.shape}")


def _clip_length(
    given: Mapping[str, ArrayRecording], recordings: Mapping[str, MovieRecording], frame_rate_hz: float
) -> int:
    """The longest clip that crosses no border; where no borders are known, 5 s or a tenth of the shortest movie."""
    starts = [int(start) for recording in given.values() for start in recording.clip_starts if start]
    if starts:
        return math.gcd(*starts)
    shortest = min(len(recording.movie) for recording in recordings.values())
    return max(min(round(_DEFAULT_CLIP_S * frame_rate_hz), shortest // 10), 1)


def _check_clip_starts(recordings: Mapping[str, ArrayRecording], clip_length: int) -> None:
    for name, recording in recordings.items():
        wrong = [int(start) for start in recording.clip_starts if start % clip_length]
        if wrong:
            raise UserError(
                f"{name}: a clip begins at frame {wrong[0]}, which is no multiple of clip_length {clip_length}; leave "
                "clip_length out, and clips are as long as no border is crossed"
            )


def _digest(recording: MovieRecording) -> str:
    """Hash of the numbers of a recording, so that another one is not taken for it."""
    digest = hashlib.sha256()
    arrays = [recording.movie, recording.responses]
    for name, test in sorted(recording.tests.items()):
        digest.update(name.encode())
        arrays += [test.movie, test.repeats]
    for array in arrays:
        digest.update(repr((array.shape, array.dtype)).encode())
        for block in blocks(array):
            digest.update(np.ascontiguousarray(block).data)
    return digest.hexdigest()
