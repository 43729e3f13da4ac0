"""The configurations of Sridhar et al. 2025 and Vystrčilová et al. 2024, each trained for a few epochs."""

import importlib
import io
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from rich.console import Console

import openretina_jax
from openretina_jax.config import resolved, train
from openretina_jax.data.sources.sridhar_2025 import FIXATION_FILES, RETINAS
from openretina_jax.models.build import make_model
from openretina_jax.models.core_readout import CoreReadout
from openretina_jax.models.parameters import parameters

EPOCHS = 3
# and how many simulated cells each trains on
CONFIGS = {
    "sridhar_2025_nm_sc": 1,
    "sridhar_2025_nm_sc_multicell": 4,
    "sridhar_2025_wn_sc": 1,
    "sridhar_2025_wn_sc_multicell": 4,
    "vystrcilova_2024_nm_cnn": 16,
    "vystrcilova_2024_nm_ln": 1,
    "vystrcilova_2024_wn_cnn": 1,
    "vystrcilova_2024_wn_ln": 1,
}


def config_of(name, arg=None):
    return importlib.import_module(f"configs.{name}").get_config(arg)


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    """Simulated recordings, common to all runs of this file."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("OPENRETINA_JAX_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.mark.slow
@pytest.mark.parametrize("name", CONFIGS)
def test_a_short_run(name, cache, tmp_path: Path) -> None:
    config = config_of(name, "simulated,quick")
    config.train.epochs = EPOCHS
    channels = config.model.core.simple.hidden_channels
    config.model.core.simple.hidden_channels = (2,) * len(channels)
    output = io.StringIO()
    train(config, tmp_path, Console(file=output))
    model = openretina_jax.load(tmp_path)
    assert isinstance(model, CoreReadout)
    assert np.asarray(model.readout.masks()).any(axis=(1, 2)).all()
    neurons = pd.read_csv(tmp_path / "neurons.csv")
    assert len(neurons) == model.data_info.n_neurons == CONFIGS[name]
    losses = pd.read_csv(tmp_path / "metrics.csv")["train/loss"]
    assert len(losses) == EPOCHS
    assert np.isfinite(losses).all()
    before, after = parameters(make_model(model.options, model.data_info, config.seed)), parameters(model)
    assert any((np.asarray(before[path]) != np.asarray(after[path])).any() for path in after)


def test_one_cell_is_the_published_one() -> None:
    assert config_of("sridhar_2025_nm_sc").data.cell_index == 272
    assert config_of("sridhar_2025_nm_sc", "all_cells").data.cell_index is None
    assert config_of("sridhar_2025_wn_sc").data.retinas == ("04",)


@pytest.mark.parametrize("name", CONFIGS)
def test_settings_are_known(name) -> None:
    data = resolved(config_of(name).to_dict())["data"]
    assert data["fixation_files"] == FIXATION_FILES
    assert set(data["retinas"]) <= set(RETINAS[data["stimulus"]])
    assert np.isfinite(config_of(name).objective.loss.poisson.samples)
