"""Configurations that fit arrays, and training on them as in a notebook."""

from pathlib import Path

import numpy as np
import pytest

import openretina_jax
from openretina_jax.data.arrays import ArrayRecording, ArrayTest, from_arrays
from openretina_jax.data.dataset import Dataset
from openretina_jax.data.timelines import Tables
from openretina_jax.data.windows import make_sampler
from openretina_jax.errors import UserError
from openretina_jax.experiment.notebook import config_for, odd
from openretina_jax.experiment.recipe import order_options, resolved
from openretina_jax.models.build import make_model
from tests import tiny


def recorded(frames: int, side: int, rate_hz: float, test_frames: int = 60, **options) -> Dataset:
    """Two neurons that answer to nothing."""
    rng = np.random.default_rng(0)
    movie, test = (rng.integers(256, size=(time, side, side), dtype=np.uint8) for time in (frames, test_frames))
    responses, repeats = rng.random((frames, 2)), rng.random((3, test_frames, 2))
    recording = ArrayRecording(
        movie, responses, tests={"test": ArrayTest(test, repeats, "trial time neuron")}, **options
    )
    return from_arrays({"mine": recording}, frame_rate_hz=rate_hz)


@pytest.mark.parametrize(
    ("frames", "side", "rate_hz", "test_frames", "spatial", "temporal"),
    [
        (3000, 12, 30.0, 300, (7, 5), (21, 9)),
        (3000, 40, 30.0, 300, (11, 5), (21, 9)),
        (9000, 6, 100.0, 900, (3, 3), (41, 21)),
        (400, 1, 20.0, 60, (1, 1), (13, 5)),
        (300, 4, 1.0, 10, (1, 3), (3, 3)),
    ],
)
def test_sizes_fit_the_data(frames, side, rate_hz, test_frames, spatial, temporal) -> None:
    dataset = recorded(frames, side, rate_hz, test_frames)
    settings = resolved(config_for(dataset).to_dict())
    core = settings["model"]["core"]
    assert (tuple(core["spatial_kernel_sizes"]), tuple(core["temporal_kernel_sizes"])) == (spatial, temporal)
    model = make_model(settings["model"], dataset.info)
    sampler = make_sampler("shared", Tables(dataset), seed=0, **order_options(settings["train"]))
    assert model.lag < min(dataset.clip_length, test_frames, sampler.window_frames)
    assert sampler.steps_per_epoch >= 3


def test_kernels_have_a_middle() -> None:
    assert [odd(size) for size in (0, 1, 1.9, 3.5, 4, 5)] == [1, 1, 1, 3, 3, 5]


def test_training_without_a_workdir_says_where_it_is(capsys, monkeypatch, tmp_path: Path) -> None:
    """The line is there before anything else, and so also where the data are not enough to train on."""
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    with pytest.raises(UserError, match=r"config\.train\.epochs is 0, but must be at least 1"):
        openretina_jax.train(tiny.dataset(), settings={"train.epochs": 0, "train.picture_every": 0})
    said = capsys.readouterr().out
    assert said.startswith(f"training on 12 neurons in 3 sessions, in {tmp_path}/openretina_jax_")
    assert said.splitlines()[0].endswith(" (give workdir to keep it)")


def test_data_of_a_configuration() -> None:
    dataset = openretina_jax.load_dataset(
        "hdf5_core_readout:simulated",
        {"data.simulated.clips": 26, "data.validation_clips": 4, "data.simulated.neurons_per_session": 6},
    )
    assert dataset.n_neurons == 12


def test_windows_fit_into_trials_that_were_interrupted() -> None:
    """Trials of two seconds with something else between them: a window is no longer, and an epoch has windows."""
    dataset = recorded(3000, 12, 30.0, clip_starts=range(0, 3000, 60))
    settings = resolved(config_for(dataset).to_dict())
    model = make_model(settings["model"], dataset.info)
    sampler = make_sampler("shared", Tables(dataset), seed=0, **order_options(settings["train"]))
    assert model.lag < sampler.window_frames <= 60
    assert sampler.steps_per_epoch >= 8
