"""``scripts/visualize.py`` as a user runs it."""

from pathlib import Path

import pytest

import openretina_jax
from openretina_jax.models.saving import save_model
from tests import tiny
from tests.interop.frozen import path_of
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


def test_pictures_of_a_model_of_openretina(cache: Path, tmp_path: Path) -> None:
    flags = (f"--run={path_of('by_command_line')}", f"--out={tmp_path}", "--session=left_a", "--neurons=1")
    files = written(call("visualize.py", *flags, cache=cache))
    assert files[-1] == tmp_path / "left_a" / "neuron_1.png"


def test_pictures_of_the_members_of_an_ensemble(cache: Path, saved: Path) -> None:
    flags = (f"--run={saved}", f"--run={saved}", "--session=left", "--neurons=0")
    members = [name for number in (0, 1) for name in (f"member_{number}/{picture}" for picture in CORE)]
    neurons = [f"member_{number}/left/neuron_0.png" for number in (0, 1)]
    assert written(call("visualize.py", *flags, cache=cache)) == [
        saved / "pictures" / name for name in [*members, *neurons]
    ]


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A program without weights."""
    file = tmp_path_factory.mktemp("programs") / "tiny.zip"
    openretina_jax.export(tiny.model(), file)
    return file


def test_models_that_are_no_folder_need_one(cache: Path) -> None:
    line = mistake(call("visualize.py", f"--run={path_of('by_command_line')}", cache=cache))
    assert "by_command_line.ckpt is not a folder of ours; say where to write its pictures: --out=DIR" in line


def test_a_program_has_no_weights(cache: Path, exported: Path, tmp_path: Path) -> None:
    line = mistake(call("visualize.py", f"--run={exported}", f"--out={tmp_path}", cache=cache))
    assert f"{exported} is an exported program, which has no weights to look at" in line


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (["--run=runs/none"], ["runs/none does not exist"]),
        (["--session=right"], ['no session "right"; it has right_1, right_2, left']),
        (["--session=left", "--neurons=0,x"], ["neurons", "must be like 0,3,7"]),
        (["--neurons=0"], ["--neurons needs --session"]),
    ],
    ids=["run", "session", "number", "neurons alone"],
)
def test_mistakes(cache: Path, saved: Path, flags: list[str], words: list[str]) -> None:
    line = mistake(call("visualize.py", f"--run={saved}", *flags, cache=cache))
    for word in words:
        assert word in line
