"""Frames on the device or on the host: the same run to the bit."""

import dataclasses
import functools
from pathlib import Path
from typing import Any

import jax.numpy as jnp
import numpy as np
import pytest

from openretina_jax.data.dataset import Dataset
from openretina_jax.data.stimulus import Stimulus
from openretina_jax.data.timelines import Tables
from openretina_jax.data.windows import make_sampler
from openretina_jax.training import feed
from openretina_jax.training.feed import Chunk, Feed, fits_on_device, of_all_chunks
from tests import tiny
from tests.training.test_loop import RECIPE, assert_equal, metrics, run


@pytest.fixture(scope="module")
def bytes_on_disk(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    """The tiny data set with movies of bytes in memory-mapped files."""
    folder = tmp_path_factory.mktemp("movies")

    def on_disk(stimulus: Stimulus) -> Stimulus:
        file = folder / f"{stimulus.name}.npy"
        np.save(file, np.clip(50 * stimulus.frames + 128, 0, 255).astype(np.uint8))
        return Stimulus(stimulus.name, np.load(file, mmap_mode="r"), 30.0, 128.0, 50.0, raw=True)

    data = tiny.dataset()
    return dataclasses.replace(data, stimuli={name: on_disk(stimulus) for name, stimulus in data.stimuli.items()})


def feed_of(dataset: Dataset, on_device: bool) -> Feed:
    """Steps of two parts of three windows."""
    sampler = functools.partial(make_sampler, "session", window_frames=16, windows_per_step=3, seed=0)
    return Feed(dataset, sampler, accumulate=2, on_device=on_device)


@pytest.mark.slow
@pytest.mark.usefixtures("optimized")  # programs compiled in a hurry round the running means differently
def test_the_same_run_to_the_bit(bytes_on_disk: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(feed, "CHUNK_BYTES", 2 * 2 * 4 * 16 * 240)  # two steps of two parts of four windows
    recipe = dataclasses.replace(RECIPE, accumulate=2)
    device = run(tmp_path / "device", bytes_on_disk, recipe=recipe, epochs=2, on_device=True)
    run(tmp_path / "host", bytes_on_disk, recipe=recipe, epochs=1, on_device=False)
    host = run(tmp_path / "host", bytes_on_disk, recipe=recipe, epochs=2, on_device=False)  # goes on
    assert_equal(device.state, host.state)
    for column in ("validation/correlation", "validation/loss"):
        assert metrics(tmp_path / "device", column) == metrics(tmp_path / "host", column)
    for column in ("train/loss", "train/objective"):
        # a mean of means of chunks
        np.testing.assert_allclose(metrics(tmp_path / "device", column), metrics(tmp_path / "host", column), rtol=1e-5)


def test_chunks_hold_whole_steps_and_their_frames(bytes_on_disk: Dataset, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(feed, "CHUNK_BYTES", 2 * 3 * 16 * 240)
    host = feed_of(bytes_on_disk, on_device=False)
    assert host.recordings.frames is None
    tables, timelines, whole = host.tables, host.sampler.timelines, host.sampler[1]
    chunks: list[Chunk] = []

    def train(state: Any, recordings: Any, table: Any, timeline: Any, start: Any, epoch: Any, shown: Any) -> Any:
        chunks.append(Chunk(timeline, start, shown))
        return state, {"finite_steps": jnp.asarray(0)}

    host.run(train, tiny.start(tiny.model()), 1)
    assert len(chunks) == -(-len(whole.start) // 2)
    for name in ("timeline", "start"):
        joined = np.concatenate([getattr(chunk, name) for chunk in chunks])
        np.testing.assert_array_equal(joined[: len(whole.start)], getattr(whole, name))
    frames = tables.frames()
    for chunk in chunks:
        assert chunk.shown is not None
        for at in np.ndindex(chunk.start.shape):
            seen = timelines[chunk.timeline[at]].frames[chunk.start[at] :][:16]
            np.testing.assert_array_equal(chunk.shown[at], frames[seen])


def test_movies_stay_on_the_host_if_they_do_not_fit(
    bytes_on_disk: Dataset, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    tables = Tables(bytes_on_disk)
    assert tables.frame_bytes == sum(movie.frames.nbytes for movie in bytes_on_disk.stimuli.values())
    assert fits_on_device(tables)
    monkeypatch.setattr(feed, "free_bytes", lambda: tables.frame_bytes)
    with caplog.at_level("INFO"):
        assert not fits_on_device(tables)
    assert "stay on the host" in caplog.text
    monkeypatch.setattr(feed, "free_bytes", lambda: 3 * tables.frame_bytes)
    assert fits_on_device(tables)


def test_all_processes_have_the_movies_where_they_fit_for_all(
    bytes_on_disk: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = []

    def in_another(condition: bool) -> bool:
        asked.append(condition)
        return True

    monkeypatch.setattr(feed, "in_any", in_another, raising=False)
    assert not fits_on_device(Tables(bytes_on_disk))
    assert asked == [False]


def test_an_epoch_on_the_device_is_not_waited_for(caplog: pytest.LogCaptureFixture) -> None:
    before, unread = tiny.start(tiny.model()), jnp.asarray(1.0)
    unread.delete()  # whoever reads it now fails
    with caplog.at_level("INFO", logger=feed.__name__):
        data = feed_of(tiny.dataset(), on_device=True)
        for epoch in range(2):
            _, found = data.run(lambda *_: (before, {"loss": unread}), before, epoch)
            assert found["loss"] is unread
    assert len([line for line in caplog.messages if line.startswith("first step begins")]) == 1


def test_metrics_of_an_epoch() -> None:
    chunks = [{"loss": jnp.asarray(1.0), "finite_steps": jnp.asarray(good)} for good in (4, 1, 0)]
    together = of_all_chunks(chunks, steps=[4, 2, 2])
    assert float(together["loss"]) == 1.0
    assert int(together["finite_steps"]) == 5
