"""Every configuration has an epoch on simulated recordings; those that differ in kind train, and leave their scores."""

import dataclasses
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pandas as pd
import pytest
from matplotlib.figure import Figure
from rich.console import Console

import openretina_jax
from openretina_jax.data.batches import Timelines
from openretina_jax.experiment.data import make_dataset
from openretina_jax.experiment.recipe import make_trainer, resolved
from openretina_jax.experiment.train import make_feed, train
from openretina_jax.models.build import make_model
from openretina_jax.models.core_readout import CoreReadout
from openretina_jax.models.summary import parameters
from openretina_jax.runtime.settings import read_config
from openretina_jax.training.loop import check_fit
from tests.presets import small
from tests.scripts import ROOT

EPOCHS = 2
NOT_RUN = {
    "common": "parts of the others",
    "common_sridhar_2025": "parts of the others",
    "distributions": "for spaces and populations",
    "mix": "needs the names of two others; test_open_doors.py runs some",
    "template": "has no data; what it is a copy of, hdf5_core_readout, is run",
}
# two-photon movies in shared steps, single images, spikes of one cell, steps of a session with a core
TRAINED = ["goldin_2022_core_readout", "hoefling_low_res", "maheswaranathan_2023_core_readout", "sridhar_2025_nm_sc"]
TRACED = sorted({file.stem for file in (ROOT / "configs").glob("*.py")} - NOT_RUN.keys() - set(TRAINED))

pytestmark = pytest.mark.slow


@pytest.mark.parametrize("name", TRAINED)
def test_epochs(name: str, cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENRETINA_JAX_CACHE", str(cache))
    monkeypatch.setattr(Figure, "draw", lambda figure, renderer: None)
    config = small(f"{name}.py")
    core = config.model.core.simple
    core.hidden_channels = (2,) * len(core.hidden_channels)
    config.train.epochs, config.train.picture_every = EPOCHS, 0
    with (tmp_path / "output").open("w") as output:
        train(config, tmp_path / "run", Console(file=output))
    model = openretina_jax.load(tmp_path / "run")
    assert isinstance(model, CoreReadout)
    before, after = parameters(make_model(model.options, model.data_info, config.seed)), parameters(model)
    assert any((np.asarray(before[path]) != np.asarray(after[path])).any() for path in after)
    losses = pd.read_csv(tmp_path / "run" / "metrics.csv")["train/loss"]
    assert len(losses) == EPOCHS
    assert np.isfinite(losses).all()
    neurons = pd.read_csv(tmp_path / "run" / "neurons.csv")
    assert len(neurons) == model.data_info.n_neurons
    # what needs several repeats is not known of all recordings
    needs_repeats = ("_normalized_correlation", "_max_correlation")
    scores = [name for name in neurons if name.endswith("_correlation") and not name.endswith(needs_repeats)]
    assert np.isfinite(neurons[scores].to_numpy()).any(axis=0).all()


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
