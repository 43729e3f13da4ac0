"""``scripts/visualize.py`` as a user runs it."""

import subprocess
import sys
from pathlib import Path

import pytest

from openretina_jax.models.saving import save_model
from tests import tiny

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parent.parent.parent
TIMEOUT_S = 300
CORE = ["filters_layer_0.png", "coefficients_layer_0.png"]


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a saved model."""
    folder = tmp_path_factory.mktemp("models") / "tiny"
    save_model(tiny.model(), folder)
    return folder


def visualize(*flags: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "scripts/visualize.py", *flags]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=TIMEOUT_S, check=False)


def written(*flags: str) -> list[Path]:
    """The files that a call names, all of which must be there."""
    result = visualize(*flags)
    assert (result.returncode, result.stderr) == (0, "")
    files = [Path(line) for line in result.stdout.splitlines()]
    assert all(file.read_bytes().startswith(b"\x89PNG") for file in files)
    return files


def test_pictures_of_a_saved_model(saved: Path) -> None:
    neurons = [f"{name}/neuron_{k}.png" for name in ("right_1", "right_2", "left") for k in range(tiny.NEURONS[name])]
    assert written(f"--run={saved}") == [saved / "pictures" / name for name in CORE + neurons]


def test_pictures_of_chosen_neurons(saved: Path, tmp_path: Path) -> None:
    files = written(f"--run={saved}", f"--out={tmp_path}", "--session=right_2", "--neurons=3,0")
    assert files == [tmp_path / name for name in [*CORE, "right_2/neuron_3.png", "right_2/neuron_0.png"]]


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (["--run=runs/none"], ["runs/none holds no checkpoint"]),
        (["--session=left", "--neurons=0,x"], ["neurons", "must be like 0,3,7"]),
        (["--neurons=0"], ["--neurons needs --session"]),
    ],
    ids=["run", "number", "neurons alone"],
)
def test_mistakes(saved: Path, flags: list[str], words: list[str]) -> None:
    result = visualize(f"--run={saved}", *flags)  # the last of two equal flags counts
    assert (result.returncode, result.stdout) == (2, "")
    (line,) = result.stderr.splitlines()
    assert line.startswith("error: ")
    for word in words:
        assert word in line
