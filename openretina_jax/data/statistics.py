"""How many different frames, and steps from one frame to the next, a data set shows."""

import dataclasses
import hashlib
import itertools
from collections.abc import Iterable, Iterator

import numpy as np
from jaxtyping import Integer, Num

from openretina_jax.data.dataset import Dataset
from openretina_jax.data.stimulus import blocks
from openretina_jax.data.timelines import Tables


@dataclasses.dataclass(frozen=True)
class SplitStatistics:
    """What all sessions together saw of a split.

    Attributes:
        sessions: number of sessions that saw it.
        frames: different frames; two frames are the same if all their pixels are equal, as the animal saw them.
        transitions: different pairs of successive frames.
    """

    sessions: int
    frames: int
    transitions: int


def dataset_statistics(dataset: Dataset, tables: Tables) -> dict[str, SplitStatistics]:
    """Statistics of training, validation and every test movie, and of training and validation together.

    Training windows cross the borders of clips, so each order of clips has transitions of its own; validation clips
    are shown one by one.

    Args:
        dataset: the recordings.
        tables: of the data set.
    """
    splits = {"train": tables.training()}
    if any(dataset.validation_clips.values()):
        splits["validation"] = tables.validation()
    splits |= {name: tables.test(name) for name in dataset.test_names}
    seen = {timeline.mirrored for timelines in splits.values() for timeline in timelines}
    numbers = dict(zip(seen, frame_numbers(*(_frames(tables, mirrored) for mirrored in seen)), strict=True))

    def clips(split: str) -> list[np.ndarray]:
        seen = ((timeline, numbers[timeline.mirrored][timeline.frames]) for timeline in splits[split])
        return [frames.reshape(-1, len(t) if split == "train" else t.clip_length) for t, frames in seen if len(t)]

    shown = {split: clips(split) for split in splits}
    sessions = {split: sum(timeline.n_sessions for timeline in timelines) for split, timelines in splits.items()}
    if "validation" in shown:
        shown["train and validation"] = shown["train"] + shown["validation"]
        sessions["train and validation"] = sessions["train"]
    return {split: SplitStatistics(sessions[split], *count_frames(clips)) for split, clips in shown.items()}


def count_frames(clips: Iterable[Integer[np.ndarray, "_ _"]]) -> tuple[int, int]:
    """Different frames, and different pairs of successive frames, among clips of frame numbers."""
    frames, pairs = [], []
    for part in clips:
        frames.append(np.unique(part))
        pairs.append(np.unique(part[:, :-1].astype(np.int64) << 32 | part[:, 1:]))
    return len(np.unique(np.concatenate(frames))), len(np.unique(np.concatenate(pairs)))


def frame_numbers(*movies: Iterable[Num[np.ndarray, "..."]]) -> list[Integer[np.ndarray, " _"]]:
    """A number for every frame of each movie, equal for frames whose pixels are all equal."""
    digests = [[_digest(frame) for frame in movie] for movie in movies]
    number = {digest: k for k, digest in enumerate(dict.fromkeys(itertools.chain(*digests)))}
    return [np.array([number[digest] for digest in movie]) for movie in digests]


def _frames(tables: Tables, mirrored: bool) -> Iterator[np.ndarray]:
    """The frames one by one, as the animal saw them; read a part at a time, since large movies stay in their files."""
    for rows in blocks(np.arange(tables.n_frames)):
        part = tables.pick(rows)
        yield from part[:, :, ::-1] if mirrored else part


def _digest(frame: np.ndarray) -> bytes:
    # adding 0 makes -0 and 0, which are the same light, the same bytes
    return hashlib.blake2b((frame + np.float32(0)).tobytes(), digest_size=16).digest()
