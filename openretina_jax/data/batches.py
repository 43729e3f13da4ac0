"""Data on the device: windows are gathered there from their starts, so that no frame travels twice."""

import dataclasses
from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import PartitionSpec
from jaxtyping import Array, Bool, Float, Int, Num

from openretina_jax.data.timelines import Tables, Timeline
from openretina_jax.runtime import devices
from openretina_jax.runtime.devices import DATA, NEURON


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Batch:
    """Windows of a few timelines; the neurons of each are padded to the widest.

    Attributes:
        stimulus: windows of the movie.
        responses: NaN where nothing was recorded.
        first_neuron: row of the readout's table at which the neurons of each timeline begin.
        neuron_mask: which of the neurons belong to the timeline.
        own_order: whether a neuron saw the clips in the order of the window.
        clip_time: frames since the clip on the screen began.
        n_sessions: sessions of each timeline.
        session: number of the first session of each timeline.
        neuron_session: number of the session of each neuron.
    """

    stimulus: Float[Array, "timeline window time height width channel"]
    responses: Float[Array, "timeline window time neuron"]
    first_neuron: Int[Array, " timeline"]
    neuron_mask: Bool[Array, "timeline neuron"]
    own_order: Bool[Array, "timeline window neuron"]
    clip_time: Int[Array, "timeline window time"]
    n_sessions: Int[Array, " timeline"]
    session: Int[Array, " timeline"]
    neuron_session: Int[Array, "timeline neuron"]


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class TimelineTable:
    """Timelines of one split as arrays, padded at the end to the longest.

    Attributes:
        frames, rows: what ``Timeline`` holds, by number of the timeline.
        length: of each timeline, without the padding.
        mirrored, session, first_neuron, n_neurons, n_sessions, order, clip_length, shift, scale: likewise.
        width: columns of the widest timeline.
    """

    frames: Int[Array, "timeline time"]
    rows: Int[Array, "timeline time"]
    length: Int[Array, " timeline"]
    mirrored: Bool[Array, " timeline"]
    session: Int[Array, " timeline"]
    first_neuron: Int[Array, " timeline"]
    n_neurons: Int[Array, " timeline"]
    n_sessions: Int[Array, " timeline"]
    order: Int[Array, " timeline"]
    clip_length: Int[Array, " timeline"]
    shift: Float[Array, " timeline"]
    scale: Float[Array, " timeline"]
    width: int = dataclasses.field(metadata={"static": True})

    @classmethod
    def of(cls, timelines: Sequence[Timeline]) -> "TimelineTable":
        """The table of these timelines."""
        longest = max(len(timeline) for timeline in timelines)

        def padded(index: np.ndarray) -> np.ndarray:
            return np.pad(index, (0, longest - len(index)))

        return cls(
            frames=jnp.asarray(np.stack([padded(timeline.frames) for timeline in timelines])),
            rows=jnp.asarray(np.stack([padded(timeline.rows) for timeline in timelines])),
            length=jnp.asarray([len(timeline) for timeline in timelines], jnp.int32),
            mirrored=jnp.asarray([timeline.mirrored for timeline in timelines]),
            session=jnp.asarray([timeline.session for timeline in timelines], jnp.int32),
            first_neuron=jnp.asarray([timeline.first_neuron for timeline in timelines], jnp.int32),
            n_neurons=jnp.asarray([timeline.n_neurons for timeline in timelines], jnp.int32),
            n_sessions=jnp.asarray([timeline.n_sessions for timeline in timelines], jnp.int32),
            order=jnp.asarray([timeline.order for timeline in timelines], jnp.int32),
            clip_length=jnp.asarray([timeline.clip_length for timeline in timelines], jnp.int32),
            shift=jnp.asarray([timeline.shift for timeline in timelines], jnp.float32),
            scale=jnp.asarray([timeline.scale for timeline in timelines], jnp.float32),
            width=max(timeline.n_neurons for timeline in timelines),
        )


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Recordings:
    """The tables of frames and responses on the device.

    Attributes:
        frames: all movies, one after another (None: they stay on the host, which sends windows of them).
        responses: a column per neuron; NaN where nothing was recorded. Spread over several devices, it may have more
            rows and columns at the end.
        session: number of the session that a neuron belongs to.
        order: number of the order in which a neuron saw its clips.
    """

    frames: Num[Array, "frame height width channel"] | None
    responses: Float[Array, "row column"]
    session: Int[Array, " neuron"]
    order: Int[Array, " neuron"]

    @classmethod
    def of(cls, tables: Tables, frames_on_device: bool = True) -> "Recordings":
        """Put the tables, or those of responses alone, on the default device."""
        return cls(
            frames=jnp.asarray(tables.frames()) if frames_on_device else None,
            responses=jnp.asarray(tables.responses),
            session=jnp.asarray(tables.session),
            order=jnp.asarray(tables.order),
        )

    def gather(
        self,
        timelines: TimelineTable,
        number: Int[Array, "timeline window"],
        start: Int[Array, "timeline window"],
        frames: int,
        shown: Num[Array, "timeline window time height width channel"] | None = None,
    ) -> Batch:
        """Windows of ``frames`` frames; responses beyond the end of a timeline are NaN.

        Args:
            timelines: of the split.
            number: timeline of each window; those of a row have the same neurons.
            start: first time of each window on its timeline.
            frames: length of the windows.
            shown: frames of the windows, if they are not on the device.
        """
        number, start = devices.everywhere((number, start))
        # each of several devices along the axis of neurons works on its own rows of the readout, whichever take part
        n_columns = self.responses.shape[1]
        width = timelines.width if devices.count(NEURON) == 1 else n_columns
        group = number[:, 0]
        # a slice that would reach beyond the last neuron begins earlier, and the mask says so
        wanted = timelines.first_neuron[group]
        first = jnp.minimum(wanted, n_columns - width)
        columns = first[:, None] + jnp.arange(width)
        time = start[..., None] + jnp.arange(frames)
        index, rows, beyond, seen, about = devices.everywhere(
            (
                timelines.frames[number[..., None], time],
                timelines.rows[number[..., None], time],
                time >= timelines.length[number][..., None],
                [
                    of_timeline[number][..., None, None, None, None]
                    for of_timeline in (timelines.mirrored, timelines.shift, timelines.scale)
                ],
                {
                    "first_neuron": first,
                    "neuron_mask": (columns >= wanted[:, None])
                    & (columns < (wanted + timelines.n_neurons[group])[:, None]),
                    "own_order": self.order[columns][:, None] == timelines.order[number][..., None],
                    "clip_time": time % timelines.clip_length[number][..., None],
                    "n_sessions": timelines.n_sessions[group],
                    "session": timelines.session[group],
                    "neuron_session": self.session[columns],
                },
            )
        )
        if shown is None:
            assert self.frames is not None, "windows of frames on the host come with them"
            shown = self.frames[index]
        mirrored, shift, scale = seen
        stimulus = (devices.spread(shown).astype(jnp.float32) - shift) / scale
        stimulus = jnp.where(mirrored, jnp.flip(stimulus, axis=-2), stimulus)
        responses = read_rows(self.responses, rows, about["first_neuron"], width)
        return Batch(stimulus=stimulus, responses=jnp.where(beyond[..., None], jnp.nan, responses), **about)


def read_rows(
    table: Float[Array, "row column"],
    rows: Int[Array, "timeline window time"],
    first: Int[Array, " timeline"],
    width: int,
) -> Float[Array, "timeline window time neuron"]:
    """``width`` columns of some rows of a table, from column ``first`` on.

    With several devices, each reads the rows it holds, and the results are exchanged.
    """

    def read(table: Array, rows: Array, first: Array) -> Array:
        def one(row: Array, column: Array) -> Array:
            return jax.lax.dynamic_slice(table, (row, column), (1, min(width, table.shape[1])))[0]

        over_time = jax.vmap(jax.vmap(one, (0, None)), (0, None))
        return jax.vmap(over_time)(rows, first)

    def read_own(table: Array, rows: Array, first: Array) -> Array:
        own = rows - jax.lax.axis_index(DATA) * len(table)
        here = (own >= 0) & (own < len(table))
        found = jnp.where(here[..., None], read(table, jnp.where(here, own, 0), first), 0)
        return jax.lax.psum_scatter(found.reshape(-1, *found.shape[2:]), DATA, tiled=True)

    if devices.count(DATA, NEURON) == 1:
        return read(table, rows, first)
    whole = PartitionSpec()
    split = jax.shard_map(
        read_own, in_specs=(PartitionSpec(DATA, NEURON), whole, whole), out_specs=PartitionSpec(DATA, None, NEURON)
    )
    return split(table, rows, first).reshape(*rows.shape, width)
