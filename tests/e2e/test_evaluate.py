"""``scripts/evaluate.py`` as a user runs it."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from openretina_jax.models.saved import save_model
from tests import tiny

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parent.parent.parent
TIMEOUT_S = 300
CONFIG = "configs/hoefling_low_res.py:simulated,quick"
SMALL = {
    "data.simulated.n_sessions": 2,
    "data.simulated.neurons_per_session": 8,
    "model.core.simple.hidden_channels": (2, 2),
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two short runs, "first" and "second", and what they leave in the cache."""
    folder = tmp_path_factory.mktemp("runs")
    for name, epochs in (("first", 2), ("second", 1)):
        settings = [f"--config.{key}={value}" for key, value in SMALL.items()]
        script(
            "train",
            folder,
            f"--config={CONFIG}",
            *settings,
            f"--config.train.epochs={epochs}",
            f"--workdir={folder / name}",
        )
    return folder


def start(name: str, folder: Path, *flags: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, f"scripts/{name}.py", *flags]
    environment = os.environ | {"OPENRETINA_JAX_CACHE": str(folder / "cache")}
    return subprocess.run(
        command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=TIMEOUT_S, check=False
    )


def script(name: str, folder: Path, *flags: str) -> str:
    """What a script prints that ends well."""
    result = start(name, folder, *flags)
    assert (result.returncode, result.stderr) == (0, "")
    return result.stdout


@pytest.fixture(scope="module")
def evaluated(folder: Path) -> tuple[Path, str]:
    """The evaluation of a run on all its splits, and what was printed."""
    out = folder / "evaluation"
    flags = [f"--folder={out}", "--split=test,validation,train", "--responses"]
    return out, script("evaluate", folder, f"--checkpoint={folder / 'first'}", *flags)


def test_files_of_an_evaluation(evaluated: tuple[Path, str]) -> None:
    out, printed = evaluated
    assert {file.name for file in out.iterdir()} == {"neurons.csv", "summary.json", "report.html", "responses.npz"}
    assert not list(out.parent.glob(".*"))  # nothing temporary is left
    assert printed.endswith(f"written to {out}\n")
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


def test_the_numbers_agree_with_each_other_and_with_the_run(folder: Path, evaluated: tuple[Path, str]) -> None:
    out, printed = evaluated
    summary, neurons = json.loads((out / "summary.json").read_text()), pd.read_csv(out / "neurons.csv")
    of_run = pd.read_csv(folder / "first" / "neurons.csv")
    test = neurons[neurons["split"] == "test"]
    for name in ("correlation", "correlation_single_trials", "reliability", "mse", "feve"):
        np.testing.assert_allclose(test[name], of_run[f"test_{name}"], rtol=1e-4, atol=1e-6)
    validation = neurons[neurons["split"] == "validation"]
    np.testing.assert_allclose(validation["correlation_clips"], of_run["validation_correlation"], rtol=1e-3, atol=1e-5)
    scores = summary["splits"]["test"]["scores"]["correlation"]
    assert scores["mean_of_all"] == pytest.approx(test["correlation"].mean())
    assert (
        f"test: correlation {scores['mean_of_all']:.4f} over all {len(test)} neurons of 2 sessions, 3 trials" in printed
    )
    assert "note: validation was shown once: no explainable variance" in printed
    assert summary["data"]["statistics"]["test"]["frames"] == 1500
    assert summary["lag"] == 30


def test_the_same_again(folder: Path, evaluated: tuple[Path, str]) -> None:
    """By its checkpoint and a configuration; an earlier evaluation is replaced when asked."""
    out = folder / "again"
    checkpoint = next((folder / "first" / "checkpoints").glob("2"))
    settings = [f"--config.{key}={value}" for key, value in SMALL.items()]
    for more in ([], ["--overwrite"]):
        script(
            "evaluate", folder, f"--checkpoint={checkpoint}", f"--config={CONFIG}", *settings, f"--folder={out}", *more
        )
    summary, first = (json.loads((one / "summary.json").read_text()) for one in (out, evaluated[0]))
    assert summary["splits"]["test"] == first["splits"]["test"]


def test_comparison(folder: Path) -> None:
    out = folder / "comparison"
    printed = script(
        "evaluate", folder, f"--checkpoint={folder / 'first'}", f"--checkpoint={folder / 'second'}", f"--folder={out}"
    )
    assert {str(file.relative_to(out)) for file in out.rglob("*") if file.is_file()} == {
        "comparison.csv",
        "comparison.html",
        *(f"{name}/{file}" for name in ("first", "second") for file in ("neurons.csv", "summary.json", "report.html")),
    }
    table = pd.read_csv(out / "comparison.csv")
    row = table[table["score"] == "correlation"].iloc[0]
    assert f"first - second: correlation {row['difference']:+.4f} [" in printed
    tables = [pd.read_csv(out / name / "neurons.csv") for name in ("first", "second")]
    reliable = tables[0]["variance_ratio"] >= 0.15
    difference = (tables[0]["correlation"] - tables[1]["correlation"])[reliable].mean()
    assert row["difference"] == pytest.approx(difference)


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (["--split=tset"], ['the data have no split "tset"; did you mean "test"']),
        (["--split=x"], ["choose among train, validation, test"]),
        (["--folder={first}", "--overwrite"], ["first holds no evaluation, and is not overwritten"]),
        (["--folder={first}"], ["first exists; give another --folder, or --overwrite"]),
        (["--folder={first}/metrics.csv/out"], ["metrics.csv/out cannot be written (", "give another --folder"]),
        (["--table=neurons.txt", "--folder={first}/x"], ["--table is neurons.txt; give a file name that ends in"]),
        (["--responses"], ["--responses needs --folder"]),
        (["--checkpoint={first}"], ["first is given twice"]),
        (["--checkpoint=runs/none"], ["runs/none holds no checkpoint"]),
        ([f"--config={CONFIG}"], ["the model does not know", "give the --config of its data"]),
        (["--config=configs/none.py"], ["configs/none.py"]),
        (["--resamples=0"], ["resamples"]),
    ],
    ids=["split", "unknown", "other folder", "exists", "unwritable", "table", "responses", "twice", "none", "sessions",
         "config", "resamples"],
)  # fmt: skip
def test_mistakes(folder: Path, flags: list[str], words: list[str]) -> None:
    before = sorted(folder.rglob("*"))
    given = [flag.format(first=folder / "first") for flag in flags]
    result = start("evaluate", folder, f"--checkpoint={folder / 'first'}", *given)
    assert result.returncode == 2
    (line,) = result.stderr.splitlines()
    assert line.startswith("error: ")
    for word in words:
        assert word in line
    cached = folder / "cache"
    assert [file for file in sorted(folder.rglob("*")) if cached not in file.parents] == [
        file for file in before if cached not in file.parents
    ]


def test_a_saved_model_does_not_know_its_data(folder: Path, tmp_path: Path) -> None:
    save_model(tiny.model(), tmp_path / "model")
    result = start("evaluate", folder, f"--checkpoint={tmp_path / 'model'}")
    (line,) = result.stderr.splitlines()
    assert "does not say which data it was trained on; give their --config" in line
    result = start("evaluate", folder, f"--checkpoint={tmp_path / 'model'}", f"--config={CONFIG}")
    (line,) = result.stderr.splitlines()
    assert "the data have frames (height, width, channel) (18, 16, 2), the model needs (12, 10, 2)" in line
