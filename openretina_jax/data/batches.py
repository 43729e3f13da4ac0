"""Batches: windows of the data, gathered on the device, so that no frame travels there twice."""

import dataclasses
import itertools
from collections.abc import Iterator, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import PartitionSpec
from jaxtyping import Array, Bool, Float, Int, Num

from openretina_jax.data.dataset import Dataset
from openretina_jax.data.timelines import Tables, Timeline, aligned
from openretina_jax.data.windows import make_sampler
from openretina_jax.runtime import devices
from openretina_jax.runtime.devices import DATA, NEURON


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Batch:
    """Windows of some timelines, with as many neurons for each as the largest timeline has.

    Attributes:
        stimulus: normalised frames.
        responses: responses to them; NaN where nothing was recorded.
        first_neuron: first row of each timeline's neurons in the readout's table.
        neuron_mask: which of the neurons belong to the timeline.
        own_order: whether a neuron saw the clips in the order of the window.
        clip_time: frames since the beginning of the clip.
        n_sessions: number of sessions of each timeline.
        session: index of the first session of each timeline.
        neuron_session: index of each neuron's session.
        behaviour: behaviour of the session of each timeline, NaN where it is not known (None: it is left out).
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
    behaviour: Float[Array, "timeline window time behaviour"] | None = None


# registered here, since data/timelines.py needs no JAX
jax.tree_util.register_dataclass(
    Timeline,
    data_fields=[field.name for field in dataclasses.fields(Timeline) if field.name not in ("name", "borders")],
    meta_fields=["name", "borders"],
)


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Timelines:
    """A stack of timelines on the device.

    Attributes:
        each: the timelines; every field is an array whose first axis is the timeline, and ``frames`` and ``rows`` are
            padded at the end to the length of the longest timeline.
        length: number of frames of each timeline without the padding.
        n_columns: number of neurons of the largest timeline.
    """

    each: Timeline
    length: Int[Array, " timeline"]
    n_columns: int = dataclasses.field(metadata={"static": True})

    @classmethod
    def of(cls, timelines: Sequence[Timeline]) -> "Timelines":
        """Stack timelines on the default device."""
        longest = max(map(len, timelines))

        def padded(timeline: Timeline) -> Timeline:
            at_end = (0, longest - len(timeline))
            return dataclasses.replace(
                timeline,
                name="",
                borders=(),
                frames=np.pad(timeline.frames, at_end),
                rows=np.pad(timeline.rows, at_end),
            )

        each = jax.tree.map(lambda *values: np.stack(values), *map(padded, timelines))
        length = np.asarray([len(timeline) for timeline in timelines], np.int32)
        # one transfer; jnp.asarray would compile a program for every shape
        each, length = jax.device_put((each, length))
        return cls(each=each, length=length, n_columns=max(timeline.n_neurons for timeline in timelines))


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class DataArrays:
    """Frames and responses of a data set as arrays, on the host or on devices.

    Attributes:
        frames: all movies, one after another (None: they stay on the host, which sends windows of them).
        responses: a column per neuron; NaN where nothing was recorded. On several devices it may have more columns at
            the end, which no timeline uses.
        session: index of the session that a neuron belongs to.
        order: index of the order in which a neuron saw its clips.
        behaviour: behaviour of every session in the rows of its responses (None: it is left out).
    """

    frames: Num[Any, "frame height width channel"] | None
    responses: Float[Any, "row column"]
    session: Int[Any, " neuron"]
    order: Int[Any, " neuron"]
    behaviour: Float[Any, "some_row session behaviour"] | None = None

    @classmethod
    def on_host(cls, tables: Tables, with_frames: bool = True) -> "DataArrays":
        """Arrays of the data on the host; move them with a ``jax.tree.map``."""
        frames = tables.frames() if with_frames else None
        return cls(frames, tables.responses, tables.session, tables.order, tables.behaviour)

    @classmethod
    def of(cls, tables: Tables, with_frames: bool = True) -> "DataArrays":
        """Arrays of the data on the default device; on a CPU those of ``for_devices``, and no copies."""
        return jax.tree.map(jax.device_put, cls.for_devices(tables, with_frames))

    @classmethod
    def for_devices(cls, tables: Tables, with_frames: bool = True) -> "DataArrays":
        """Arrays on the host that all devices of a CPU read where they lie.

        There the one movie of a data set is copied: it is not that of the tables, and may lie on the disk.
        """
        arrays = cls.on_host(tables, with_frames)
        movie = next((one.frames for one in tables.dataset.stimuli.values() if one.frames is arrays.frames), None)
        if movie is None or devices.backend() != "cpu":
            return arrays
        frames = aligned(movie.shape, movie.dtype)
        frames[...] = movie
        return dataclasses.replace(arrays, frames=frames)


def gather(
    data: DataArrays,
    timelines: Timelines,
    number: Int[Array, "timeline window"],
    start: Int[Array, "timeline window"],
    window_frames: int,
    shown: Num[Array, "timeline window time height width channel"] | None = None,
) -> Batch:
    """Gather windows on the device; responses beyond the end of a timeline are NaN.

    Args:
        data: the data set.
        timelines: those that ``number`` points into.
        number: index of each window's timeline; the timelines of a row have the same neurons.
        start: first time of each window on its timeline.
        window_frames: length of the windows.
        shown: frames of the windows, if ``data`` does not hold them.
    """
    number, start = devices.everywhere((number, start))
    n_columns = data.responses.shape[1]
    # with several devices along the axis of neurons each works on its own rows of the readout, whichever take part
    width = timelines.n_columns if devices.count(NEURON) == 1 else n_columns
    each, group = timelines.each, number[:, 0]
    # a slice that would reach beyond the last neuron begins earlier, and the mask says so
    wanted = each.first_neuron[group]
    first = jnp.minimum(wanted, n_columns - width)
    columns = first[:, None] + jnp.arange(width)
    time = start[..., None] + jnp.arange(window_frames)
    index, rows, beyond, seen, about = devices.everywhere(
        (
            each.frames[number[..., None], time],
            each.rows[number[..., None], time],
            time >= timelines.length[number][..., None],
            [fact[number][..., None, None, None, None] for fact in (each.mirrored, each.shift, each.scale)],
            {
                "first_neuron": first,
                "neuron_mask": (columns >= wanted[:, None]) & (columns < (wanted + each.n_neurons[group])[:, None]),
                "own_order": data.order[columns][:, None] == each.order[number][..., None],
                "clip_time": time % each.clip_length[number][..., None],
                "n_sessions": each.n_sessions[group],
                "session": each.session[group],
                "neuron_session": data.session[columns],
            },
        )
    )
    if shown is None:
        assert data.frames is not None, "windows of frames on the host come with them"
        shown = data.frames[index]
    mirrored, shift, scale = seen
    stimulus = (devices.spread(shown).astype(jnp.float32) - shift) / scale
    stimulus = jnp.where(mirrored, jnp.flip(stimulus, axis=-2), stimulus)
    responses = read_rows(data.responses, rows, about["first_neuron"], width)
    if data.behaviour is not None:
        about["behaviour"] = devices.spread(data.behaviour[rows, about["session"][:, None, None]])
    return Batch(stimulus=stimulus, responses=jnp.where(beyond[..., None], jnp.nan, responses), **about)


_gather = jax.jit(gather, static_argnames="window_frames")


def batches_of(
    dataset: Dataset,
    *,
    order: str = "shared",
    window_frames: int,
    windows_per_step: int,
    seed: int = 0,
    epochs: int | None = None,
    per_session: bool = False,
    with_behaviour: bool = False,
    **options: Any,
) -> Iterator[Batch]:
    """Iterate over batches of the training data, epoch after epoch, for a training loop of one's own.

    All movies go to the default device. All batches have one shape, so that a jitted step compiles once::

        for batch in batches_of(dataset, window_frames=150, windows_per_step=4, epochs=10):
            state, metrics = step(state, batch)

    Args:
        dataset: the data set.
        order: "session": a batch has windows of one session; "shared": it has windows of all sessions; or another
            kind of ``windows.SAMPLERS``.
        window_frames: length of a window.
        windows_per_step: windows of a batch ("shared": of each group of sessions that saw the same clips).
        seed: seed of the random order.
        epochs: number of epochs (None: without end).
        per_session: whether each row of a batch has neurons of one session only, even where others saw the same clips;
            for models whose ``per_session`` is true.
        with_behaviour: whether batches have the behaviour, for models whose ``reads_behaviour`` is true; it implies
            ``per_session``.
        options: further options of the order, such as ``within_clips``.

    Raises:
        UserError: the order or an option is unknown, or a session has fewer windows than a step needs.
    """
    tables = Tables(dataset, per_session, with_behaviour)
    sampler = make_sampler(
        order, tables, window_frames=window_frames, windows_per_step=windows_per_step, seed=seed, **options
    )

    def batches() -> Iterator[Batch]:
        data, timelines = DataArrays.of(tables), Timelines.of(sampler.timelines)
        for epoch in itertools.count() if epochs is None else range(epochs):
            windows = sampler[epoch]
            for timeline, start in zip(windows.timeline, windows.start, strict=True):
                yield _gather(data, timelines, timeline, start, window_frames)

    return batches()  # a function of its own, so that errors above come at once


def read_rows(
    table: Float[Array, "row column"],
    rows: Int[Array, "timeline window time"],
    first: Int[Array, " timeline"],
    width: int,
) -> Float[Array, "timeline window time neuron"]:
    """Read ``width`` columns from column ``first`` on of some rows of a table.

    With several devices, each reads the rows of its own windows, and the columns that it holds: nothing is sent.
    """

    def read(table: Array, rows: Array, first: Array) -> Array:
        def one(row: Array, column: Array) -> Array:
            return jax.lax.dynamic_slice(table, (row, column), (1, min(width, table.shape[1])))[0]

        return jax.vmap(jax.vmap(one, (0, None)))(rows, first)

    windows = rows.reshape(-1, rows.shape[-1]), jnp.repeat(first, rows.shape[1])
    if devices.count(DATA, NEURON) > 1:
        of_windows = PartitionSpec(DATA)
        read = jax.shard_map(
            read,
            in_specs=(PartitionSpec(None, NEURON), of_windows, of_windows),
            out_specs=PartitionSpec(DATA, None, NEURON),
        )
    return read(table, *windows).reshape(*rows.shape, width)
