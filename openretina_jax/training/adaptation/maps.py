"""Feature maps of a frozen core for the windows of a data set, and the responses that belong to them.

A core that is not trained gives the same maps in every pass. They are computed once and kept: as float32 if those of
all pieces take no more than ``MEMORY_SHARE`` of the free memory, else as bfloat16 if those do, else not at all, and
every pass computes them anew.
"""

import logging
import math
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jaxtyping import Array, Float, Int32, Num, Shaped

from openretina_jax.data.batches import DataArrays, Timelines, gather
from openretina_jax.data.masked import mean_of
from openretina_jax.data.timelines import Tables, Timeline
from openretina_jax.models.core_readout import CoreReadout
from openretina_jax.runtime import devices
from openretina_jax.runtime.programs import kept
from openretina_jax.training.feed import free_bytes

MEMORY_SHARE = 0.25  # share of the free memory of a device that kept maps may take
PIECE_BYTES = 64 << 20  # bytes of the maps that are read together
PREDICTED_FRAMES = 120  # of a window of a training movie
ORDER = (2, 3, 4, 1, 0)  # of the axes of kept maps: the readout's matrix product needs no transposed copy

_log = logging.getLogger(__name__)


class Piece(NamedTuple):
    """Some windows of one timeline.

    Attributes:
        maps: their feature maps, axes in the order ``ORDER``; see ``in_order_of_time``.
        responses: responses to the frames that are predicted; NaN where there is none.
        mean: mean response of every neuron on the whole timeline; NaN for rows without responses there.
        first: first row of these neurons in the readout's table.
        timeline: number of the timeline.
    """

    maps: Num[Array, "height width feature time window"]
    responses: Float[Array, "window new_time neuron"]
    mean: Float[Array, " neuron"]
    first: Int32[Array, ""]
    timeline: int


class Maps:
    """Pieces of some timelines, which share one shape: the last of a timeline is filled with windows without responses.

    Attributes:
        frames: length of a window.

    Args:
        model: model whose core computes the maps; its first sessions are those of the data.
        tables: tables of the data.
        timelines: timelines of one session each.
        whole_clips: whether windows are the clips of the timelines, as in validation; else they are cut so that each
            frame is predicted once.
    """

    def __init__(self, model: CoreReadout, tables: Tables, timelines: Sequence[Timeline], whole_clips: bool):
        clip_frames, longest = max(one.clip_length for one in timelines), max(map(len, timelines))
        self.frames = clip_frames if whole_clips else min(PREDICTED_FRAMES + model.lag, longest)
        self._tables, self._timelines = tables, timelines
        self._stacked, self._data = Timelines.of(timelines), DataArrays.of(tables, with_frames=False)
        graph, self._core = nnx.split(model.core)
        self._program = kept(_program, graph, self.frames)
        step = self.frames if whole_clips else self.frames - model.lag
        recorded = [self._recorded(timeline, step, model.lag) for timeline in timelines]
        window = devices.eval_shape(model.core, jax.ShapeDtypeStruct(model.stimulus_shape(self.frames), jnp.float32))
        window_bytes = math.prod(window.shape) * window.dtype.itemsize
        most = max(1, *(len(start) for start, _ in recorded))
        pieces = -(-most // max(PIECE_BYTES // window_bytes, 1))
        per_piece = -(-most // pieces)
        self._windows = [
            windows
            for number, (start, responses) in enumerate(recorded)
            for windows in self._cut(number, start, responses, per_piece, model.per_session)
        ]
        self._maps: dict[_SameMaps, Array] = {}
        different = len({windows.same_maps for windows in self._windows})
        self._type = _type_of_kept(different * per_piece * window_bytes)

    @property
    def keeps(self) -> bool:
        """Whether maps are kept."""
        return self._type is not None

    def __len__(self) -> int:
        """Number of pieces."""
        return len(self._windows)

    def __iter__(self) -> Iterator[Piece]:
        """Go through all pieces; maps that are not kept are computed."""
        for windows in self._windows:
            maps = self._maps.get(windows.same_maps)
            if maps is None:
                maps = self._computed(windows)
                if self._type is not None:
                    maps = self._maps[windows.same_maps] = maps.astype(self._type)
            yield Piece(maps, windows.responses, windows.mean, windows.first, windows.timeline)

    def responses(self) -> "Iterator[_Windows]":
        """Go through all pieces without their maps."""
        return iter(self._windows)

    def _recorded(self, timeline: Timeline, step: int, lag: int) -> tuple[np.ndarray, np.ndarray]:
        """Where the windows with responses begin on a timeline, and these (window, new_time, neuron)."""
        start = np.arange(0, max(len(timeline) - lag, 1), step, dtype=np.int32)
        width = self._stacked.n_columns
        first = self._first(timeline)
        columns = first + np.arange(width) - timeline.first_neuron
        own = (columns >= 0) & (columns < timeline.n_neurons)
        time = start[:, None] + np.arange(lag, self.frames)
        rows = timeline.rows[np.minimum(time, len(timeline) - 1)]
        part = np.searchsorted(timeline.borders, time, "right")
        same = part == np.searchsorted(timeline.borders, time - lag, "right")  # all frames were shown one after another
        counts = ((time < len(timeline)) & same)[..., None] & own
        responses = np.where(counts, self._tables.responses[rows, first : first + width], np.float32(np.nan))
        recorded = np.isfinite(responses).any(axis=(1, 2))
        return start[recorded], responses[recorded]

    def _first(self, timeline: Timeline) -> int:
        """First row of the slice with the neurons of a timeline: earlier where it would reach beyond the last one."""
        return min(timeline.first_neuron, self._tables.responses.shape[1] - self._stacked.n_columns)

    def _cut(
        self, number: int, start: np.ndarray, responses: np.ndarray, per_piece: int, per_session: bool
    ) -> "Iterator[_Windows]":
        """The windows of a timeline as pieces, the last one filled with windows without responses."""
        timeline = self._timelines[number]
        mean = jnp.asarray(mean_of(responses.reshape(-1, responses.shape[2])), jnp.float32)
        first = jnp.asarray(self._first(timeline), jnp.int32)
        key = (per_session and number, timeline.mirrored, timeline.shift, timeline.scale)
        for begin in range(0, len(start), per_piece):
            end = begin + per_piece
            missing = ((0, max(end - len(start), 0)), (0, 0), (0, 0))
            padded = np.pad(responses[begin:end], missing, constant_values=np.nan)
            at = np.resize(start[begin:end], per_piece)
            same = _SameMaps(*key, frames=timeline.frames.tobytes(), start=at.tobytes())
            yield _Windows(number, at, same, jnp.asarray(padded), mean, first)

    def _computed(self, windows: "_Windows") -> Array:
        timeline = self._timelines[windows.timeline]
        time = np.minimum(windows.start[:, None] + np.arange(self.frames), len(timeline) - 1)
        shown = self._tables.pick(timeline.frames[time])[None]
        number = np.full_like(windows.start, windows.timeline)
        return self._program(self._core, self._data, self._stacked, number[None], windows.start[None], shown)


class _SameMaps(NamedTuple):
    """What windows with equal maps have in common."""

    session: int
    mirrored: bool
    shift: float
    scale: float
    frames: bytes
    start: bytes


class _Windows(NamedTuple):
    """A piece without its maps: where its windows begin on their timeline, and what windows with equal maps share."""

    timeline: int
    start: Int32[np.ndarray, " window"]
    same_maps: _SameMaps
    responses: Float[Array, "window new_time neuron"]
    mean: Float[Array, " neuron"]
    first: Int32[Array, ""]


def in_order_of_time(
    maps: Num[Array, "height width feature time window"],
) -> Float[Array, "window time height width feature"]:
    """Maps of a piece as a readout takes them."""
    return maps.transpose(tuple(np.argsort(ORDER))).astype(jnp.float32)


def _type_of_kept(n_bytes: int) -> type[Any] | None:
    """Type in which maps of so many bytes (as float32) are kept; None: they are not."""
    allowed = MEMORY_SHARE * free_bytes()
    for dtype, size in ((jnp.float32, n_bytes), (jnp.bfloat16, n_bytes // 2)):
        if size <= allowed:
            _log.info("feature maps: %.0f MB of %s are kept", size / 1e6, dtype.__name__)
            return dtype
    _log.info(
        "feature maps would take %.1f GB as bfloat16, more than %.0f %% of the free memory (%.1f GB): every pass "
        "computes them anew",
        n_bytes / 2e9,
        100 * MEMORY_SHARE,
        allowed / 1e9,
    )
    return None


def _program(graph: nnx.GraphDef, frames: int) -> Callable[..., Array]:
    @jax.jit
    def maps(
        core: nnx.State,
        data: DataArrays,
        timelines: Timelines,
        number: Shaped[Array, "1 window"],
        start: Shaped[Array, "1 window"],
        shown: Num[Array, "1 window time height width channel"],
    ) -> Array:
        batch = gather(data, timelines, number, start, frames, shown)
        return nnx.merge(graph, core, copy=True)(batch.stimulus[0], session=batch.session).transpose(ORDER)

    return maps
