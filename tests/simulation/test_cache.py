"""Simulated recordings in the cache folder."""

import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from openretina_jax.simulation.cache import simulated_files, simulator


def test_two_that_ask_at_once_get_the_files_of_one_simulation(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    written = []

    def simulate(folder: Path, config: object, progress: object) -> dict[str, Path]:
        written.append(folder)
        time.sleep(0.2)  # the other one asks meanwhile
        (folder / "file").write_text("recordings")
        return {"path": folder / "file"}

    monkeypatch.setattr(simulator("hdf5"), "simulate", simulate)
    ready = threading.Barrier(2)

    def ask(_: int) -> dict[str, str]:
        ready.wait()
        return simulated_files("hdf5", {}, tmp_path)

    with ThreadPoolExecutor(2) as pool:
        first, second = pool.map(ask, range(2))
    assert first == second
    assert Path(first["path"]).read_text() == "recordings"
    assert len(written) == 1
