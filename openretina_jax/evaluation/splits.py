"""Splits of a data set by name, and predicted beside recorded responses of every session to one of them."""

import dataclasses
from collections.abc import Callable, Sequence

import numpy as np
from flax import nnx
from jaxtyping import Float32

from openretina_jax.data.batches import DataArrays
from openretina_jax.data.dataset import Dataset
from openretina_jax.data.masked import mean_of
from openretina_jax.data.timelines import Tables, Timeline
from openretina_jax.errors import UserError, nearest
from openretina_jax.evaluation.metrics import aligned
from openretina_jax.evaluation.predict import Scorer, Split

TRAIN, VALIDATION, TEST = "train", "validation", "test"


@dataclasses.dataclass(frozen=True, eq=False)
class SessionResponses:
    """Recorded and predicted responses of a session to a split, without the first frames of every clip.

    Attributes:
        session: name of the session.
        recorded: responses to every clip, trial by trial; NaN where there is none. Training and validation clips have
            one trial, a test movie is one clip.
        predicted: predictions for every clip; NaN for neurons of which any prediction is not finite.
        by_trial: predictions for every trial of a test, where behaviour makes them differ; ``predicted`` is their mean
            over the trials that a neuron has (None: all trials have the same prediction).
    """

    session: str
    recorded: Float32[np.ndarray, "trial clip time neuron"]
    predicted: Float32[np.ndarray, "clip time neuron"]
    by_trial: Float32[np.ndarray, "trial clip time neuron"] | None = None

    @property
    def trials(self) -> Float32[np.ndarray, "trial all_time neuron"]:
        """Recorded responses, clips one after another."""
        return self.recorded.reshape(len(self.recorded), -1, self.recorded.shape[-1])

    @property
    def prediction(self) -> Float32[np.ndarray, "all_time neuron"]:
        """Predicted responses, clips one after another."""
        return self.predicted.reshape(-1, self.predicted.shape[-1])

    @property
    def each_prediction(self) -> Float32[np.ndarray, "trial_or_1 all_time neuron"]:
        """Predicted responses of every trial, or the one for all trials, clips one after another."""
        each = self.predicted[None] if self.by_trial is None else self.by_trial
        return each.reshape(len(each), -1, each.shape[-1])


def split_responses(
    split: str,
    tables: Tables,
    scorer: Scorer,
    variables: tuple[nnx.State, ...],
    data: DataArrays,
    split_of: Callable[[Sequence[Timeline]], Split] = Split,
) -> list[SessionResponses]:
    """Pair recorded and predicted responses of every session that saw a split, in the order of the data set.

    Training clips are in the order of the movie, without a shorter one at its end; validation clips are in the order of
    the data set. The device is called once.

    Args:
        split: "train", "validation", or the name of a test movie.
        tables: tables of the data set.
        scorer: scorer of the model.
        variables: variables of the model.
        data: arrays of the data set on the device.
        split_of: function that makes a ``Split`` of timelines.
    """
    timelines = split_timelines(split, tables)
    return paired_responses(split, tables, timelines, scorer.by_timeline(variables, data, split_of(timelines)))


def paired_responses(
    split: str,
    tables: Tables,
    timelines: Sequence[Timeline],
    predicted: Sequence[Float32[np.ndarray, "_ _ _"]],
) -> list[SessionResponses]:
    """Pair recorded responses of every session that saw a split with predictions, in the order of the data set.

    Args:
        split: as in ``split_responses``.
        tables: tables of the data set.
        timelines: those of ``split_timelines``.
        predicted: predictions for the clips and neurons of each, without the first frames.
    """
    result, first = [], 0
    for session in tables.dataset.sessions:
        columns = slice(first, first + session.n_neurons)
        first = columns.stop
        found = [
            (timeline, prediction)
            for timeline, prediction in zip(timelines, predicted, strict=True)
            if timeline.first_neuron <= columns.start < timeline.first_neuron + timeline.n_neurons
        ]
        if not found:
            continue
        ((timeline, prediction),) = found
        begin = columns.start - timeline.first_neuron
        prediction = prediction[..., begin : begin + session.n_neurons]
        finite = np.isfinite(prediction).all(axis=(0, 1))
        prediction = np.where(finite, prediction, np.float32(np.nan))
        of_clips = tables.responses[timeline.rows.reshape(-1, timeline.clip_length), columns]
        if split in session.repeats and tables.behaviour is not None:  # every clip is a trial
            recorded, by_trial = aligned(of_clips[:, None], prediction.shape[1]), prediction[:, None]
            shown = np.isfinite(recorded) | ~np.isfinite(recorded).any(axis=0)
            mean = mean_of(np.where(shown, by_trial, np.nan)).astype(np.float32)
            result.append(SessionResponses(session.name, recorded, mean, by_trial))
            continue
        recorded = session.repeats[split][:, None] if split in session.repeats else of_clips[None]
        result.append(SessionResponses(session.name, aligned(recorded, prediction.shape[1]), prediction))
    return result


def chosen_splits(dataset: Dataset, names: Sequence[str]) -> list[str]:
    """Resolve the names of splits that a user asked for; "test" stands for all test movies.

    Raises:
        UserError: the data have no such split.
    """
    known = [TRAIN, *([VALIDATION] if any(dataset.validation_clips.values()) else []), *dataset.test_names]
    result: list[str] = []
    for name in names:
        chosen = list(dataset.test_names) if name == TEST and name not in known else [name]
        unknown = [one for one in chosen if one not in known]
        if unknown or not chosen:
            raise UserError(f'the data have no split "{name}"; {nearest(name, known)}')
        result += [one for one in chosen if one not in result]
    return result


def check_clips(splits: Sequence[str], tables: Tables, lag: int) -> None:
    """Check that every clip is long enough for at least one prediction.

    Args:
        splits: names as in ``split_responses``.
        tables: tables of the data set.
        lag: first frames of a clip without a prediction.

    Raises:
        UserError: a split has clips that are too short.
    """
    for split in splits:
        for timeline in split_timelines(split, tables):
            if timeline.clip_length <= lag:
                raise UserError(
                    f'{timeline.name}: a clip of "{split}" has {timeline.clip_length} frames, but the model needs '
                    f"{lag} before the first one that it predicts (its lag); take shorter temporal kernels, longer "
                    "clips (config.data.clip_length, where there is one), or leave the clip out"
                )


def split_timelines(split: str, tables: Tables) -> list[Timeline]:
    """Timelines of a split, one for every group of sessions that saw the same clips."""
    if split == VALIDATION:
        return tables.validation()
    if split != TRAIN:
        return tables.test(split)
    # clips are predicted one by one, so that the order of one session serves its whole group
    groups = {timeline.first_neuron: timeline for timeline in reversed(tables.shared_training())}
    return [_in_movie_order(timeline) for _, timeline in sorted(groups.items())]


def _in_movie_order(timeline: Timeline) -> Timeline:
    """Whole clips in the order of the movie; single images count as one clip, since a score needs several frames."""
    length = len(timeline) if timeline.clip_length == 1 else timeline.clip_length
    whole = len(timeline) // length * length
    clips, rows = timeline.frames[:whole].reshape(-1, length), timeline.rows[:whole].reshape(-1, length)
    order = np.argsort(clips[:, 0], kind="stable")
    return dataclasses.replace(timeline, frames=clips[order].ravel(), rows=rows[order].ravel(), clip_length=length)
