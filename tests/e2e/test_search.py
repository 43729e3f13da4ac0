"""``scripts/search.py`` as a user runs it: two trials side by side, stopped, resumed, and with mistakes."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pandas as pd
import pytest

import openretina_jax
from tests.e2e.test_train import ROOT, SIMULATED, SMALL, TIMEOUT_S, epochs, finish

pytestmark = pytest.mark.slow

SPACE = """
from configs.distributions import log_uniform, one_of

def get_space():
    return {"optimizer.learning_rate": log_uniform(1e-3, 1e-1),
            "model.core.simple.hidden_channels": one_of((2, 2))}
"""
EPOCHS = 6
FLAGS = [*(flag for flag in SMALL if "hidden_channels" not in flag), f"--config.train.epochs={EPOCHS}"]


@pytest.fixture
def space(tmp_path: Path) -> Path:
    file = tmp_path / "space.py"
    file.write_text(SPACE)
    return file


def command(space: Path, *flags: str) -> list[str]:
    return [sys.executable, "scripts/search.py", f"--config={SIMULATED}", f"--space={space}", *flags]


def start(cache: Path, tmp_path: Path, space: Path) -> subprocess.Popen[str]:
    environment = os.environ | {"OPENRETINA_JAX_CACHE": str(cache), "JAX_PLATFORMS": "cpu"}
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    flags = [*FLAGS, "--trials=2", "--jobs=2", f"--workdir={tmp_path / 'search'}"]
    return subprocess.Popen(command(space, *flags), cwd=ROOT, env=environment, **pipes)


def test_a_search_that_is_stopped_and_resumed(cache: Path, tmp_path: Path, space: Path) -> None:
    workdir = tmp_path / "search"
    process = start(cache, tmp_path, space)
    deadline = time.monotonic() + TIMEOUT_S
    while not all(epochs(workdir / "trials" / number) for number in "01"):
        assert process.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    assert finish(process).endswith("stopped; the same command goes on from there\n")
    output = finish(start(cache, tmp_path, space))
    table = pd.read_csv(workdir / "trials.csv")
    assert sorted(table["trial"]) == [0, 1]
    assert table["state"].tolist() == ["complete"] * 2
    for _, row in table.iterrows():
        folder = workdir / "trials" / str(row["trial"])
        assert epochs(folder) == list(range(1, EPOCHS + 1))
        assert pd.read_csv(folder / "metrics.csv")["validation/correlation"].max() == pytest.approx(row["value"])
        assert openretina_jax.load(folder).core.layers[0].conv.spatial.shape[0] == 2
    best = table.iloc[0]
    assert f"the best one is trial {best['trial']}, validation/correlation {best['value']:.4f}" in output
    assert f"--config.optimizer.learning_rate={float(best['optimizer.learning_rate'])!r}" in output
    assert {file.name for file in workdir.glob("*.png")} == {"scores.png", "slices.png", "importances.png"}


@pytest.mark.parametrize(
    ("text", "flags", "words"),
    [
        (SPACE.replace("learning_rate", "learning_rat"), [], ['"optimizer.learning_rat"', '"optimizer.learning_rate"']),
        (SPACE, ["--config.optimizer.learning_rate=0.1"], ["config.optimizer.learning_rate is in the space and given"]),
        (SPACE, ["--objective=test/correlation"], ["objective", "validation/loss"]),
    ],
)
def test_mistakes(tmp_path: Path, space: Path, text: str, flags: list[str], words: list[str]) -> None:
    space.write_text(text)
    options = {"cwd": ROOT, "capture_output": True, "text": True, "timeout": TIMEOUT_S}
    result = subprocess.run(command(space, *flags, f"--workdir={tmp_path / 'search'}"), **options, check=False)
    assert result.returncode == 2, result.stderr
    (line,) = result.stderr.splitlines()
    for word in ["error: ", *words]:
        assert word in line
    assert not (tmp_path / "search").exists()
