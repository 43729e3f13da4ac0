"""Recorded and predicted responses of all sessions to one split of the data."""

import dataclasses
from collections.abc import Callable, Sequence

import numpy as np
from flax import nnx
from jaxtyping import Float32

from openretina_jax.data.batches import Recordings
from openretina_jax.data.dataset import Dataset
from openretina_jax.data.timelines import Tables, Timeline
from openretina_jax.errors import UserError, nearest
from openretina_jax.evaluation.metrics import aligned
from openretina_jax.evaluation.scores import Scorer, Split

TRAIN, VALIDATION, TEST = "train", "validation", "test"


@dataclasses.dataclass(frozen=True, eq=False)
class SessionResponses:
    """What the neurons of a session answered to a split, and what the model says.

    The first frames of every clip, which the model needs as history, are left out.

    Attributes:
        session: its name.
        recorded: responses to every clip, trial by trial; NaN where there is none. Training and validation clips were
            shown once, a test movie is one clip.
        predicted: NaN for a neuron that the model has no finite prediction of.
    """

    session: str
    recorded: Float32[np.ndarray, "trial clip time neuron"]
    predicted: Float32[np.ndarray, "clip time neuron"]

    @property
    def trials(self) -> Float32[np.ndarray, "trial all_time neuron"]:
        """Recorded responses, the clips one after another."""
        return self.recorded.reshape(len(self.recorded), -1, self.recorded.shape[-1])

    @property
    def prediction(self) -> Float32[np.ndarray, "all_time neuron"]:
        """Predicted responses, the clips one after another."""
        return self.predicted.reshape(-1, self.predicted.shape[-1])


def chosen_splits(dataset: Dataset, names: Sequence[str]) -> list[str]:
    """Splits of a data set by their names; "test" stands for all test movies.

    Raises:
        UserError: there is no such split.
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
    """Of every clip of these splits a model must predict some frame.

    Args:
        splits: as in ``split_responses``.
        tables: of the data set.
        lag: frames by which a prediction of the model is shorter than its stimulus.

    Raises:
        UserError: names a split whose clips are too short.
    """
    for split in splits:
        for timeline in _timelines(split, tables):
            if timeline.clip_length <= lag:
                raise UserError(
                    f'{timeline.name}: a clip of "{split}" has {timeline.clip_length} frames, but the model needs '
                    f"{lag} before the first one that it predicts (its lag); take shorter temporal kernels, longer "
                    "clips (config.data.clip_length, where there is one), or leave the clip out"
                )


def split_responses(
    split: str,
    dataset: Dataset,
    tables: Tables,
    scorer: Scorer,
    variables: tuple[nnx.State, ...],
    recordings: Recordings,
    predicted_from: Callable[[Sequence[Timeline]], Split] = Split,
) -> list[SessionResponses]:
    """Responses of every session that was shown a split, in the order of the data set.

    Training clips are in the order of the movie, without a shorter one at its end; validation clips are in that of the
    data set. The device is called once.

    Args:
        split: "train", "validation", or the name of a test movie.
        dataset: the recordings.
        tables: of the data set.
        scorer: of the model.
        variables: of the model.
        recordings: the tables on the device.
        predicted_from: what makes a ``Split`` of timelines, if their frames are not on the device.
    """
    timelines = _timelines(split, tables)
    predicted = scorer.by_timeline(variables, recordings, predicted_from(timelines))
    result, first = [], 0
    for session in dataset.sessions:
        columns = slice(first, first + session.n_neurons)
        first = columns.stop
        shown = [number for number, timeline in enumerate(timelines) if _has(timeline, columns.start)]
        if not shown:
            continue
        (number,) = shown
        timeline, prediction = timelines[number], predicted[number][..., _within(timelines[number], columns)]
        if split in session.repeats:
            recorded = session.repeats[split][:, None]
        else:
            recorded = tables.responses[timeline.rows.reshape(-1, timeline.clip_length), columns][None]
        finite = np.isfinite(prediction).all(axis=(0, 1))
        result.append(
            SessionResponses(
                session.name,
                aligned(recorded, prediction.shape[1]),
                np.where(finite, prediction, np.float32(np.nan)),
            )
        )
    return result


def _timelines(split: str, tables: Tables) -> list[Timeline]:
    if split == VALIDATION:
        return tables.validation()
    if split != TRAIN:
        return tables.test(split)
    # of the sessions that saw the same clips one is enough, since clips are predicted one by one
    groups = {timeline.first_neuron: timeline for timeline in reversed(tables.shared_training())}
    return [_in_order(timeline) for _, timeline in sorted(groups.items())]


def _in_order(timeline: Timeline) -> Timeline:
    """Whole clips in the order of the movie; single images, which know nothing of each other, are one clip."""
    length = len(timeline) if timeline.clip_length == 1 else timeline.clip_length
    whole = len(timeline) // length * length
    clips, rows = timeline.frames[:whole].reshape(-1, length), timeline.rows[:whole].reshape(-1, length)
    order = np.argsort(clips[:, 0], kind="stable")
    return dataclasses.replace(timeline, frames=clips[order].ravel(), rows=rows[order].ravel(), clip_length=length)


def _has(timeline: Timeline, column: int) -> bool:
    return timeline.first_neuron <= column < timeline.first_neuron + timeline.n_neurons


def _within(timeline: Timeline, columns: slice) -> slice:
    return slice(columns.start - timeline.first_neuron, columns.stop - timeline.first_neuron)
