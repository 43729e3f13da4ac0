"""The last and the best state are kept, also when a run is continued."""

import json
import os
from pathlib import Path

import pytest

from openretina_jax.errors import UserError
from openretina_jax.models.saving import SCORE, by_name
from openretina_jax.training.checkpoint import Checkpoints
from openretina_jax.training.optimizers import AdamW, Sgd
from openretina_jax.training.trainer import TrainState
from tests import tiny


@pytest.fixture(scope="module")
def state() -> TrainState:
    return tiny.start(tiny.model(), AdamW(), learning_rate=0.1)


def kept(folder: Path) -> set[int]:
    return {int(checkpoint.name) for checkpoint in folder.iterdir()}


@pytest.mark.slow
def test_best_and_last_are_kept(state: TrainState, tmp_path: Path) -> None:
    first = Checkpoints(tmp_path / "run", {"note": 1})
    assert (first.last_epoch, first.best_epoch, (tmp_path / "run").exists()) == (None, None, False)
    first = Checkpoints(tmp_path, {"note": 1})
    for epoch, score in ((1, 0.1), (2, 0.5), (3, 0.3)):
        first.save(epoch, state, score, seconds=1.0)
    assert (first.last_epoch, first.best_epoch, kept(tmp_path)) == (3, 2, {2, 3})
    again = Checkpoints(tmp_path, {"note": 2})
    again.save(4, state, 0.4, seconds=4.0)
    assert (again.last_epoch, again.best_epoch, kept(tmp_path)) == (4, 2, {2, 4})
    again.save(5, state, 0.6, seconds=5.0)
    assert (again.last_epoch, again.best_epoch, kept(tmp_path)) == (5, 5, {5})


def test_what_goes_with_a_state(state: TrainState, tmp_path: Path) -> None:
    checkpoints = Checkpoints(tmp_path, {"config": {"a": [1, None]}})
    checkpoints.save(7, state, 0.25, seconds=1.5)
    assert checkpoints.about(7) == {"config": {"a": [1, None]}, "epoch": 7, "seconds": 1.5, SCORE: 0.25}


def test_a_state_comes_back_to_the_bit(state: TrainState, tmp_path: Path) -> None:
    checkpoints = Checkpoints(tmp_path, {})
    checkpoints.save(1, state, 0.1, seconds=1.0)
    other = tiny.start(tiny.model(seed=9), AdamW(), learning_rate=0.5)
    restored, saved = by_name(checkpoints.restore(1, other)), by_name(state)
    assert list(restored) == list(saved)
    for name, array in saved.items():
        assert restored[name].dtype == array.dtype
        assert (restored[name] == array).all(), name


def test_a_state_of_another_optimizer(state: TrainState, tmp_path: Path) -> None:
    checkpoints = Checkpoints(tmp_path, {})
    checkpoints.save(1, state, 0.1, seconds=1.0)
    with pytest.raises(UserError, match="1 belongs to another model: ") as caught:
        checkpoints.restore(1, tiny.start(tiny.model(), Sgd(momentum=0.0), learning_rate=0.1))
    problems = str(caught.value).split("; ")
    assert {problem.split()[-1] for problem in problems} == {"missing", "over"}
    for name, problem in (("momentum", "is missing"), ("mu", "is left over"), ("nu", "is left over")):
        assert any(f"optimizer/{name}/readout/features" in line and problem in line for line in problems)


def cut(file: Path) -> None:
    os.truncate(file, file.stat().st_size // 2)


@pytest.mark.slow
@pytest.mark.parametrize("damaged", ["about/metadata", "state/_METADATA", "state/manifest.ocdbt"])
def test_a_run_goes_on_from_the_newest_whole_checkpoint(
    state: TrainState, tmp_path: Path, damaged: str, caplog: pytest.LogCaptureFixture
) -> None:
    checkpoints = Checkpoints(tmp_path / "checkpoints", {})
    for epoch, score in ((1, 0.5), (2, 0.1)):
        checkpoints.save(epoch, state, score, seconds=1.0)
    cut(tmp_path / "checkpoints" / "2" / damaged)
    again = Checkpoints(tmp_path / "checkpoints", {})
    assert (again.last_epoch, again.best_epoch) == (1, 1)
    assert "the run goes on from the newest whole checkpoint" in caplog.text
    assert len(list((tmp_path / "damaged").iterdir())) == 1
    again.save(2, state, 0.1, seconds=2.0)
    assert kept(tmp_path / "checkpoints") == {1, 2}
    for epoch in (1, 2):
        cut(tmp_path / "checkpoints" / str(epoch) / damaged)
    with pytest.raises(UserError, match="no whole checkpoint is left: delete"):
        Checkpoints(tmp_path / "checkpoints", {})


@pytest.mark.parametrize("content", [b"", b'{"valid', b'{"x": 1}', b'{"validation_correlation": "x"}'])
def test_scores_beside_a_checkpoint_are_written_again(state: TrainState, tmp_path: Path, content: bytes) -> None:
    Checkpoints(tmp_path, {}).save(1, state, 0.5, seconds=1.0)
    file = tmp_path / "1" / "metrics" / "metrics"
    file.write_bytes(content)
    assert Checkpoints(tmp_path, {}).best_epoch == 1
    assert json.loads(file.read_bytes()) == {SCORE: 0.5}
