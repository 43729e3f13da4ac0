"""Samplers: which windows of the training timelines make up an epoch."""

import abc
import dataclasses
import itertools
from collections.abc import Sequence
from typing import Any

import numpy as np
from jaxtyping import Int, Int32

from openretina_jax.data.timelines import Tables, Timeline
from openretina_jax.errors import UserError
from openretina_jax.runtime.registry import Registry, construct

SAMPLERS = Registry("batch order", __name__, given=("timelines", "seed"))


@dataclasses.dataclass(frozen=True, eq=False)
class EpochWindows:
    """The windows of every step of an epoch.

    Attributes:
        timeline: index of each window's timeline in ``Sampler.timelines``; all windows of a row have the same neurons.
        start: first time of each window on its timeline.
    """

    timeline: Int32[np.ndarray, "step row window"]
    start: Int32[np.ndarray, "step row window"]


class Sampler(abc.ABC):
    """Windows of every epoch: a pure function of ``(seed, epoch)``.

    ``sampler[epoch]`` gives the same windows whatever was asked for before, so that a checkpoint needs to save nothing
    but the number of the epoch. A batch order is a subclass, registered with ``@SAMPLERS("name")``. It must define

    * ``timelines_of``: which timelines of the data it takes,
    * ``steps_per_epoch``: the number of steps of an epoch,
    * ``__getitem__``: the windows of an epoch, in arrays of one shape for all epochs, so that one compiled program
      serves them all. The rows of a step are read side by side; the timelines of a row must have the same neurons.

    Keyword arguments of its constructor are the options of the order. All arguments are kept as attributes, and
    ``cuts`` has the windows of each timeline before they are shifted.

    Args:
        timelines: timelines that ``EpochWindows.timeline`` points into.
        window_frames: length of a window.
        windows_per_step: number of windows in each row of a step.
        seed: seed of the random order.
        within_clips: whether no window crosses the border between two clips; see ``Cuts``.

    Raises:
        UserError: a timeline has fewer windows than a step needs.
    """

    def __init__(
        self,
        timelines: Sequence[Timeline],
        *,
        window_frames: int,
        windows_per_step: int,
        seed: int,
        within_clips: bool = False,
    ):
        self.timelines = list(timelines)
        self.window_frames, self.windows_per_step = window_frames, windows_per_step
        self.seed, self.within_clips = seed, within_clips
        self.cuts = [Cuts(timeline, window_frames, within_clips) for timeline in timelines]
        check_enough_windows(timelines, self.cuts, windows_per_step)

    @staticmethod
    @abc.abstractmethod
    def timelines_of(tables: Tables) -> list[Timeline]:
        """Timelines that this order takes: ``tables.training()``, ``tables.shared_training()``, or some of its own."""

    @property
    @abc.abstractmethod
    def steps_per_epoch(self) -> int:
        """Number of steps of an epoch."""

    @abc.abstractmethod
    def __getitem__(self, epoch: int) -> EpochWindows:
        """Windows of an epoch; draw them from ``self.rng(epoch)``."""

    def rng(self, epoch: int) -> np.random.Generator:
        """Random number generator of an epoch."""
        return np.random.default_rng((self.seed, epoch))


def make_sampler(order: str, tables: Tables, *, seed: int, **options: Any) -> Sampler:
    """Make the sampler of a batch order for the training data.

    Args:
        order: "session", "shared", or another kind of ``SAMPLERS``.
        tables: tables of the data set.
        seed: seed of the random order.
        options: ``window_frames``, ``windows_per_step`` and further arguments of the order's class.

    Raises:
        UserError: the order or an option is unknown, or a timeline has fewer windows than a step needs.
    """
    cls = SAMPLERS[order]
    return construct(cls, f'batch order "{order}"', options, {"timelines": cls.timelines_of(tables), "seed": seed})


@SAMPLERS("session")
class SessionSampler(Sampler):
    """One session a step, all sessions in turn; windows may begin anywhere.

    Every epoch cuts each timeline into windows, shifts each window by a random number of frames below its length, and
    shuffles them; windows that do not fill a step are left out. Sessions take turns in an order that is drawn every
    epoch; those with fewer steps begin anew until the longest is through. These are openretina's rules.

    Arguments are those of ``Sampler``; there is one timeline per session.
    """

    @staticmethod
    def timelines_of(tables: Tables) -> list[Timeline]:
        """One timeline per session, with the neurons of that session."""
        return tables.training()

    @property
    def steps_per_epoch(self) -> int:
        """Number of steps of an epoch."""
        return self._rounds * len(self.cuts)

    @property
    def _rounds(self) -> int:
        """Turns of every session in an epoch."""
        return max(len(cuts) // self.windows_per_step for cuts in self.cuts)

    def __getitem__(self, epoch: int) -> EpochWindows:
        rng = self.rng(epoch)
        turn = rng.permutation(len(self.cuts)).astype(np.int32)
        rounds = self._rounds
        starts = [self._session_starts(rng, cuts, rounds) for cuts in self.cuts]
        start = np.stack([starts[session][step] for step in range(rounds) for session in turn])
        timeline = np.broadcast_to(np.tile(turn, rounds)[:, None], start.shape)
        return EpochWindows(timeline=timeline[:, None].copy(), start=start[:, None])

    def _session_starts(self, rng: np.random.Generator, cuts: "Cuts", rounds: int) -> np.ndarray:
        """Starts of a session's windows for every round, ``(round, window)``."""
        steps = len(cuts) // self.windows_per_step
        starts: list[np.ndarray] = []
        while len(starts) < rounds:
            chosen = rng.permutation(cuts.shifted(rng))[: steps * self.windows_per_step]
            starts.extend(chosen.reshape(steps, self.windows_per_step).astype(np.int32))
        return np.stack(starts[:rounds])


@SAMPLERS("shared")
class SharedSampler(Sampler):
    """All neurons in every step: a window serves all sessions that saw the same clips with the same mirroring.

    A step has one row of windows for every group of such sessions. Every window follows the order of clips of a random
    session of the group. Neurons of that session use all of it; neurons of other sessions use those frames whose
    prediction depends on one clip only (see ``Batch.own_order``). Every epoch visits each training clip as often as
    windows fit into it, in random order and with random shifts, across the borders of clips.

    Arguments are those of ``Sampler``; there is one timeline per session, with the neurons of its whole group.
    """

    @staticmethod
    def timelines_of(tables: Tables) -> list[Timeline]:
        """One timeline per session, with the neurons of all sessions that saw the same clips."""
        return tables.shared_training()

    @property
    def steps_per_epoch(self) -> int:
        """Number of steps of an epoch."""
        return max(map(len, self.cuts)) // self.windows_per_step

    def __getitem__(self, epoch: int) -> EpochWindows:
        rng = self.rng(epoch)
        first_neurons = np.array([timeline.first_neuron for timeline in self.timelines])
        groups = [np.flatnonzero(first_neurons == first).astype(np.int32) for first in np.unique(first_neurons)]
        rows = [self._row(rng, group) for group in groups]
        return EpochWindows(*(np.stack(part, axis=1) for part in zip(*rows, strict=True)))

    def _row(self, rng: np.random.Generator, group: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Timelines and starts of a group's windows, ``(step, window)``."""
        shape = (self.steps_per_epoch, self.windows_per_step)
        timeline = rng.choice(group, size=shape)
        # sessions of a group saw the same clips: their timelines have one length
        cuts = self.cuts[group[0]]
        visits = -(-timeline.size // len(cuts))
        order = np.concatenate([rng.permutation(len(cuts)) for _ in range(visits)])[: timeline.size]
        return timeline, cuts.shifted(rng, order).reshape(shape).astype(np.int32)


class Cuts:
    """A timeline cut into windows, each of which is shifted anew in every epoch.

    Windows may cross the borders of clips, and are shifted by less than their length; or each clip is cut separately,
    and its windows are shifted by less than half their length, as far as the clip allows. These are openretina's
    rules, except that its cuts do not begin anew with every clip, which leaves out frames of clips whose length is no
    multiple of the window's. Parts of a movie that were not shown one after another (``Timeline.borders``) are cut
    separately, too. Clips and parts that are shorter than a window have none.

    Args:
        timeline: timeline to cut.
        window_frames: length of a window.
        within_clips: whether each clip is cut separately.
    """

    def __init__(self, timeline: Timeline, window_frames: int, within_clips: bool):
        self.window_frames, self._within_clips, length = window_frames, within_clips, len(timeline)
        clips = range(0, length, timeline.clip_length) if within_clips else ()
        parts = list(itertools.pairwise(sorted({0, *clips, *timeline.borders, length})))
        cuts = [
            (cut, end)
            for begin, end in parts
            if end - begin >= window_frames
            for cut in range(begin, end, window_frames)
        ]
        self._starts, self._ends = np.array(cuts, int).reshape(-1, 2).T
        self._n_whole = sum((end - begin) // window_frames for begin, end in parts)

    def __len__(self) -> int:
        return len(self._starts)

    @property
    def n_whole(self) -> int:
        """Number of non-overlapping windows."""
        return len(self) if self._within_clips else self._n_whole

    def shifted(self, rng: np.random.Generator, order: np.ndarray | None = None) -> np.ndarray:
        """Starts of all windows, or of those with the indices ``order``, with random shifts."""
        chosen = np.arange(len(self)) if order is None else order
        starts, ends = self._starts[chosen], self._ends[chosen]
        if self._within_clips:
            shift = rng.integers(max(self.window_frames // 2, 1), size=len(chosen))
            return starts_within_clips(starts, shift, ends, self.window_frames)
        return np.minimum(starts + rng.integers(self.window_frames, size=len(chosen)), ends - self.window_frames)


def starts_within_clips(
    cut: Int[np.ndarray, " window"],
    shift: Int[np.ndarray, " window"],
    end: Int[np.ndarray, " window"],
    window_frames: int,
) -> Int[np.ndarray, " window"]:
    """Starts of windows that stay within the clip of their cut: shifted where the clip is long enough for that.

    Args:
        cut: a time in the clip.
        shift: wanted shift.
        end: end of the clip.
        window_frames: length of a window, at most that of the clip.
    """
    latest = end - window_frames
    return np.where(cut + shift < latest, cut + shift, np.minimum(cut, latest))


def check_enough_windows(timelines: Sequence[Timeline], cuts: Sequence[Cuts], windows_per_step: int) -> None:
    """Check that every timeline has the windows of at least one step.

    Raises:
        UserError: ``windows_per_step`` is below 1, or names the timeline that is too short.
    """
    if windows_per_step < 1:
        raise UserError(f"windows_per_step is {windows_per_step}; a step has at least 1 window")
    for timeline, its_cuts in zip(timelines, cuts, strict=True):
        if its_cuts.n_whole < windows_per_step:
            raise UserError(
                f"{timeline.name}: {len(timeline)} training frames, in clips of {timeline.clip_length}, hold "
                f"{its_cuts.n_whole} windows of {its_cuts.window_frames} frames, but a step takes {windows_per_step}; "
                "lower windows_per_step or window_frames"
            )
