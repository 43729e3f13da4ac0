"""Where the frames of windows come from: the device that holds all movies, or the host that sends them in time."""

import logging
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import grain
import jax
import jax.numpy as jnp
import numpy as np
import psutil
from jaxtyping import Int32, Num

from openretina_jax.data.timelines import Tables
from openretina_jax.data.windows import Sampler
from openretina_jax.runtime.processes import in_any
from openretina_jax.training.objective import Metrics
from openretina_jax.training.trainer import TrainState

_log = logging.getLogger(__name__)

CHUNK_BYTES = 64 << 20  # of frames that travel together
MEMORY_SHARE = 0.5  # of what is free on the device, for movies
_THREADS, _CHUNKS_AHEAD = 2, 2


class Chunk(NamedTuple):
    """Windows of some steps, as ``Trainer.steps`` takes them.

    Attributes:
        timeline, start: see ``EpochWindows``.
        shown: their frames, unless these are on the device.
    """

    timeline: Int32[np.ndarray, "part timeline window"]
    start: Int32[np.ndarray, "part timeline window"]
    shown: Num[np.ndarray, "part timeline window time height width channel"] | None


class Feed:
    """The windows of every epoch, whole if the device holds the movies, else in chunks with their frames.

    Both give the same numbers. Frames on the host are read by grain's workers, which are some chunks ahead.

    Args:
        windows: of every epoch.
        tables: the data on the host.
        parts: of a step, whose windows must not be torn apart.
        on_device: whether the device holds the movies.
        first_epoch: the epoch to begin with.
    """

    def __init__(
        self,
        windows: Sampler,
        tables: Tables,
        *,
        parts: int,
        on_device: bool,
        first_epoch: int = 0,
    ):
        self.on_device, self._windows, self._parts = on_device, windows, parts
        self._first_epoch = first_epoch
        if on_device:
            return
        self._source = _Chunks(windows, tables, parts)
        chunks = grain.MapDataset.source(self._source)[first_epoch * self._source.per_epoch :]
        ahead = grain.ReadOptions(num_threads=_THREADS, prefetch_buffer_size=_CHUNKS_AHEAD)
        self._chunks = iter(chunks.to_iter_dataset(ahead))

    def epoch(self, number: int) -> Iterator[Chunk]:
        """The windows of an epoch; epochs are asked for one after the other."""
        if self.on_device:
            windows = self._windows[number]
            yield Chunk(windows.timeline, windows.start, None)
            return
        for _ in range(self._source.per_epoch):
            yield next(self._chunks)

    def run(
        self, train: Callable[..., tuple[TrainState, Metrics]], state: TrainState, *data: Any, epoch: int
    ) -> tuple[TrainState, Metrics]:
        """Train on the windows of an epoch.

        Args:
            train: the function of ``Trainer.epoch``.
            state: before the epoch.
            data: recordings and timelines.
            epoch: its number.
        """
        each: list[Metrics] = []
        steps: list[int] = []
        for chunk in self.epoch(epoch):
            state, metrics = train(state, *data, chunk.timeline, chunk.start, jnp.asarray(epoch), chunk.shown)
            if epoch == self._first_epoch and not each:
                _log.info("first step begins %.1f s after the start of the process", seconds_of_process())
            # no more than two chunks are on the device: one at work, one that waits
            jax.block_until_ready(each[-1:])
            each.append(metrics)
            steps.append(-(-len(chunk.start) // self._parts))
        return state, of_all_chunks(each, steps)


class _Chunks:
    """A random-access source for grain: the chunks of all epochs."""

    def __init__(self, windows: Sampler, tables: Tables, parts: int):
        self._windows, self._tables, self._parts = windows, tables, parts
        self._frames = [timeline.frames for timeline in windows.timelines]
        shape = windows[0].start.shape
        self._steps = -(-shape[0] // parts)
        step_bytes = parts * shape[1] * shape[2] * windows.window_frames * tables.frame_bytes // tables.n_frames
        self._per_chunk = max(CHUNK_BYTES // step_bytes, 1)
        self.per_epoch = -(-self._steps // self._per_chunk)

    def __len__(self) -> int:
        return np.iinfo(np.int32).max

    def __getitem__(self, number: int) -> Chunk:
        epoch, chunk = divmod(number, self.per_epoch)
        windows = self._windows[epoch]
        steps = range(chunk * self._per_chunk, min((chunk + 1) * self._per_chunk, self._steps))
        # the last step is filled with parts of the first ones, as Trainer.steps does
        part = np.arange(steps.start * self._parts, steps.stop * self._parts) % len(windows.start)
        timeline, start = windows.timeline[part], windows.start[part]
        rows = np.empty((*start.shape, self._windows.window_frames), np.int32)
        for at in np.ndindex(start.shape):
            rows[at] = self._frames[timeline[at]][start[at] : start[at] + self._windows.window_frames]
        return Chunk(timeline, start, self._tables.pick(rows))


def fits_on_device(tables: Tables, n_devices: int = 1) -> bool:
    """Whether every device should hold all movies, by their size and by what is free there.

    Processes agree, since they must run the same program: all must ask.

    Args:
        tables: with the movies.
        n_devices: of this process, each of which would have the movies.
    """
    copies = n_devices if jax.default_backend() == "cpu" else 1  # in one memory
    size, free = copies * tables.frame_bytes, _free_bytes()
    fits = not in_any(size > MEMORY_SHARE * free)
    if not fits:
        _log.info(
            "the movies stay on the host: they would take %.1f GB of %.1f GB that are free here, and must fit in all "
            "processes; config.train.frames_on_device decides otherwise",
            size / 1e9,
            free / 1e9,
        )
    return fits


def _free_bytes() -> int:
    statistics = jax.local_devices()[0].memory_stats() if jax.default_backend() != "cpu" else None
    if statistics is None:
        return psutil.virtual_memory().available
    return statistics["bytes_limit"] - statistics["bytes_in_use"]


def seconds_of_process() -> float:
    """Time since the process was started, imports and all."""
    return time.time() - psutil.Process().create_time()


def of_all_chunks(chunks: Sequence[Metrics], steps: Sequence[int]) -> Metrics:
    """Metrics of an epoch: means over all its steps.

    Args:
        chunks: of every chunk means, and "finite_steps": the steps before the first one that was not finite.
        steps: of every chunk.
    """
    if len(chunks) == 1:
        return chunks[0]
    finite = [int(chunk.pop("finite_steps")) for chunk in chunks]
    weights = np.asarray(steps, np.float32) / sum(steps)
    means = {name: jnp.dot(weights, jnp.stack([chunk[name] for chunk in chunks])) for name in chunks[0]}
    bad = next((number for number, (good, all_) in enumerate(zip(finite, steps, strict=True)) if good < all_), None)
    first_bad = sum(steps) if bad is None else sum(steps[:bad]) + finite[bad]
    return means | {"finite_steps": jnp.asarray(first_bad)}
