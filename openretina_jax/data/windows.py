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
        timeline: numbers of the timelines of a step.
        start: first time of each window on its timeline.
    """

    timeline: Int32[np.ndarray, "step timeline"]
    start: Int32[np.ndarray, "step timeline window"]


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
        for timeline in timelines:
            if len(timeline) // frames < windows_per_step:
                raise UserError(
                    f"{timeline.name}: {len(timeline)} training frames hold {len(timeline) // frames} windows of "
                    f"{frames} frames, but a step takes {windows_per_step}; lower windows_per_step or window_frames"
                )
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
        return EpochWindows(timeline=np.tile(turn, self._rounds)[:, None], start=start[:, None])

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
    """All timelines in every step, each with its own windows that stay within clips.

    Timelines are those of sessions that share a stimulus, so a step trains the neurons of all sessions at the cost of
    few core passes. Every epoch visits each clip ``clip_length // frames`` times, at random places, in random order.

    A random-access source for grain, like ``SessionOrder``.

    Args:
        timelines: of sessions that share a stimulus.
        frames: length of a window, at most that of a clip.
        windows_per_step: windows of each timeline in a step.
        seed: of the order.

    Raises:
        UserError: windows longer than a clip, or fewer windows than a step needs.
    """

    def __init__(self, timelines: Sequence[Timeline], *, frames: int, windows_per_step: int, seed: int):
        self.frames, self.windows_per_step, self._seed = frames, windows_per_step, seed
        self._timelines = tuple(timelines)
        shortest = min(timeline.clip_length for timeline in timelines)
        if frames > shortest:
            raise UserError(f"windows of {frames} frames do not fit into clips of {shortest}; shorten the windows")
        counts = [self._windows_of(timeline) for timeline in timelines]
        if min(counts) < windows_per_step:
            raise UserError(f"the training clips hold {min(counts)} windows, but a step takes {windows_per_step}")
        self.steps_per_epoch = max(counts) // windows_per_step

    def __len__(self) -> int:
        return np.iinfo(np.int32).max

    def __getitem__(self, epoch: int) -> EpochWindows:
        rng = np.random.default_rng((self._seed, epoch))
        start = np.stack([self._timeline_starts(rng, timeline) for timeline in self._timelines], axis=1)
        numbers = np.arange(len(self._timelines), dtype=np.int32)
        return EpochWindows(timeline=np.tile(numbers, (self.steps_per_epoch, 1)), start=start)

    def _windows_of(self, timeline: Timeline) -> int:
        return len(timeline) // timeline.clip_length * (timeline.clip_length // self.frames)

    def _timeline_starts(self, rng: np.random.Generator, timeline: Timeline) -> np.ndarray:
        """Starts of a timeline's windows, ``(step, window)``."""
        wanted = self.steps_per_epoch * self.windows_per_step
        clips = np.arange(0, len(timeline), timeline.clip_length)
        visits = -(-wanted // len(clips))
        order = np.concatenate([rng.permutation(clips) for _ in range(visits)])[:wanted]
        offset = rng.integers(timeline.clip_length - self.frames + 1, size=wanted)
        return (order + offset).reshape(-1, self.windows_per_step).astype(np.int32)
