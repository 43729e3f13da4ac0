"""Data sets assembled from recordings that each come with their own movies, as most published files hold them.

Sources that read files assemble what they read; ``arrays`` is for arrays in memory.
"""

import dataclasses
import hashlib
from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from jaxtyping import Float32, Num

from openretina_jax.data.conversion import count_or_clips
from openretina_jax.data.dataset import Dataset, Session
from openretina_jax.data.stimulus import Stimulus, blocks
from openretina_jax.errors import UserError

MOVIE = "time height width channel"
RESPONSES = "time neuron"
TRAIN = "train"
_OPTIONAL = ("height", "width", "channel")  # axes that a movie may lack, such as full-field flicker
_PIXEL_TYPES = (np.uint8, np.int8, np.float16, np.float32)  # kept as they are; others become float32


@dataclasses.dataclass(frozen=True, eq=False)
class RepeatedMovie:
    """A test movie and the responses to it, trial by trial.

    Attributes:
        movie: raw pixels.
        repeats: responses; NaN where nothing was recorded.
        behaviour: behaviour in every trial, see ``Session`` (None: there is none).
    """

    movie: Num[np.ndarray, "test_time height width channel"]
    repeats: Float32[np.ndarray, "trial response_time neuron"]
    behaviour: Float32[np.ndarray, "behaviour_trial behaviour_time behaviour"] | None = None


@dataclasses.dataclass(frozen=True, eq=False)
class MovieRecording:
    """One recording: its movies and the responses to them.

    Attributes:
        name: name of the session.
        movie: raw pixels of the training movie, in the order shown.
        responses: responses to the training movie; NaN where nothing was recorded.
        tests: test movies, by name.
        neurons, metadata, behaviour: as in ``Session``.
        begins: frames at which the training movie begins anew, see ``Dataset``.
    """

    name: str
    movie: Num[np.ndarray, "time height width channel"]
    responses: Float32[np.ndarray, "response_time neuron"]
    tests: Mapping[str, RepeatedMovie]
    neurons: Mapping[str, np.ndarray] = dataclasses.field(default_factory=dict)
    metadata: Mapping[str, str | int | float | bool] = dataclasses.field(default_factory=dict)
    behaviour: Float32[np.ndarray, "behaviour_time behaviour"] | None = None
    begins: Sequence[int] = ()


class SharedMovies:
    """Stimuli of raw pixels by name, in which a movie that several sessions saw is kept once.

    Attributes:
        stimuli: the stimuli. The first of a role ("train", or the name of a test) is called by it, others
            "<session>/<role>".

    Args:
        frame_rate_hz: frames per second of all movies.
    """

    def __init__(self, frame_rate_hz: float):
        self._frame_rate_hz = frame_rate_hz
        self.stimuli: dict[str, Stimulus] = {}
        self._names: dict[Hashable, str] = {}

    def add(
        self,
        session: str,
        role: str,
        movie: Num[np.ndarray, "time height width channel"],
        statistics: tuple[float, float],
        identity: Hashable,
    ) -> str:
        """Add a movie unless it is there, and return its name.

        Args:
            session: name of a session that saw it.
            role: "train", or the name of the test.
            movie: raw pixels.
            statistics: mean and standard deviation by which models see it normalised.
            identity: value that is equal for equal movies, and for no others.
        """
        key = role, identity, statistics
        if key not in self._names:
            name = self._names[key] = f"{session}/{role}" if role in self.stimuli else role
            frames = movie if movie.dtype in _PIXEL_TYPES else movie.astype(np.float32)
            self.stimuli[name] = Stimulus(name, frames, self._frame_rate_hz, *statistics, raw=True)
        return self._names[key]


def assemble(
    recordings: Iterable[MovieRecording],
    *,
    clip_length: int,
    validation: int | Sequence[int],
    seed: int = 42,
    normalization: tuple[float, float] | None = None,
    frame_rate_hz: float,
    pixel_size_um: float | None = None,
    channels: Sequence[str] | None = None,
    response_unit: str | None = None,
    source: Mapping[str, Any] | None = None,
) -> Dataset:
    """Make a data set of recordings; movies that several of them saw are kept once.

    Args:
        recordings: recordings, taken one after the other.
        clip_length: frames of a clip; validation keeps whole clips.
        validation: number of clips kept for validation, drawn for every training movie, or their indices.
        seed: seed of the draw.
        normalization: mean and standard deviation of the raw pixels of all movies (None: those of each training movie,
            which then hold for the tests of its recording too).
        frame_rate_hz: frames, and responses, per second.
        pixel_size_um: side of a stimulus pixel on the retina (None: not known).
        channels: names of the channels of all movies (None: not known).
        response_unit: unit of the responses (None: not known).
        source: where the data came from, as plain values.

    Raises:
        UserError: movies, responses and split do not fit each other, or clips would have no frame.
    """
    if clip_length < 1:
        raise UserError(f"clip_length (config.data) is {clip_length}; a clip has at least 1 frame")
    movies = SharedMovies(frame_rate_hz)
    sessions: list[Session] = []
    begins: dict[str, set[int]] = {}
    for recording in recordings:
        check_lengths(recording)
        statistics = normalization or mean_and_deviation(recording.movie)
        shown = {TRAIN: recording.movie, **{test: one.movie for test, one in recording.tests.items()}}
        names = {
            role: movies.add(recording.name, role, movie, statistics, _hash(movie)) for role, movie in shown.items()
        }
        shown_as = names.pop(TRAIN)
        begins.setdefault(shown_as, set()).update(start for start in recording.begins if start)
        sessions.append(
            Session(
                name=recording.name,
                stimulus=shown_as,
                responses=recording.responses,
                frame_index=np.arange(len(recording.movie), dtype=np.int32),
                repeats={test: one.repeats for test, one in recording.tests.items()},
                test_stimuli=names,
                neurons=recording.neurons,
                metadata=recording.metadata,
                behaviour=recording.behaviour,
                test_behaviour={
                    test: one.behaviour for test, one in recording.tests.items() if one.behaviour is not None
                },
            )
        )
    trained_on = sorted({session.stimulus for session in sessions})
    return Dataset(
        stimuli=movies.stimuli,
        sessions=tuple(sessions),
        clip_length=clip_length,
        validation_clips={
            name: validation_clips(
                len(movies.stimuli[name].frames) // clip_length, validation, seed, _broken(begins[name], clip_length)
            )
            for name in trained_on
        },
        pixel_size_um=pixel_size_um,
        channels=None if channels is None else tuple(channels),
        response_unit=response_unit,
        source=source or {},
        begins={name: tuple(sorted(found)) for name, found in begins.items() if found},
    )


def check_lengths(recording: MovieRecording) -> None:
    """Check that a recording has a response to every frame of its training movie.

    Raises:
        UserError: the movie and the responses differ in length.
    """
    n_frames, n_responses = len(recording.movie), len(recording.responses)
    if n_frames != n_responses:
        raise UserError(
            f"{recording.name}: responses have {n_responses} frames, the training movie has {n_frames}; they must be "
            "equally long: are axes swapped, or was one of them cut?"
        )


def _broken(begins: Iterable[int], clip_length: int) -> list[int]:
    """Clips within which a movie begins anew."""
    return sorted({begin // clip_length for begin in begins if begin % clip_length})


def validation_clips(
    n_clips: int, chosen: int | Sequence[int], seed: int, broken: Sequence[int] = ()
) -> tuple[int, ...]:
    """Choose the clips of a movie that are kept for validation, as openretina does.

    Args:
        n_clips: number of whole clips of the movie.
        chosen: number of clips to draw, or the indices of the clips.
        seed: seed of the draw.
        broken: clips within which the movie begins anew, which are not whole.

    Raises:
        UserError: the movie has fewer clips, or none would be left for training, or a chosen clip is not whole.
    """
    given = count_or_clips("validation_clips", chosen)
    count = given if isinstance(given, int) else len(given)
    whole = np.setdiff1d(np.arange(n_clips), broken)
    if not 0 <= count < len(whole):
        raise UserError(
            f"validation takes {count} of {len(whole)} clips of the training movie; leave at least one for training, "
            "or take shorter clips"
        )
    if not isinstance(given, int):
        if wrong := sorted(set(given) & set(broken)):
            raise UserError(
                f"validation clip {wrong[0]} (config.data.validation_clips) has frames of two stimuli, which were not "
                "shown one after another; choose another"
            )
        return given
    # numpy's legacy generator, so that the split is openretina's
    return tuple(np.random.RandomState(seed).choice(whole, count, replace=False).tolist())


def mean_and_deviation(movie: Num[np.ndarray, "time height width channel"]) -> tuple[float, float]:
    """Mean and (unbiased) standard deviation of all pixels.

    Two passes, since one would lose small deviations from a large mean.
    """

    def total(function: Callable[[np.ndarray], np.ndarray]) -> float:
        return sum(float(function(block).sum()) for block in blocks(movie))

    mean = total(lambda frames: frames.astype(np.float64)) / movie.size
    wide = np.float32 if movie.dtype == np.float16 else movie.dtype  # half floats would overflow
    squares = total(lambda frames: np.square(frames.astype(wide, copy=False) - mean))
    return mean, float(np.sqrt(squares / max(movie.size - 1, 1)))


def arranged(values: np.ndarray, axes: str, wanted: str, what: str) -> np.ndarray:
    """View an array with its axes in the wanted order; axes of height, width and channels that it lacks are added.

    Args:
        values: the array.
        axes: names of its axes, separated by spaces.
        wanted: names of the axes of the result.
        what: name of the array in messages.

    Raises:
        UserError: the names are not those wanted, or the array has another number of axes.
    """
    names, needed, shape = axes.split(), wanted.split(), values.shape
    for axis in _OPTIONAL:
        if axis in needed and axis not in names:
            names, values = [*names, axis], values[..., None]
    if sorted(names) != sorted(needed):
        raise UserError(f'{what}: its axes are called "{axes}"; name each of {", ".join(needed)} once, in its order')
    if values.ndim != len(names):
        count = len(axes.split())
        raise UserError(
            f'{what}: has shape {shape}, but must have the {count} {"axes" if count > 1 else "axis"} "{axes}"'
        )
    return values.transpose([names.index(name) for name in needed])


def _hash(movie: np.ndarray) -> bytes:
    """Short hash of a movie, by which equal ones are found."""
    digest = hashlib.blake2b(digest_size=16)
    update_digest(digest, movie)
    return digest.digest()


def update_digest(digest: Any, array: np.ndarray) -> None:
    """Add shape, type and numbers of an array to a hash of ``hashlib``, block by block."""
    digest.update(repr((array.shape, array.dtype)).encode())
    for block in blocks(array):
        digest.update(np.ascontiguousarray(block).data)
