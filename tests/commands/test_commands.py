"""The command ``openretina-jax``: what it says of itself, and mistakes."""

import dataclasses
import subprocess
import sys

import pytest

from openretina_jax import __main__ as program
from openretina_jax import commands
from openretina_jax.runtime import presets
from tests.scripts import ROOT, own_state


def said(arguments: list[str], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> tuple[str, str]:
    monkeypatch.setattr(sys, "argv", ["openretina-jax", *arguments])
    with own_state(ROOT):
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


def completed(line: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> list[str]:
    return said(["completion", "words", *line.split(" ")], capsys, monkeypatch)[0].splitlines()


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("tra", ["train"]),
        ("insilico me", ["mei"]),
        ("insilico tuning --pix", ["--pixel_size_um="]),
        ("insilico dei --nei", []),
        ("train --config=hoefling_l", ["--config=hoefling_low_res"]),
        ("train --config=hoefling_low_res:simulated,qu", ["--config=hoefling_low_res:simulated,quick"]),
        ("train --config=template --config.train.ep", ["--config.train.epochs="]),
        ("train --config=no_such_file --config.train.ep", []),
        ("train --workdir=", []),
        ("trian --", []),
        ("simulate --format=kara", ["--format=karamanlis_2024"]),
        ("search --space=hoefling_l", ["--space=hoefling_low_res"]),
    ],
)
def test_the_tab_key(
    line: str, expected: list[str], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert completed(line, capsys, monkeypatch) == expected


def test_the_tab_key_knows_the_options_of_every_experiment() -> None:
    from openretina_jax.commands._completion import candidates
    from openretina_jax.experiment.insilico import EXPERIMENTS

    assert candidates(["insilico", ""]) == sorted(EXPERIMENTS.kinds())
    for kind in EXPERIMENTS.kinds():
        wanted = {f"--{field.name}=" for field in dataclasses.fields(EXPERIMENTS[kind])}
        assert wanted <= set(candidates(["insilico", kind, "--"]))


def test_the_tab_key_completes_flags() -> None:
    line = [sys.executable, "-m", "openretina_jax", "completion", "words", "search", "--pruner="]
    done = subprocess.run(line, capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["--pruner=hyperband", "--pruner=median", "--pruner=none"]


def test_the_scripts_of_shells(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    for shell in ("bash", "zsh", "fish"):
        assert "completion words" in said(["completion", shell], capsys, monkeypatch)[0]
    script, _ = said(["completion", "bash"], capsys, monkeypatch)
    # readline breaks words at "=" and ":", and completes what follows
    press = """openretina-jax() { echo --config=hoefling_low_res:simulated; }
COMP_LINE='openretina-jax train --config=hoefling_low_res:sim'; COMP_POINT=${#COMP_LINE}
compopt() { :; }; _openretina_jax; echo "${COMPREPLY[@]}" """
    done = subprocess.run(["bash", "-c", script + press], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["simulated"]


def test_the_shell_must_be_named(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(SystemExit):
        said(["completion", "tcsh"], capsys, monkeypatch)
    assert capsys.readouterr().err == "error: name the shell: openretina-jax completion bash|zsh|fish\n"
