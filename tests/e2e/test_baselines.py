"""``openretina-jax baselines`` as a user runs it, and the baselines of an evaluation."""

import json
from pathlib import Path

import pandas as pd
import pytest

from openretina_jax.experiment.data import make_dataset
from openretina_jax.experiment.recipe import resolved
from openretina_jax.models.build import make_model
from openretina_jax.models.saving import save_model
from tests import presets
from tests.scripts import call, mistake, printed

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("blank_pictures", "optimized")]
MODELS = ["STA-LN", "GLM", "quadratic GLM"]


@pytest.fixture(scope="module")
def run(cache: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An untrained model of one small session."""
    settings = resolved(presets.small("hoefling_low_res.py").to_dict())
    info = make_dataset(settings["data"], cache / "simulated").info
    model = make_model(settings["model"], info)
    folder = tmp_path_factory.mktemp("runs") / "first"
    save_model(model, folder)
    about = {"config": settings | {"model": model.options}, "data_info": json.loads(info.to_json())}
    (folder / "about" / "metadata").write_text(json.dumps(about))
    return folder


def test_a_network_beside_baselines(cache: Path, run: Path) -> None:
    output = printed(call("baselines.py", f"--checkpoint={run}", "--split=validation,test", cache=cache))
    table = pd.read_csv(run / "baselines.csv")
    assert list(table["model"].unique()) == ["first", *MODELS]
    assert table.groupby(["model", "split"]).size().nunique() == 1
    assert "test: first wins for 0 of" in output
    assert output.endswith(f"written to {run / 'baselines.csv'}\n")


def test_baselines_of_an_evaluation(cache: Path, run: Path, tmp_path: Path) -> None:
    flags = [f"--checkpoint={run}", f"--folder={tmp_path / 'evaluation'}", "--baselines"]
    output = printed(call("evaluate.py", *flags, cache=cache))
    assert "against the best baseline of each (bits per spike)" in output
    table = pd.read_csv(tmp_path / "evaluation" / "baselines.csv")
    assert list(table["model"].unique()) == ["first", *MODELS]
    own = pd.read_csv(tmp_path / "evaluation" / "neurons.csv")
    assert own["bits_per_spike"].tolist() == pytest.approx(table[table["model"] == "first"]["bits_per_spike"].tolist())


def test_mistakes(cache: Path) -> None:
    assert "give --checkpoint, --config or both" in mistake(call("baselines.py", cache=cache))
    assert "frames" in mistake(call("baselines.py", "--config=hoefling_low_res:simulated", "--frames=0", cache=cache))
