"""Data sets of arrays in memory, with named axes; every mistake is one line that names the recording.

recording = ArrayRecording(movie, responses, tests={"film": ArrayTest(film, repeats, "trial time neuron")})
dataset = from_arrays({"my_retina": recording}, frame_rate_hz=30.0)
"""

import dataclasses
import hashlib
import itertools
import math
from collections.abc import Mapping, Sequence
from typing import Any, SupportsIndex

import numpy as np
from jaxtyping import Num

from openretina_jax.data.assembly import (
    MOVIE,
    RESPONSES,
    MovieRecording,
    RepeatedMovie,
    arranged,
    assemble,
    check_lengths,
    update_digest,
)
from openretina_jax.data.conversion import column, count_or_clips, number, real_numbers, whole_number
from openretina_jax.data.dataset import Dataset
from openretina_jax.errors import UserError

REPEATS = "trial time neuron"

Numbers = Any  # an array, or what ``conversion.real_numbers`` makes one of: a masked array, data frame, nested lists
_DEFAULT_CLIP_S = 5.0
_LEAST_SHARE = 10  # clips are no shorter than a tenth of the shortest that was shown


@dataclasses.dataclass(frozen=True, eq=False)
class ArrayTest:
    """A test movie and the responses to its repeats.

    Attributes:
        movie: raw pixels; axes as in ``ArrayRecording``.
        responses: responses to all repeats, to one, or their mean.
        axes: names of the axes of the responses, in their order, with or without "trial": "trial time neuron", "neuron
            trial time" or the like. Nothing is guessed from shapes.
    """

    movie: Numbers
    responses: Numbers
    axes: str


@dataclasses.dataclass(frozen=True, eq=False)
class ArrayRecording:
    """Movie and responses of one recording, frame by frame at the same rate.

    Attributes:
        movie: raw pixels of the training movie, in the order shown; may lie on disk (``np.memmap``).
        responses: responses to every frame; NaN where nothing was recorded.
        tests: test movies, by name.
        movie_axes: names of the axes of all movies; without "channel" there is one colour.
        response_axes: names of the axes of ``responses``.
        clip_starts: frames of the training movie at which a clip begins, if it was put together from clips.
        neurons: facts about the neurons (cell types, ...): arrays with an entry per neuron, by name.
    """

    movie: Numbers
    responses: Numbers
    tests: Mapping[str, ArrayTest] = dataclasses.field(default_factory=dict)
    movie_axes: str = MOVIE
    response_axes: str = RESPONSES
    clip_starts: Sequence[int] = ()
    neurons: Mapping[str, Any] = dataclasses.field(default_factory=dict)


def from_arrays(
    recordings: Mapping[str, ArrayRecording],
    *,
    frame_rate_hz: float | np.number,
    clip_length: SupportsIndex | None = None,
    validation_clips: SupportsIndex | Sequence[SupportsIndex] | None = None,
    normalization: tuple[float, float] | None = None,
    pixel_size_um: float | np.number | None = None,
    channels: Sequence[str] | None = None,
    response_unit: str | None = None,
    seed: SupportsIndex = 42,
) -> Dataset:
    """Make a data set of recordings that are arrays; see docs/your_own_data.md.

    Args:
        recordings: recordings by name; movies that several of them saw are kept once.
        frame_rate_hz: frames, and responses, per second.
        clip_length: frames of a clip; validation keeps whole clips (None: the longest that crosses no border between
            ``clip_starts``, or without these 5 s, but at most a tenth of the shortest movie).
        validation_clips: number of clips kept for validation, drawn for each movie, or their indices (None: a tenth of
            the shortest movie).
        normalization: mean and standard deviation of pixels (None: those of each training movie).
        pixel_size_um: side of a pixel on the retina (None: not known).
        channels: names of the channels of all movies, such as green and UV, for pictures (None: not known).
        response_unit: unit of the responses, such as "spikes/s", for pictures (None: not known).
        seed: seed of the draw of validation clips.

    Raises:
        UserError: arrays do not fit each other or their named axes, hold infinity, or are too short for the split.
    """
    if not recordings:
        raise UserError("there are no recordings; give at least one, by its name")
    rate_hz = number("frame_rate_hz", frame_rate_hz, positive=True)
    pixel_um = None if pixel_size_um is None else number("pixel_size_um", pixel_size_um, positive=True)
    if normalization is not None:
        mean, deviation = normalization
        normalization = (
            number("the mean of normalization", mean),
            number("the deviation of normalization", deviation, positive=True),
        )
    drawn_by = whole_number("seed", seed, 0, 2**32 - 1)
    read = {name: _movie_recording(name, recording) for name, recording in recordings.items()}
    shortest = min(len(recording.movie) for recording in read.values())
    if clip_length is None:
        length = _clip_length(recordings, shortest, rate_hz)
    else:
        length = whole_number("clip_length (config.data)", clip_length, 1)
    _check_clip_starts(recordings, length)
    if validation_clips is None:
        validation_clips = max(shortest // length // 10, 1)
    return assemble(
        read.values(),
        clip_length=length,
        validation=count_or_clips("validation_clips", validation_clips),
        seed=drawn_by,
        normalization=normalization,
        frame_rate_hz=rate_hz,
        pixel_size_um=pixel_um,
        channels=channels,
        response_unit=response_unit,
        source={"publication": "arrays", "sha256": {name: _sha256(recording) for name, recording in read.items()}},
    )


def _movie_recording(name: str, recording: ArrayRecording) -> MovieRecording:
    """Recording with its axes in our order, after all checks."""
    movie = _movie(f"{name}: the training movie", recording.movie, recording.movie_axes)
    responses = _responses(f"{name}: the responses", recording.responses, recording.response_axes, RESPONSES)
    tests = {
        test: _repeated_movie(f'{name}: test "{test}"', shown, recording.movie_axes)
        for test, shown in recording.tests.items()
    }
    neurons = {
        key: column(f'{name}: neurons["{key}"]', values, responses.shape[1])
        for key, values in recording.neurons.items()
    }
    result = MovieRecording(name=name, movie=movie, responses=responses, tests=tests, neurons=neurons)
    check_lengths(result)
    for test, shown in tests.items():
        if shown.repeats.shape[2] != responses.shape[1]:
            raise UserError(
                f'{name}: responses to test "{test}" have {shown.repeats.shape[2]} neurons, the others '
                f"{responses.shape[1]}; are axes swapped?"
            )
    return result


def _repeated_movie(what: str, test: ArrayTest, movie_axes: str) -> RepeatedMovie:
    wanted = REPEATS if "trial" in test.axes.split() else RESPONSES
    responses = _responses(f"{what}, responses", test.responses, test.axes, wanted)
    return RepeatedMovie(
        movie=_movie(f"{what}, movie", test.movie, movie_axes),
        repeats=responses if wanted == REPEATS else responses[None],
    )


def _movie(what: str, pixels: Numbers, axes: str) -> Num[np.ndarray, "time height width channel"]:
    pixels = real_numbers(what, pixels)
    if axes == MOVIE and pixels.ndim == len(MOVIE.split()) - 1:
        axes = "time height width"
    return arranged(pixels, axes, MOVIE, what)


def _responses(what: str, values: Numbers, axes: str, wanted: str) -> np.ndarray:
    values = real_numbers(what, values)
    result = np.ascontiguousarray(arranged(values, axes, wanted, what), np.float32)
    if np.isinf(result).any():
        raise UserError(f"{what} hold infinity; put NaN where nothing was recorded")
    return result


def _clip_length(recordings: Mapping[str, ArrayRecording], shortest: int, frame_rate_hz: float) -> int:
    """Longest clip that crosses no border; without known borders 5 s, or a tenth of the shortest movie."""
    starts = [
        [whole_number(f"{name}: a clip's start", start, 0) for start in recording.clip_starts]
        for name, recording in recordings.items()
    ]
    borders = [start for of_one in starts for start in of_one if start]
    if not borders:
        return max(min(round(_DEFAULT_CLIP_S * frame_rate_hz), shortest // 10), 1)
    length = math.gcd(*borders)
    lengths = [end - start for of_one in starts for start, end in itertools.pairwise(sorted({0, *of_one}))]
    if _LEAST_SHARE * length < min(lengths):
        raise UserError(
            f"the longest clips that cross no border have {length} frames, because the clips have different lengths "
            f"({min(lengths)} to {max(lengths)} frames); cut them to equal lengths, or give clip_length"
        )
    return length


def _check_clip_starts(recordings: Mapping[str, ArrayRecording], clip_length: int) -> None:
    for name, recording in recordings.items():
        wrong = [int(start) for start in recording.clip_starts if start % clip_length]
        if wrong:
            raise UserError(
                f"{name}: a clip begins at frame {wrong[0]}, which is no multiple of clip_length {clip_length}; leave "
                "out clip_length to get the longest clips that cross no border"
            )


def _sha256(recording: MovieRecording) -> str:
    """Hash of all arrays of a recording, by which a run notices that its data changed."""
    digest = hashlib.sha256()
    arrays = [recording.movie, recording.responses]
    for name, test in sorted(recording.tests.items()):
        digest.update(name.encode())
        arrays += [test.movie, test.repeats]
    for array in arrays:
        update_digest(digest, array)
    return digest.hexdigest()
