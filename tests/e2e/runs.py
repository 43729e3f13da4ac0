"""A run that trains in a second, which the tests of all scripts share, and what it leaves behind."""

import re
import signal
import subprocess
import time
from pathlib import Path

import numpy as np
import orbax.checkpoint as ocp
import pandas as pd
import pytest
from matplotlib.figure import Figure
from rich.console import Console

from openretina_jax.errors import UserError
from openretina_jax.experiment.train import train
from openretina_jax.training.callbacks import Callback, Epoch
from tests.experiment.configuration import configuration
from tests.scripts import TIMEOUT_S

EPOCHS = 6
SIMULATED = "configs/hdf5_core_readout.py:simulated,quick"
SMALL = (
    "--config.data.simulated.n_sessions=2",
    "--config.data.simulated.neurons_per_session=5",
    "--config.data.simulated.clip_length=40",
    "--config.data.simulated.clips=12",
    '--config.data.test_names=("random_noise_3",)',
    "--config.data.validation_clips=2",
    "--config.model.core.simple.hidden_channels=(2,)",
    "--config.model.core.simple.temporal_kernel_sizes=(5,)",
    "--config.model.core.simple.spatial_kernel_sizes=(5,)",
    "--config.stopping.epochs=1000",
    "--config.train.order=shared",
    "--config.train.windows.shared.window_frames=40",
    f"--config.train.epochs={EPOCHS}",
    "--config.train.picture_every=0",
)
TRAINED = (f"--config={SIMULATED}", *SMALL)
NEURONS, SESSIONS = 10, 2


class Blank(Callback):
    """Leaves the pictures of a process blank, which take seconds."""

    def on_epoch_end(self, epoch: Epoch) -> None:
        Figure.draw = lambda figure, renderer: None


class Slow(Blank):
    """Takes its time after every epoch, so that a run is met in the middle of its life."""

    def on_epoch_end(self, epoch: Epoch) -> None:
        super().on_epoch_end(epoch)
        time.sleep(0.5)


class Stop(Callback):
    """Asks for the end of the run in its second epoch, as Ctrl-C does."""

    def on_epoch_end(self, epoch: Epoch) -> None:
        if epoch.number == 2:
            signal.raise_signal(signal.SIGINT)


def follow(callback: type[Callback]) -> str:
    """The flag for a callback of the tests."""
    return f'--config.callbacks=("{callback.__module__}:{callback.__name__}",)'


def summary(output: str) -> float:
    """Test correlation that a run printed."""
    pattern = rf"^random_noise_3 correlation (-?\d\.\d{{4}}) \({NEURONS} neurons, {SESSIONS} sessions\)$"
    found = re.search(pattern, output, re.MULTILINE)
    assert found, output
    return float(found[1])


def epochs(workdir: Path) -> list[int]:
    """Epochs in the table of a run, which may be in the middle of writing it."""
    try:
        return pd.read_csv(workdir / "metrics.csv")["epoch"].tolist()
    except (OSError, pd.errors.EmptyDataError):
        return []


def wait_for_epochs(more: int, workdir: Path, *running: subprocess.Popen[str]) -> None:
    """Return when so many more epochs are in the table, before the run ends; the last may not be saved yet."""
    deadline, before = time.monotonic() + TIMEOUT_S, len(epochs(workdir))
    while len(epochs(workdir)) < before + more:
        assert [process.poll() for process in running] == [None] * len(running)
        assert time.monotonic() < deadline
        time.sleep(0.05)


def arrays(workdir: Path, checkpoints: str = "checkpoints", epoch: int = EPOCHS) -> dict[str, np.ndarray]:
    """The state after an epoch."""
    with ocp.StandardCheckpointer() as checkpointer:
        return checkpointer.restore(workdir / checkpoints / str(epoch) / "state")


def assert_same_arrays(one: dict[str, np.ndarray], other: dict[str, np.ndarray]) -> None:
    """Two states are equal to the bit."""
    assert one.keys() == other.keys()
    for name, array in one.items():
        np.testing.assert_array_equal(array, other[name], err_msg=name)


def refusal(cache: Path, workdir: Path, config: str, *flags: str) -> str:
    """Why ``train`` refuses a configuration; asked without the script, whose flags are not at stake."""
    made = configuration(config, *flags)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("OPENRETINA_JAX_CACHE", str(cache))
        with pytest.raises(UserError) as caught:
            train(made, workdir, Console(quiet=True))
    return str(caught.value)
