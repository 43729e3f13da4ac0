"""Which windows make up an epoch: a pure function of the seed and the epoch."""

import dataclasses
from collections.abc import Sequence

import numpy as np
from jaxtyping import Int, Int32

from openretina_jax.data.timelines import Timeline
from openretina_jax.errors import UserError


@dataclasses.dataclass(frozen=True, eq=False)
class EpochWindows:
    """The windows of every step of an epoch.

    Attributes:
        timeline: number of each window's timeline; the windows of a row are of timelines with the same neurons.
        start: first time of each window on its timeline.
    """

    timeline: Int32[np.ndarray, "step row window"]
    start: Int32[np.ndarray, "step row window"]


class SessionOrder:
    """One session a step, all sessions in turn; windows may begin anywhere.

    Every epoch cuts each timeline into windows, shifts each window by a random number of frames below its length, and
    shuffles them; windows that do not fill a step are left out. Sessions take turns in an order that is drawn every
    epoch; those with fewer steps begin anew until the longest is through. These are the reference's rules.

    A random-access source for grain: element ``epoch`` holds the windows of that epoch.

    Args:
        timelines: one per session.
        frames: length of a window.
        windows_per_step: windows of a step.
        seed: of the order.
        within_clips: whether no window crosses the border of two clips; see ``Cuts``.

    Raises:
        UserError: a timeline is too short for one window, or has fewer windows than a step needs.
    """

    def __init__(
        self,
        timelines: Sequence[Timeline],
        *,
        frames: int,
        windows_per_step: int,
        seed: int,
        within_clips: bool = False,
    ):
        self.frames, self.windows_per_step, self._seed = frames, windows_per_step, seed
        self._cuts = [Cuts(timeline, frames, within_clips) for timeline in timelines]
        check_enough_windows(timelines, self._cuts, windows_per_step)
        self._rounds = max(len(cuts) // windows_per_step for cuts in self._cuts)

    @property
    def steps_per_epoch(self) -> int:
        """Steps of an epoch."""
        return self._rounds * len(self._cuts)

    def __len__(self) -> int:
        return np.iinfo(np.int32).max

    def __getitem__(self, epoch: int) -> EpochWindows:
        rng = np.random.default_rng((self._seed, epoch))
        turn = rng.permutation(len(self._cuts)).astype(np.int32)
        starts = [self._session_starts(rng, cuts) for cuts in self._cuts]
        start = np.stack([starts[session][step] for step in range(self._rounds) for session in turn])
        timeline = np.broadcast_to(np.tile(turn, self._rounds)[:, None], start.shape)
        return EpochWindows(timeline=timeline[:, None].copy(), start=start[:, None])

    def _session_starts(self, rng: np.random.Generator, cuts: "Cuts") -> np.ndarray:
        """Starts of a session's windows for every round, ``(round, window)``."""
        steps = len(cuts) // self.windows_per_step
        rounds: list[np.ndarray] = []
        while len(rounds) < self._rounds:
            chosen = rng.permutation(cuts.shifted(rng))[: steps * self.windows_per_step]
            rounds.extend(chosen.reshape(steps, self.windows_per_step).astype(np.int32))
        return np.stack(rounds[: self._rounds])


class SharedOrder:
    """All neurons in every step; windows of all sessions serve all that saw the same clips from the same side.

    A step has a row of windows for every group of such sessions. Every window follows the order of clips of a random
    session of the group. Its neurons use all of it; those of the other sessions use the frames whose prediction depends
    on one clip alone (see ``Batch.own_order``). Every epoch visits each training clip as often as windows fit into it,
    in random order and with random shifts, over the borders of clips.

    A random-access source for grain, like ``SessionOrder``.

    Args:
        timelines: one per session, with the neurons of all sessions of its group.
        frames: length of a window.
        windows_per_step: windows of each group in a step.
        seed: of the order.
        within_clips: whether no window crosses the border of two clips; see ``Cuts``.

    Raises:
        UserError: a timeline is too short for one window, or has fewer windows than a step needs.
    """

    def __init__(
        self,
        timelines: Sequence[Timeline],
        *,
        frames: int,
        windows_per_step: int,
        seed: int,
        within_clips: bool = False,
    ):
        self.frames, self.windows_per_step, self._seed = frames, windows_per_step, seed
        first_neurons = np.array([timeline.first_neuron for timeline in timelines])
        self._groups = [np.flatnonzero(first_neurons == first).astype(np.int32) for first in np.unique(first_neurons)]
        self._cuts = [Cuts(timeline, frames, within_clips) for timeline in timelines]
        check_enough_windows(timelines, self._cuts, windows_per_step)
        self.steps_per_epoch = max(map(len, self._cuts)) // windows_per_step

    def __len__(self) -> int:
        return np.iinfo(np.int32).max

    def __getitem__(self, epoch: int) -> EpochWindows:
        rng = np.random.default_rng((self._seed, epoch))
        rows = [self._row(rng, group) for group in self._groups]
        return EpochWindows(*(np.stack(part, axis=1) for part in zip(*rows, strict=True)))

    def _row(self, rng: np.random.Generator, group: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Timelines and starts of a group's windows, ``(step, window)``."""
        shape = (self.steps_per_epoch, self.windows_per_step)
        timeline = rng.choice(group, size=shape)
        # the sessions of a group saw the same clips, so that all their timelines are equally long
        cuts = self._cuts[group[0]]
        visits = -(-timeline.size // len(cuts))
        order = np.concatenate([rng.permutation(len(cuts)) for _ in range(visits)])[: timeline.size]
        return timeline, cuts.shifted(rng, order).reshape(shape).astype(np.int32)


class Cuts:
    """A timeline cut into windows, each of which is shifted anew in every epoch.

    Windows may cross the borders of clips and are shifted by less than their length; or every clip is cut by itself,
    and its windows are shifted by less than half their length, as far as the clip goes. These are openretina's rules,
    but that its cuts do not begin anew with every clip, which leaves out frames of clips that are no multiple of a
    window. Clips that are shorter than a window then have none.

    Args:
        timeline: to be cut.
        frames: length of a window.
        within_clips: whether windows stay within the clips.
    """

    def __init__(self, timeline: Timeline, frames: int, within_clips: bool):
        self.frames, self._length, self._within_clips = frames, len(timeline), within_clips
        if not within_clips:
            self._starts = np.arange(0, len(timeline), frames)
            return
        length = len(timeline)
        begins = range(0, length, timeline.clip_length)
        clips = [(begin, min(begin + timeline.clip_length, length)) for begin in begins]
        cuts = [(cut, end) for begin, end in clips if end - begin >= frames for cut in range(begin, end, frames)]
        self._starts, self._ends = np.array(cuts, int).reshape(-1, 2).T

    def __len__(self) -> int:
        return len(self._starts)

    @property
    def whole(self) -> int:
        """Windows that no other window overlaps before they are shifted."""
        return len(self) if self._within_clips else self._length // self.frames

    def shifted(self, rng: np.random.Generator, order: np.ndarray | None = None) -> np.ndarray:
        """Starts of the windows of an epoch, in the order of the cuts, or of some cuts."""
        chosen = np.arange(len(self)) if order is None else order
        starts = self._starts[chosen]
        if self._within_clips:
            shift = rng.integers(max(self.frames // 2, 1), size=len(chosen))
            return starts_within_clips(starts, shift, self._ends[chosen], self.frames)
        return np.minimum(starts + rng.integers(self.frames, size=len(chosen)), self._length - self.frames)


def starts_within_clips(
    cut: Int[np.ndarray, " window"], shift: Int[np.ndarray, " window"], end: Int[np.ndarray, " window"], frames: int
) -> Int[np.ndarray, " window"]:
    """Starts of windows that stay within the clip of their cut: shifted where the clip goes on for long enough.

    Args:
        cut: a time in the clip.
        shift: wanted shift.
        end: of the clip.
        frames: length of a window, at most that of the clip.
    """
    latest = end - frames
    return np.where(cut + shift < latest, cut + shift, np.minimum(cut, latest))


def check_enough_windows(timelines: Sequence[Timeline], cuts: Sequence[Cuts], windows_per_step: int) -> None:
    """Every timeline must have the windows of at least one step.

    Raises:
        UserError: a step would have no window, or names the timeline that is too short.
    """
    if windows_per_step < 1:
        raise UserError(f"windows_per_step (config.train.windows) is {windows_per_step}; a step has at least 1 window")
    for timeline, its_cuts in zip(timelines, cuts, strict=True):
        if its_cuts.whole < windows_per_step:
            raise UserError(
                f"{timeline.name}: {len(timeline)} training frames, in clips of {timeline.clip_length}, hold "
                f"{its_cuts.whole} windows of {its_cuts.frames} frames, but a step takes {windows_per_step}; lower "
                "windows_per_step or window_frames"
            )
