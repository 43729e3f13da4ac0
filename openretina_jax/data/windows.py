"""Which windows make up an epoch: a pure function of the seed and the epoch."""

import dataclasses
from collections.abc import Sequence

import numpy as np
from jaxtyping import Int32

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
    """One session a step, all sessions in turn; windows may begin anywhere and cross the borders of clips.

    Every epoch cuts each timeline into windows, shifts each window by a random number of frames below its length, and
    shuffles them; windows that do not fill a step are left out. Sessions take turns in an order that is drawn every
    epoch; those with fewer steps begin anew until the longest is through. These are the reference's rules.

    A random-access source for grain: element ``epoch`` holds the windows of that epoch.

    Args:
        timelines: one per session.
        frames: length of a window.
        windows_per_step: windows of a step.
        seed: of the order.

    Raises:
        UserError: a timeline is too short for one window, or has fewer windows than a step needs.
    """

    def __init__(self, timelines: Sequence[Timeline], *, frames: int, windows_per_step: int, seed: int):
        self.frames, self.windows_per_step, self._seed = frames, windows_per_step, seed
        self._lengths = [len(timeline) for timeline in timelines]
        check_enough_windows(timelines, frames, windows_per_step)
        self._rounds = max(len(self._cuts(length)) // windows_per_step for length in self._lengths)

    @property
    def steps_per_epoch(self) -> int:
        """Steps of an epoch."""
        return self._rounds * len(self._lengths)

    def __len__(self) -> int:
        return np.iinfo(np.int32).max

    def __getitem__(self, epoch: int) -> EpochWindows:
        rng = np.random.default_rng((self._seed, epoch))
        turn = rng.permutation(len(self._lengths)).astype(np.int32)
        starts = [self._session_starts(rng, length) for length in self._lengths]
        start = np.stack([starts[session][step] for step in range(self._rounds) for session in turn])
        timeline = np.broadcast_to(np.tile(turn, self._rounds)[:, None], start.shape)
        return EpochWindows(timeline=timeline[:, None].copy(), start=start[:, None])

    def _cuts(self, length: int) -> np.ndarray:
        return np.arange(0, length, self.frames)

    def _session_starts(self, rng: np.random.Generator, length: int) -> np.ndarray:
        """Starts of a session's windows for every round, ``(round, window)``."""
        cuts = self._cuts(length)
        steps = len(cuts) // self.windows_per_step
        rounds: list[np.ndarray] = []
        while len(rounds) < self._rounds:
            shifted = np.minimum(cuts + rng.integers(self.frames, size=len(cuts)), length - self.frames)
            chosen = rng.permutation(shifted)[: steps * self.windows_per_step]
            rounds.extend(chosen.reshape(steps, self.windows_per_step).astype(np.int32))
        return np.stack(rounds[: self._rounds])


class SharedOrder:
    """All neurons in every step; windows of all sessions serve all that saw the same clips from the same side.

    A step has a row of windows for every group of such sessions. Every window follows the order of clips of a random
    session of the group. Its neurons use all of it; those of the other sessions use the frames whose history lies
    within the clip (see ``Batch.own_order``). Every epoch visits each training clip as often as windows fit into it, in
    random order and with random shifts, over the borders of clips.

    A random-access source for grain, like ``SessionOrder``.

    Args:
        timelines: one per session, with the neurons of all sessions of its group.
        frames: length of a window.
        windows_per_step: windows of each group in a step.
        seed: of the order.

    Raises:
        UserError: a timeline is too short for one window, or has fewer windows than a step needs.
    """

    def __init__(self, timelines: Sequence[Timeline], *, frames: int, windows_per_step: int, seed: int):
        self.frames, self.windows_per_step, self._seed = frames, windows_per_step, seed
        first_neurons = np.array([timeline.first_neuron for timeline in timelines])
        self._groups = [np.flatnonzero(first_neurons == first).astype(np.int32) for first in np.unique(first_neurons)]
        self._starts = [np.arange(0, len(timeline), frames) for timeline in timelines]
        self._lengths = [len(timeline) for timeline in timelines]
        check_enough_windows(timelines, frames, windows_per_step)
        longest = max(len(starts) for starts in self._starts)
        self.steps_per_epoch = longest // windows_per_step

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
        cuts, length = self._starts[group[0]], self._lengths[group[0]]
        visits = -(-timeline.size // len(cuts))
        cuts = np.concatenate([rng.permutation(cuts) for _ in range(visits)])[: timeline.size].reshape(shape)
        shifted = np.minimum(cuts + rng.integers(self.frames, size=shape), length - self.frames)
        return timeline, shifted.astype(np.int32)


def check_enough_windows(timelines: Sequence[Timeline], frames: int, windows_per_step: int) -> None:
    """Every timeline must have the windows of at least one step.

    Raises:
        UserError: names the timeline that is too short.
    """
    for timeline in timelines:
        windows = len(timeline) // frames
        if windows < windows_per_step:
            raise UserError(
                f"{timeline.name}: {len(timeline)} training frames hold {windows} windows of {frames} frames, but a "
                f"step takes {windows_per_step}; lower windows_per_step or window_frames"
            )
