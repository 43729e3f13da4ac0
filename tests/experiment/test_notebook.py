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
from openretina_jax.experiment.notebook import choice, config_for, odd
from openretina_jax.experiment.recipe import order_options, resolved
from openretina_jax.models.build import make_model
from tests import tiny


def recorded(frames: int, sides: int | tuple[int, int], rate_hz: float, test_frames: int = 60, **options) -> Dataset:
    """Two neurons that answer to nothing."""
    rng = np.random.default_rng(0)
    shape = (sides, sides) if isinstance(sides, int) else sides
    movie, test = (rng.integers(256, size=(time, *shape), dtype=np.uint8) for time in (frames, test_frames))
    responses, repeats = rng.random((frames, 2)), rng.random((3, test_frames, 2))
    recording = ArrayRecording(
        movie, responses, tests={"test": ArrayTest(test, repeats, "trial time neuron")}, **options
    )
    return from_arrays({"mine": recording}, frame_rate_hz=rate_hz)


@pytest.mark.parametrize(
    ("frames", "sides", "rate_hz", "test_frames", "spatial", "temporal"),
    [
        (3000, 12, 30.0, 300, (7, 5), (21, 9)),
        (3000, 40, 30.0, 300, (11, 5), (21, 9)),
        (9000, 6, 100.0, 900, (3, 3), (41, 21)),
        (400, 1, 20.0, 60, (1, 1), (13, 5)),
        (300, 4, 1.0, 10, (1, 3), (3, 3)),
        (9000, (1, 24), 100.0, 900, ((1, 11), (1, 5)), (41, 21)),
        (9000, (24, 1), 100.0, 900, ((11, 1), (5, 1)), (41, 21)),
        (3000, (12, 40), 30.0, 300, (7, 5), (21, 9)),
    ],
)
def test_sizes_fit_the_data(frames, sides, rate_hz, test_frames, spatial, temporal) -> None:
    dataset = recorded(frames, sides, rate_hz, test_frames)
    settings = resolved(config_for(dataset).to_dict())
    core = settings["model"]["core"]
    sizes = tuple(tuple(size) if isinstance(size, list) else size for size in core["spatial_kernel_sizes"])
    assert (sizes, tuple(core["temporal_kernel_sizes"])) == (spatial, temporal)
    model = make_model(settings["model"], dataset.info)
    sampler = make_sampler("shared", Tables(dataset), seed=0, **order_options(settings["train"]))
    assert model.lag < min(dataset.clip_length, test_frames, sampler.window_frames)
    assert sampler.steps_per_epoch >= 3


def test_an_untrained_model_predicts_about_the_mean_response() -> None:
    """Of sparse spikes too, where openretina's offsets predict log 2."""
    rng = np.random.default_rng(0)
    movie = rng.choice([-1.0, 1.0], size=(2000, 1, 12))
    spikes = rng.poisson([0.05, 0.5], (2000, 2))
    dataset = from_arrays({"bars": ArrayRecording(movie, spikes)}, frame_rate_hz=60.0)
    settings = resolved(config_for(dataset).to_dict())
    stimulus = dataset.stimuli["train"].normalized()[None, :300]

    def mean(settings) -> np.ndarray:
        return np.asarray(make_model(settings["model"], dataset.info)(stimulus)).mean(axis=(0, 1))

    mean_at_start = mean(settings)
    np.testing.assert_allclose(mean_at_start, spikes.mean(axis=0), rtol=0.3)
    settings["model"]["readout"]["start_at_mean"] = False
    assert mean(settings)[0] > 10 * spikes.mean(axis=0)[0]


def test_the_loss_and_the_readout_follow_the_responses() -> None:
    dataset = recorded(3000, 12, 30.0, 300)
    negative = from_arrays(
        {"mine": ArrayRecording(dataset.stimuli["train"].frames, dataset.sessions[0].responses - 0.5)},
        frame_rate_hz=30.0,
    )
    kinds = {}
    for name, data in {"rates": dataset, "negative": negative}.items():
        config = config_for(data)
        settings = resolved(config.to_dict())
        kinds[name] = settings["objective"]["loss"]["kind"], settings["model"]["readout"]["nonlinearity"]
        assert f"loss {kinds[name][0]}, since" in choice(data, config)
    assert kinds == {"rates": ("poisson", "softplus"), "negative": ("squared_error", "identity")}


def test_what_was_chosen_is_said_in_a_line() -> None:
    dataset = recorded(9000, (1, 24), 100.0, 900)
    assert choice(dataset, config_for(dataset)) == (
        "chosen for frames of 1 x 24 pixels: kernels of 1 and 1 rows, 11 and 5 columns, and 41 and 21 frames; loss "
        "poisson, since no response is negative"
    )


def test_what_was_chosen_of_a_model_of_single_cells() -> None:
    dataset = recorded(3000, (12, 40), 30.0, 300)
    config = config_for(dataset)
    config.model.core.kind, config.model.readout.kind = "identity", "spatial_contrast"
    config.objective.loss.kind = "l1_poisson"  # by the user, for reasons of their own
    assert choice(dataset, config) == (
        "chosen for frames of 12 x 40 pixels: patches of 12 x 15 pixels, and 29 frames; loss l1_poisson"
    )
    config.model.readout.kind = "lnp"
    assert choice(dataset, config) == "chosen for frames of 12 x 40 pixels: loss l1_poisson"


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
