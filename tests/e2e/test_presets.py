"""Small versions of the presets must reach their share of what a perfect model would have."""

import dataclasses
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pandas as pd
import pytest

import openretina_jax
from benchmarks.noise_ceiling import noise_ceiling
from benchmarks.presets import mean_correlations
from openretina_jax.data.batches import Timelines
from openretina_jax.experiment.data import make_dataset
from openretina_jax.experiment.notebook import changed
from openretina_jax.experiment.recipe import make_trainer, resolved
from openretina_jax.experiment.train import make_feed
from openretina_jax.models.build import make_model
from openretina_jax.runtime.settings import read_config
from openretina_jax.training.loop import check_fit
from tests.presets import TWO_SESSIONS, small
from tests.scripts import ROOT

NOT_RUN = {
    "common": "parts of the others",
    "common_sridhar_2025": "parts of the others",
    "distributions": "for spaces and populations",
    "mix": "needs the names of two others; test_open_doors.py runs some",
    "template": "has no data; what it is a copy of, hdf5_core_readout, is run",
}
_TWO_SESSIONS = {f"data.simulated.{name}": value for name, value in TWO_SESSIONS.items()}
_CELLS = {"data.simulated.neurons_per_session": 6}
_TRIALS = {**_CELLS, "data.simulated.n_trials": 10}
_BRIEF = {**_TRIALS, "data.simulated.frames_per_trial": 500, "train.epochs": 10}
_LN = {**_TRIALS, "optimizer.learning_rate": 0.02, "train.windows.session.windows_per_step": 4}
# small steps, many of which fit into a few epochs, and kernels of later layers that see little more than those before
_KARAMANLIS = {
    "data.simulated.n_sessions": 1,
    "data.size": (12, 16),
    "model.core.simple.temporal_kernel_sizes": (11, 5, 5),
    "model.core.simple.spatial_kernel_sizes": (5, 3, 3),
    "model.core.simple.hidden_padding": ((0, 1, 1), (0, 1, 1)),
    "optimizer.learning_rate": 0.03,
    "train.average_decay": 0.9,
    "train.windows.shared.windows_per_step": 2,
    "train.epochs": 3,
}
_NM_CNN = {
    "data.simulated.neurons_per_session": 5,
    "data.simulated.frames_per_trial": 500,
    "model.core.simple.hidden_channels": (4, 4, 4),
    "model.core.simple.temporal_kernel_sizes": (15, 5, 3),
    "model.core.simple.spatial_kernel_sizes": (7, 3, 3),
    "optimizer.learning_rate": 0.04,
    "train.average_decay": 0.9,
    "train.windows.session.windows_per_step": 2,
    "train.epochs": 4,
}
_WN_CNN = {
    "data.simulated.frames_per_trial": 850,
    "model.core.simple.hidden_channels": (4, 8),
    "model.core.simple.temporal_kernel_sizes": (30, 3),
    "model.core.simple.spatial_kernel_sizes": (7, 3),
    "train.windows.session.windows_per_step": 3,
    "train.epochs": 3,
}
_HDF5 = {
    "data.simulated.clips": 60,
    "data.test_names": ("random_noise_3",),
    "model.core.simple.temporal_kernel_sizes": (8, 4, 4),
    "model.core.simple.spatial_kernel_sizes": (5, 5, 5),
    "optimizer.learning_rate": 0.02,
    "train.windows.session.windows_per_step": 4,
    "train.epochs": 4,
}
_HOEFLING = {**_TWO_SESSIONS, "train.windows.shared.windows_per_step": 2, "train.epochs": 2}
_MINUTE = {**_CELLS, "data.simulated.seconds": 60}
_MAHESWARANATHAN = {
    **_MINUTE,
    "data.simulated.side": 16,
    "optimizer.learning_rate": 0.02,
    "train.windows.session.windows_per_step": 2,
    "train.epochs": 4,
}
# words after the colon besides "simulated" and "quick", settings, and the least share of the ceiling of the test:
# about three quarters of what was reached
GATES: dict[str, tuple[str, dict[str, Any], float]] = {
    "hoefling_low_res": ("", _HOEFLING, 0.65),
    "goldin_2022_core_readout": ("", {**_CELLS, "data.simulated.n_images": 800, "train.epochs": 8}, 0.6),
    "hdf5_core_readout": ("", {**_CELLS, **_HDF5}, 0.5),
    "karamanlis_2024_core_readout": ("", {**_CELLS, **_KARAMANLIS}, 0.35),
    "maheswaranathan_2023_core_readout": ("", _MAHESWARANATHAN, 0.55),
    "maheswaranathan_2023_lnp": ("", {**_MINUTE, "train.epochs": 10}, 0.4),
    "maheswaranathan_2023_lnp-separable_lnp": ("separable_lnp", {**_MINUTE, "train.epochs": 5}, 0.45),
    "sridhar_2025_nm_sc": ("", _BRIEF, 0.6),
    "sridhar_2025_nm_sc_multicell": ("", _BRIEF, 0.6),
    "sridhar_2025_wn_sc": ("", _BRIEF, 0.6),
    "sridhar_2025_wn_sc_multicell": ("", _BRIEF, 0.65),
    "vystrcilova_2024_nm_cnn": ("", {**_TRIALS, **_NM_CNN}, 0.3),
    "vystrcilova_2024_nm_ln": ("", {**_LN, "train.epochs": 10}, 0.7),
    "vystrcilova_2024_wn_cnn": ("", {**_TRIALS, **_WN_CNN}, 0.45),
    "vystrcilova_2024_wn_ln": ("", _LN, 0.65),
}
TRACED = sorted({file.stem for file in (ROOT / "configs").glob("*.py")} - NOT_RUN.keys() - GATES.keys())

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("blank_pictures")]


@pytest.mark.usefixtures("optimized")
@pytest.mark.parametrize("gate", GATES)
def test_a_preset_reaches_its_share_of_the_noise_ceiling(gate: str, simulated: Path, tmp_path: Path) -> None:
    words, settings, least = GATES[gate]
    preset = f"{ROOT / 'configs' / gate.partition('-')[0]}.py:{','.join(filter(None, ('simulated', 'quick', words)))}"
    config = changed(preset, {**settings, "train.picture_every": 0})
    data = config.data.to_dict()
    dataset = make_dataset(data, simulated)
    model = openretina_jax.train(dataset, tmp_path / "run", config)
    evaluation = openretina_jax.evaluate(model, dataset, ["validation", "test"])
    reached = mean_correlations({split: evaluation.of_split(split) for split in evaluation.responses})["test"]
    tables = noise_ceiling(data, dataset, list(evaluation.responses), model.lag, simulated)
    ceiling = mean_correlations(tables)["test"]
    print(f"{gate}: test {reached:.3f} of {ceiling:.3f}, {reached / ceiling:.0%}")
    assert reached > least * ceiling
    assert np.isfinite(pd.read_csv(tmp_path / "run" / "metrics.csv")["train/loss"]).all()
    neurons = pd.read_csv(tmp_path / "run" / "neurons.csv")
    assert len(neurons) == model.data_info.n_neurons
    # what needs several repeats is not known of all recordings
    needs_repeats = ("_normalized_correlation", "_max_correlation")
    of_run = [name for name in neurons if name.endswith("_correlation") and not name.endswith(needs_repeats)]
    assert np.isfinite(neurons[of_run].to_numpy()).any(axis=0).all()


@pytest.mark.parametrize("name", TRACED)
def test_an_epoch_is_traced(name: str, cache: Path) -> None:
    """Data, model, windows and steps fit each other; nothing is computed but where the model looks at first."""
    settings = resolved(small(f"{name}.py").to_dict())
    dataset = make_dataset(settings["data"], cache / "simulated")
    trainer, _ = make_trainer(settings, dataset)
    data = make_feed(settings, dataset, trainer)
    check_fit(trainer, data)
    trainer = trainer.for_run(settings["train"]["epochs"] * data.steps_per_epoch)
    state, windows = trainer.init(), data.sampler[0]
    table = Timelines.of(data.sampler.timelines)
    steps = (windows.timeline, windows.start, jnp.asarray(0))
    traced = trainer.epoch(data.sampler.window_frames).trace(state, data.recordings, table, *steps)
    found, leaves = [array.shape for array in traced.jaxpr.out_avals], jax.tree.leaves(state)
    assert found[: len(leaves)] == [leaf.shape for leaf in leaves]
    assert set(found[len(leaves) :]) == {()}  # means of metrics


def test_the_model_of_high_resolution_sees_its_movies(cache: Path) -> None:
    """What is traced above are small kernels on movies of low resolution."""
    settings = resolved(read_config(ROOT / "configs" / "hoefling_high_res.py:simulated,quick").to_dict())
    low = make_dataset(small("hoefling_low_res.py").data.to_dict(), cache / "simulated").info
    model = make_model(settings["model"], dataclasses.replace(low, input_shape=(72, 64, 2)), 0)
    movie = jax.ShapeDtypeStruct(model.stimulus_shape(model.lag + 3), jnp.float32)
    (session,) = low.sessions
    assert jax.eval_shape(lambda movie: model(movie, session=session), movie).shape == (1, 3, low.n_neurons)
