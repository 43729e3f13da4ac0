"""Trained models from disk: the same predictions, or one line that says why not."""

import contextlib
import json
import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

import openretina_jax
from openretina_jax.errors import UserError
from openretina_jax.models.core_readout import CoreReadout
from openretina_jax.models.saving import SCORE, best_checkpoint, by_name, load_model, sha256_of_arrays
from openretina_jax.training.checkpoint import Checkpoints
from openretina_jax.training.optimizers import AdamW
from tests import tiny

WIDER = tiny.MODEL | {
    "core": tiny.MODEL["core"]
    | {"hidden_channels": (4, 3), "temporal_kernel_sizes": (7, 3), "spatial_kernel_sizes": (5, 3)}
}


@pytest.fixture(scope="module")
def trained() -> CoreReadout:
    """A model none of whose numbers are those that it began with."""
    model = tiny.model(seed=3)
    rng = np.random.default_rng(0)
    state = jax.tree.map(lambda x: x + jnp.asarray(0.1 * rng.random(x.shape), x.dtype), nnx.state(model))
    nnx.update(model, state)
    return model


@pytest.fixture(scope="module")
def workdir(trained: CoreReadout, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run whose best epoch is the first of two; the last state is another model's."""
    workdir = tmp_path_factory.mktemp("run")
    about = {"config": {"model": tiny.MODEL}, "data_info": json.loads(trained.data_info.to_json())}
    checkpoints = Checkpoints(workdir / "checkpoints", about)
    checkpoints.save(1, tiny.start(trained, AdamW(), 0.1), 0.5, seconds=1.0)
    checkpoints.save(2, tiny.start(tiny.model(), AdamW(), 0.1), 0.4, seconds=2.0)
    return workdir


@pytest.fixture
def damaged(workdir: Path, tmp_path: Path) -> Path:
    """A copy of the best checkpoint, to be damaged."""
    return Path(shutil.copytree(workdir / "checkpoints" / "1", tmp_path / "1"))


def test_predictions_are_the_same_to_the_bit(trained: CoreReadout, workdir: Path) -> None:
    movie = np.random.default_rng(1).standard_normal(trained.stimulus_shape(20)).astype(np.float32)
    model = openretina_jax.load(workdir)
    assert model.data_info == trained.data_info
    for session in (None, "left"):
        found, expected = (tiny.predict(one, movie, session=session) for one in (model, trained))
        np.testing.assert_array_equal(found, expected)


def test_the_best_checkpoint_of_a_run_is_taken(workdir: Path) -> None:
    assert best_checkpoint(workdir) == workdir / "checkpoints" / "1"
    assert best_checkpoint(workdir / "checkpoints" / "2") == workdir / "checkpoints" / "2"


def test_of_equal_scores_the_first_checkpoint_is_taken(tmp_path: Path) -> None:
    for epoch in (10, 9, 11):
        folder = tmp_path / "checkpoints" / str(epoch)
        (folder / "state").mkdir(parents=True)
        (folder / "about").mkdir()
        (folder / "about" / "metadata").write_text(json.dumps({SCORE: 0.25 if epoch < 11 else 0.125}))
    assert best_checkpoint(tmp_path).name == "9"


@pytest.mark.parametrize("name", ["nothing", "."])
def test_no_checkpoint(tmp_path: Path, name: str) -> None:
    with pytest.raises(UserError, match="holds no checkpoint; give the --workdir of a run, or one folder of its"):
        load_model(tmp_path / name)


@pytest.mark.parametrize("beside", [(), ("state", "about")])
def test_what_is_no_saved_model_is_not_overwritten(
    trained: CoreReadout, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, beside: tuple[str, ...]
) -> None:
    for name in beside:
        (tmp_path / name).mkdir()
    (tmp_path / "notes.txt").write_text("mine")
    monkeypatch.chdir(tmp_path)
    for folder in (".", "notes.txt"):
        with pytest.raises(UserError, match="holds no saved model, and is not overwritten; give"):
            openretina_jax.save(trained, folder)
    assert (tmp_path / "notes.txt").read_text() == "mine"


def test_files_beside_an_earlier_model_stay(trained: CoreReadout, tmp_path: Path) -> None:
    openretina_jax.save(trained, tmp_path / "model")
    (tmp_path / "model" / "notes.txt").write_text("mine")
    openretina_jax.save(trained, tmp_path / "model")
    assert (tmp_path / "model" / "notes.txt").read_text() == "mine"
    assert sorted(file.name for file in (tmp_path / "model").iterdir()) == ["about", "notes.txt", "state"]
    assert [file.name for file in tmp_path.iterdir()] == ["model"]


def empty_files(checkpoint: Path) -> None:
    for file in (checkpoint / "state").rglob("*"):
        if file.is_file():
            file.write_bytes(b"")


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (empty_files, "1: its arrays cannot be read: "),
        (lambda checkpoint: (checkpoint / "state" / "_METADATA").unlink(), "1: its arrays cannot be read: "),
        (lambda checkpoint: (checkpoint / "about" / "metadata").write_text('{"config": '), "1 is not a complete"),
        (lambda checkpoint: shutil.rmtree(checkpoint / "about"), "1 is not a complete checkpoint"),
    ],
    ids=["empty files", "no list of arrays", "cut about", "no about"],
)
def test_damaged_checkpoints(damaged: Path, damage: Callable[[Path], None], message: str) -> None:
    damage(damaged)
    with pytest.raises(UserError, match=message) as caught:
        load_model(damaged)
    assert "\n" not in str(caught.value)


def edit(checkpoint: Path, changes: dict[str, Any]) -> None:
    """Change a description as if it were of an earlier version, which wrote no hashes."""
    file = checkpoint / "about" / "metadata"
    about = json.loads(file.read_text())
    del about["sha256"]
    file.write_text(json.dumps(about | changes))


def test_checkpoints_without_hashes_open(damaged: Path, trained: CoreReadout) -> None:
    edit(damaged, {})
    np.testing.assert_array_equal(load_model(damaged).readout.features[...], trained.readout.features[...])


def test_an_edited_description_is_noticed(damaged: Path) -> None:
    file = damaged / "about" / "metadata"
    about = json.loads(file.read_text())
    about["data_info"]["norm_mean"] = 7.0
    file.write_text(json.dumps(about))
    with pytest.raises(UserError, match="metadata was changed since it was written; delete it, or"):
        load_model(damaged)


def test_arrays_of_another_model_are_noticed(damaged: Path, workdir: Path) -> None:
    shutil.rmtree(damaged / "state")
    shutil.copytree(workdir / "checkpoints" / "2" / "state", damaged / "state")
    with pytest.raises(UserError, match="its arrays cannot be read: they are not those that were written"):
        load_model(damaged)


@pytest.mark.parametrize(
    "changes",
    [
        {"config": None},
        {"config": {"model": {"core": None, "readout": None}}},
        {"config": {"model": tiny.MODEL | {"core": {"kind": ["simple"]}}}},
        {"data_info": []},
        {"data_info": {"sessions": ["left"]}},
    ],
)
def test_descriptions_of_no_model(damaged: Path, changes: dict[str, Any]) -> None:
    edit(damaged, changes)
    with pytest.raises(UserError) as caught:
        load_model(damaged)
    assert "\n" not in str(caught.value)


@pytest.mark.slow
def test_a_save_that_was_ended_leaves_a_model(
    trained: CoreReadout, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ended at each of its moves: the folder holds the earlier model or the new one, and the next save goes well."""
    earlier, folder = tiny.model(), tmp_path / "model"
    known = {sha256_of_arrays(by_name(nnx.state(model))) for model in (earlier, trained)}

    class EndedError(Exception):
        pass

    for moment in range(5):
        shutil.rmtree(folder, ignore_errors=True)
        openretina_jax.save(earlier, folder)
        (folder / "notes.txt").write_text("mine")
        moves = iter(range(100))

        def move(path: Path, target: Path, moment: int = moment, moves: Iterator[int] = moves) -> Path:
            if next(moves) == moment:
                raise EndedError
            os.replace(path, target)
            return target

        with monkeypatch.context() as patch:
            patch.setattr(Path, "replace", move)
            with contextlib.suppress(EndedError):
                openretina_jax.save(trained, folder)
        assert sha256_of_arrays(by_name(nnx.state(load_model(folder)))) in known
        openretina_jax.save(trained, folder)
        assert sorted(file.name for file in folder.iterdir()) == ["about", "notes.txt", "state"]
        assert sha256_of_arrays(by_name(nnx.state(load_model(folder)))) == sha256_of_arrays(by_name(nnx.state(trained)))


def test_checkpoint_of_another_model(damaged: Path) -> None:
    edit(damaged, {"config": {"model": WIDER}})
    with pytest.raises(UserError, match="1 belongs to another model: ") as caught:
        load_model(damaged)
    message = str(caught.value)
    for name in ("core/layers/1/conv/sin", "core/layers/1/norm/mean", "readout/features"):
        assert name in message
    assert "has shape (12, 4), not (12, 3)" in message
    assert "optimizer" not in message
    assert "\n" not in message


def test_checkpoint_with_too_much(damaged: Path) -> None:
    small = tiny.MODEL | {"core": {"kind": "identity", "cut_first_frames": 6}}
    edit(damaged, {"config": {"model": small}})
    with pytest.raises(UserError, match=r"core/layers/0/conv/sin is left over; .*readout/features has shape"):
        load_model(damaged)
