"""``scripts/visualize.py`` as a user runs it."""

from pathlib import Path

import pytest

from openretina_jax.models.saving import save_model
from tests import tiny
from tests.scripts import Done, call, mistake, printed, start, wait

pytestmark = pytest.mark.slow

CORE = ["filters_layer_0.png", "coefficients_layer_0.png"]


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a saved model."""
    folder = tmp_path_factory.mktemp("models") / "tiny"
    save_model(tiny.model(), folder)
    return folder


def written(done: Done) -> list[Path]:
    """The files that a call names, all of which must be there."""
    files = [Path(line) for line in printed(done).splitlines()]
    assert all(file.read_bytes().startswith(b"\x89PNG") for file in files)
    return files


def test_pictures_of_a_saved_model(cache: Path, saved: Path) -> None:
    neurons = [f"{name}/neuron_{k}.png" for name in ("right_1", "right_2", "left") for k in range(tiny.NEURONS[name])]
    assert written(call("visualize.py", f"--run={saved}", cache=cache)) == [
        saved / "pictures" / name for name in CORE + neurons
    ]


def test_pictures_of_chosen_neurons(cache: Path, saved: Path, tmp_path: Path) -> None:
    flags = (f"--run={saved}", f"--out={tmp_path}", "--session=right_2", "--neurons=3,0")
    files = written(wait(start("visualize.py", *flags, cache=cache)))
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
def test_mistakes(cache: Path, saved: Path, flags: list[str], words: list[str]) -> None:
    line = mistake(call("visualize.py", f"--run={saved}", *flags, cache=cache))  # the last of two equal flags counts
    for word in words:
        assert word in line
