"""Predictions for whole clips on the device, and scores of all neurons.

A ``Split`` holds the clips of a split, a ``Scorer`` predicts and scores them.
"""

import dataclasses
import functools
import math
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jaxtyping import Array, Float, Float32, Int

from openretina_jax.data.batches import Batch, DataArrays, Timelines, gather
from openretina_jax.data.timelines import Tables, Timeline
from openretina_jax.evaluation.monitor import Monitor, Score
from openretina_jax.models.model import Model
from openretina_jax.modules import losses
from openretina_jax.modules.cores.core import ReceptiveField
from openretina_jax.runtime import devices
from openretina_jax.runtime.programs import kept
from openretina_jax.training.objective import FrameLoss, Poisson

COMMON = ("correlation", "loss")  # scores that are always computed
PIXELS_AT_ONCE = 4_000_000  # pixels of the frames predicted together: bounds the memory of the core's feature maps


class Split:
    """Whole clips of some timelines, to be predicted.

    Args:
        timelines: timelines of the split; every neuron belongs to at most one of them.
        tables: tables from which the frames are read, if they are not on the device.
    """

    def __init__(self, timelines: Sequence[Timeline], tables: Tables | None = None):
        self.timelines = tuple(timelines)
        self._frames = None
        if tables is not None:
            # only the frames of this split go to the device
            rows, index = np.unique(np.concatenate([t.frames for t in timelines]), return_inverse=True)
            self._frames = jnp.asarray(tables.pick(rows))
            ends = np.cumsum([len(timeline) for timeline in timelines])[:-1]
            timelines = [
                dataclasses.replace(timeline, frames=frames.astype(np.int32))
                for timeline, frames in zip(timelines, np.split(index, ends), strict=True)
            ]
        self.stacked = Timelines.of(timelines)
        self.clip_frames = max(timeline.clip_length for timeline in timelines)
        starts = [np.arange(0, len(timeline), timeline.clip_length, dtype=np.int32) for timeline in timelines]
        n_clips = max(map(len, starts))
        # timelines with fewer clips get clips that begin at their end, where there are no responses
        padded = [
            np.pad(start, (0, n_clips - len(start)), constant_values=len(timeline))
            for start, timeline in zip(starts, timelines, strict=True)
        ]
        self.start = jnp.asarray(np.stack(padded))

    def arrays(self, data: DataArrays) -> DataArrays:
        """Complete the arrays of the data by the frames of this split if the movies are not on the device."""
        return data if self._frames is None else dataclasses.replace(data, frames=self._frames)


class Scorer:
    """Compiled predictions and scores of models of one structure; scorers of equal structures share the programs.

    Its methods take the variables of a model, whole or in the parts into which training splits them.

    Args:
        graph: structure of the model.
        monitor: a score besides correlation and loss (None: no other).
        loss: the loss (None: Poisson's).
        members: whether variables and scores have a leading axis for the members of a population.
    """

    def __init__(
        self,
        graph: nnx.GraphDef,
        monitor: Monitor | None = None,
        loss: FrameLoss | None = None,
        *,
        members: bool = False,
    ):
        more = monitor if isinstance(monitor, Score) and monitor.name not in COMMON else None
        # the share of the loss in an objective changes nothing here, and should not compile the program again
        of_frames = dataclasses.replace(loss or Poisson(), samples=1.0)
        self._score = kept(_score_program, graph, more, of_frames, members)
        self._predict = kept(_predict_program, graph)

    def __call__(
        self, variables: tuple[nnx.State, ...], data: DataArrays, split: Split
    ) -> dict[str, Float[Array, "*member neuron"]]:
        """Score every neuron: mean "correlation" over clips and mean "loss" over frames; NaN without responses.

        A clip whose prediction is not finite has correlation 0, so that a neuron that diverged still counts in the
        mean. If a model predicts nothing finite, all its correlations are NaN.
        """
        return self._score(variables, split.arrays(data), split.stacked, split.start, clip_frames=split.clip_frames)

    def predict(
        self, variables: tuple[nnx.State, ...], data: DataArrays, split: Split
    ) -> Float32[np.ndarray, "clip time neuron"]:
        """Predict all neurons on the clips of the split; the first frames of a clip have no prediction.

        NaN for neurons that no timeline of the split has, and after the end of clips that are shorter than others.
        """
        parts = self.by_timeline(variables, data, split)
        n_clips, time = max(map(len, parts)), max(part.shape[1] for part in parts)
        result = np.full((n_clips, time, len(data.session)), np.nan, np.float32)
        for timeline, part in zip(split.timelines, parts, strict=True):
            columns = slice(timeline.first_neuron, timeline.first_neuron + timeline.n_neurons)
            result[: len(part), : part.shape[1], columns] = part
        return result

    def by_timeline(
        self, variables: tuple[nnx.State, ...], data: DataArrays, split: Split
    ) -> list[Float32[np.ndarray, "clip time neuron"]]:
        """Predict the neurons of every timeline on its clips, with one call to the device for all."""
        data = split.arrays(data)
        predicted = np.asarray(
            self._predict(variables, data, split.stacked, split.start, clip_frames=split.clip_frames)
        )
        first = np.minimum(split.stacked.each.first_neuron, data.responses.shape[1] - predicted.shape[3])
        parts = []
        for timeline, part, start in zip(split.timelines, predicted, first, strict=True):
            n_clips, skipped = -(-len(timeline) // timeline.clip_length), timeline.first_neuron - int(start)
            time = max(part.shape[1] - (split.clip_frames - timeline.clip_length), 0)  # 0: shorter than the lag
            parts.append(part[:n_clips, :time, skipped : skipped + timeline.n_neurons])
        return parts


def _score_program(
    graph: nnx.GraphDef, monitor: Score | None, of_frames: FrameLoss, members: bool
) -> Callable[..., dict[str, Array]]:
    @functools.partial(jax.jit, static_argnames="clip_frames")
    def score_split(
        variables: tuple[nnx.State, ...],
        data: DataArrays,
        timelines: Timelines,
        start: Int[Array, "timeline clip"],
        clip_frames: int,
    ) -> dict[str, Array]:
        def score(variables: tuple[nnx.State, ...]) -> dict[str, Array]:
            model = nnx.merge(graph, *variables, copy=True)
            return _score_model(model, monitor, of_frames, data, timelines, start, clip_frames)

        return jax.lax.map(score, variables) if members else score(variables)

    return score_split


def _score_model(
    model: Model,
    monitor: Score | None,
    of_frames: FrameLoss,
    data: DataArrays,
    timelines: Timelines,
    start: Int[Array, "timeline clip"],
    clip_frames: int,
) -> dict[str, Array]:
    n_neurons = len(data.session)

    def one(timeline: tuple[Array, Array]) -> tuple[dict[str, Array], Array]:
        prediction, response, columns, mask = _predict_timeline(model, data, timelines, timeline, clip_frames)
        recorded = jnp.isfinite(response) & mask
        clips = recorded.any(axis=1)
        counts = {"correlation": clips.sum(axis=0), "loss": recorded.sum(axis=(0, 1))}
        correlation = losses.correlation(prediction, response, recorded)
        finite = clips & jnp.isfinite(correlation)
        loss = of_frames.value(prediction[None], jnp.where(recorded, response, 0)[None])[0]
        loss = jnp.where(recorded, loss, 0)
        sums = {"correlation": jnp.where(finite, correlation, 0).sum(axis=0), "loss": loss.sum(axis=(0, 1))}
        means = {name: sums[name] / counts[name].astype(jnp.float32) for name in sums}
        if monitor is not None:
            means[monitor.name] = monitor.neurons(prediction, response, recorded)
        of_neurons = {
            name: jnp.full(n_neurons, jnp.nan).at[columns].set(jnp.where(mask, mean, jnp.nan))
            for name, mean in means.items()
        }
        return of_neurons, finite.any()

    scores, finite = jax.lax.map(one, (jnp.arange(len(start)), start))
    # each neuron has a score in the row of one timeline, and NaN in all others
    scores = jax.tree.map(lambda score: jnp.nanmax(score, axis=0), scores)
    scores["correlation"] = jnp.where(finite.any(), scores["correlation"], jnp.nan)
    return devices.everywhere(scores)


def _predict_program(graph: nnx.GraphDef) -> Callable[..., Array]:
    @functools.partial(jax.jit, static_argnames="clip_frames")
    def predict_split(
        variables: tuple[nnx.State, ...],
        data: DataArrays,
        timelines: Timelines,
        start: Int[Array, "timeline clip"],
        clip_frames: int,
    ) -> Array:
        model = nnx.merge(graph, *variables, copy=True)
        predicted = jax.lax.map(
            lambda timeline: _predict_timeline(model, data, timelines, timeline, clip_frames)[0],
            (jnp.arange(len(start)), start),
        )
        return devices.everywhere(predicted)

    return predict_split


def _predict_timeline(
    model: Model,
    data: DataArrays,
    timelines: Timelines,
    timeline: tuple[Array, Array],
    clip_frames: int,
) -> tuple[Array, Array, Array, Array]:
    """Predict one timeline: prediction and response ``(clip, time, neuron)``, columns of the neurons, and their mask.

    Long clips are predicted in pieces that overlap by the receptive field; many clips are predicted in groups.
    Responses are NaN beyond the end of a clip that is shorter than others.

    Args:
        model: a model.
        data: the data set.
        timelines: timelines of the split.
        timeline: index of the timeline, and starts of its clips.
        clip_frames: frames of the longest clip.
    """
    number, clips = timeline
    lag, pixels = model.lag, math.prod(model.data_info.input_shape[:2])
    offsets, firsts, length = pieces(clip_frames, lag, model.receptive_field(), PIXELS_AT_ONCE // pixels)
    start = (clips[:, None] + jnp.asarray(offsets, jnp.int32)).ravel()
    n_groups = -(-len(start) * length * pixels // PIXELS_AT_ONCE)
    share = devices.count(devices.DATA)  # devices that each take an equal part of a group
    per_group = -(-len(start) // (n_groups * share)) * share
    filled = jnp.take(start, jnp.arange(n_groups * per_group), mode="wrap").reshape(n_groups, per_group)

    def windows(start: Array) -> Batch:
        return gather(data, timelines, jnp.full_like(start, number)[None], start[None], length)

    def predict(start: Array) -> tuple[Array, Array]:
        batch = windows(start)
        width = batch.neuron_mask.shape[1]
        given: dict[str, Any] = {} if batch.behaviour is None else {"behaviour": batch.behaviour}
        prediction = model.respond(batch.stimulus, batch.first_neuron, width, batch.session, **given)[0]
        return prediction, losses.without_lag(batch.responses[0], prediction.shape[1])

    def joined(parts: Array) -> Array:
        """Join the pieces of each clip; the last one may begin before the end of the one before."""
        parts = parts.reshape(-1, *parts.shape[2:])[: len(start)]
        parts = parts.reshape(len(clips), len(offsets), *parts.shape[1:])
        bounds = zip(offsets, firsts, [*firsts[1:], clip_frames], strict=True)
        kept = [
            parts[:, piece, first - offset - lag : end - offset - lag]
            for piece, (offset, first, end) in enumerate(bounds)
        ]
        return jnp.concatenate(kept, axis=1) if len(kept) > 1 else kept[0]

    groups = predict(filled[0]) if n_groups == 1 else jax.lax.map(predict, filled)
    prediction, response = (joined(x[None] if n_groups == 1 else x) for x in groups)
    batch = windows(filled[0])  # the compiler drops all of it but the neurons
    inside = jnp.arange(lag, clip_frames) < timelines.each.clip_length[number]
    columns = batch.first_neuron[0] + jnp.arange(batch.neuron_mask.shape[1])
    return prediction, jnp.where(inside[:, None], response, jnp.nan), columns, batch.neuron_mask[0]


def pieces(clip_frames: int, lag: int, field: ReceptiveField, longest: int) -> tuple[list[int], list[int], int]:
    """Cut a clip into overlapping pieces of one length.

    Args:
        clip_frames: frames of the clip.
        lag: first frames of a piece without a prediction.
        field: receptive field of the model; if it has no end in time, the clip is one piece.
        longest: wanted maximum length of a piece; exceeded if the overlap would be more than half of a piece.

    Returns:
        First frame of every piece, first frame whose prediction is taken from it, and the length of all pieces.
    """
    if field.past is None or field.future is None:
        return [0], [lag], clip_frames
    before = max(lag, field.past)
    overlap = before + field.future
    length = max(longest, 2 * overlap + 1)
    if clip_frames <= length:
        return [0], [lag], clip_frames
    last = clip_frames - length
    begins = [*range(0, last, length - overlap), last]
    return begins, [lag, *(begin + before for begin in begins[1:])], length
