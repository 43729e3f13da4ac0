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
from openretina_jax.data.behaviour import BEHAVIOUR
from openretina_jax.data.conversion import Numbers, column, count_or_clips, number, real_numbers, whole_number
from openretina_jax.data.dataset import Dataset
from openretina_jax.data.frame_times import frame_rate_of
from openretina_jax.data.stimulus import blocks
from openretina_jax.errors import UserError

REPEATS = "trial time neuron"
TRIALS_OF_BEHAVIOUR = f"trial {BEHAVIOUR}"
TRIAL = "trial"

_DEFAULT_CLIP_S = 5.0
_SAME_RATE = 0.005  # relative difference of rates that counts as none: that of clocks, and of rounding
_LEAST_SHARE = 10  # clips are no shorter than a tenth of the shortest that was shown


@dataclasses.dataclass(frozen=True, eq=False)
class ArrayTest:
    """A test movie and the responses to its repeats.

    Attributes:
        movie: raw pixels; axes as in ``ArrayRecording``.
        responses: responses to all repeats, to one, or their mean.
        axes: names of the axes of the responses, in their order, with or without "trial": "trial time neuron", "neuron
            trial time" or the like. Nothing is guessed from shapes.
        behaviour: behaviour in every trial, where the recording has behaviour.
        behaviour_axes: names of its axes; without "trial" where the responses have none.
    """

    movie: Numbers
    responses: Numbers
    axes: str
    behaviour: Numbers | None = None
    behaviour_axes: str = TRIALS_OF_BEHAVIOUR


@dataclasses.dataclass(frozen=True, eq=False)
class ArrayRecording:
    """Movie and responses of one recording, frame by frame at the same rate.

    Attributes:
        movie: raw pixels of the training movie, in the order shown; may lie on disk (``np.memmap``).
        responses: responses to every frame; NaN where nothing was recorded.
        tests: test movies, by name.
        movie_axes: names of the axes of all movies, such as "time height width" of one colour, "time width" of bars, or
            "time" of full-field flicker. A "trial" axis is that of the training movie alone.
        response_axes: names of the axes of ``responses``; with "trial", as in "neuron time trial", trials are joined in
            time, and a clip begins with each.
        clip_starts: frames of the training movie at which it begins anew, after a pause or after frames that are not in
            it (frozen repeats, ...); no window of the training crosses them.
        neurons: facts about the neurons (``unit``, cell types, ...): arrays with an entry per neuron, by name.
        frame_times: time at which each frame of the training movie appeared, in seconds (None: not known). They tell
            the rate, and frames that are missing.
        behaviour: eye position, pupil, speed, ... at every frame, in any unit, for models with a shifter; NaN where it
            is not known, where responses do not count for such models (None: there is none).
        behaviour_axes: names of its axes; "time" of a single channel, and with "trial" as for ``response_axes``.
    """

    movie: Numbers
    responses: Numbers
    tests: Mapping[str, ArrayTest] = dataclasses.field(default_factory=dict)
    movie_axes: str = MOVIE
    response_axes: str = RESPONSES
    clip_starts: Sequence[int] = ()
    neurons: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    frame_times: Numbers | None = None
    behaviour: Numbers | None = None
    behaviour_axes: str = BEHAVIOUR


def from_arrays(
    recordings: Mapping[str, ArrayRecording],
    *,
    frame_rate_hz: float | np.number | None = None,
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
        frame_rate_hz: frames, and responses, per second (None: that of the ``frame_times``, which all recordings then
            need).
        clip_length: frames of a clip; validation keeps whole clips (None: the longest that crosses no border between
            ``clip_starts``, or without these 5 s, but at most a tenth of the shortest movie).
        validation_clips: number of clips kept for validation, drawn for each movie, or their indices, such as
            ``range(20, 30)`` for a block of clips that follow each other (None: a tenth of the shortest movie).
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
    given_hz = None if frame_rate_hz is None else number("frame_rate_hz", frame_rate_hz, positive=True)
    pixel_um = None if pixel_size_um is None else number("pixel_size_um", pixel_size_um, positive=True)
    if normalization is not None:
        mean, deviation = normalization
        normalization = (
            number("the mean of normalization", mean),
            number("the deviation of normalization", deviation, positive=True),
        )
    drawn_by = whole_number("seed", seed, 0, 2**32 - 1)
    starts = {name: _clip_starts(name, recording) for name, recording in recordings.items()}
    read = {name: _movie_recording(name, recording) for name, recording in recordings.items()}
    rate_hz = _common_rate(recordings, read, starts, given_hz)
    shortest = min(len(recording.movie) for recording in read.values())
    if clip_length is None:
        length = _clip_length(starts, shortest, rate_hz)
    else:
        length = whole_number("clip_length (config.data)", clip_length, 1)
    _check_clip_starts(starts, length)
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


def join_recordings(parts: Sequence[ArrayRecording]) -> ArrayRecording:
    """Join what the same neurons answered to several stimuli into one recording, whose movie has a clip for each.

    Args:
        parts: recordings of the same neurons in the same order, with frames of one size and at one rate. Facts about
            the neurons are those of the first one.

    Raises:
        UserError: the parts do not fit each other, or two have a test of one name.
    """
    if not parts:
        raise UserError("there are no recordings to join; give at least one")
    read = [_movie_recording(f"part {place}", part) for place, part in enumerate(parts)]
    starts: list[int] = []
    tests: dict[str, ArrayTest] = {}
    first = 0
    for place, (part, one) in enumerate(zip(parts, read, strict=True)):
        sizes = [(other.movie.shape[1:], other.responses.shape[1]) for other in (read[0], one)]
        if sizes[0] != sizes[1]:
            raise UserError(
                f"part 0 has frames of {sizes[0][0]} and {sizes[0][1]} neurons, part {place} {sizes[1][0]} and "
                f"{sizes[1][1]}; bring frames to one size, and give the same neurons"
            )
        if twice := sorted(tests.keys() & one.tests.keys()):
            raise UserError(f'two parts have a test "{twice[0]}"; call one of them otherwise')
        tests |= {
            name: ArrayTest(test.movie, test.repeats, REPEATS, test.behaviour) for name, test in one.tests.items()
        }
        starts += [first, *(first + start for start in _clip_starts(f"part {place}", part) if start)]
        first += len(one.movie)
    behaviour = [one.behaviour for one in read if one.behaviour is not None]
    if len({shown.shape[1] for shown in behaviour}) > 1 or len(behaviour) not in (0, len(read)):
        raise UserError("some parts have behaviour of other channels than others, or none; give the same for all")
    timed = [part.frame_times for part in parts if part.frame_times is not None]
    return ArrayRecording(
        movie=np.concatenate([one.movie for one in read]),
        responses=np.concatenate([one.responses for one in read]),
        tests=tests,
        clip_starts=starts,
        neurons=parts[0].neurons,
        frame_times=np.concatenate([np.ravel(one) for one in timed]) if len(timed) == len(parts) else None,
        behaviour=np.concatenate(behaviour) if behaviour else None,
    )


def _clip_starts(name: str, recording: ArrayRecording) -> list[int]:
    """Frames at which the movie begins anew: those given, or the first frames of trials."""
    given = [whole_number(f"{name}: a clip's start", start, 0) for start in recording.clip_starts]
    for what, values, axes in (
        ("responses", recording.responses, recording.response_axes.split()),
        ("movie", recording.movie, recording.movie_axes.split()),
    ):
        if TRIAL in axes and not given:
            shape = real_numbers(f"{name}: the {what}", values).shape
            if len(shape) == len(axes):  # or else told later, with all axes
                trials, frames = shape[axes.index(TRIAL)], shape[axes.index("time")]
                return list(range(0, trials * frames, frames))
    return given


def _movie_recording(name: str, recording: ArrayRecording) -> MovieRecording:
    """Recording with its axes in our order, after all checks."""
    movie = _movie(f"{name}: the training movie", recording.movie, recording.movie_axes)
    responses = _responses(f"{name}: the responses", recording.responses, recording.response_axes, RESPONSES)
    begins = _clip_starts(name, recording)
    movie = _without_padding(movie, responses, begins)
    of_tests = " ".join(axis for axis in recording.movie_axes.split() if axis != TRIAL)
    tests = {
        test: _repeated_movie(f'{name}: test "{test}"', shown, of_tests) for test, shown in recording.tests.items()
    }
    neurons = {
        key: column(f'{name}: neurons["{key}"]', values, responses.shape[1])
        for key, values in recording.neurons.items()
    }
    behaviour = None
    if recording.behaviour is not None:
        behaviour = _responses(
            f"{name}: the channels of behaviour", recording.behaviour, recording.behaviour_axes, BEHAVIOUR
        )
    result = MovieRecording(
        name=name, movie=movie, responses=responses, tests=tests, neurons=neurons, behaviour=behaviour, begins=begins
    )
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
    behaviour = None
    if test.behaviour is not None:
        of_trials = TRIAL in test.behaviour_axes.split()
        axes = TRIALS_OF_BEHAVIOUR if of_trials else BEHAVIOUR
        behaviour = _responses(f"{what}, channels of behaviour", test.behaviour, test.behaviour_axes, axes)
        behaviour = behaviour if of_trials else behaviour[None]
    return RepeatedMovie(
        movie=_movie(f"{what}, movie", test.movie, movie_axes),
        repeats=responses if wanted == REPEATS else responses[None],
        behaviour=behaviour,
    )


def _movie(what: str, pixels: Numbers, axes: str) -> Num[np.ndarray, "time height width channel"]:
    pixels = real_numbers(what, pixels)
    if axes == MOVIE and pixels.ndim == len(MOVIE.split()) - 1:
        axes = "time height width"
    return _joined_trials(pixels, axes, MOVIE, what)


def _joined_trials(values: np.ndarray, axes: str, wanted: str, what: str) -> np.ndarray:
    """Array with its axes in our order, in which trials follow each other in time unless they are an axis of ours."""
    if TRIAL not in axes.split() or TRIAL in wanted.split():
        return arranged(values, axes, wanted, what)
    by_trial = arranged(values, axes, f"{TRIAL} {wanted}", what)
    return by_trial.reshape(-1, *by_trial.shape[2:])


def _without_padding(
    movie: Num[np.ndarray, "time height width channel"], responses: np.ndarray, starts: Sequence[int]
) -> Num[np.ndarray, "time height width channel"]:
    """Movie in which frames of NaN at the end of a clip, without responses, are grey: they pad shorter trials."""
    if movie.dtype.kind != "f" or len(movie) != len(responses):
        return movie
    empty = np.concatenate([np.isnan(block).all(axis=(1, 2, 3)) for block in blocks(movie)])
    if not empty.any():
        return movie
    silent = empty & np.isnan(responses).all(axis=1)
    ends = [*sorted(start for start in starts if start), len(movie)]
    padding = np.zeros(len(movie), bool)
    for start, end in itertools.pairwise([0, *ends]):
        shown = np.flatnonzero(~silent[start:end])
        padding[start + (shown[-1] + 1 if len(shown) else 0) : end] = True
    filled = movie.copy()
    filled[padding] = np.mean(movie[~empty], dtype=np.float64) if not empty.all() else 0
    return filled


def _common_rate(
    recordings: Mapping[str, ArrayRecording],
    read: Mapping[str, MovieRecording],
    starts: Mapping[str, Sequence[int]],
    given_hz: float | None,
) -> float:
    """Frames per second of all recordings: the number given, or what the times of their frames say."""
    rates = {
        name: frame_rate_of(name, recording.frame_times, len(read[name].movie), starts[name])
        for name, recording in recordings.items()
        if recording.frame_times is not None
    }
    if given_hz is None:
        if missing := sorted(recordings.keys() - rates.keys()):
            raise UserError(f"{missing[0]}: has no frame_times; give them, or frame_rate_hz of all recordings")
        given_hz = float(np.median(list(rates.values())))
    for name, rate_hz in rates.items():
        if abs(rate_hz / given_hz - 1) > _SAME_RATE:
            others = {other: round(found, 4) for other, found in rates.items()}
            raise UserError(
                f"{name}: its frame_times say {rate_hz:.6g} frames per second, but the data set has {given_hz:.6g} "
                f"(all of them: {others}); bring it to that rate with steady_frame_times, frames_at for the movie, and "
                "count_spikes or resample_traces for the responses"
            )
    return given_hz


def _responses(what: str, values: Numbers, axes: str, wanted: str) -> np.ndarray:
    values = real_numbers(what, values)
    result = np.ascontiguousarray(_joined_trials(values, axes, wanted, what), np.float32)
    if np.isinf(result).any():
        raise UserError(f"{what} hold infinity; put NaN where nothing was recorded")
    return result


def _clip_length(clip_starts: Mapping[str, Sequence[int]], shortest: int, frame_rate_hz: float) -> int:
    """Longest clip that crosses no border; without known borders 5 s, or a tenth of the shortest movie."""
    starts = clip_starts.values()
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


def _check_clip_starts(clip_starts: Mapping[str, Sequence[int]], clip_length: int) -> None:
    for name, starts in clip_starts.items():
        wrong = [start for start in starts if start % clip_length]
        if wrong:
            raise UserError(
                f"{name}: a clip begins at frame {wrong[0]}, which is no multiple of clip_length {clip_length}; leave "
                "out clip_length to get the longest clips that cross no border"
            )


def _sha256(recording: MovieRecording) -> str:
    """Hash of all arrays of a recording, by which a run notices that its data changed."""
    digest = hashlib.sha256()
    arrays = [recording.movie, recording.responses, *([] if recording.behaviour is None else [recording.behaviour])]
    for name, test in sorted(recording.tests.items()):
        digest.update(name.encode())
        arrays += [test.movie, test.repeats, *([] if test.behaviour is None else [test.behaviour])]
    for array in arrays:
        update_digest(digest, array)
    return digest.hexdigest()
