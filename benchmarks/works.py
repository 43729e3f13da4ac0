"""Small pieces of work that ``benchmarks.kills`` ends and continues, one class for each kind."""

import functools
import hashlib
import os
import random
import socket
import sys
import zipfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from flax import nnx

from openretina_jax import commands
from openretina_jax.models.saving import best_checkpoint, by_name, load_model, read_arrays, save_model, sha256_of_arrays
from openretina_jax.sources.folders import fetch_folder

EPOCHS = 4
CONFIG = (
    "--config=maheswaranathan_2023_lnp:simulated,quick",
    "--config.data.simulated.seconds=40",
    "--config.data.simulated.neurons_per_session=6",
    "--config.data.validation_clips=4",
)
TRAINED = (*CONFIG, f"--config.train.epochs={EPOCHS}", "--config.train.picture_every=2")
HALF_WRITTEN = ("*.part", "*checkpoint-tmp*", "state.new", "state.old")
BEGUN = "begun"

Task = Callable[[], object]


def command(name: str, *flags: str) -> None:
    """Run a command of ``openretina-jax`` in this process."""
    sys.argv = [f"openretina-jax {name}", *flags]
    commands.run(name)


class Run:
    """A training run, from its first line to its last table.

    Args:
        place: folder for what all runs of a campaign share.

    Attributes:
        times: times that a campaign ends it.
        within_s: seconds from ``moment`` on in which the signal falls (None: all until the end).
        after_run: whether it uses what a whole run has trained, or its caches.
    """

    times = 25
    within_s: float | None = None
    after_run = True

    def __init__(self, place: Path):
        self.place = place

    def prepare(self, folder: Path) -> None:
        """Put into a folder what is there before the work begins."""

    def tasks(self, folder: Path) -> list[Task]:
        """What the processes do that work in a folder, side by side."""
        return [functools.partial(command, "train", *TRAINED, f"--workdir={folder}")]

    def moment(self, rng: random.Random) -> str | None:
        """Pattern of a file whose appearance starts the clock (None: it starts at once)."""
        del rng
        return None

    def content(self, folder: Path) -> Any:
        """What must be identical: best model, last state, and table of neurons."""
        states = [*folder.glob("checkpoints/*"), *folder.glob("population/*")]
        last = max((state for state in states if state.name.isdigit()), key=lambda state: int(state.name))
        best = best_checkpoint(folder)
        return (
            sha256_of_arrays(read_arrays(best)),
            sha256_of_arrays(read_arrays(last)),
            (folder / "neurons.csv").read_bytes(),
        )

    def check(self, folder: Path) -> None:
        """Check what an ended process has left.

        Raises:
            Exception: it does not open.
        """
        for state in folder.rglob("state"):
            if state.parent.name.isdigit():
                read_arrays(state.parent)

    def left_over(self, folder: Path) -> list[Path]:
        """Half-written files and folders."""
        return [file for pattern in HALF_WRITTEN for file in folder.rglob(pattern)]


class Saving(Run):
    """A run that is ended while it saves a checkpoint."""

    times, within_s = 12, 0.1

    def moment(self, rng: random.Random) -> str:
        """The checkpoint of some epoch is begun."""
        return f"checkpoints/{rng.randint(1, EPOCHS)}.*tmp*"


class Report(Run):
    """A run that is ended while it tests its model, and writes tables and pictures."""

    times = 8

    def moment(self, rng: random.Random) -> str:
        """The checkpoint of the last epoch is there."""
        del rng
        return f"checkpoints/{EPOCHS}"


class PopulationRun(Run):
    """A run of two models at once."""

    times = 8

    def tasks(self, folder: Path) -> list[Task]:
        """Train them."""
        return [functools.partial(command, "train", *TRAINED, "--config.population.size=2", f"--workdir={folder}")]


class TwoProcesses(Run):
    """A run of two processes, of which one dies, or both."""

    times = 5

    def tasks(self, folder: Path) -> list[Task]:
        """Train together."""
        with socket.socket() as probe:
            probe.bind(("localhost", 0))
            port = probe.getsockname()[1]
        together = (f"--workdir={folder}", f"--coordinator=localhost:{port}", "--processes=2")
        return [functools.partial(command, "train", *TRAINED, *together, f"--process={n}") for n in range(2)]


class Search(Run):
    """A search of two trials; a trial that has lost its search goes on to its end."""

    times = 4

    def prepare(self, folder: Path) -> None:
        """Write the space."""
        folder.mkdir()
        space = "def get_space():\n    return {'optimizer.learning_rate': {'log_uniform': (1e-3, 1e-2)}}\n"
        (folder / "space.py").write_text(space, encoding="utf-8")

    def tasks(self, folder: Path) -> list[Task]:
        """Search."""
        flags = (*CONFIG, "--config.train.epochs=1", f"--space={folder / 'space.py'}", "--trials=2")
        return [functools.partial(command, "search", *flags, f"--workdir={folder}")]

    def content(self, folder: Path) -> Any:
        """Table of trials, and what each has trained."""
        table = pd.read_csv(folder / "trials.csv").drop(columns="seconds")
        return table.to_csv(), [Run.content(self, trial) for trial in sorted(folder.glob("trials/*"))]


class EvaluationOfRun(Run):
    """An evaluation of a trained model, with its page."""

    times = 8

    def tasks(self, folder: Path) -> list[Task]:
        """Evaluate."""
        flags = (f"--checkpoint={trained(self.place)}", f"--folder={folder / 'scores'}", "--overwrite")
        return [functools.partial(command, "evaluate", *flags, "--resamples=50")]

    def content(self, folder: Path) -> Any:
        """Table and summary."""
        return [(folder / "scores" / name).read_bytes() for name in ("neurons.csv", "summary.json")]

    def check(self, folder: Path) -> None:
        """The folder is whole or not there."""
        if (folder / "scores").exists():
            self.content(folder)


class Replacing(Run):
    """Saving a model where another one lies."""

    times, within_s = 15, 0.5

    def prepare(self, folder: Path) -> None:
        """Save the earlier model: that of the first checkpoint that is there."""
        save_model(load_model(self._models()[0]), folder / "model")

    def tasks(self, folder: Path) -> list[Task]:
        """Save that of the last one."""

        def replace() -> None:
            model = load_model(self._models()[-1])
            (folder / BEGUN).touch()
            save_model(model, folder / "model")

        return [replace]

    def moment(self, rng: random.Random) -> str:
        """The new model is ready."""
        del rng
        return BEGUN

    def content(self, folder: Path) -> Any:
        """The model."""
        return _numbers(folder / "model")

    def check(self, folder: Path) -> None:
        """One of the two models is there."""
        if _numbers(folder / "model") not in map(_numbers, self._models()):
            raise ValueError("it is neither the earlier model nor the new one")

    def _models(self) -> Sequence[Path]:
        found = [one for one in trained(self.place).glob("checkpoints/*") if one.name.isdigit()]
        return sorted(found, key=lambda one: int(one.name))


class Unpacking(Run):
    """An archive of a publication, unpacked into the cache."""

    times, within_s, after_run = 15, 0.3, False

    def __init__(self, place: Path):
        super().__init__(place)
        self._archive = place / "archive.zip"
        rng = np.random.default_rng(0)
        with zipfile.ZipFile(self._archive, "w", zipfile.ZIP_DEFLATED) as archive:
            for number in range(12):
                archive.writestr(f"archive/session_{number}.h5", rng.bytes(1 << 22))

    def tasks(self, folder: Path) -> list[Task]:
        """Unpack."""

        def unpack() -> None:
            os.environ["OPENRETINA_JAX_CACHE"] = str(folder)
            fetch_folder(self._archive)

        return [unpack]

    def moment(self, rng: random.Random) -> str:
        """The first file is being written."""
        del rng
        return "unpacked/*/.*.part"

    def content(self, folder: Path) -> Any:
        """Hashes of the files."""
        files = sorted(folder.glob("unpacked/*/archive/*"))
        return [(file.name, hashlib.sha256(file.read_bytes()).hexdigest()) for file in files]

    def check(self, folder: Path) -> None:
        """The folder is whole or not there."""
        if len(self.content(folder)) not in (0, 12):
            raise ValueError("half of the files are there")


def _numbers(folder: Path) -> str:
    return sha256_of_arrays(by_name(nnx.state(load_model(folder))))


def trained(place: Path) -> Path:
    """Folder of the run that was not ended."""
    return place / "run" / "whole"


WORKS: dict[str, type[Run]] = {
    "run": Run,
    "saving": Saving,
    "report": Report,
    "population": PopulationRun,
    "two processes": TwoProcesses,
    "search": Search,
    "evaluation": EvaluationOfRun,
    "replacing a model": Replacing,
    "unpacking": Unpacking,
}
