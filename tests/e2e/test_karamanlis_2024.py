"""The configuration of Karamanlis et al. 2024, trained for a few epochs, and measurements of loading."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from rich.console import Console

import openretina_jax
from configs.karamanlis_2024_core_readout import get_config
from openretina_jax.config import train

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parent.parent.parent
SMALL = {"n_blocks": 6, "block_frames": 300, "n_images": 2}


@pytest.mark.parametrize("words", ["mouse", "marmoset,klindt"])
def test_a_short_run(words: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENRETINA_JAX_CACHE", str(tmp_path / "cache"))
    config = get_config(f"simulated,quick,{words}")
    config.train.epochs = 3
    config.data.simulated.update({**SMALL, "neurons_per_session": 5})
    with (tmp_path / "output").open("w") as output:
        train(config, tmp_path / "run", Console(file=output))
    model = openretina_jax.load(tmp_path / "run")
    assert model.data_info.input_shape == (30, 40, 1)
    assert model.data_info.frame_rate_hz == (85.0 if "marmoset" in words else 75.0)
    losses = pd.read_csv(tmp_path / "run" / "metrics.csv")["loss"]
    assert len(losses) == 3
    assert losses.iloc[-1] < losses.iloc[0]
    assert np.isfinite(pd.read_csv(tmp_path / "run" / "neurons.csv").select_dtypes("number")).any(axis=None)


def test_loading_is_measured() -> None:
    options = [f"--set={name}={value}" for name, value in SMALL.items()]
    done = subprocess.run(
        [sys.executable, "scripts/benchmark_loading.py", "--source=karamanlis_2024", "--neurons=3", *options],
        capture_output=True,
        text=True,
        check=True,
        cwd=ROOT,
        env=os.environ,
    )
    first, second = map(json.loads, filter(lambda line: line.startswith("{"), done.stdout.splitlines()))
    assert (first["run"], second["run"]) == ("first", "second")
    assert 0 < second["seconds"] < first["seconds"]
    movie_mb = 1800 * 60 * 80 * 4 / 1e6
    assert second["before_mb"] < second["peak_memory_mb"] < second["before_mb"] + 4 * movie_mb


def test_only_known_sources_are_measured() -> None:
    done = subprocess.run(
        [sys.executable, "scripts/benchmark_loading.py", "--source=goldin"], capture_output=True, text=True, cwd=ROOT
    )
    assert done.returncode == 2
    assert (
        done.stderr == 'error: the loading of "goldin" is not measured; choose among hoefling_2024, karamanlis_2024\n'
    )
