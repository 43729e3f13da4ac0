"""Experiments from the command line, on a saved model."""

import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest

from openretina_jax.insilico.stimuli import Stimuli
from openretina_jax.models.saving import save_model
from tests import tiny

SCRIPT = Path(__file__).parents[2] / "scripts" / "insilico.py"
pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("models") / "tiny"
    save_model(tiny.model(), folder)
    return folder


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, str(SCRIPT), *arguments], capture_output=True, text=True, check=False)


def test_stimuli_their_table_and_their_page(model: Path, tmp_path: Path) -> None:
    out = tmp_path / "mei"
    done = run("mei", f"--checkpoint={model}", f"--folder={out}", "--neurons=left", "--steps=3", "--window=2")
    assert done.returncode == 0, done.stderr
    assert f"written to {out}" in done.stdout
    assert len(pd.read_csv(out / "neurons.csv")) == tiny.NEURONS["left"]
    assert len(Stimuli.load(out / "stimuli.h5")) == tiny.NEURONS["left"]
    page = (out / "gallery.html").read_text(encoding="utf-8")
    assert page.count("data:image/gif") == tiny.NEURONS["left"]
    assert "viewport" in page
    again = run("mei", f"--checkpoint={model}", f"--folder={out}")
    assert again.returncode == 2
    assert "exists" in again.stderr


def test_receptive_fields_have_a_row_for_every_neuron(model: Path, tmp_path: Path) -> None:
    out = tmp_path / "fields"
    done = run("receptive_fields", f"--checkpoint={model}", f"--folder={out}", "--frames=200")
    assert done.returncode == 0, done.stderr
    assert len(pd.read_csv(out / "neurons.csv")) == sum(tiny.NEURONS.values())


def test_a_mistake_is_one_line(model: Path, tmp_path: Path) -> None:
    done = run("mei", f"--checkpoint={model}", f"--folder={tmp_path / 'x'}", "--neurons=type:99", "--steps=1")
    assert done.returncode == 2
    assert len(done.stderr.strip().splitlines()) == 1
    assert not (tmp_path / "x").exists()
