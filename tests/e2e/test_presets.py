"""Every configuration trains on simulated recordings for three epochs, and leaves a model and scores."""

import importlib
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from rich.console import Console

import openretina_jax
from openretina_jax.experiment.train import train
from openretina_jax.models.build import make_model
from openretina_jax.models.model import CoreReadout
from openretina_jax.models.summary import parameters

CONFIGS = Path(__file__).parents[2] / "configs"
EPOCHS = 3
NOT_RUN = {
    "common": "parts of the others",
    "common_sridhar_2025": "parts of the others",
    "distributions": "for spaces and populations",
    "mix": "needs the names of two others; test_open_doors.py runs some",
    "template": "has no data; what it is a copy of, hdf5_core_readout, is run",
    "hoefling_low_res": "is what test_train.py runs",
}
NAMES = sorted({file.stem for file in CONFIGS.glob("*.py")} - NOT_RUN.keys())
BRIEF_TRIALS = {"neurons_per_session": 6, "n_trials": 10, "frames_per_trial": 280, "test_frames": 280}
# what makes the simulations smaller still
SMALLER: dict[str, dict[str, Any]] = {
    "hoefling_high_res": {
        "data.simulated.n_sessions": 1,
        "data.simulated.neurons_per_session": 6,
        "model.core.simple.downsample_input": (1, 4, 4),
        "model.core.simple.spatial_kernel_sizes": (5, 5, 3, 3),
    },
    "hdf5_core_readout": {"data.simulated.clips": 26, "data.validation_clips": 4},
    "karamanlis_2024_core_readout": {
        "data.simulated.n_blocks": 6,
        "data.simulated.block_frames": 300,
        "data.validation_clips": 5,
        "data.simulated.n_images": 2,
        "data.simulated.neurons_per_session": 5,
    },
    **{name: {"data.simulated.seconds": 60} for name in NAMES if name.startswith("maheswaranathan")},
    **{
        name: {f"data.simulated.{number}": value for number, value in BRIEF_TRIALS.items()}
        for name in NAMES
        if name.startswith(("sridhar", "vystrcilova"))
    },
}

pytestmark = pytest.mark.slow


@pytest.mark.parametrize("name", NAMES)
def test_three_epochs(name: str, cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENRETINA_JAX_CACHE", str(cache))
    config = importlib.import_module(f"configs.{name}").get_config("simulated,quick")
    core = config.model.core.simple
    core.hidden_channels = (2,) * len(core.hidden_channels)
    config.update_from_flattened_dict({"train.epochs": EPOCHS, **SMALLER.get(name, {})})
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
