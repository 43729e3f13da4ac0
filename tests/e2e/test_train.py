"""``scripts/train.py`` as a user runs it: from start to end, stopped, killed, and with mistakes."""

import os
import re
import shutil
from pathlib import Path

import jax
import numpy as np
import pandas as pd
import pytest
from mlflow import MlflowClient

import openretina_jax
from openretina_jax.simulation.cache import simulated_files
from tests.e2e.runs import (
    EPOCHS,
    NEURONS,
    SIMULATED,
    SMALL,
    TRAINED,
    Slow,
    Stop,
    arrays,
    assert_same_arrays,
    epochs,
    follow,
    refusal,
    summary,
    wait_for_epochs,
)
from tests.presets import small
from tests.scripts import call, mistake, printed, start, wait

pytestmark = pytest.mark.slow


def test_summary_tells_the_scores_of_the_table(finished: tuple[Path, str]) -> None:
    workdir, output = finished
    neurons = pd.read_csv(workdir / "neurons.csv")
    assert len(neurons) == NEURONS
    assert neurons["random_noise_3_correlation"].mean() == pytest.approx(summary(output), abs=5e-5)


def test_an_evaluation_finds_the_same_scores(cache: Path, finished: tuple[Path, str], tmp_path: Path) -> None:
    workdir, output = finished
    flags = [f"--checkpoint={workdir}", "--split=test,validation", f"--folder={tmp_path / 'scores'}"]
    evaluated = printed(call("evaluate.py", *flags, cache=cache))
    found, expected = pd.read_csv(tmp_path / "scores" / "neurons.csv"), pd.read_csv(workdir / "neurons.csv")
    for split, names in (
        ("random_noise_3", ("correlation", "reliability", "mse", "feve")),
        ("validation", ("correlation_clips",)),
    ):
        scores = found[found["split"] == split]
        for name in names:
            column = "validation_correlation" if split == "validation" else f"{split}_{name}"
            np.testing.assert_allclose(scores[name], expected[column], rtol=1e-3, atol=1e-5, err_msg=column)
    assert f"random_noise_3: correlation {summary(output):.4f} over all" in evaluated


def test_files_of_a_run(finished: tuple[Path, str]) -> None:
    workdir, output = finished
    assert epochs(workdir) == list(range(1, EPOCHS + 1))
    assert {file.name for file in workdir.glob("*.png")} == {
        "filters_layer_0.png",
        "coefficients_layer_0.png",
        "neurons.png",
        "history.png",
        "predictions_random_noise_3.png",
    }
    assert list((workdir / "tensorboard").glob("*/events_000.out.tfevents.*"))
    metrics = pd.read_csv(workdir / "metrics.csv", index_col="epoch")
    best = int(metrics["validation/correlation"].idxmax())
    assert f"checkpoint  {workdir}/checkpoints/{best}\n" in output
    assert {int(folder.name) for folder in (workdir / "checkpoints").iterdir()} == {best, EPOCHS}


def test_the_model_is_loaded_by_its_folder(finished: tuple[Path, str]) -> None:
    model = openretina_jax.load(finished[0])
    session, neurons = next(iter(model.data_info.sessions.items()))
    movie = np.zeros(model.stimulus_shape(40), np.float32)
    assert model(movie, session=session).shape == (1, 40 - model.lag, neurons)


def test_a_second_call_only_reports(cache: Path, finished: tuple[Path, str], tmp_path: Path) -> None:
    workdir, output = Path(shutil.copytree(finished[0], tmp_path / "run")), finished[1]
    before = (workdir / "metrics.csv").read_bytes(), (workdir / "neurons.csv").read_bytes()
    again = printed(call("train.py", *TRAINED, f"--workdir={workdir}", cache=cache))
    assert f"resuming after epoch {EPOCHS}" in again
    assert summary(again) == summary(output)
    assert ((workdir / "metrics.csv").read_bytes(), (workdir / "neurons.csv").read_bytes()) == before


def test_a_stopped_and_a_killed_run_go_on_as_if_nothing_had_happened(
    cache: Path, finished: tuple[Path, str], tmp_path: Path
) -> None:
    """The name of the workdir and the settings of jax change nothing either."""
    workdir = tmp_path / "run [a-z] Zürich 網膜 #1?"
    run = (*TRAINED, f"--workdir={workdir}")
    assert "stopped after epoch 2; the same" in printed(call("train.py", *run, follow(Stop), cache=cache))
    assert epochs(workdir) == [1, 2]

    process = start("train.py", *run, follow(Slow), cache=cache)
    wait_for_epochs(2, workdir, process)
    process.kill()
    assert "resuming after epoch 2\n" in wait(process).stdout
    assert len(epochs(workdir)) < EPOCHS

    with jax.enable_x64(True), jax.debug_nans(True):
        output = printed(call("train.py", *run, cache=cache))
    assert re.search(r"resuming after epoch [34]\n", output)
    assert epochs(workdir) == list(range(1, EPOCHS + 1))
    assert_same_arrays(arrays(workdir), arrays(finished[0]))
    assert summary(output) == summary(finished[1])


WRONG = [
    ([f"--config={SIMULATED}", "--config.train.epoch=3"], ["epoch", "epochs"]),
    ([f"--config={SIMULATED}", "--config.train.epochs=many"], ["train.epochs", "many"]),
    (["--config=configs/hoefling_low_res.py:simulatd"], ['"simulatd"', 'did you mean "simulated"']),
    (["--config=configs/hoefling_low.py"], ["configs/hoefling_low.py", "hoefling_low_res.py"]),
    (["--config=configs/hoefling_low.py", "--config.seed=1"], ["configs/hoefling_low.py", "hoefling_low_res.py"]),
    ([f"--config={SIMULATED}", "--config.optimizer.sgd.momentum=0.8"], ['config.optimizer.kind is "adamw"']),
    ([f"--config={SIMULATED}", "--work_dir=x"], ["work_dir", "workdir"]),
    ([f"--config={SIMULATED}", "runs/a"], ["unexpected arguments: runs/a"]),
    ([], ["--config"]),
]


@pytest.mark.parametrize(
    ("arguments", "words"),
    WRONG,
    ids=["option", "value", "word", "file", "file and option", "no effect", "flag", "argument", "nothing"],
)
def test_wrong_flags(cache: Path, arguments: list[str], words: list[str]) -> None:
    line = mistake(call("train.py", *arguments, cache=cache))
    for word in words:
        assert word in line


def test_a_mistake_ends_the_process(cache: Path) -> None:
    line = mistake(wait(start("train.py", *WRONG[3][0], cache=cache)))
    assert "hoefling_low_res.py" in line


def test_folder_of_another_model(cache: Path, finished: tuple[Path, str]) -> None:
    flags = ("--config.model.core.simple.gamma_temporal=20.0", f"--workdir={finished[0]}")
    line = mistake(call("train.py", *TRAINED, *flags, cache=cache))
    assert "config.model.core.gamma_temporal is 20.0 now and 40.0 there" in line


def test_a_trained_model_is_the_start_of_others(cache: Path, finished: tuple[Path, str], tmp_path: Path) -> None:
    """A new readout on a frozen core, and an autoencoder of the responses; both are runs like any other."""
    trained = openretina_jax.load(finished[0])
    data = [flag for flag in TRAINED if "config.model" not in flag]
    more = (*data, "--config.train.epochs=1", f"--config.start_from={finished[0]}")
    frozen_core = ('--config.train.trainable=("readout",)', f"--workdir={tmp_path / 'frozen'}")
    summary(printed(call("train.py", *more, *frozen_core, cache=cache)))
    frozen = openretina_jax.load(tmp_path / "frozen")
    np.testing.assert_array_equal(frozen.core.layers[0].conv.spatial[...], trained.core.layers[0].conv.spatial[...])
    assert (frozen.readout.features[...] != trained.readout.features[...]).any()

    autoencoder = ("--config.autoencoder.hidden=16", f"--workdir={tmp_path / 'autoencoder'}")
    summary(printed(call("train.py", *more, *autoencoder, cache=cache)))
    model = openretina_jax.load(tmp_path / "autoencoder")
    np.testing.assert_array_equal(model.base.readout.features[...], trained.readout.features[...])
    assert model.encode(np.zeros(model.stimulus_shape(40), np.float32)).shape == (1, 40 - model.lag, 16)


def test_trackers_follow_a_run_and_its_resumption(cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DO_NOT_TRACK", "true")
    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"file:{tmp_path}/mlruns")
    workdir = tmp_path / "run"
    flags = [f"--config.logging.{name}=True" for name in ("wandb", "mlflow")] + ["--config.logging.tensorboard=False"]
    for epochs_now in (1, 2):
        longer = (f"--workdir={workdir}", f"--config.train.epochs={epochs_now}")
        output = printed(call("train.py", *TRAINED, *flags, *longer, cache=cache))
    assert "tensorboard" not in output + "".join(path.name for path in workdir.iterdir())
    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")  # which the script does for itself
    run = MlflowClient(f"file:{tmp_path}/mlruns").get_run((workdir / "mlflow_run").read_text())
    assert run.info.status == "FINISHED"
    assert run.data.params["optimizer.learning_rate"] == "0.01"
    assert run.data.metrics["epoch"] == 2
    assert run.data.metrics["random_noise_3_correlation"] == pytest.approx(summary(output), abs=5e-5)
    assert run.data.metrics.keys() >= set(pd.read_csv(workdir / "metrics.csv").columns)
    (uri,) = re.findall("^file://(.*)$", run.info.artifact_uri)
    written = {file.name for file in [*workdir.glob("*.csv"), *workdir.glob("*.png")]}
    assert {file.name for file in Path(uri).iterdir()} == written
    identity = (workdir / "wandb_run").read_text()
    runs = list(workdir.glob(f"wandb/offline-run-*-{identity}"))
    assert len(runs) == len(list(workdir.glob("wandb/offline-run-*"))) > 0
    assert any(written <= {file.name for file in (run / "files").iterdir()} for run in runs)


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (["--config.start_from=nowhere"], ["nowhere does not exist; give a run's folder"]),
        (["--config.autoencoder.hidden=16"], ["config.start_from"]),
        (['--config.train.trainable=("readuot",)'], ['no parameter is called "readuot"']),
        (
            ["--config.model.core.kind=simpel"],
            ['config.model.core.kind is "simpel"; choose among gru, identity, simple'],
        ),
        (["--config.objective.loss.kind=posson"], ['config.objective.loss.kind is "posson"; choose among']),
        (["--config.model.core.kind=gru", "--config.model.core.gru.groups=5"], ["5 groups"]),
        (["--config.train.matmul_precision=exact"], ['"exact"; choose highest or high or default']),
    ],
)
def test_choices_that_are_wrong(cache: Path, tmp_path: Path, flags: list[str], words: list[str]) -> None:
    line = refusal(cache, tmp_path, SIMULATED, *SMALL, *flags)
    for word in words:
        assert word in line


@pytest.fixture
def files(cache: Path, tmp_path: Path) -> dict[str, Path]:
    """Copies of a simulated stimulus and responses."""
    options = small("hoefling_low_res.py").data.simulated.to_dict()
    del options["enabled"]
    found = simulated_files("hoefling_2024", options, cache / "simulated")
    return {name: Path(shutil.copy(found[f"{name}_path"], tmp_path)) for name in ("stimuli", "responses")}


@pytest.mark.parametrize("wrong", ["stimuli", "responses"])
def test_truncated_archive(cache: Path, files: dict[str, Path], tmp_path: Path, wrong: str) -> None:
    size = files[wrong].stat().st_size
    os.truncate(files[wrong], size // 2)
    flags = [f"--config.data.{name}_path={file}" for name, file in files.items()]
    line = refusal(cache, tmp_path / "run", "configs/hoefling_low_res.py", *flags)
    assert str(files[wrong]) in line
    assert "not a whole zip archive" in line


def test_missing_file(cache: Path, files: dict[str, Path], tmp_path: Path) -> None:
    flags = [f"--config.data.stimuli_path={files['stimuli']}", f"--config.data.responses_path={tmp_path}/no.zip"]
    line = refusal(cache, tmp_path / "run", "configs/hoefling_low_res.py", *flags)
    assert f"{tmp_path}/no.zip: does not exist" in line


def test_damaged_checkpoint(cache: Path, finished: tuple[Path, str], tmp_path: Path) -> None:
    workdir = Path(shutil.copytree(finished[0], tmp_path / "damaged"))
    for file in (workdir / "checkpoints" / str(EPOCHS) / "state").rglob("*"):
        if file.is_file():
            file.write_bytes(b"")
    line = refusal(cache, workdir, SIMULATED, *SMALL)
    assert f"checkpoints/{EPOCHS}: its arrays cannot be read" in line
