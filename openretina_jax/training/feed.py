"""Data of a run on its devices, and the frames of windows: from the device, or from the host, which reads ahead."""

import logging
import time
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import psutil
from jaxtyping import Int32, Num

from openretina_jax.data.batches import Timelines
from openretina_jax.data.dataset import Dataset
from openretina_jax.data.timelines import Tables, Timeline
from openretina_jax.data.windows import Sampler
from openretina_jax.evaluation.predict import Split
from openretina_jax.runtime.devices import DATA, NEURON
from openretina_jax.runtime.processes import in_any
from openretina_jax.training.objective import Metrics
from openretina_jax.training.sharding import Sharding
from openretina_jax.training.trainer import TrainState

_log = logging.getLogger(__name__)

CHUNK_BYTES = 64 << 20  # bytes of the frames that travel together
MEMORY_SHARE = 0.5  # share of the free memory of a device that movies may take
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
    """Data of a run: recordings on the devices, and the windows of every epoch.

    Windows of an epoch come whole if the devices hold the movies, else in chunks with their frames. Both give the same
    numbers. Frames on the host are read by grain's workers, which are some chunks ahead.

    Attributes:
        dataset, tables: the data on the host.
        sampler: sampler of the windows.
        sharding: distribution of the data over the devices.
        recordings: the data on the devices; without the movies if these do not fit.
        validation: validation clips.

    Args:
        dataset: recordings and movies.
        sampler: makes the sampler from the tables.
        per_session: whether timelines have neurons of one session only, see ``Model.per_session``.
        with_behaviour: whether the device holds behaviour too, see ``Model.reads_behaviour``.
        accumulate: number of parts of a step; their windows travel together.
        sharding: distribution of the data over the devices (None: one device).
        on_device: whether the devices hold the movies (None: if they fit).

    Raises:
        UserError: there are no validation clips, too few windows, or the devices cannot share those of a step.
    """

    def __init__(
        self,
        dataset: Dataset,
        sampler: Callable[[Tables], Sampler],
        *,
        per_session: bool = False,
        with_behaviour: bool = False,
        accumulate: int = 1,
        sharding: Sharding | None = None,
        on_device: bool | None = None,
    ):
        self.dataset, self.tables = dataset, Tables(dataset, per_session, with_behaviour)
        self.sampler, self._parts = sampler(self.tables), accumulate
        sharding = sharding or Sharding({DATA: 1, NEURON: 1}, dataset.n_neurons)
        self.sharding = sharding.for_windows(self.sampler[0])
        self.on_device = fits_on_device(self.tables) if on_device is None else on_device
        self.recordings = self.sharding.recordings(self.tables, self.on_device)
        self._timelines = Timelines.of(self.sampler.timelines)
        self.validation = self.split(self.tables.validation())
        self._chunks: Iterator[Chunk] | None = None
        self._began = False

    @property
    def steps_per_epoch(self) -> int:
        """Optimiser steps of an epoch."""
        return -(-self.sampler.steps_per_epoch // self._parts)

    def split(self, timelines: Sequence[Timeline]) -> Split:
        """Prepare timelines for predictions from these recordings."""
        return Split(timelines, None if self.on_device else self.tables)

    def sessions_of_step(self, epoch: int, step: int) -> list[str]:
        """Name the sessions whose windows a step of an epoch trains on."""
        timelines = self.sampler[epoch].timeline[step * self._parts : (step + 1) * self._parts]
        return sorted({self.sampler.timelines[number].name for number in timelines.ravel()})

    def run(
        self, train: Callable[..., tuple[TrainState, Metrics]], state: TrainState, epoch: int
    ) -> tuple[TrainState, Metrics]:
        """Train on the windows of an epoch; epochs come one after the other.

        Args:
            train: the function of ``Trainer.epoch``.
            state: state before the epoch.
            epoch: number of the epoch.
        """
        each: list[Metrics] = []
        steps: list[int] = []
        for chunk in self._epoch(epoch):
            state, metrics = train(
                state, self.recordings, self._timelines, chunk.timeline, chunk.start, jnp.asarray(epoch), chunk.shown
            )
            if not self._began:
                _log.info("first step begins %.1f s after the start of the process", seconds_of_process())
                self._began = True
            # no more than two chunks are on the device: one at work, one that waits
            jax.block_until_ready(each[-1:])
            each.append(metrics)
            steps.append(-(-len(chunk.start) // self._parts))
        return state, of_all_chunks(each, steps)

    def _epoch(self, number: int) -> Iterator[Chunk]:
        """The windows of an epoch."""
        if self.on_device:
            windows = self.sampler[number]
            yield Chunk(windows.timeline, windows.start, None)
            return
        source = _Chunks(self.sampler, self.tables, self._parts)
        if self._chunks is None:
            import grain  # for movies on the host alone

            chunks = grain.MapDataset.source(source)[number * source.per_epoch :]
            ahead = grain.ReadOptions(num_threads=_THREADS, prefetch_buffer_size=_CHUNKS_AHEAD)
            self._chunks = iter(chunks.to_iter_dataset(ahead))
        for _ in range(source.per_epoch):
            yield next(self._chunks)


class _Chunks:
    """A random-access source for grain: the chunks of all epochs."""

    def __init__(self, sampler: Sampler, tables: Tables, parts: int):
        self._sampler, self._tables, self._parts = sampler, tables, parts
        self._frames = [timeline.frames for timeline in sampler.timelines]
        shape = sampler[0].start.shape
        self._steps = -(-shape[0] // parts)
        step_bytes = parts * shape[1] * shape[2] * sampler.window_frames * tables.frame_bytes // tables.n_frames
        self._per_chunk = max(CHUNK_BYTES // step_bytes, 1)
        self.per_epoch = -(-self._steps // self._per_chunk)

    def __len__(self) -> int:
        return np.iinfo(np.int32).max

    def __getitem__(self, number: int) -> Chunk:
        epoch, chunk = divmod(number, self.per_epoch)
        windows = self._sampler[epoch]
        steps = range(chunk * self._per_chunk, min((chunk + 1) * self._per_chunk, self._steps))
        # the last step is filled with parts of the first ones, as Trainer.steps does
        part = np.arange(steps.start * self._parts, steps.stop * self._parts) % len(windows.start)
        timeline, start = windows.timeline[part], windows.start[part]
        rows = np.empty((*start.shape, self._sampler.window_frames), np.int32)
        for at in np.ndindex(start.shape):
            rows[at] = self._frames[timeline[at]][start[at] : start[at] + self._sampler.window_frames]
        return Chunk(timeline, start, self._tables.pick(rows))


def fits_on_device(tables: Tables) -> bool:
    """Decide whether every device should hold all movies, by their size and the free memory there.

    Processes agree, since they must run the same program: all must call.

    Args:
        tables: tables of the data set.
    """
    size, free = tables.frame_bytes, free_bytes()  # devices of a CPU share one copy
    fits = not in_any(size > MEMORY_SHARE * free)
    if not fits:
        _log.info(
            "the movies stay on the host: they would take %.1f GB of %.1f GB that are free here, and must fit in all "
            "processes; config.train.frames_on_device decides otherwise",
            size / 1e9,
            free / 1e9,
        )
    return fits


def free_bytes() -> int:
    """Measure the free memory of the first device; on CPUs that of the machine."""
    statistics = jax.local_devices()[0].memory_stats() if jax.default_backend() != "cpu" else None
    if statistics is None:
        return psutil.virtual_memory().available
    return statistics["bytes_limit"] - statistics["bytes_in_use"]


def seconds_of_process() -> float:
    """Measure the time since the process was started, imports included."""
    return time.time() - psutil.Process().create_time()


def of_all_chunks(chunks: Sequence[Metrics], steps: Sequence[int]) -> Metrics:
    """Combine metrics of chunks into those of the epoch: means over all its steps.

    Args:
        chunks: means over the steps of every chunk, and "finite_steps", the steps before the first that was not finite.
        steps: number of steps of every chunk.
    """
    if len(chunks) == 1:
        return chunks[0]
    finite = [int(chunk.pop("finite_steps")) for chunk in chunks]
    weights = np.asarray(steps, np.float32) / sum(steps)
    means = {name: jnp.dot(weights, jnp.stack([chunk[name] for chunk in chunks])) for name in chunks[0]}
    bad = next((number for number, (good, all_) in enumerate(zip(finite, steps, strict=True)) if good < all_), None)
    first_bad = sum(steps) if bad is None else sum(steps[:bad]) + finite[bad]
    return means | {"finite_steps": jnp.asarray(first_bad)}
