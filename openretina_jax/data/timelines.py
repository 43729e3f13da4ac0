"""What is shown to which neurons, split by split, as rows of two tables.

All movies lie one after another in one table of frames, and all responses in one table with a column per neuron.
A ``Timeline`` says in which order a group of neurons sees frames, and where its responses lie. Nothing is ever
reordered or copied: clip orders, random sequences, splits and shared stimuli are all timelines.

Where a session sees no frame twice, the response to a frame lies in the row of that frame. Sessions that saw the same
clips, in whatever order, can then share a timeline: one pass of the core serves them all. What a model predicts just
after the border of two clips depends on the clip before, so there a timeline serves only the sessions with its own
order of clips.
"""

import dataclasses
import itertools
from collections.abc import Callable, Sequence

import numpy as np
from jaxtyping import Float, Float32, Int32

from openretina_jax.data.dataset import Dataset
from openretina_jax.data.session import Session
from openretina_jax.errors import UserError


@dataclasses.dataclass(frozen=True, eq=False)
class Timeline:
    """Frames in the order in which neighbouring columns of neurons see them.

    Attributes:
        name: of the session whose order of clips it is.
        frames: rows in the table of frames.
        rows: rows in the table of responses.
        mirrored: whether the frames are mirrored left to right.
        session: number of the session of the first column.
        first_neuron: first column of the neurons.
        n_neurons: number of columns.
        n_sessions: sessions that the neurons belong to.
        order: number of the order of clips; see ``Tables.order``.
        clip_length: a new clip begins every ``clip_length`` frames.
    """

    name: str
    frames: Int32[np.ndarray, " time"]
    rows: Int32[np.ndarray, " time"]
    mirrored: bool
    session: int
    first_neuron: int
    n_neurons: int
    n_sessions: int
    order: int
    clip_length: int

    def __len__(self) -> int:
        return len(self.frames)


class Tables:
    """The frames and responses of a data set as two tables, and the timelines that point into them.

    Attributes:
        frames: movies one after another, in the order of ``dataset.stimuli``.
        responses: one column per neuron in the order of ``dataset.sessions``; responses to test movies are means over
            trials; NaN where nothing was recorded.
        session: number of the session that a column belongs to.
        order: number of the order in which the session of a column saw its clips; equal for equal orders.

    Args:
        dataset: stimuli and recordings.
        per_session: whether the neurons of a timeline belong to one session always, even where others saw the same.
    """

    def __init__(self, dataset: Dataset, per_session: bool = False):
        self._dataset, self._per_session = dataset, per_session
        movies = list(dataset.stimuli.values())
        self.frames: Float32[np.ndarray, "frame height width channel"] = (
            movies[0].frames if len(movies) == 1 else np.concatenate([movie.frames for movie in movies])
        )
        ends = np.cumsum([len(movie.frames) for movie in movies])
        self._first_frame = {movie.name: int(end) - len(movie.frames) for movie, end in zip(movies, ends, strict=True)}
        counts = np.array([session.n_neurons for session in dataset.sessions])
        self._first_neuron = np.cumsum(counts) - counts
        self.session = np.repeat(np.arange(len(counts)), counts).astype(np.int32)
        shown = [(session.stimulus, session.frame_index.tobytes()) for session in dataset.sessions]
        self._orders = [shown.index(order) for order in shown]
        self.order = np.repeat(self._orders, counts).astype(np.int32)
        longest = max((len(s.frame_index) for s in dataset.sessions if not _sees_frames_once(s)), default=0)
        self.responses = np.full((len(self.frames) + longest, counts.sum()), np.nan, np.float32)
        for session, first in zip(dataset.sessions, self._first_neuron, strict=True):
            columns = slice(first, first + session.n_neurons)
            self.responses[self._rows(session), columns] = session.responses
            for test, trials in session.repeats.items():
                start = self._first_frame[test]
                self.responses[start : start + trials.shape[1], columns] = mean_over_trials(trials)

    def training(self) -> list[Timeline]:
        """One timeline per session: its training clips in the order in which they were shown."""
        return [self._session_timeline(number, [number]) for number in range(len(self._dataset.sessions))]

    def shared_training(self) -> list[Timeline]:
        """The same timelines, each with the neurons of all neighbouring sessions that saw the same clips."""
        groups = self._neighbours(self._what_it_saw)
        return [self._session_timeline(number, group) for group in groups for number in group]

    def validation(self) -> list[Timeline]:
        """Validation clips in their given order, one timeline for all neighbouring sessions that saw the same.

        Raises:
            UserError: there are none.
        """
        if not self._dataset.validation_clips:
            raise UserError("validation_clips is empty, but training needs a validation score; keep at least one clip")
        length = self._dataset.clip_length
        timelines = []
        for numbers in self._neighbours(self._what_it_saw):
            session = self._dataset.sessions[numbers[0]]
            shown = (session.frame_index[::length] // length).tolist()
            starts = [shown.index(clip) * length for clip in self._dataset.validation_clips]
            times = np.concatenate([start + np.arange(length) for start in starts])
            timelines.append(self._timeline(session, numbers, self._frames(session)[times], self._rows(session)[times]))
        return timelines

    def test(self, name: str) -> list[Timeline]:
        """The test movie of that name, one timeline for all neighbouring sessions that saw the same."""
        length = len(self._dataset.stimuli[name].frames)
        index = np.arange(length, dtype=np.int32) + np.int32(self._first_frame[name])
        groups = self._neighbours(lambda session: (session.mirrored, name in session.repeats))
        shown = [group for group in groups if name in self._dataset.sessions[group[0]].repeats]
        return [self._timeline(self._dataset.sessions[group[0]], group, index, index, length) for group in shown]

    def _session_timeline(self, number: int, group: Sequence[int]) -> Timeline:
        session = self._dataset.sessions[number]
        clips = session.frame_index // self._dataset.clip_length
        kept = ~np.isin(clips, self._dataset.validation_clips)
        return self._timeline(session, group, self._frames(session)[kept], self._rows(session)[kept])

    def _what_it_saw(self, session: Session) -> object:
        if not _sees_frames_once(session):
            return session.name
        clips = np.unique(session.frame_index[:: self._dataset.clip_length])
        return session.stimulus, session.mirrored, clips.tobytes()

    def _neighbours(self, key: Callable[[Session], object]) -> list[list[int]]:
        """Numbers of neighbouring sessions with equal keys."""
        sessions = self._dataset.sessions
        whole = (lambda n: n) if self._per_session else (lambda n: key(sessions[n]))
        return [list(group) for _, group in itertools.groupby(range(len(sessions)), whole)]

    def _timeline(
        self,
        session: Session,
        group: Sequence[int],
        frames: np.ndarray,
        rows: np.ndarray,
        clip_length: int | None = None,
    ) -> Timeline:
        """Frames and rows of a session, with the neurons of its group."""
        return Timeline(
            name=session.name,
            frames=frames,
            rows=rows,
            mirrored=session.mirrored,
            session=group[0],
            first_neuron=int(self._first_neuron[group[0]]),
            n_neurons=sum(self._dataset.sessions[number].n_neurons for number in group),
            n_sessions=len(group),
            order=self._orders[self._dataset.sessions.index(session)],
            clip_length=clip_length or self._dataset.clip_length,
        )

    def _frames(self, session: Session) -> Int32[np.ndarray, " time"]:
        return session.frame_index + np.int32(self._first_frame[session.stimulus])

    def _rows(self, session: Session) -> Int32[np.ndarray, " time"]:
        if _sees_frames_once(session):
            return self._frames(session)
        return np.arange(len(session.frame_index), dtype=np.int32) + np.int32(len(self.frames))


def _sees_frames_once(session: Session) -> bool:
    return len(np.unique(session.frame_index)) == len(session.frame_index)


def mean_over_trials(trials: Float[np.ndarray, "trial *shape"]) -> Float[np.ndarray, "*shape"]:
    """Mean over the trials that were recorded; NaN where none was."""
    recorded = np.isfinite(trials)
    total = np.where(recorded, trials, 0).sum(axis=0)
    count = recorded.sum(axis=0)
    return np.where(count > 0, total / np.maximum(count, 1), np.nan).astype(trials.dtype)
