"""Predictions and scores of all neurons on one split, computed on the device."""

from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jaxtyping import Array, Float, Float32, Int

from openretina_jax import devices
from openretina_jax.data.batches import Recordings, TimelineTable
from openretina_jax.data.timelines import Timeline
from openretina_jax.models.core_readout import Model
from openretina_jax.modules import losses


class Split:
    """Whole clips of some timelines, as windows to predict.

    Args:
        timelines: of the split; every neuron belongs to at most one of them, or they are read with ``by_timeline``.
    """

    def __init__(self, timelines: Sequence[Timeline]):
        self.frames = timelines[0].clip_length
        self.timelines = tuple(timelines)
        self.table = TimelineTable.of(timelines)
        starts = [np.arange(0, len(timeline), self.frames, dtype=np.int32) for timeline in timelines]
        self.start = jnp.asarray(np.stack([np.resize(start, max(map(len, starts))) for start in starts]))


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
        """Mean correlation over clips and mean Poisson loss of every neuron; NaN for a neuron without responses."""
        return self._score(variables, recordings, split.table, split.start, frames=split.frames)

    def predict(
        self, variables: tuple[nnx.State, ...], recordings: Recordings, split: Split
    ) -> Float32[np.ndarray, "clip time neuron"]:
        """Predictions for the clips of the split (without the first frames, which the model cannot predict).

        Neurons of no timeline of the split are NaN.
        """
        parts = self.by_timeline(variables, recordings, split)
        clips, time = max(map(len, parts)), parts[0].shape[1]
        result = np.full((clips, time, len(recordings.session)), np.nan, np.float32)
        for timeline, part in zip(split.timelines, parts, strict=True):
            columns = slice(timeline.first_neuron, timeline.first_neuron + timeline.n_neurons)
            result[: len(part), :, columns] = part
        return result

    def by_timeline(
        self, variables: tuple[nnx.State, ...], recordings: Recordings, split: Split
    ) -> list[Float32[np.ndarray, "clip time neuron"]]:
        """Predictions for the clips of every timeline, of its own neurons: one call to the device for all."""
        shown = np.asarray(self._predict(variables, recordings, split.table, split.start, frames=split.frames))
        first = np.minimum(split.table.first_neuron, recordings.responses.shape[1] - shown.shape[3])
        skipped = [timeline.first_neuron - int(start) for timeline, start in zip(split.timelines, first, strict=True)]
        return [
            part[: len(timeline) // split.frames, :, skip : skip + timeline.n_neurons]
            for timeline, part, skip in zip(split.timelines, shown, skipped, strict=True)
        ]

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

        def one(timeline: tuple[Array, Array]) -> dict[str, Array]:
            prediction, response, columns, mask = _predict_timeline(model, recordings, table, timeline, frames)
            recorded = jnp.isfinite(response) & mask
            counts = {"correlation": recorded.any(axis=1).sum(axis=0), "loss": recorded.sum(axis=(0, 1))}
            correlation = losses.correlation(prediction, response, recorded)
            loss = jnp.where(recorded, losses.poisson(prediction, jnp.where(recorded, response, 0)), 0)
            sums = {
                "correlation": jnp.where(recorded.any(axis=1), correlation, 0).sum(axis=0),
                "loss": loss.sum(axis=(0, 1)),
            }
            means = {name: sums[name] / counts[name] for name in sums}
            return {
                name: jnp.full(n_neurons, jnp.nan).at[columns].set(jnp.where(mask, mean, jnp.nan))
                for name, mean in means.items()
            }

        scores = jax.lax.map(one, (jnp.arange(len(start)), start))
        # a neuron's score stands in the row of its own timeline alone
        return devices.everywhere(jax.tree.map(lambda score: jnp.nanmax(score, axis=0), scores))

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
    """Prediction and response ``(clip, time, neuron)`` of one timeline, its columns, and which of them are its own."""
    number, clips = timeline
    start = devices.filled(clips)
    batch = recordings.gather(table, jnp.full_like(start, number)[None], start[None], frames)
    width = batch.neuron_mask.shape[1]
    prediction = model.respond(batch.stimulus, batch.first_neuron, width, batch.session)[0]
    response = losses.without_lag(batch.responses[0], prediction.shape[1])
    columns = batch.first_neuron[0] + jnp.arange(width)
    return prediction[: len(clips)], response[: len(clips)], columns, batch.neuron_mask[0]
