"""``scripts/evaluate.py`` as a user runs it."""

import json
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from configs.hoefling_low_res import get_config
from openretina_jax.experiment.data import make_dataset
from openretina_jax.experiment.recipe import resolved
from openretina_jax.models.build import make_model
from openretina_jax.models.saving import save_model
from tests import tiny
from tests.presets import TWO_SESSIONS
from tests.scripts import call, mistake, printed

pytestmark = pytest.mark.slow

SCRIPT = "evaluate.py"
CONFIG = "configs/hoefling_low_res.py:simulated,quick"
SMALL = {
    **{f"data.simulated.{name}": value for name, value in TWO_SESSIONS.items()},
    "model.core.simple.hidden_channels": (2, 2),
}


@pytest.fixture(scope="module")
def folder(cache: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two runs, "first" and "second", which differ in the seed of their untrained models."""
    folder = tmp_path_factory.mktemp("runs")
    config = get_config("simulated,quick")
    for name, value in SMALL.items():
        config.update_from_flattened_dict({name: value})
    settings = resolved(config.to_dict())
    info = make_dataset(settings["data"], cache / "simulated").info
    for seed, name in enumerate(("first", "second")):
        model = make_model(settings["model"], info, seed)
        save_model(model, folder / name)
        about = {"config": settings | {"model": model.options}, "data_info": json.loads(info.to_json())}
        (folder / name / "about" / "metadata").write_text(json.dumps(about))
    return folder


@pytest.fixture(scope="module")
def evaluated(cache: Path, folder: Path) -> tuple[Path, str]:
    """The evaluation of a run on all its splits, and what was printed."""
    out = folder / "evaluation"
    flags = [f"--checkpoint={folder / 'first'}", f"--folder={out}", "--split=test,validation,train", "--responses"]
    return out, printed(call(SCRIPT, *flags, cache=cache))


def test_files_of_an_evaluation(evaluated: tuple[Path, str]) -> None:
    out, output = evaluated
    assert {file.name for file in out.iterdir()} == {"neurons.csv", "summary.json", "report.html", "responses.npz"}
    assert not list(out.parent.glob(".*"))  # nothing temporary is left
    assert output.endswith(f"written to {out}\n")
    neurons = pd.read_csv(out / "neurons.csv")
    assert neurons["split"].unique().tolist() == ["test", "validation", "train"]
    assert {"correlation", "feve", "correlation_2", "cell_type_name", "eye"} <= {*neurons.columns}
    with np.load(out / "responses.npz") as arrays:
        assert len(arrays.files) == 3 * 2 * 2
        session = neurons["session"][0]
        count = (neurons["session"] == session).sum() // 3
        assert arrays[f"test/{session}/recorded"].shape == (3, 1, 720, count)
        assert arrays[f"validation/{session}/predicted"].shape == (15, 120, count)
        assert arrays[f"train/{session}/predicted"].shape == (93, 120, count)


def test_the_numbers_agree_with_each_other(evaluated: tuple[Path, str]) -> None:
    out, output = evaluated
    summary, neurons = json.loads((out / "summary.json").read_text()), pd.read_csv(out / "neurons.csv")
    test = neurons[neurons["split"] == "test"]
    correlation = summary["splits"]["test"]["scores"]["correlation"]["mean_of_all"]
    assert correlation == pytest.approx(test["correlation"].mean())
    assert f"test: correlation {correlation:.4f} over all {len(test)} neurons of 2 sessions, 3 trials" in output
    assert "note: validation was shown once: no explainable variance" in output
    assert (summary["lag"], summary["data"]["neurons"]) == (30, len(test))
    assert summary["data"]["statistics"]["train and validation"]["frames"] in (16200, 32400)


def test_the_same_again(cache: Path, folder: Path, evaluated: tuple[Path, str]) -> None:
    """By a configuration; an earlier evaluation is replaced when asked."""
    out = Path(shutil.copytree(evaluated[0], folder / "again"))
    settings = [f"--config.{key}={value}" for key, value in SMALL.items()]
    flags = [f"--checkpoint={folder / 'first'}", f"--config={CONFIG}", *settings, f"--folder={out}"]
    printed(call(SCRIPT, *flags, "--overwrite", cache=cache))
    assert not (out / "responses.npz").exists()
    summary, first = (json.loads((one / "summary.json").read_text()) for one in (out, evaluated[0]))
    assert summary["splits"]["test"] == first["splits"]["test"]


def test_comparison(cache: Path, folder: Path) -> None:
    out = folder / "comparison"
    both = [f"--checkpoint={folder / name}" for name in ("first", "second")]
    output = printed(call(SCRIPT, *both, f"--folder={out}", cache=cache))
    assert {str(file.relative_to(out)) for file in out.rglob("*") if file.is_file()} == {
        "comparison.csv",
        "comparison.html",
        *(f"{name}/{file}" for name in ("first", "second") for file in ("neurons.csv", "summary.json", "report.html")),
    }
    table = pd.read_csv(out / "comparison.csv")
    row = table[table["score"] == "correlation"].iloc[0]
    assert f"first - second: correlation {row['difference']:+.4f} [" in output
    tables = [pd.read_csv(out / name / "neurons.csv") for name in ("first", "second")]
    reliable = tables[0]["variance_ratio"] >= 0.15
    difference = (tables[0]["correlation"] - tables[1]["correlation"])[reliable].mean()
    assert row["difference"] == pytest.approx(difference)


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (["--split=tset", "--folder={new}"], ['the data have no split "tset"; did you mean "test"']),
        (["--folder={first}/state/_METADATA/out"], ["out cannot be written (", "give another --folder"]),
        (["--resamples=0"], ["resamples"]),
    ],
    ids=["split", "unwritable", "flag"],
)
def test_mistakes(cache: Path, folder: Path, flags: list[str], words: list[str]) -> None:
    before = sorted(folder.rglob("*"))
    given = [flag.format(first=folder / "first", new=folder / "new") for flag in flags]
    line = mistake(call(SCRIPT, f"--checkpoint={folder / 'first'}", *given, cache=cache))
    for word in words:
        assert word in line
    assert sorted(folder.rglob("*")) == before


def test_a_saved_model_does_not_know_its_data(cache: Path, tmp_path: Path) -> None:
    save_model(tiny.model(), tmp_path / "model")
    line = mistake(call(SCRIPT, f"--checkpoint={tmp_path / 'model'}", cache=cache))
    assert "does not say which data it was trained on; give their --config" in line
    settings = [f"--config.{key}={value}" for key, value in SMALL.items()]
    line = mistake(call(SCRIPT, f"--checkpoint={tmp_path / 'model'}", f"--config={CONFIG}", *settings, cache=cache))
    assert "the data have frames (height, width, channel) (18, 16, 2), the model needs (12, 10, 2)" in line
