"""The package as it is installed: from the wheel alone, outside any checkout, a model is trained, scored and probed."""

import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pandas as pd
import pytest

import openretina_jax
from tests.e2e.runs import NEURONS, SMALL
from tests.scripts import ROOT, TIMEOUT_S

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder that holds what the wheel holds."""
    folder = tmp_path_factory.mktemp("wheel")
    command = [
        sys.executable,
        "-m",
        "pip",
        "wheel",
        "--quiet",
        "--no-deps",
        "--no-build-isolation",
        f"--wheel-dir={folder}",
    ]
    _copy(folder / "source")
    subprocess.run([*command, str(folder / "source")], check=True, timeout=TIMEOUT_S)
    (wheel,) = folder.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(folder / "packages")
    return folder / "packages"


def _copy(target: Path) -> None:
    """Copy what the wheel is built from, which leaves folders behind."""
    for part in ("openretina_jax", "configs"):
        shutil.copytree(ROOT / part, target / part, ignore=shutil.ignore_patterns("__pycache__"))
    for file in ("pyproject.toml", "setup.py", "README.md", "LICENSE"):
        shutil.copy(ROOT / file, target / file)


def test_nothing_is_missing(installed: Path) -> None:
    package = installed / "openretina_jax"
    expected = _files(ROOT / "openretina_jax") | {Path("configs") / file for file in _files(ROOT / "configs")}
    assert expected == _files(package)


def _files(folder: Path) -> set[Path]:
    files = (file.relative_to(folder) for file in folder.rglob("*") if file.is_file())
    return {file for file in files if "__pycache__" not in file.parts}


def test_train_evaluate_probe_and_export(installed: Path, cache: Path, tmp_path: Path) -> None:
    environment = {
        **{name: value for name, value in os.environ.items() if name != "PYTHONPATH"},
        "PYTHONPATH": str(installed),
        "OPENRETINA_JAX_CACHE": str(cache),
    }

    def run(*words: str) -> str:
        command = [sys.executable, "-m", "openretina_jax", *words]
        done = subprocess.run(
            command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=TIMEOUT_S, check=False
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    where = subprocess.run(
        [sys.executable, "-c", "import openretina_jax; print(openretina_jax.__file__)"],
        cwd=tmp_path, env=environment, capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert where.stdout.strip() == str(installed / "openretina_jax" / "__init__.py")
    run("train", "--config=hdf5_core_readout:simulated,quick", *SMALL, "--config.train.epochs=2", "--workdir=run")
    assert f"{NEURONS} neurons" in run("evaluate", "--checkpoint=run", "--resamples=10")
    climb = ("--steps=2", "--norm=5", "--neurons=best:2")
    run("insilico", "mei", "--checkpoint=run", "--folder=meis", *climb)
    assert len(pd.read_csv(tmp_path / "meis" / "neurons.csv")) == 2
    run("convert", "--checkpoint=run", "--program=run.zip")
    assert openretina_jax.load_exported(tmp_path / "run.zip").data_info.n_neurons == NEURONS
    # a configuration of one's own is made of one that is installed
    (tmp_path / "mine.py").write_text(
        "from configs import hdf5_core_readout\n\n\ndef get_config(arg=None):\n"
        "    config = hdf5_core_readout.get_config('simulated,quick')\n    config.train.epochs = 7\n    return config\n"
    )
    assert "config.train.epochs = 7" in run("train", "--config=mine.py", "--print_config")
