"""Quality of a data set: tables of its movies and sessions, problems that would spoil a training, and counts of frames.

Frames are compared by hashes of their pixels, which tells how many different frames each split has, and whether a test
leaked into the training movie.
"""

import dataclasses
import hashlib
import itertools
from collections.abc import Iterable, Iterator

import numpy as np
import pandas as pd
from jaxtyping import Float, Float32, Integer, Num

from openretina_jax.data.assembly import mean_and_deviation
from openretina_jax.data.dataset import Dataset, Session
from openretina_jax.data.masked import correlation, mean_of, variance_of
from openretina_jax.data.stimulus import Stimulus, blocks
from openretina_jax.data.timelines import Tables
from openretina_jax.runtime.described import listed

Problem = tuple[str, str]  # where, and what
_MOST_PLACES = 10  # that are written out
_SAMPLED, _NEGATIVE_SHARE = 2000, 0.01  # frames in which traces are recognised, and least share of negative ones
_CHANCE = 1000  # one in so many histories of a movie may come again
LARGEST_MEAN, SMALLEST_DEVIATION, LARGEST_DEVIATION = 3.0, 0.1, 10.0  # limits for normalised pixels


def movie_table(dataset: Dataset) -> pd.DataFrame:
    """Movies of a data set, a row each: frames, size, range of raw pixels, mean and deviation of normalised ones."""
    rows = []
    for name, stimulus in dataset.stimuli.items():
        frames, height, width, channels = stimulus.frames.shape
        mean, deviation = _normalized_statistics(stimulus)
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


def session_table(dataset: Dataset) -> pd.DataFrame:
    """Sessions of a data set, a row each: movie, neurons, length in seconds, responses, tests, trials, reliability.

    ``missing`` is the share of responses that are NaN, ``reliability`` the mean of ``split_half_reliability`` over
    neurons and tests.
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


def split_half_reliability(trials: Float32[np.ndarray, "trial time neuron"]) -> Float[np.ndarray, " neuron"]:
    """Correlation between the means of odd and even trials, extrapolated to all trials.

    From the correlation r of the halves, 2 r / (1 + r) is that of means over all trials (Spearman 1910, Brown 1910).
    NaN with fewer than two trials, and for neurons with a constant half.
    """
    if len(trials) < 2:
        return np.full(trials.shape[2], np.nan)
    # in single precision the mean of equal numbers is exactly that number, so that constant traces stay constant
    one, other = (mean_of(half).astype(np.float32) for half in (trials[::2], trials[1::2]))
    half = correlation(one, other, epsilon=0.0)
    return 2 * half / (1 + half)


def dataset_problems(dataset: Dataset, of_rates: bool | None = None) -> list[str]:
    """Problems that would spoil a training, a line each: wrong scales, silent neurons, negative responses, leaks.

    Args:
        dataset: the data set.
        of_rates: whether the loss of the training takes rates alone, so that negative responses are a problem (None: it
            is not known; traces are none then, see ``trace_notes``).
    """
    found = [problem for stimulus in dataset.stimuli.values() for problem in _scale_problems(stimulus)]
    if not any(dataset.validation_clips.values()):
        found.append("no clips are kept for validation, which training needs; keep at least one")
    if not dataset.test_names:
        found.append("no session has a test; there will be no test scores")
    of_sessions = [problem for session in dataset.sessions for problem in _response_problems(session, of_rates)]
    return found + said_once([*of_sessions, *_leaks(dataset)])


def trace_notes(dataset: Dataset) -> list[str]:
    """Lines about sessions whose responses are plainly traces, such as fluorescence: these need another loss."""
    shares = {s.name: float((s.responses < 0).sum() / np.isfinite(s.responses).sum()) for s in dataset.sessions}
    return said_once(
        (
            f"{session.name} ({shares[session.name]:.0%} negative)",
            "traces, which have the squared error: train(dataset) takes it, and :calcium of template and "
            "hdf5_core_readout",
        )
        for session in dataset.sessions
        if are_traces(session.responses)
    )


def are_traces(responses: Float32[np.ndarray, "time neuron"]) -> bool:
    """Whether negative responses are common, and hardly any two responses of a neuron are equal."""
    some = responses[:: max(len(responses) // _SAMPLED, 1)]
    known = max(int(np.isfinite(some).sum()), 1)
    distinct = (np.diff(np.sort(some, axis=0), axis=0, prepend=-np.inf) > 0).sum()
    return bool((some < 0).sum() > _NEGATIVE_SHARE * known and distinct > known / 2)


def said_once(problems: Iterable[Problem]) -> list[str]:
    """Lines of problems, in which the places of equal ones are listed."""
    places: dict[str, list[str]] = {}
    for where, what in problems:
        places.setdefault(what, []).append(where)
    return [f"{listed(where, _MOST_PLACES)}: {what}" for what, where in places.items()]


def _scale_problems(stimulus: Stimulus) -> list[str]:
    mean, deviation = _normalized_statistics(stimulus)
    if abs(mean) <= LARGEST_MEAN and SMALLEST_DEVIATION <= deviation <= LARGEST_DEVIATION:
        return []
    return [
        f'movie "{stimulus.name}": models see pixels of mean {mean:.3g} and deviation {deviation:.3g}; normalise them '
        "to about 0 and 1"
    ]


def _normalized_statistics(stimulus: Stimulus) -> tuple[float, float]:
    """Mean and standard deviation of the pixels that a model sees."""
    mean, deviation = mean_and_deviation(stimulus.frames)
    shift, scale = stimulus.shift_and_scale
    return (mean - shift) / scale, deviation / scale


def _response_problems(session: Session, of_rates: bool | None) -> list[Problem]:
    found = []
    positive = not are_traces(session.responses) if of_rates is None else of_rates
    for what, responses in (("training", session.responses), *((f'test "{t}"', r) for t, r in session.repeats.items())):
        flat = responses.reshape(-1, session.n_neurons)
        recorded = np.isfinite(flat)
        missing = np.asarray(~recorded.any(axis=0))
        if missing.any():
            found.append((f"{session.name} neurons {_some(missing)}", f"no responses in the {what}; leave them out"))
        filled = np.where(recorded, flat, np.nan_to_num(flat[np.argmax(recorded, axis=0), np.arange(flat.shape[1])]))
        constant = np.logical_and(~missing, np.ptp(filled, axis=0) == 0)
        if constant.any():
            found.append((f"{session.name} neurons {_some(constant)}", f"no change in the {what}; leave them out"))
        negative = np.asarray((np.where(recorded, flat, 0) < 0).any(axis=0))
        if positive and negative.any():
            found.append(
                (
                    f"{session.name} neurons {_some(negative)}",
                    f"negative responses in the {what}, which the Poisson loss does not allow; for traces take the "
                    "squared error (train(dataset) does, and configurations with :calcium), and shift rates",
                )
            )
    return found


def _some(neurons: np.ndarray) -> str:
    """Indices of the marked neurons, at most ten of them."""
    numbers = np.flatnonzero(neurons).tolist()
    return f"{numbers[:10]}" + (f" and {len(numbers) - 10} more" if len(numbers) > 10 else "")


def _leaks(dataset: Dataset) -> list[Problem]:
    """Tests that have most of their frames, or of their histories of frames, in the training movie of their session."""
    movies = (stimulus.frames for stimulus in dataset.stimuli.values())
    numbers = dict(zip(dataset.stimuli, frame_numbers(*movies), strict=True))
    found = []
    for session in dataset.sessions:
        for test in session.repeats:
            shown, trained = numbers[session.test_stimulus(test)], numbers[session.stimulus]
            runs = min(_telling_run(trained, len(shown)), len(shown))
            common = np.isin(_runs(shown, runs), _runs(trained, runs)).sum()
            if common > (len(shown) - runs + 1) // 2:
                what = "frames" if runs == 1 else f"sequences of {runs} frames"
                found.append(
                    (
                        session.name,
                        f'{common} of {len(shown) - runs + 1} {what} of the test "{test}" are in the training movie '
                        "too; scores of the test would be too good",
                    )
                )
    return found


def _telling_run(movie: Integer[np.ndarray, " time"], most: int) -> int:
    """Frames of a history that is in a movie only once, whatever its frames: one, unless few of them are different.

    A flicker of two frames, each of which may stay for some frames, has only long histories that do not come again. The
    shortest is found by doubling it until at most one in a thousand comes again; where most frames never change, it
    becomes as long as ``most``.
    """
    length = 1
    while length < most:
        runs = _runs(movie, length) if length <= len(movie) else np.empty(0)
        again = len(runs) - len(np.unique(runs))
        if again <= (len(runs) // 2 if length == 1 else len(runs) // _CHANCE):
            return length
        length *= 2
    return most


def _runs(movie: Integer[np.ndarray, " time"], length: int) -> np.ndarray:
    """All sequences of some frames, each as one value that can be compared."""
    if length == 1:
        return movie
    windows = np.lib.stride_tricks.sliding_window_view(movie, length)
    return np.array([hash(window.tobytes()) for window in windows])


@dataclasses.dataclass(frozen=True)
class SplitStatistics:
    """Counts of the frames that all sessions together saw of a split.

    Attributes:
        sessions: number of sessions that saw it.
        frames: number of different frames, as the animal saw them; frames are equal if all their pixels are.
        transitions: number of different pairs of successive frames.
    """

    sessions: int
    frames: int
    transitions: int


def dataset_statistics(tables: Tables) -> dict[str, SplitStatistics]:
    """Count the frames of training, validation and every test movie, and of training and validation together.

    Training windows cross the borders of clips, so that each order of clips has transitions of its own; validation
    clips are predicted one by one.
    """
    dataset = tables.dataset
    splits = {"train": tables.training()}
    if any(dataset.validation_clips.values()):
        splits["validation"] = tables.validation()
    splits |= {name: tables.test(name) for name in dataset.test_names}
    mirrored = {timeline.mirrored for timelines in splits.values() for timeline in timelines}
    numbers = dict(zip(mirrored, frame_numbers(*(_frames(tables, left) for left in mirrored)), strict=True))

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
    """Count different frames, and different pairs of successive frames, in clips of frame numbers."""
    frames, pairs = [], []
    for part in clips:
        frames.append(np.unique(part))
        pairs.append(np.unique(part[:, :-1].astype(np.int64) << 32 | part[:, 1:]))
    return len(np.unique(np.concatenate(frames))), len(np.unique(np.concatenate(pairs)))


def frame_numbers(*movies: Iterable[Num[np.ndarray, "..."]]) -> list[Integer[np.ndarray, " _"]]:
    """Number the frames of some movies, so that frames have equal numbers if all their pixels are equal."""
    hashes = [[_frame_hash(frame) for frame in movie] for movie in movies]
    numbers = {known: number for number, known in enumerate(dict.fromkeys(itertools.chain(*hashes)))}
    return [np.array([numbers[known] for known in movie]) for movie in hashes]


def _frames(tables: Tables, mirrored: bool) -> Iterator[np.ndarray]:
    """Iterate over all frames as the animal saw them, reading one block at a time."""
    for rows in blocks(np.arange(tables.n_frames)):
        block = tables.pick(rows)
        yield from block[:, :, ::-1] if mirrored else block


def _frame_hash(frame: np.ndarray) -> bytes:
    # -0 and 0 are the same light; adding 0 gives them the same bytes
    return hashlib.blake2b((frame + np.float32(0)).tobytes(), digest_size=16).digest()
