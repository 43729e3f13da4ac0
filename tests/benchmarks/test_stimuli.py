"""The measurement of optimised stimuli: our side, and what is compared with a reference."""

import contextlib
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from benchmarks import serving, stimuli
from benchmarks.children import Program
from benchmarks.stimuli import measure_stimuli
from openretina_jax.errors import UserError
from openretina_jax.models.saving import save_model
from tests import tiny

pytestmark = pytest.mark.slow
CLIMB = {"chosen": "left", "steps": 6, "norm": 20.0, "low": -9.0, "high": 9.0, "threads": 1}
# a program that takes the place of the reference and finds nothing but grey with one bright pixel
IDLE = """
import pathlib
import numpy as np
def prepare(task):
    def work():
        shape = {shape}
        found = np.zeros((len(task["sessions"]), task["frames"], *shape), np.float32)
        found[:, 0, 0, 0] = 1
        assert (pathlib.Path(task["folder"]) / "model.npz").is_file()
        np.save(pathlib.Path(task["folder"]) / "openretina.npy", found)
    return work, dict()
"""


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> str:
    folder = tmp_path_factory.mktemp("models") / "tiny"
    save_model(tiny.model(), folder)
    return str(folder)


class Here:
    """A child that works in this process, which has imported and compiled things already."""

    def __init__(self, program: Program, task: Mapping[str, Any]):
        self._work, about = serving.load(str(program.file)).prepare(task)
        first = self.repeat()
        self.about = about | first | {"compile_seconds": first["seconds"]}

    def repeat(self) -> dict[str, float]:
        return {"seconds": serving.seconds_of(self._work), "peak_memory_mb": serving.peak_memory_mb()}


@contextlib.contextmanager
def here(program: Program, task: Mapping[str, Any]) -> Iterator[Here]:
    yield Here(program, task)


def test_lines_and_their_comparison(checkpoint: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "idle.py"
    file.write_text(IDLE.format(shape=tuple(tiny.model().data_info.input_shape)))
    monkeypatch.setattr(stimuli, "reference", lambda python, name: Program("openretina", python, file))
    monkeypatch.setattr(stimuli, "child", here)
    asked = {"reference_python": sys.executable, "of_reference": "left:0,1"}
    ours, theirs, again, compared = measure_stimuli(checkpoint, **CLIMB, **asked)
    assert ours["neurons"] == tiny.NEURONS["left"]
    assert theirs["neurons"] == again["neurons"] == compared["neurons"] == 2
    assert ours["ms_per_neuron_and_step"] == pytest.approx(1000 * ours["seconds"] / ours["neurons"] / 6, abs=2)
    mine, as_it_is, moved = compared["mean_activation"]
    assert mine > as_it_is
    assert mine > moved
    assert compared["share_at_least_as_high"] == [1, 1]
    channels = tiny.model().data_info.input_shape[2]
    assert compared["mean_norm"] == pytest.approx(channels**0.5, abs=0.01)
    assert np.isfinite(list(compared["ratio"].values())).all()


def test_a_norm_is_needed(checkpoint: str) -> None:
    with pytest.raises(UserError, match="needs a norm"):
        next(measure_stimuli(checkpoint, **{**CLIMB, "norm": None}))
