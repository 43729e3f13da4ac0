"""A data set from recordings that each come with their own movies, as most published files hold them."""

import dataclasses
import hashlib
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from jaxtyping import Float32, Num

from openretina_jax.data.dataset import Dataset
from openretina_jax.data.session import Session
from openretina_jax.data.stimulus import Stimulus, blocks
from openretina_jax.errors import UserError

TRAIN = "train"
_KEPT_AS_THEY_ARE = (np.uint8, np.float16, np.float32)  # types of pixels; others become float32


@dataclasses.dataclass(frozen=True, eq=False)
class RepeatedMovie:
    """A test movie and the responses to it, trial by trial; NaN where nothing was recorded.

    Attributes:
        movie: raw pixels.
        repeats: responses to it.
    """

    movie: Num[np.ndarray, "test_time height width channel"]
    repeats: Float32[np.ndarray, "trial response_time neuron"]


@dataclasses.dataclass(frozen=True, eq=False)
class MovieRecording:
    """What one recording was shown, and the responses to it.

    Attributes:
        name: of the session.
        movie: raw pixels of the training movie, in the order shown.
        responses: to the training movie; NaN where nothing was recorded.
        tests: by the name of the test.
        neurons, metadata: as in ``Session``.
    """

    name: str
    movie: Num[np.ndarray, "time height width channel"]
    responses: Float32[np.ndarray, "response_time neuron"]
    tests: Mapping[str, RepeatedMovie]
    neurons: Mapping[str, np.ndarray] = dataclasses.field(default_factory=dict)
    metadata: Mapping[str, str | int | float | bool] = dataclasses.field(default_factory=dict)


def assemble(
    recordings: Iterable[MovieRecording],
    *,
    clip_length: int,
    validation: int | Sequence[int],
    seed: int = 42,
    normalization: tuple[float, float] | None = None,
    frame_rate_hz: float,
    pixel_size_um: float | None = None,
    source: Mapping[str, Any] | None = None,
) -> Dataset:
    """The data set of some recordings; movies that several of them saw are kept once.

    Args:
        recordings: taken one after the other.
        clip_length: frames of a clip; validation keeps whole clips.
        validation: number of clips kept for validation, drawn for every training movie, or the clips themselves.
        seed: of the draw.
        normalization: mean and standard deviation of the raw pixels of all movies (None: those of each training movie,
            which hold for the tests of its recording too).
        frame_rate_hz: frames, and responses, per second.
        pixel_size_um: side of a stimulus pixel on the retina (None: not known).
        source: where the data came from, as plain values.

    Raises:
        UserError: movies, responses and split do not fit each other, or clips would have no frame.
    """
    if clip_length < 1:
        raise UserError(f"clip_length (config.data) is {clip_length}; a clip has at least 1 frame")
    stimuli: dict[str, Stimulus] = {}
    known: dict[tuple[str, bytes, tuple[float, float]], str] = {}

    def stimulus(recording: MovieRecording, role: str, movie: np.ndarray, statistics: tuple[float, float]) -> str:
        """Name of a movie among the stimuli, where it is put unless it is there."""
        key = role, _digest(movie), statistics
        if key not in known:
            known[key] = f"{recording.name}/{role}" if role in stimuli else role
            frames = movie if movie.dtype in _KEPT_AS_THEY_ARE else movie.astype(np.float32)
            stimuli[known[key]] = Stimulus(known[key], frames, frame_rate_hz, *statistics, raw=True)
        return known[key]

    sessions = []
    for recording in recordings:
        check_lengths(recording)
        statistics = normalization or mean_and_deviation(recording.movie)
        name = stimulus(recording, TRAIN, recording.movie, statistics)
        sessions.append(
            Session(
                name=recording.name,
                stimulus=name,
                responses=recording.responses,
                frame_index=np.arange(len(recording.movie), dtype=np.int32),
                repeats={test: shown.repeats for test, shown in recording.tests.items()},
                test_stimuli={
                    test: stimulus(recording, test, shown.movie, statistics) for test, shown in recording.tests.items()
                },
                neurons=recording.neurons,
                metadata=recording.metadata,
            )
        )
    trained_on = sorted({session.stimulus for session in sessions})
    return Dataset(
        stimuli=stimuli,
        sessions=tuple(sessions),
        clip_length=clip_length,
        validation_clips={
            name: validation_clips(len(stimuli[name].frames) // clip_length, validation, seed) for name in trained_on
        },
        pixel_size_um=pixel_size_um,
        source=source or {},
    )


def check_lengths(recording: MovieRecording) -> None:
    """Responses must belong to the movie, frame by frame.

    Raises:
        UserError: says how long each is.
    """
    shown, answered = len(recording.movie), len(recording.responses)
    if shown != answered:
        raise UserError(
            f"{recording.name}: responses have {answered} frames, the training movie has {shown}; they must be equally "
            "long: are axes swapped, or was one of them cut?"
        )


def validation_clips(n_clips: int, chosen: int | Sequence[int], seed: int) -> tuple[int, ...]:
    """The clips of a movie that are kept for validation: those chosen, or as many as wanted, drawn as openretina does.

    Args:
        n_clips: whole clips of the movie.
        chosen: number of clips, or the clips themselves.
        seed: of the draw.

    Raises:
        UserError: the movie has not so many clips, or none would be left for training.
    """
    clips = None if isinstance(chosen, int) else chosen
    count = chosen if isinstance(chosen, int) else len(chosen)
    if not 0 <= count < n_clips:
        raise UserError(
            f"validation takes {count} of {n_clips} clips of the training movie; leave at least one for training, or "
            "take shorter clips"
        )
    if clips is None:
        # the legacy generator, so that the split is openretina's
        clips = np.random.RandomState(seed).choice(n_clips, count, replace=False).tolist()
    return tuple(int(clip) for clip in clips)


def mean_and_deviation(movie: Num[np.ndarray, "time height width channel"]) -> tuple[float, float]:
    """Mean and (unbiased) standard deviation of all pixels.

    Two passes, so that small deviations from a large mean are not lost.
    """

    def total(function: Any) -> float:
        return sum(float(function(block).sum()) for block in blocks(movie))

    mean = total(lambda frames: frames.astype(np.float64)) / movie.size
    return mean, float(np.sqrt(total(lambda frames: np.square(frames - mean)) / max(movie.size - 1, 1)))


def _digest(movie: np.ndarray) -> bytes:
    digest = hashlib.blake2b(repr((movie.shape, movie.dtype)).encode(), digest_size=16)
    for block in blocks(movie):
        digest.update(np.ascontiguousarray(block).data)
    return digest.digest()
