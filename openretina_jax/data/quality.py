"""What is in a data set, and what of it would spoil a training: tables and lines of text."""

import dataclasses
import hashlib
import itertools
from collections.abc import Iterable, Iterator

import numpy as np
import pandas as pd
from jaxtyping import Float, Float32, Integer, Num

from openretina_jax.data.assembly import mean_and_deviation
from openretina_jax.data.dataset import Dataset, Session, Stimulus, blocks
from openretina_jax.data.masked import correlation, mean_of, variance_of
from openretina_jax.data.timelines import Tables

LARGEST_MEAN, SMALLEST_DEVIATION, LARGEST_DEVIATION = 3.0, 0.1, 10.0  # of the pixels that a model sees


def session_table(dataset: Dataset) -> pd.DataFrame:
    """A row per session: its movie, neurons, length in seconds, responses, missing share, tests, trials, reliability.

    ``missing`` is the share of responses that are NaN, ``reliability`` the mean over neurons and tests, see there.
    """
    rows = []
    for session in dataset.sessions:
        rate_hz = dataset.stimuli[session.stimulus].frame_rate_hz
        known = [split_half_reliability(trials) for trials in session.repeats.values()]
        rows.append(
            {
                "session": session.name,
                "movie": session.stimulus,
                "neurons": session.n_neurons,
                "seconds": len(session.responses) / rate_hz,
                "mean response": float(mean_of(session.responses, (0, 1))),
                "deviation": float(mean_of(np.sqrt(variance_of(session.responses)))),
                "missing": float(np.isnan(session.responses).mean()),
                "tests": len(session.repeats),
                "trials": "/".join(str(len(trials)) for trials in session.repeats.values()),
                "reliability": float(mean_of(np.concatenate(known))) if known else np.nan,
            }
        )
    return pd.DataFrame(rows).set_index("session")


def movie_table(dataset: Dataset) -> pd.DataFrame:
    """A row per movie: frames, their size, range of raw pixels, and mean and deviation of what a model sees."""
    rows = []
    for name, stimulus in dataset.stimuli.items():
        frames, height, width, channels = stimulus.frames.shape
        mean, deviation = _seen(stimulus)
        rows.append(
            {
                "movie": name,
                "frames": frames,
                "seconds": frames / stimulus.frame_rate_hz,
                "size": f"{height} x {width} x {channels}",
                "type": str(stimulus.frames.dtype),
                "lowest": float(min(block.min() for block in blocks(stimulus.frames))),
                "highest": float(max(block.max() for block in blocks(stimulus.frames))),
                "seen mean": mean,
                "seen deviation": deviation,
            }
        )
    return pd.DataFrame(rows).set_index("movie")


def split_half_reliability(trials: Float32[np.ndarray, "trial time neuron"]) -> Float[np.ndarray, " neuron"]:
    """Correlation of the mean of every second trial with the mean of the others, for as many trials as both have.

    The halves' correlation r is extrapolated to that of means over all trials, 2 r / (1 + r) (Spearman and Brown 1910).
    NaN with less than two trials, and for neurons whose halves are constant.
    """
    if len(trials) < 2:
        return np.full(trials.shape[2], np.nan)
    # in single precision, in which the mean of equal numbers is one of them
    one, other = (mean_of(half).astype(np.float32) for half in (trials[::2], trials[1::2]))
    half = correlation(one, other, epsilon=0.0)
    return 2 * half / (1 + half)


def dataset_problems(dataset: Dataset) -> list[str]:
    """What would spoil a training, a line each: movies of a wrong scale, silent neurons, negative responses, leaks."""
    found = [problem for stimulus in dataset.stimuli.values() for problem in _movie_problems(stimulus)]
    if not any(dataset.validation_clips.values()):
        found.append("no clips are kept for validation, which training needs; keep at least one")
    if not dataset.test_names:
        found.append("no session has a test; there will be no test scores")
    for session in dataset.sessions:
        found += _response_problems(session)
    return found + _leaks(dataset)


def _movie_problems(stimulus: Stimulus) -> list[str]:
    mean, deviation = _seen(stimulus)
    if abs(mean) <= LARGEST_MEAN and SMALLEST_DEVIATION <= deviation <= LARGEST_DEVIATION:
        return []
    return [
        f'movie "{stimulus.name}": models see pixels of mean {mean:.3g} and deviation {deviation:.3g}; normalise them '
        "to about 0 and 1"
    ]


def _response_problems(session: Session) -> list[str]:
    found = []
    for what, responses in (("training", session.responses), *((f'test "{t}"', r) for t, r in session.repeats.items())):
        flat = responses.reshape(-1, session.n_neurons)
        recorded = np.isfinite(flat)
        missing = np.asarray(~recorded.any(axis=0))
        if missing.any():
            found.append(f"{session.name}: neurons {_some(missing)} have no responses in the {what}; leave them out")
        filled = np.where(recorded, flat, np.nan_to_num(flat[np.argmax(recorded, axis=0), np.arange(flat.shape[1])]))
        constant = np.logical_and(~missing, np.ptp(filled, axis=0) == 0)
        if constant.any():
            found.append(f"{session.name}: neurons {_some(constant)} never change in the {what}; leave them out")
        negative = np.asarray((np.where(recorded, flat, 0) < 0).any(axis=0))
        if negative.any():
            found.append(
                f"{session.name}: responses of neurons {_some(negative)} are negative in the {what}, and the Poisson "
                "loss needs rates; shift them, or take config.objective.loss.kind=squared_error"
            )
    return found


def _leaks(dataset: Dataset) -> list[str]:
    """Tests whose frames are, for the greater part, in the training movie of their session."""
    movies = (stimulus.frames for stimulus in dataset.stimuli.values())
    numbers = dict(zip(dataset.stimuli, frame_numbers(*movies), strict=True))
    found = []
    for session in dataset.sessions:
        for test in session.repeats:
            shown = numbers[session.test_stimulus(test)]
            common = np.isin(shown, numbers[session.stimulus]).sum()
            if common > len(shown) // 2:
                found.append(
                    f'{session.name}: {common} of {len(shown)} frames of the test "{test}" are in the training movie '
                    "too; scores of the test would be too good"
                )
    return found


def _seen(stimulus: Stimulus) -> tuple[float, float]:
    """Mean and deviation of what a model sees."""
    mean, deviation = mean_and_deviation(stimulus.frames)
    shift, scale = stimulus.shift_and_scale
    return (mean - shift) / scale, deviation / scale


def _some(which: np.ndarray) -> str:
    """Numbers of the neurons, at most ten of them."""
    numbers = np.flatnonzero(which).tolist()
    return f"{numbers[:10]}" + (f" and {len(numbers) - 10} more" if len(numbers) > 10 else "")


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
