"""The command ``openretina-jax``: what it says of itself, and mistakes."""

import sys

import pytest

from openretina_jax import __main__ as program
from openretina_jax import commands
from openretina_jax.runtime import presets
from tests.scripts import ROOT


def said(arguments: list[str], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> tuple[str, str]:
    monkeypatch.setattr(sys, "argv", ["openretina-jax", *arguments])
    program.main()
    return capsys.readouterr()


@pytest.mark.parametrize("arguments", [[], ["--help"], ["-h"]])
def test_every_command_is_listed(
    arguments: list[str], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    out, _ = said(arguments, capsys, monkeypatch)
    for name in commands.names():
        assert f"  {name} " in out
        assert commands.first_line(name) in out
    assert {"train", "evaluate", "insilico", "convert", "check"} <= set(commands.names())


def test_the_version(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    assert said(["--version"], capsys, monkeypatch)[0].startswith("openretina-jax 0.")


def test_an_unknown_command(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(SystemExit) as caught:
        said(["trian"], capsys, monkeypatch)
    assert caught.value.code == 2
    assert capsys.readouterr().err == 'error: there is no command "trian"; did you mean "train"?\n'


def test_every_script_of_a_command_is_there() -> None:
    scripts = {file.read_text().partition('run("')[2].partition('"')[0] for file in (ROOT / "scripts").glob("*.py")}
    assert set(commands.names()) <= scripts


def test_configurations_have_names() -> None:
    assert "hoefling_low_res" in presets.names()
    assert "common" not in presets.names()
    assert presets.names("spaces")
