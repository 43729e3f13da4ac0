"""What a run of many sessions takes: seconds of the processor, memory, and the size of its files.

    python -m benchmarks.sessions --sessions=10,100,1000 --clips=24 --epochs=2

Recordings are random, in the shapes of Höfling et al. 2024 at low resolution: all sessions saw one movie, a quarter of
them mirrored, each in an order of clips of its own, and a test three times. Each number of sessions is trained in a
process of its own, by ``openretina_jax.train``. Seconds are of all threads of that process, which depend less on what
else the machine does than the time that has passed.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

import openretina_jax
from benchmarks.serving import peak_memory_mb
from openretina_jax.data.dataset import Dataset, Session
from openretina_jax.data.stimulus import Stimulus
from openretina_jax.experiment.command_line import keep_freed_memory
from openretina_jax.training.callbacks import Callback, Epoch

FRAME, CLIP_FRAMES, VALIDATION_CLIPS = (18, 16, 2), 150, 3
TEST_FRAMES, TRIALS = 750, 3
SETTINGS: dict[str, Any] = {"train.picture_every": 0, "logging.tensorboard": False, "stopping.epochs": 1000}


def many_sessions(sessions: int, neurons: int, clips: int) -> Dataset:
    """Random recordings that take little memory: responses of all sessions are columns of one array."""
    rng = np.random.default_rng(0)
    frames, shift = clips * CLIP_FRAMES, 997  # sessions have other columns, until there are more of them
    movies = {
        name: Stimulus(name, rng.standard_normal((length, *FRAME), dtype=np.float32), frame_rate_hz=30.0)
        for name, length in (("train", frames), ("test", TEST_FRAMES))
    }
    responses = rng.random((frames, neurons + shift), dtype=np.float32)
    trials = rng.random((TRIALS, TEST_FRAMES, neurons + shift), dtype=np.float32)
    mask = np.zeros((64, 64), np.int32)
    mask.ravel()[:neurons] = np.arange(1, neurons + 1)

    def session(number: int) -> Session:
        columns = slice(number % shift, number % shift + neurons)
        order = rng.permutation(clips)[:, None] * CLIP_FRAMES + np.arange(CLIP_FRAMES)
        return Session(
            f"session_{number:04d}",
            "train",
            responses[:, columns],
            order.ravel().astype(np.int32),
            {"test": trials[..., columns]},
            mirrored=number % 4 == 3,
            neurons={"roi_id": np.arange(1, neurons + 1), "cell_type": rng.integers(1, 47, neurons)},
            roi_mask=mask,
        )

    return Dataset(
        movies,
        tuple(session(number) for number in range(sessions)),
        CLIP_FRAMES,
        {"train": tuple(range(VALIDATION_CLIPS))},
    )


class Watch(Callback):
    """Seconds of the processor, and the most memory so far, at every step of a run."""

    def __init__(self) -> None:
        self._began, self.seen = time.process_time(), {"start": 0.0}

    def note(self, what: str) -> None:
        """Note the seconds since the last note."""
        now = time.process_time()
        self.seen[f"{what}_s"], self.seen[f"{what}_mb"] = now - self._began, peak_memory_mb()
        self._began = now

    def on_train_begin(self, epoch: int, step: int) -> None:
        """Everything is on the device."""
        self.note("prepared")

    def on_epoch_end(self, epoch: Epoch) -> None:
        """The first epoch was compiled, too."""
        self.note("first_epoch" if epoch.number == 1 else "last_epoch")

    def on_epoch_begin(self, number: int) -> None:
        """The epoch before is saved."""
        self.note("saved") if number else None

    def on_test_end(self, scores: Mapping[str, float], files: Any, checkpoint: str) -> None:
        """The report is written."""
        self.note("report")
        self.seen["checkpoint_mb"] = _megabytes(Path(checkpoint))
        self.seen["description_mb"] = _megabytes(Path(checkpoint, "about"))
        self.seen["table_mb"] = _megabytes(Path(checkpoint).parents[1] / "neurons.csv")


def measure(sessions: int, neurons: int, clips: int, epochs: int, config: str) -> dict[str, float]:
    """Train on that many sessions for some epochs, and load the model."""
    keep_freed_memory()  # as the command does
    watch = Watch()
    dataset = many_sessions(sessions, neurons, clips)
    watch.note("made")
    with tempfile.TemporaryDirectory() as folder:
        run = Path(folder) / "run"
        openretina_jax.train(dataset, run, config, {**SETTINGS, "train.epochs": epochs}, [watch])
        watch.note("ended")
        openretina_jax.load(run)
        watch.note("loaded")
    return {"sessions": sessions, "neurons": dataset.n_neurons, **watch.seen, "peak_mb": peak_memory_mb()}


def _megabytes(place: Path) -> float:
    files = [place] if place.is_file() else [file for file in place.rglob("*") if file.is_file()]
    return sum(file.stat().st_size for file in files) / 1e6


def main() -> None:
    """Measure what the command line names."""
    parser = argparse.ArgumentParser(description="Seconds, memory and files of runs with many sessions.")
    parser.add_argument("--sessions", default="10,100,1000", help="numbers of sessions")
    parser.add_argument("--neurons", type=int, default=60, help="neurons of each session")
    parser.add_argument("--clips", type=int, default=24, help="clips of the movie, three of which are for validation")
    parser.add_argument("--epochs", type=int, default=2)
    parser.add_argument("--config", default="hoefling_low_res", help="name of a configuration")
    parser.add_argument("--here", action="store_true", help="measure in this process, one number of sessions")
    given = parser.parse_args()
    if given.here:
        row = measure(int(given.sessions), given.neurons, given.clips, given.epochs, given.config)
        print(json.dumps(row), flush=True)
        return
    rows = []
    for sessions in given.sessions.split(","):
        same = [f"--{name}={getattr(given, name)}" for name in ("neurons", "clips", "epochs", "config")]
        command = [sys.executable, "-m", "benchmarks.sessions", "--here", f"--sessions={sessions}", *same]
        done = subprocess.run(command, capture_output=True, text=True, check=True, env=os.environ)
        rows.append(json.loads(done.stdout.splitlines()[-1]))
        print(rows[-1], flush=True)
    print(pd.DataFrame(rows).T.to_string(float_format=lambda value: f"{value:,.1f}"))


if __name__ == "__main__":
    main()
