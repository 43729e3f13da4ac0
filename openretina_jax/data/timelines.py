"""Timelines: which frames a group of neurons saw, and where its responses are, as rows of two tables.

All movies lie one after another in one table of frames, and all responses in one table with a column per neuron. A
``Timeline`` is a list of indices into both. Frames are never reordered or copied: clip orders, random sequences, splits
and shared stimuli are all timelines.

If a session saw no frame twice, the response to a frame lies in the row of that frame. Sessions that saw the same
clips, in whatever order, can then share a timeline, and one pass of the core serves them all. A prediction near the
border between two clips depends on both; there a timeline serves only the sessions that saw its order of clips.
"""

import dataclasses
import itertools
import math
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Float32, Int, Int32, Num, Shaped
from numpy.typing import DTypeLike

from openretina_jax.data.behaviour import known
from openretina_jax.data.dataset import Dataset, Session
from openretina_jax.data.masked import mean_of
from openretina_jax.data.stimulus import Frames
from openretina_jax.errors import UserError

ALIGNED_BYTES = 64  # at multiples of which arrays of XLA begin
_FRAMES_AT_ONCE = 512  # that are copied or normalised: no second table of them is made

# a number; in a stack of timelines (``batches.Timelines``) an array with one for each
if TYPE_CHECKING:
    Fact = Any
else:
    Fact = bool | int | float | Shaped[Any, " timeline"]


@dataclasses.dataclass(frozen=True, eq=False)
class Timeline:
    """Frames in the order in which a group of neurons saw them, as indices into the tables of the data set.

    Attributes:
        name: session whose order of clips it follows.
        frames: rows in the table of frames.
        rows: rows in the table of responses.
        mirrored: whether the frames are mirrored left to right.
        session: index of the session of the first neuron.
        first_neuron: column of the first neuron in the table of responses; the others follow.
        n_neurons: number of neurons.
        n_sessions: number of sessions that the neurons belong to.
        order: index of the order of clips; see ``Tables.order``.
        clip_length: frames of a clip; a new clip begins every ``clip_length`` frames.
        shift, scale: normalisation; the model sees ``(frames - shift) / scale``.
        borders: times at which another part of the movie begins, which was not shown right after the one before;
            windows stay within parts.
    """

    name: str
    frames: Int32[Any, "*timeline time"]
    rows: Int32[Any, "*timeline time"]
    mirrored: Fact
    session: Fact
    first_neuron: Fact
    n_neurons: Fact
    n_sessions: Fact
    order: Fact
    clip_length: Fact
    shift: Fact = 0.0
    scale: Fact = 1.0
    borders: tuple[int, ...] = ()

    def __len__(self) -> int:
        return len(self.frames)


class Tables:
    """Frames and responses of a data set as two tables, and the timelines that point into them.

    Attributes:
        dataset: the data set.
        responses: one column per neuron in the order of ``dataset.sessions``, NaN where nothing was recorded; responses
            to test movies are means over trials. Sessions without a common stimulus share rows.
        session: index of each neuron's session.
        order: index of the order in which each neuron saw its clips; equal for equal orders.
        behaviour: behaviour of every session in the rows of its responses (None: it is left out). Responses at a time
            of which it is not known are NaN, and trials of tests have rows of their own, one trial after the other.

    Args:
        dataset: the data set.
        per_session: whether each timeline has the neurons of one session only, even where others saw the same clips.
        with_behaviour: whether there is a table of behaviour, for models that read it; it implies ``per_session``.

    Raises:
        UserError: there is no behaviour to be read.
    """

    def __init__(self, dataset: Dataset, per_session: bool = False, with_behaviour: bool = False):
        self.dataset, self._with_behaviour = dataset, with_behaviour
        self._per_session = per_session or with_behaviour
        self._movies = list(dataset.stimuli.values())
        # movies of different types fit into one table only when they are normalised
        self._raw = len({(movie.raw, movie.frames.dtype) for movie in self._movies}) == 1
        self._first_frame = _one_after_another({name: len(movie.frames) for name, movie in dataset.stimuli.items()})
        self._first_row, n_rows = first_rows(dataset, trials_apart=with_behaviour)
        counts = np.array([session.n_neurons for session in dataset.sessions])
        self._first_neuron = np.cumsum(counts) - counts
        self.session = np.repeat(np.arange(len(counts)), counts).astype(np.int32)
        first_shown: dict[tuple[str, bytes], int] = {}
        shown = ((session.stimulus, session.frame_index.tobytes()) for session in dataset.sessions)
        self._orders = [first_shown.setdefault(order, number) for number, order in enumerate(shown)]
        self.order = np.repeat(self._orders, counts).astype(np.int32)
        self.responses = aligned((n_rows, int(counts.sum())), np.float32)
        for session, first in zip(dataset.sessions, self._first_neuron, strict=True):
            columns = self.responses[:, first : first + session.n_neurons]
            unrecorded = np.ones(n_rows, bool)
            parts = [(self._rows(session), session.responses)]
            for test, trials in () if with_behaviour else session.repeats.items():
                start = self._first_row[session.test_stimulus(test)]
                parts.append((np.arange(start, start + trials.shape[1], dtype=np.int32), mean_of(trials)))
            for rows, responses in parts:
                columns[rows], unrecorded[rows] = responses, False
            columns[unrecorded] = np.nan
        self.behaviour = self._table_of_behaviour() if with_behaviour else None

    def _table_of_behaviour(self) -> Float32[np.ndarray, "row session channel"]:
        """Table of behaviour; adds the trials of tests to the responses, and leaves out what has no behaviour."""
        sessions = self.dataset.sessions
        if sessions[0].behaviour is None:
            raise UserError(
                "the model reads behaviour, but the recordings have none; give it, or a model without shifter"
            )
        table = np.full((len(self.responses), len(sessions), sessions[0].behaviour.shape[1]), np.nan, np.float32)
        for number, (session, first) in enumerate(zip(sessions, self._first_neuron, strict=True)):
            assert session.behaviour is not None  # sessions have equally many channels
            parts = [(self._rows(session), session.responses, session.behaviour)]
            parts += [
                (self._rows_of_trials(session, test), trials, session.test_behaviour[test])
                for test, trials in session.repeats.items()
            ]
            for rows, responses, behaviour in parts:
                columns = slice(first, first + session.n_neurons)
                table[rows, number] = behaviour.reshape(len(rows), -1)
                shown = np.where(known(behaviour), responses, np.nan)
                self.responses[rows, columns] = shown.reshape(len(rows), -1)
        return table

    @property
    def n_frames(self) -> int:
        """Total number of frames of all movies."""
        return sum(len(movie.frames) for movie in self._movies)

    @property
    def frame_bytes(self) -> int:
        """Size of the table of frames in bytes."""
        each = self._movies[0].frames.dtype.itemsize if self._raw else np.dtype(np.float32).itemsize
        return self.n_frames * math.prod(self._movies[0].frames.shape[1:]) * each

    def frames(self) -> Frames:
        """All movies one after another, in the order of ``dataset.stimuli``; a single one as it is."""
        first = self._movies[0].frames
        if len(self._movies) == 1 and self._raw:
            return first
        table = aligned((self.n_frames, *first.shape[1:]), first.dtype if self._raw else np.float32)
        for name, movie in self.dataset.stimuli.items():
            part = table[self._first_frame[name] :][: len(movie.frames)]
            for start in range(0, len(part), _FRAMES_AT_ONCE):
                some = slice(start, start + _FRAMES_AT_ONCE)
                part[some] = movie.frames[some] if self._raw else movie.normalized(some)
        return table

    def pick(self, rows: Int[np.ndarray, "*shape"]) -> Num[np.ndarray, "*shape height width channel"]:
        """Read some rows of the table of frames from the movies."""
        first = self._movies[0].frames
        picked = np.empty((*rows.shape, *first.shape[1:]), first.dtype if self._raw else np.float32)
        for name, movie in self.dataset.stimuli.items():
            index = rows - self._first_frame[name]
            inside = (index >= 0) & (index < len(movie.frames))
            if not inside.any():
                continue
            picked[inside] = movie.frames[index[inside]] if self._raw else movie.normalized(index[inside])
        return picked

    def training(self) -> list[Timeline]:
        """Training clips of every session in the order in which it saw them: one timeline per session."""
        return [self._session_timeline(number, [number]) for number in range(len(self.dataset.sessions))]

    def shared_training(self) -> list[Timeline]:
        """Timelines of ``training``, each with the neurons of all sessions that saw the same clips."""
        groups = self._neighbours(self._what_it_saw)
        return [self._session_timeline(number, group) for group in groups for number in group]

    def validation(self) -> list[Timeline]:
        """Validation clips in the order of the data set, one timeline for all sessions that saw the same.

        Raises:
            UserError: there are none.
        """
        if not any(self.dataset.validation_clips.values()):
            raise UserError("validation_clips is empty, but training needs a validation score; keep at least one clip")
        length = self.dataset.clip_length
        timelines = []
        for numbers in self._neighbours(self._what_it_saw):
            session = self.dataset.sessions[numbers[0]]
            kept = self.dataset.kept_for_validation(session)
            if not kept:
                continue
            shown = (session.frame_index[::length] // length).tolist()
            starts = [shown.index(clip) * length for clip in kept]
            times = np.concatenate([start + np.arange(length) for start in starts])
            # single images are independent: all of them count as one clip, since a score needs several frames
            clip_length = len(times) if length == 1 else length
            frames, rows = self._frames(session)[times], self._rows(session)[times]
            timelines.append(self._timeline(session, numbers, session.stimulus, frames, rows, clip_length))
        return timelines

    def test(self, name: str) -> list[Timeline]:
        """Movies of the test with that name, one timeline for all sessions that saw the same.

        With a table of behaviour, every trial is a clip of its own.
        """

        def what_it_saw(session: Session) -> object:
            return session.mirrored, session.test_stimulus(name) if name in session.repeats else None

        timelines = []
        for group in self._neighbours(what_it_saw):
            session = self.dataset.sessions[group[0]]
            if name not in session.repeats:
                continue
            stimulus = session.test_stimulus(name)
            index = np.arange(len(self.dataset.stimuli[stimulus].frames), dtype=np.int32)
            frames, rows = index + self._first_frame[stimulus], index + self._first_row[stimulus]
            if self._with_behaviour:
                frames = np.tile(frames, len(session.repeats[name]))
                rows = self._rows_of_trials(session, name)
            timelines.append(self._timeline(session, group, stimulus, frames, rows, len(index)))
        return timelines

    def _session_timeline(self, number: int, group: Sequence[int]) -> Timeline:
        session = self.dataset.sessions[number]
        clips = session.frame_index // self.dataset.clip_length
        kept = ~np.isin(clips, self.dataset.kept_for_validation(session))
        frames, rows = self._frames(session)[kept], self._rows(session)[kept]
        borders = tuple((np.flatnonzero(np.diff(self.dataset.parts(session)[kept])) + 1).tolist())
        return self._timeline(session, group, session.stimulus, frames, rows, self.dataset.clip_length, borders)

    def _what_it_saw(self, session: Session) -> object:
        if not session.sees_frames_once:
            return session.name
        clips = np.unique(session.frame_index[:: self.dataset.clip_length])
        return session.stimulus, session.mirrored, clips.tobytes()

    def _neighbours(self, key: Callable[[Session], object]) -> list[list[int]]:
        """Group sessions with equal keys; they are neighbours, since a data set sorts its sessions."""
        sessions = self.dataset.sessions
        if self._per_session:
            return [[number] for number in range(len(sessions))]
        return [list(group) for _, group in itertools.groupby(range(len(sessions)), lambda n: key(sessions[n]))]

    def _timeline(
        self,
        session: Session,
        group: Sequence[int],
        stimulus: str,
        frames: np.ndarray,
        rows: np.ndarray,
        clip_length: int,
        borders: tuple[int, ...] = (),
    ) -> Timeline:
        """Timeline of a session's frames and rows, with the neurons of its group."""
        shift, scale = self.dataset.stimuli[stimulus].shift_and_scale if self._raw else (0.0, 1.0)
        return Timeline(
            name=session.name,
            frames=frames,
            rows=rows,
            mirrored=session.mirrored,
            session=group[0],
            first_neuron=int(self._first_neuron[group[0]]),
            n_neurons=sum(self.dataset.sessions[number].n_neurons for number in group),
            n_sessions=len(group),
            order=self._orders[self.dataset.sessions.index(session)],
            clip_length=clip_length,
            shift=shift,
            scale=scale,
            borders=borders,
        )

    def _frames(self, session: Session) -> Int32[np.ndarray, " time"]:
        return session.frame_index + self._first_frame[session.stimulus]

    def _rows(self, session: Session) -> Int32[np.ndarray, " time"]:
        if session.sees_frames_once:
            return session.frame_index + self._first_row[session.stimulus]
        return np.arange(len(session.frame_index), dtype=np.int32) + self._first_row[_own_rows(session)]

    def _rows_of_trials(self, session: Session, test: str) -> Int32[np.ndarray, " trial_time"]:
        """Rows of all trials of a test, one after the other."""
        trials, frames, _ = session.repeats[test].shape
        return np.arange(trials * frames, dtype=np.int32) + self._first_row[_own_rows(session, test)]


def aligned(shape: tuple[int, ...], dtype: DTypeLike) -> Num[np.ndarray, "..."]:
    """Make an array to be filled, which begins where XLA takes it as it lies: large ones are there once on CPUs."""
    size = math.prod(shape) * np.dtype(dtype).itemsize
    room = np.empty(size + ALIGNED_BYTES, np.uint8)
    first = -room.ctypes.data % ALIGNED_BYTES
    return room[first : first + size].view(dtype).reshape(shape)


def _one_after_another(lengths: Mapping[str, int]) -> dict[str, np.int32]:
    """Start of each item when all lie one after another."""
    ends = np.cumsum(list(lengths.values()), dtype=np.int32)
    return {name: end - np.int32(length) for (name, length), end in zip(lengths.items(), ends, strict=True)}


def first_rows(dataset: Dataset, trials_apart: bool = False) -> tuple[dict[str, np.int32], int]:
    """First row of every stimulus in the table of responses, and the number of rows.

    Stimuli of one session lie one after another; stimuli that no session has in common may share rows. Those that most
    sessions saw come first, so that few rows stay empty. Responses of a session that saw frames twice have rows of
    their own; with ``trials_apart``, so have all trials of the tests of every session.
    """
    lengths = {name: len(stimulus.frames) for name, stimulus in dataset.stimuli.items()}
    users: dict[str, list[int]] = {name: [] for name in lengths}
    for number, session in enumerate(dataset.sessions):
        tests = () if trials_apart else map(session.test_stimulus, session.repeats)
        for name in {session.stimulus, *tests}:
            users[name].append(number)
        for test, trials in session.repeats.items() if trials_apart else ():
            lengths[_own_rows(session, test)], users[_own_rows(session, test)] = (
                trials.shape[0] * trials.shape[1],
                [number],
            )
        if not session.sees_frames_once:
            lengths[_own_rows(session)], users[_own_rows(session)] = len(session.frame_index), [number]
    ends = np.zeros(len(dataset.sessions), np.int32)
    first = {}
    for name, numbers in sorted(users.items(), key=lambda item: -len(item[1])):
        first[name] = ends[numbers].max() if numbers else np.int32(0)
        ends[numbers] = first[name] + np.int32(lengths[name])
    return first, int(ends.max())


def _own_rows(session: Session, test: str = "") -> str:
    return f"responses of {session.name}" + (f" to {test}" if test else "")
