"""What commands say of themselves, and of settings, before any work."""

from pathlib import Path

import pytest

from openretina_jax import commands
from tests.e2e.runs import TRAINED
from tests.scripts import call, mistake, printed

SCRIPTS = {"check": "check_data.py", "convert": "convert_checkpoint.py"}


@pytest.mark.parametrize("name", commands.names())
def test_help_shows_all_flags(name: str, tmp_path: Path) -> None:
    script = SCRIPTS.get(name, f"{name}.py")
    text = printed(call(script, "--help", cache=tmp_path))
    assert commands.first_line(name) in text
    flags = {"train": "--distributed", "check": "--recordings", "search": "--space", "simulate": "--format"}
    assert flags.get(name, "--checkpoint") in text
    assert "absl" not in text
    assert text == printed(call(script, "-h", cache=tmp_path))
    assert printed(call(script, "--version", cache=tmp_path)).startswith("openretina-jax 0.")


def test_help_of_an_experiment(tmp_path: Path) -> None:
    text = printed(call("insilico.py", "mei", "--help", cache=tmp_path))
    assert "--steps=50" in text
    assert "steps: gradients of a stimulus." in text
    assert "is unknown; choose among" in mistake(call("insilico.py", "nothing", "--help", cache=tmp_path))


def test_a_missing_configuration_names_those_there_are(tmp_path: Path) -> None:
    line = mistake(call("train.py", cache=tmp_path))
    assert "--config=hoefling_low_res:simulated; there are goldin_2022_core_readout" in line


def test_settings_and_what_differs_from_the_preset(tmp_path: Path) -> None:
    lines = printed(call("train.py", *TRAINED, "--print_config", cache=tmp_path)).splitlines()
    assert "config.data.simulated.clips = 12  (preset: 150)" in lines
    assert "config.optimizer.kind = 'adamw'" in lines
    assert not [line for line in lines if "model.core.gru" in line]


@pytest.mark.slow
def test_a_dry_run_says_what_would_be_trained(cache: Path, tmp_path: Path) -> None:
    workdir = tmp_path / "run"
    text = printed(call("train.py", *TRAINED, f"--workdir={workdir}", "--dry_run", cache=cache))
    assert "10 neurons in 2 sessions" in text
    assert "total" in text
    assert "parameters" in text
    assert "at most 6 epochs" in text
    assert not workdir.exists()
