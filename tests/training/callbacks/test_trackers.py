"""Numbers, pictures and files of a run arrive in every tracker, and a resumed run goes on in the same one."""

import importlib.util
import math
import struct
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import wandb
from mlflow import MlflowClient
from mlflow.entities import Run
from tensorboardX.proto.event_pb2 import Event

from openretina_jax.errors import UserError
from openretina_jax.experiment.callbacks import check_callbacks, finished_files
from openretina_jax.training.callbacks import CALLBACKS, Callback, Callbacks
from openretina_jax.training.callbacks.csv import CsvTable
from openretina_jax.training.callbacks.tensorboard import tag
from tests.training.callbacks.epochs import epoch_of

CONFIG = {"seed": 3, "model.core.hidden_channels": [2, 2]}
SCORES = {"test_correlation": 0.25}
PICTURE = np.zeros((8, 6, 3), np.uint8)


@pytest.fixture(autouse=True)
def _no_network(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("DO_NOT_TRACK", "true")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"file:{tmp_path}/mlruns")
    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "")  # what is set in a test is undone after it
    monkeypatch.delenv("MLFLOW_ALLOW_FILE_STORE")
    monkeypatch.chdir(tmp_path)


def open_one(workdir: Path, name: str, **options: Any) -> Callback:
    given = {"workdir": workdir, "config": CONFIG, "project": "retina", "run": "first"}
    return CALLBACKS.make({"kind": name}, given | options)


def write(workdir: Path, tracker: Callable[[], Callback]) -> None:
    """A run that is stopped after two epochs, is resumed after the first one, and finishes."""
    with Callbacks([CsvTable(workdir), tracker()]) as callbacks, callbacks.training(0, 0):
        callbacks.on_epoch_end(epoch_of({"epoch": 1, "validation/correlation": 0.5}))
        callbacks.on_epoch_end(epoch_of({"epoch": 2, "validation/correlation": 0.6}))
    with Callbacks([CsvTable(workdir), tracker()]) as callbacks:
        with callbacks.training(1, 10):
            row = {"epoch": 2, "validation/correlation": 0.7}
            callbacks.on_epoch_end(epoch_of(row, {"filters_layer_0": PICTURE}))
        (workdir / "neurons.csv").write_text("neuron,test_correlation\n")
        (workdir / "history.png").write_bytes(b"a picture")
        callbacks.on_test_end(SCORES, finished_files(workdir), str(workdir / "checkpoints" / "2"))


@pytest.fixture
def workdir(tmp_path: Path) -> Path:
    folder = tmp_path / "run"
    folder.mkdir()
    return folder


def mlflow_run(workdir: Path, uri: Path) -> Run:
    return MlflowClient(f"file:{uri}").get_run((workdir / "mlflow_run").read_text())


def test_mlflow(workdir: Path, tmp_path: Path) -> None:
    write(workdir, lambda: open_one(workdir, "mlflow"))
    client, run = MlflowClient(), mlflow_run(workdir, tmp_path / "mlruns")
    experiment = client.get_experiment_by_name("retina")
    assert [found.info.run_id for found in client.search_runs([experiment.experiment_id])] == [run.info.run_id]
    assert (run.info.run_name, run.info.status) == ("first", "FINISHED")
    assert run.data.params == {"seed": "3", "model.core.hidden_channels": "[2, 2]"}
    assert run.data.metrics == {"epoch": 2, "validation/correlation": 0.7, **SCORES}
    history = client.get_metric_history(run.info.run_id, "validation/correlation")
    assert [(point.step, point.value) for point in history] == [(10, 0.5), (20, 0.6), (20, 0.7)]
    assert run.data.tags["checkpoint"] == str(workdir / "checkpoints" / "2")
    artefacts = {artefact.path for artefact in client.list_artifacts(run.info.run_id)}
    assert artefacts == {"images", "metrics.csv", "neurons.csv", "history.png"}
    assert any("filters_layer_0" in image.path for image in client.list_artifacts(run.info.run_id, "images"))


def open_in_another_second(workdir: Path) -> Callback:
    """wandb names the folder of a start by its second: a second start in the same one would lose files of the first."""
    time.sleep(1 - time.time() % 1)
    return open_one(workdir, "wandb")


@pytest.mark.slow
def test_wandb(workdir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    logged: list[dict[str, Any]] = []
    ended: list[tuple[Any, ...]] = []
    log, finish = wandb.Run.log, wandb.Run.finish

    def then_log(self: wandb.Run, row: dict[str, Any]) -> None:
        logged.append(row)
        log(self, row)

    def then_finish(self: wandb.Run, exit_code: int) -> None:
        ended.append((self.project, self.name, self.id, dict(self.config), self.summary.get("checkpoint"), exit_code))
        finish(self, exit_code)

    monkeypatch.setattr(wandb.Run, "log", then_log)
    monkeypatch.setattr(wandb.Run, "finish", then_finish)
    write(workdir, lambda: open_in_another_second(workdir))
    (*_, last) = logged
    assert isinstance(last.pop("filters_layer_0"), wandb.Image)
    assert logged == [
        {"step": step, "epoch": step / 10, "validation/correlation": score}
        for step, score in ((10, 0.5), (20, 0.6), (20, 0.7))
    ]
    same = ("retina", "first", (workdir / "wandb_run").read_text(), CONFIG)
    assert ended == [(*same, None, 0), (*same, str(workdir / "checkpoints" / "2"), 0)]
    (of_finished,) = workdir.glob(f"wandb/offline-run-*-{same[2]}/files/neurons.csv")
    files = {file.name for file in of_finished.parent.iterdir()}
    assert {"metrics.csv", "neurons.csv", "history.png"} <= files
    (image,) = of_finished.parent.glob("media/images/*.png")
    assert image.name.startswith("filters_layer_0")


def test_tensorboard(workdir: Path) -> None:
    write(workdir, lambda: open_one(workdir, "tensorboard"))
    found: dict[str, list[tuple[int, Any]]] = {}
    for file in sorted((workdir / "tensorboard" / "first").iterdir()):
        for event in events_of(file):
            for value in event.summary.value:
                found.setdefault(value.tag, []).append((event.step, value))
    assert [(step, round(value.simple_value, 6)) for step, value in found["correlation/validation"]] == [
        (10, 0.5),
        (20, 0.6),
        (20, 0.7),
    ]
    assert [(step, value.simple_value) for step, value in found["final/test_correlation"]] == [(20, 0.25)]
    assert {"run/epoch", "weights/filters_layer_0", "_hparams_/session_start_info"} <= found.keys()
    assert "model.core.hidden_channels | `[2, 2]`" in found["settings/text_summary"][0][1].tensor.string_val[0].decode()
    (start,) = [value for _, value in found["_hparams_/session_start_info"]]
    assert b"seed" in start.metadata.plugin_data.content


def test_tensorboard_begins_with_the_first_numbers(workdir: Path) -> None:
    """Its library takes a while to import, and the first step does not wait for it."""
    tracker = open_one(workdir, "tensorboard")
    tracker.on_train_begin(0, 0)
    tracker.close("stopped")
    assert list((workdir / "tensorboard" / "first").iterdir()) == []


def test_tensorboard_lacks_scores_that_do_not_exist(workdir: Path, caplog: pytest.LogCaptureFixture) -> None:
    """The Poisson loss and bits per spike of calcium traces are NaN, of which tensorboardX would warn."""
    tracker = open_one(workdir, "tensorboard")
    with Callbacks([tracker]) as callbacks:
        with callbacks.training(0, 0):
            callbacks.on_epoch_end(epoch_of({"epoch": 1, "validation/correlation": 0.5, "validation/loss": math.nan}))
        callbacks.on_test_end({**SCORES, "test_bits_per_spike": math.nan}, [], str(workdir / "checkpoints" / "1"))
    (file,) = (workdir / "tensorboard" / "first").iterdir()
    tags = {value.tag for event in events_of(file) for value in event.summary.value}
    assert {"correlation/validation", "final/test_correlation"} <= tags
    assert not {"loss/validation", "final/test_bits_per_spike"} & tags
    assert caplog.text == ""


def events_of(file: Path) -> list[Event]:
    """Events of a file: each follows its length, of 8 bytes, and its checksum, of 4, and has another one behind it."""
    rest, found = file.read_bytes(), []
    while rest:
        (length,) = struct.unpack("<Q", rest[:8])
        found.append(Event.FromString(rest[12 : 12 + length]))
        rest = rest[16 + length :]
    return found


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        ("train/loss", "loss/train"),
        ("validation/best", "best/validation"),
        ("train/penalty_core", "penalty/core"),
        ("train/gradient_norm_readout", "gradient_norm/readout"),
        ("validation/members/3", "members/3"),
        ("learning_rate", "run/learning_rate"),
    ],
)
def test_groups_of_tensorboard(name: str, shown: str) -> None:
    assert tag(name) == shown


def test_how_a_run_ended(workdir: Path, tmp_path: Path) -> None:
    with Callbacks([open_one(workdir, "mlflow")]):
        assert mlflow_run(workdir, tmp_path / "mlruns").info.status == "RUNNING"
    assert mlflow_run(workdir, tmp_path / "mlruns").info.status == "KILLED"
    with pytest.raises(ValueError, match="a mistake"), Callbacks([open_one(workdir, "mlflow")]):
        raise ValueError("a mistake")
    assert mlflow_run(workdir, tmp_path / "mlruns").info.status == "FAILED"


def test_names_and_places(workdir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The configuration comes first, then variables of the environment, then names of our own."""
    monkeypatch.setenv("MLFLOW_EXPERIMENT_NAME", "of the environment")
    write(workdir, lambda: open_one(workdir, "mlflow", project=None, run=None, mlflow_uri=f"file:{tmp_path}/elsewhere"))
    run = mlflow_run(workdir, tmp_path / "elsewhere")
    assert run.info.run_name == "run"
    experiment = MlflowClient(f"file:{tmp_path}/elsewhere").get_experiment(run.info.experiment_id)
    assert experiment.name == "of the environment"
    monkeypatch.delenv("MLFLOW_EXPERIMENT_NAME")
    monkeypatch.delenv("MLFLOW_TRACKING_URI")
    other = tmp_path / "other"
    other.mkdir()
    write(other, lambda: open_one(other, "mlflow", project=None))
    run = mlflow_run(other, tmp_path / "mlruns")
    assert MlflowClient(f"file:{tmp_path}/mlruns").get_experiment(run.info.experiment_id).name == "openretina_jax"


def test_a_run_that_the_tracker_does_not_know(workdir: Path) -> None:
    (workdir / "mlflow_run").write_text("0" * 32)
    with pytest.raises(UserError, match=r"mlflow: .*0{32}.*config.logging.mlflow=False"):
        open_one(workdir, "mlflow")


def test_wandb_without_an_account(workdir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WANDB_API_KEY", "")
    monkeypatch.setenv("HOME", str(workdir))
    with pytest.raises(UserError, match=r"wandb: No API key.*config.logging.wandb=False"):
        open_one(workdir, "wandb", wandb_mode="online")
    with pytest.raises(UserError, match=r'config.logging.wandb_mode is "ofline"; choose online, offline'):
        open_one(workdir, "wandb", wandb_mode="ofline")


@pytest.mark.parametrize("name", ["wandb", "mlflow"])
def test_a_library_that_is_not_installed(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda asked: None)
    settings = {"logging": {"wandb": False, "mlflow": False}, "callbacks": ()}
    check_callbacks(settings)
    with pytest.raises(UserError, match=rf"config.logging.{name} is set.*pip install .*\[{name}\]"):
        check_callbacks(settings | {"logging": settings["logging"] | {name: True}})


def test_parameters_are_those_of_the_first_call(workdir: Path, tmp_path: Path) -> None:
    """A run that was told to train longer is still the same; more parameters than a call takes are no problem."""
    many = {f"setting_{number}": number for number in range(250)} | {"long": "x" * 7000}
    for changed in ({}, {"setting_0": "other"}):
        with Callbacks([open_one(workdir, "mlflow", config=many | changed)]):
            pass
    params = mlflow_run(workdir, tmp_path / "mlruns").data.params
    assert len(params) == len(many)
    assert params["setting_0"] == "0"
