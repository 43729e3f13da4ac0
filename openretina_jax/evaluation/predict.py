"""Predictions and scores of all neurons on one split, computed on the device."""

import dataclasses
import math
from collections.abc import Callable, Sequence

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jaxtyping import Array, Float, Float32, Int

from openretina_jax.data.batches import Batch, Recordings, TimelineTable
from openretina_jax.data.dataset import Dataset
from openretina_jax.data.timelines import Tables, Timeline
from openretina_jax.errors import UserError, nearest
from openretina_jax.evaluation.metrics import aligned
from openretina_jax.models.model import Model
from openretina_jax.modules import losses
from openretina_jax.modules.cores.core import ReceptiveField
from openretina_jax.runtime import devices

PIXELS_AT_ONCE = 4_000_000  # of the windows that are predicted together: bounds the memory for the maps of the core


class Split:
    """Whole clips of some timelines, to be predicted.

    Args:
        timelines: of the split; every neuron belongs to at most one of them.
        tables: where the frames come from, if they are not on the device.
    """

    def __init__(self, timelines: Sequence[Timeline], tables: Tables | None = None):
        self.timelines = tuple(timelines)
        self._shown = None
        if tables is not None:
            rows, index = np.unique(np.concatenate([t.frames for t in timelines]), return_inverse=True)
            self._shown = jnp.asarray(tables.pick(rows))
            ends = np.cumsum([len(timeline) for timeline in timelines])[:-1]
            timelines = [
                dataclasses.replace(timeline, frames=own.astype(np.int32))
                for timeline, own in zip(timelines, np.split(index, ends), strict=True)
            ]
        self.table = TimelineTable.of(timelines)
        self.frames = max(timeline.clip_length for timeline in timelines)
        starts = [np.arange(0, len(timeline), timeline.clip_length, dtype=np.int32) for timeline in timelines]
        clips = max(map(len, starts))
        # a clip that begins at the end of its timeline has no responses
        rows_of = [
            np.pad(own, (0, clips - len(own)), constant_values=len(timeline))
            for own, timeline in zip(starts, timelines, strict=True)
        ]
        self.start = jnp.asarray(np.stack(rows_of))

    def of(self, recordings: Recordings) -> Recordings:
        """The recordings with the frames of the split."""
        return recordings if self._shown is None else dataclasses.replace(recordings, frames=self._shown)


class Scorer:
    """Compiled predictions and scores of models of one structure.

    Calls take the variables of a model, whole or in parts as they are split for training.

    Args:
        graph: structure of the model.
        members: whether variables and scores have one more axis, the first: the member of a population.
    """

    def __init__(self, graph: nnx.GraphDef, *, members: bool = False):
        self._graph, self._members = graph, members
        self._score = jax.jit(self._score_split, static_argnames="frames")
        self._predict = jax.jit(self._predict_split, static_argnames="frames")

    def __call__(
        self, variables: tuple[nnx.State, ...], recordings: Recordings, split: Split
    ) -> dict[str, Float[Array, "*member neuron"]]:
        """Mean correlation over clips and mean Poisson loss of every neuron; NaN for a neuron without responses.

        A clip whose prediction is not finite has correlation 0, so that no neuron leaves the mean because it diverged;
        a model that predicts nothing finite has no correlations: NaN.
        """
        return self._score(variables, split.of(recordings), split.table, split.start, frames=split.frames)

    def predict(
        self, variables: tuple[nnx.State, ...], recordings: Recordings, split: Split
    ) -> Float32[np.ndarray, "clip time neuron"]:
        """Predictions for the clips of the split (without the first frames, which the model cannot predict).

        NaN for neurons of no timeline of the split, and after the end of clips that are shorter than others.
        """
        parts = self.by_timeline(variables, recordings, split)
        clips, time = max(map(len, parts)), max(part.shape[1] for part in parts)
        result = np.full((clips, time, len(recordings.session)), np.nan, np.float32)
        for timeline, part in zip(split.timelines, parts, strict=True):
            columns = slice(timeline.first_neuron, timeline.first_neuron + timeline.n_neurons)
            result[: len(part), : part.shape[1], columns] = part
        return result

    def by_timeline(
        self, variables: tuple[nnx.State, ...], recordings: Recordings, split: Split
    ) -> list[Float32[np.ndarray, "clip time neuron"]]:
        """Predictions for the clips of every timeline, of its own neurons: one call to the device for all."""
        recordings = split.of(recordings)
        shown = np.asarray(self._predict(variables, recordings, split.table, split.start, frames=split.frames))
        first = np.minimum(split.table.first_neuron, recordings.responses.shape[1] - shown.shape[3])
        parts = []
        for timeline, part, start in zip(split.timelines, shown, first, strict=True):
            clips, skipped = -(-len(timeline) // timeline.clip_length), timeline.first_neuron - int(start)
            time = max(part.shape[1] - (split.frames - timeline.clip_length), 0)  # 0: it is shorter than the lag
            parts.append(part[:clips, :time, skipped : skipped + timeline.n_neurons])
        return parts

    def _score_split(
        self,
        variables: tuple[nnx.State, ...],
        recordings: Recordings,
        table: TimelineTable,
        start: Int[Array, "timeline clip"],
        frames: int,
    ) -> dict[str, Array]:
        def score(variables: tuple[nnx.State, ...]) -> dict[str, Array]:
            return self._score_model(variables, recordings, table, start, frames)

        return jax.lax.map(score, variables) if self._members else score(variables)

    def _score_model(
        self,
        variables: tuple[nnx.State, ...],
        recordings: Recordings,
        table: TimelineTable,
        start: Int[Array, "timeline clip"],
        frames: int,
    ) -> dict[str, Array]:
        model = nnx.merge(self._graph, *variables, copy=True)
        n_neurons = len(recordings.session)

        def one(timeline: tuple[Array, Array]) -> tuple[dict[str, Array], Array]:
            prediction, response, columns, mask = _predict_timeline(model, recordings, table, timeline, frames)
            recorded = jnp.isfinite(response) & mask
            clips = recorded.any(axis=1)
            counts = {"correlation": clips.sum(axis=0), "loss": recorded.sum(axis=(0, 1))}
            correlation = losses.correlation(prediction, response, recorded)
            finite = clips & jnp.isfinite(correlation)
            loss = jnp.where(recorded, losses.poisson(prediction, jnp.where(recorded, response, 0)), 0)
            sums = {
                "correlation": jnp.where(finite, correlation, 0).sum(axis=0),
                "loss": loss.sum(axis=(0, 1)),
            }
            means = {name: sums[name] / counts[name].astype(jnp.float32) for name in sums}
            of_neurons = {
                name: jnp.full(n_neurons, jnp.nan).at[columns].set(jnp.where(mask, mean, jnp.nan))
                for name, mean in means.items()
            }
            return of_neurons, finite.any()

        scores, finite = jax.lax.map(one, (jnp.arange(len(start)), start))
        # a neuron's score stands in the row of its own timeline alone
        scores = jax.tree.map(lambda score: jnp.nanmax(score, axis=0), scores)
        scores["correlation"] = jnp.where(finite.any(), scores["correlation"], jnp.nan)
        return devices.everywhere(scores)

    def _predict_split(
        self,
        variables: tuple[nnx.State, ...],
        recordings: Recordings,
        table: TimelineTable,
        start: Int[Array, "timeline clip"],
        frames: int,
    ) -> Array:
        model = nnx.merge(self._graph, *variables, copy=True)
        shown = jax.lax.map(
            lambda timeline: _predict_timeline(model, recordings, table, timeline, frames)[0],
            (jnp.arange(len(start)), start),
        )
        return devices.everywhere(shown)


def _predict_timeline(
    model: Model,
    recordings: Recordings,
    table: TimelineTable,
    timeline: tuple[Array, Array],
    frames: int,
) -> tuple[Array, Array, Array, Array]:
    """Prediction and response ``(clip, time, neuron)`` of one timeline, its columns, and which of them are its own.

    Responses are NaN beyond the end of a clip that is shorter than others. Long clips are predicted in pieces that
    overlap by what the model needs to know of the past and of the future, and many clips in groups.
    """
    number, clips = timeline
    lag, pixels = model.lag, math.prod(model.data_info.input_shape[:2])
    offsets, firsts, length = pieces(frames, lag, model.receptive_field(), PIXELS_AT_ONCE // pixels)
    start = (clips[:, None] + jnp.asarray(offsets, jnp.int32)).ravel()
    n_groups = -(-len(start) * length * pixels // PIXELS_AT_ONCE)
    share = devices.count(devices.DATA)  # of several devices each takes an equal part of a group
    per_group = -(-len(start) // (n_groups * share)) * share
    filled = jnp.take(start, jnp.arange(n_groups * per_group), mode="wrap").reshape(n_groups, per_group)

    def gather(start: Array) -> Batch:
        return recordings.gather(table, jnp.full_like(start, number)[None], start[None], length)

    def predict(start: Array) -> tuple[Array, Array]:
        batch = gather(start)
        width = batch.neuron_mask.shape[1]
        prediction = model.respond(batch.stimulus, batch.first_neuron, width, batch.session)[0]
        return prediction, losses.without_lag(batch.responses[0], prediction.shape[1])

    def whole(windows: Array) -> Array:
        """Clips from their pieces, the last of which may begin before the one before it has ended."""
        windows = windows.reshape(-1, *windows.shape[2:])[: len(start)]
        windows = windows.reshape(len(clips), len(offsets), *windows.shape[1:])
        bounds = zip(offsets, firsts, [*firsts[1:], frames], strict=True)
        parts = [
            windows[:, piece, first - offset - lag : end - offset - lag]
            for piece, (offset, first, end) in enumerate(bounds)
        ]
        return jnp.concatenate(parts, axis=1) if len(parts) > 1 else parts[0]

    groups = predict(filled[0]) if n_groups == 1 else jax.lax.map(predict, filled)
    prediction, response = (whole(x[None] if n_groups == 1 else x) for x in groups)
    about = gather(filled[0])  # nothing of it is computed but what is used here
    inside = jnp.arange(lag, frames) < table.clip_length[number]
    columns = about.first_neuron[0] + jnp.arange(about.neuron_mask.shape[1])
    return prediction, jnp.where(inside[:, None], response, jnp.nan), columns, about.neuron_mask[0]


def pieces(frames: int, lag: int, field: ReceptiveField, longest: int) -> tuple[list[int], list[int], int]:
    """Where the pieces of a clip begin, from which frame on the predictions of each are taken, and how long they are.

    Args:
        frames: of the clip.
        lag: of the model.
        field: its receptive field; without an end in time, the clip is one piece.
        longest: wanted length of a piece at most; it is exceeded rather than that most of a piece were overlap.
    """
    if field.past is None or field.future is None:
        return [0], [lag], frames
    before = max(lag, field.past)
    overlap = before + field.future
    length = max(longest, 2 * overlap + 1)
    if frames <= length:
        return [0], [lag], frames
    last = frames - length
    begins = [*range(0, last, length - overlap), last]
    return begins, [lag, *(begin + before for begin in begins[1:])], length


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
