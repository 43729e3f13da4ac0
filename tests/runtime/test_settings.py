"""Configuration files and settings: mistakes, and overrides that change nothing."""

import contextlib
from pathlib import Path

import pytest

from openretina_jax.errors import UserError
from openretina_jax.runtime.settings import check_effect, entries, read_config
from tests.experiment.configuration import configuration

ROOT = Path(__file__).parents[2]


def test_configurations_that_are_not_there(tmp_path):
    with pytest.raises(UserError, match=r"there is no file .*absent\.py; did you mean .*\.py"):
        read_config(ROOT / "configs" / "absent.py")
    with pytest.raises(UserError, match='does not know "axolot"; did you mean "axolotl"'):
        read_config(ROOT / "configs" / "goldin_2022_core_readout.py:axolot")
    with pytest.raises(UserError, match='does not know "simulated"; choose among calcium'):
        read_config(ROOT / "configs" / "template.py:simulated")
    plain = tmp_path / "plain.py"
    plain.write_text("from configs import common\n\n\ndef get_config(arg=None):\n    common.words(arg, ())\n")
    with pytest.raises(UserError, match='does not know "simulated"; it knows no words: leave out :simulated'):
        read_config(f"{plain}:simulated")


def test_paths_of_a_checkout_are_found_elsewhere(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert read_config("configs/template.py").to_dict() == read_config("template").to_dict()
    (tmp_path / "configs").mkdir()
    (tmp_path / "configs" / "template.py").write_text("def get_config(): return None")
    with pytest.raises(UserError, match=r"^configs/template\.py: "):
        read_config("configs/template.py")


def template_with(folder: Path, line: str) -> Path:
    """A copy of the template with a line at its end."""
    file = folder / "mine.py"
    text = (ROOT / "configs" / "template.py").read_text()
    file.write_text(text.replace("    return config\n", f"    {line}\n    return config\n"))
    return file


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("config.train.epoch = 30", 'the configuration has no entry "epoch"; did you mean "epochs"'),
        ("config.data.frame_rate = 25", 'has no entry "frame_rate"; did you mean "frame_rate_hz"'),
        ("config.model.core.simple.zzz = 1", 'has no entry "zzz"; configs/common.py has all of them'),
        ("config.train.epochs = 2.5", "TypeError: .*epochs"),
    ],
)
def test_mistakes_in_a_file_are_one_line(tmp_path, line, message):
    file = template_with(tmp_path, line)
    number = file.read_text().splitlines().index(f"    {line}") + 1
    for read in (read_config, configuration):
        with pytest.raises(UserError, match=f"^{file}, line {number}: .*{message}") as caught:
            read(str(file))
        assert "\n" not in str(caught.value)


def test_a_file_that_is_no_configuration(tmp_path):
    with pytest.raises(UserError, match=r"get_config\(\) must return a ConfigDict, but returns NoneType"):
        read_config(template_with(tmp_path, "config = None"))
    with pytest.raises(UserError, match=r'common\.py has no function get_config\(\); did you mean ".*\.py"'):
        read_config(ROOT / "configs" / "common.py")


@pytest.mark.parametrize(
    ("words", "given", "reason"),
    [
        (":simulated", {"optimizer.kind": "sgd", "optimizer.sgd.momentum": 0.8, "train.epochs": 3}, None),
        (":simulated", {"model.core.gru.recurrent_channels": 16}, 'config.model.core.kind is "simple"'),
        ("", {"train.windows.session.window_frames": 60}, 'config.train.order is "shared"'),
        ("", {"start_from": "runs/a", "model.core.kind": "gru"}, 'config.start_from is "runs/a"'),
        (":simulated", {"data.resolution": "72x64"}, "config.data.simulated.enabled is True"),
        ("", {"data.simulated.n_sessions": 3}, "config.data.simulated.enabled is False"),
    ],
)
def test_overrides_that_change_nothing(words, given, reason):
    config = read_config(f"{ROOT / 'configs' / 'hoefling_low_res.py'}{words}")
    config.update_from_flattened_dict(given)
    with contextlib.nullcontext() if reason is None else pytest.raises(UserError, match=f"no effect while {reason}"):
        check_effect(given, entries(config))
