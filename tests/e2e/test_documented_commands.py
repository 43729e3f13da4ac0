"""Every command of every page is one that the programs take: its flags, its settings, its options."""

import ast
import re
import tomllib
from collections.abc import Iterator
from pathlib import Path

import h5py
import numpy as np
import pytest

from openretina_jax.commands import _completion
from openretina_jax.experiment.insilico import run as insilico
from openretina_jax.runtime import presets
from openretina_jax.runtime.settings import entries, read_config
from tests.documented import PAGES, Program, files, programs, settings
from tests.scripts import ROOT, call, printed

OWN = {"my_lab", "options", "difference", "pixels"}  # names of parts of one's own


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder that looks like a checkout to a command."""
    for name in ("configs", "scripts", "notebooks"):
        (tmp_path / name).symlink_to(ROOT / name)
    return tmp_path


@pytest.fixture
def experiments(monkeypatch: pytest.MonkeyPatch) -> None:
    """Experiments are made from their options, and not conducted."""

    def make(kind: str, checkpoints: list[str], folder: Path, texts: dict[str, str], *, overwrite: bool) -> list[str]:
        insilico.make_experiment(kind, texts)
        return []

    monkeypatch.setattr(insilico, "run", make)


@pytest.mark.slow
@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
@pytest.mark.usefixtures("experiments")
def test_commands_of_a_page(page: Path, folder: Path) -> None:
    for name, text in files(page).items():
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_text(text)
    for program in programs(page.read_text(encoding="utf-8")):
        check(program, folder)


@pytest.mark.slow
def test_commands_of_presets(folder: Path) -> None:
    """The page of the presets is made from their docstrings."""
    for name in presets.names():
        text = (ROOT / "configs" / f"{name}.py").read_text(encoding="utf-8")
        found = [one for one in programs(f"{ast.get_docstring(ast.parse(text))}\n") if one.whole]
        assert found, name
        for program in found:
            script = program.name.removeprefix("scripts/")
            printed(call(script, *program.arguments, cache=folder, folder=folder, parse_only=True))


def check(program: Program, folder: Path) -> None:
    """Refuse a command that is not to be had, or whose flags are wrong."""
    name, arguments = program.name, program.arguments
    if name == "scripts/completion.py":  # a command without a script
        assert set(arguments) <= set(_completion.SCRIPTS), program
    elif name.startswith("scripts/"):
        script = name.removeprefix("scripts/")
        assert (ROOT / name).is_file(), program
        if not program.whole:  # the sentence may leave out what is needed
            text = "".join(source(script))
            for flag in re.findall(r"--([a-z_]+)(?==| |$)", " ".join(arguments)):
                assert f'"{flag}"' in text or flag == "help" or script == "insilico.py", program
        elif script == "train.py":
            assert "config.seed = " in printed(call(script, *arguments, "--print_config", cache=folder, folder=folder))
        else:
            run = script == "insilico.py"
            printed(call(script, *arguments, cache=folder, folder=folder, parse_only=not run))
    elif name == "pip":
        known = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
        for extras in re.findall(r"\[(.*?)\]", " ".join(arguments)):
            assert set(extras.split(",")) <= set(known), program
    elif name.startswith("python -m "):
        module = name.removeprefix("python -m ")
        if module not in ("venv", "openretina_jax"):
            text = ROOT.joinpath(*module.split(".")).with_suffix(".py").read_text()
            assert all(word.partition("=")[0] in text for word in arguments if word.startswith("--")), program
    elif re.fullmatch(r"[\w/]+\.py", name):
        assert (ROOT / name).is_file(), program


def source(script: str) -> Iterator[str]:
    """Where the flags of a script are defined."""
    for file in (ROOT / "scripts" / script, *(ROOT / "openretina_jax" / "commands").glob("*.py")):
        yield file.read_text()
    yield (ROOT / "openretina_jax" / "experiment" / "command_line.py").read_text()


def test_settings_that_pages_name_are_settings() -> None:
    known = {name for preset in presets.names() if preset != "mix" for name in entries(read_config(preset))}
    parts = {".".join(name.split(".")[:depth]) for name in known for depth in range(1, len(name.split(".")) + 1)}
    for page in PAGES:
        for name in settings(page):
            assert name in parts or OWN.intersection(name.split(".")), f"{page.name}: config.{name}"


@pytest.mark.slow
def test_a_folder_of_ones_own(folder: Path) -> None:
    """The commands of docs/your_own_data.md find the layout that it describes."""
    rng, data = np.random.default_rng(0), folder / "my_data"
    (data / "stimuli").mkdir(parents=True)
    for name, frames in (("movie_a", 1800), ("movie_b", 90)):
        np.save(data / "stimuli" / f"{name}.npy", rng.integers(256, size=(1, frames, 16, 16), dtype=np.uint8))
    with h5py.File(data / "monday.h5", "w") as file:
        file["responses_movie_a"] = rng.poisson(2.0, (3, 1800)).astype(float)
        file["responses_movie_b"] = rng.poisson(2.0, (4, 3, 90)).astype(float)
    (page,) = (page for page in PAGES if page.stem == "your_own_data")
    for program in programs(page.read_text(encoding="utf-8")):
        if program.name == "scripts/check_data.py":
            done = call("check_data.py", *program.arguments, cache=folder, folder=folder)
            assert "3 neurons" in done.stdout, done
            assert "movie_b" in done.stdout
