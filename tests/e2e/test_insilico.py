"""Experiments from the command line, on a saved model."""

from pathlib import Path

import pandas as pd
import pytest

from openretina_jax.insilico.stimuli import Stimuli
from openretina_jax.models.saving import save_model
from tests import tiny
from tests.scripts import call, mistake, printed

SCRIPT = "insilico.py"
pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("models") / "tiny"
    save_model(tiny.model(), folder)
    return folder


def test_stimuli_their_table_and_their_page(cache: Path, model: Path, tmp_path: Path) -> None:
    out = tmp_path / "mei"
    where = (f"--checkpoint={model}", f"--folder={out}")
    output = printed(call(SCRIPT, "mei", *where, "--neurons=left", "--steps=3", "--window=2", cache=cache))
    assert f"written to {out}" in output
    assert len(pd.read_csv(out / "neurons.csv")) == tiny.NEURONS["left"]
    assert len(Stimuli.load(out / "stimuli.h5")) == tiny.NEURONS["left"]
    page = (out / "gallery.html").read_text(encoding="utf-8")
    assert page.count("data:image/gif") == tiny.NEURONS["left"]
    assert "viewport" in page
    assert "exists" in mistake(call(SCRIPT, "mei", *where, cache=cache))


def test_receptive_fields_have_a_row_for_every_neuron(cache: Path, model: Path, tmp_path: Path) -> None:
    out = tmp_path / "fields"
    printed(call(SCRIPT, "receptive_fields", f"--checkpoint={model}", f"--folder={out}", "--frames=200", cache=cache))
    assert len(pd.read_csv(out / "neurons.csv")) == sum(tiny.NEURONS.values())


def test_a_mistake_is_one_line(cache: Path, model: Path, tmp_path: Path) -> None:
    flags = (f"--checkpoint={model}", f"--folder={tmp_path / 'x'}", "--neurons=type:99", "--steps=1")
    mistake(call(SCRIPT, "mei", *flags, cache=cache))
    assert not (tmp_path / "x").exists()
