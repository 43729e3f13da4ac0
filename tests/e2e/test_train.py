"""``scripts/train.py`` as a user runs it: from start to end, stopped, killed, and with mistakes."""

import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import orbax.checkpoint as ocp
import pandas as pd
import pytest
from mlflow import MlflowClient
from rich.console import Console

import openretina_jax
from openretina_jax.errors import UserError
from openretina_jax.experiment.train import train
from openretina_jax.simulation.cache import simulated_files
from tests.experiment.configuration import configuration

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parent.parent.parent
EPOCHS = 8
SIMULATED = "configs/hoefling_low_res.py:simulated,quick"
SMALL = [
    "--config.data.simulated.n_sessions=1",
    "--config.data.simulated.neurons_per_session=12",
    "--config.model.core.simple.hidden_channels=(2,2)",
    "--config.stopping.epochs=1000",
    "--config.train.picture_every=5",
    f"--config.train.epochs={EPOCHS}",
]
TIMEOUT_S = 300


def command(config: str, *flags: str) -> list[str]:
    return [sys.executable, "scripts/train.py", f"--config={config}", *flags]


def start(cache: Path, *flags: str, small: Sequence[str] = SMALL) -> subprocess.Popen[str]:
    """Start a small run on simulated recordings."""
    environment = os.environ | {"OPENRETINA_JAX_CACHE": str(cache)}
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    return subprocess.Popen(command(SIMULATED, *small, *flags), cwd=ROOT, env=environment, **pipes)


def finish(process: subprocess.Popen[str]) -> str:
    """What a run that ends well prints."""
    output, errors = process.communicate(timeout=TIMEOUT_S)
    assert process.returncode == 0, errors
    assert errors == ""
    return output


@pytest.fixture(scope="module")
def finished(cache: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """The folder of a run that nobody disturbed, and what it printed."""
    workdir = tmp_path_factory.mktemp("runs") / "finished"
    return workdir, finish(start(cache, f"--workdir={workdir}"))


def summary(output: str) -> tuple[float, int]:
    """Test correlation and number of neurons."""
    found = re.search(r"^test correlation (\d\.\d{4}) \((\d+) neurons, 1 sessions\)$", output, re.MULTILINE)
    assert found, output
    return float(found[1]), int(found[2])


def epochs(workdir: Path) -> list[int]:
    """Epochs in the table of a run, which may be in the middle of writing it."""
    try:
        return pd.read_csv(workdir / "metrics.csv")["epoch"].tolist()
    except (OSError, pd.errors.EmptyDataError):
        return []


def arrays(workdir: Path) -> dict[str, np.ndarray]:
    """The state after the last epoch."""
    with ocp.StandardCheckpointer() as checkpointer:
        return checkpointer.restore(workdir / "checkpoints" / str(EPOCHS) / "state")


def assert_same_end(one: Path, other: Path) -> None:
    first, second = arrays(one), arrays(other)
    assert first.keys() == second.keys()
    for name, array in first.items():
        np.testing.assert_array_equal(array, second[name], err_msg=name)


def test_summary_tells_the_scores_of_the_table(finished: tuple[Path, str]) -> None:
    workdir, output = finished
    correlation, n_neurons = summary(output)
    neurons = pd.read_csv(workdir / "neurons.csv")
    assert len(neurons) == n_neurons
    assert neurons["test_correlation"].mean() == pytest.approx(correlation, abs=5e-5)
    assert correlation > 0.1


def test_an_evaluation_finds_the_same_scores(cache: Path, finished: tuple[Path, str], tmp_path: Path) -> None:
    workdir, output = finished
    flags = [f"--checkpoint={workdir}", "--split=test,validation", f"--folder={tmp_path / 'scores'}"]
    environment = os.environ | {"OPENRETINA_JAX_CACHE": str(cache)}
    done = subprocess.run(
        [sys.executable, "scripts/evaluate.py", *flags], cwd=ROOT, env=environment, capture_output=True, text=True
    )
    assert (done.returncode, done.stderr) == (0, "")
    found, expected = pd.read_csv(tmp_path / "scores" / "neurons.csv"), pd.read_csv(workdir / "neurons.csv")
    for split, names in (
        ("test", ("correlation", "reliability", "mse", "feve")),
        ("validation", ("correlation_clips",)),
    ):
        scores = found[found["split"] == split]
        for name in names:
            column = "validation_correlation" if split == "validation" else f"test_{name}"
            np.testing.assert_allclose(scores[name], expected[column], rtol=1e-3, atol=1e-5, err_msg=column)
    assert f"test: correlation {summary(output)[0]:.4f} over all" in done.stdout


def test_files_of_a_run(finished: tuple[Path, str]) -> None:
    workdir, output = finished
    assert epochs(workdir) == list(range(1, EPOCHS + 1))
    assert {file.name for file in workdir.glob("*.png")} == {
        *(f"{name}_layer_{layer}.png" for name in ("filters", "coefficients") for layer in (0, 1)),
        "neurons.png",
        "history.png",
        "predictions_test.png",
    }
    assert list((workdir / "tensorboard").glob("events.out.tfevents.*"))
    metrics = pd.read_csv(workdir / "metrics.csv", index_col="epoch")
    best = int(metrics["validation/correlation"].idxmax())
    assert f"checkpoint  {workdir}/checkpoints/{best}\n" in output
    assert {int(folder.name) for folder in (workdir / "checkpoints").iterdir()} == {best, EPOCHS}


def test_the_model_is_loaded_by_its_folder(finished: tuple[Path, str]) -> None:
    workdir, output = finished
    model = openretina_jax.load(workdir)
    (session,) = model.data_info.sessions
    assert model(np.zeros(model.stimulus_shape(40), np.float32), session=session).shape == (
        1,
        40 - model.lag,
        summary(output)[1],
    )


def test_a_second_call_only_reports(cache: Path, finished: tuple[Path, str]) -> None:
    workdir, output = finished
    before = (workdir / "metrics.csv").read_bytes(), (workdir / "neurons.csv").read_bytes()
    again = finish(start(cache, f"--workdir={workdir}"))
    assert f"resuming after epoch {EPOCHS}" in again
    assert summary(again) == summary(output)
    assert ((workdir / "metrics.csv").read_bytes(), (workdir / "neurons.csv").read_bytes()) == before


def wait_for_epochs(more: int, workdir: Path, *running: subprocess.Popen[str]) -> None:
    """Return when so many more epochs are in the table, before the run ends; the last may not be saved yet."""
    deadline, before = time.monotonic() + TIMEOUT_S, len(epochs(workdir))
    while len(epochs(workdir)) < before + more:
        assert [process.poll() for process in running] == [None] * len(running)
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_a_killed_and_a_stopped_run_go_on_as_if_nothing_had_happened(
    cache: Path, finished: tuple[Path, str], tmp_path: Path
) -> None:
    process = start(cache, f"--workdir={tmp_path}")
    wait_for_epochs(2, tmp_path, process)
    process.kill()
    process.communicate(timeout=TIMEOUT_S)
    assert process.returncode == -signal.SIGKILL

    process = start(cache, f"--workdir={tmp_path}")
    wait_for_epochs(1, tmp_path, process)
    process.send_signal(signal.SIGINT)
    output = finish(process)
    assert "resuming after epoch" in output
    done = int(re.search(r"^stopped after epoch (\d+);", output, re.MULTILINE)[1])
    assert epochs(tmp_path)[-1] == done < EPOCHS

    output = finish(start(cache, f"--workdir={tmp_path}"))
    assert f"resuming after epoch {done}\n" in output
    assert epochs(tmp_path) == list(range(1, EPOCHS + 1))
    assert_same_end(tmp_path, finished[0])
    assert summary(output) == summary(finished[1])


def mistake(cache: Path, *arguments: str) -> str:
    """The one line that a user's mistake gives."""
    environment = os.environ | {"OPENRETINA_JAX_CACHE": str(cache)}
    options = {"cwd": ROOT, "env": environment, "capture_output": True, "text": True, "timeout": TIMEOUT_S}
    result = subprocess.run([sys.executable, "scripts/train.py", *arguments], **options, check=False)
    assert result.returncode == 2, result.stderr
    assert "Traceback" not in result.stdout + result.stderr
    (line,) = result.stderr.splitlines()
    assert line.startswith("error: ")
    return line


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ([f"--config={SIMULATED}", "--config.train.epoch=3"], ["epoch", "epochs"]),
        ([f"--config={SIMULATED}", "--config.train.epochs=many"], ["train.epochs", "many"]),
        (["--config=configs/hoefling_low_res.py:simulatd"], ['"simulatd"', 'did you mean "simulated"']),
        (["--config=configs/hoefling_low.py"], ["configs/hoefling_low.py", "hoefling_low_res.py"]),
        (["--config=configs/hoefling_low.py", "--config.seed=1"], ["configs/hoefling_low.py", "hoefling_low_res.py"]),
        ([f"--config={SIMULATED}", "--config.optimizer.sgd.momentum=0.8"], ['config.optimizer.kind is "adamw"']),
        ([f"--config={SIMULATED}", "--work_dir=x"], ["work_dir", "workdir"]),
        ([f"--config={SIMULATED}", "runs/a"], ["unexpected arguments: runs/a"]),
        ([], ["--config"]),
    ],
    ids=["option", "value", "word", "file", "file and option", "no effect", "flag", "argument", "nothing"],
)
def test_wrong_flags(cache: Path, arguments: list[str], words: list[str]) -> None:
    line = mistake(cache, *arguments)
    for word in words:
        assert word in line


def test_folder_of_another_model(cache: Path, finished: tuple[Path, str]) -> None:
    flags = [*SMALL, "--config.model.core.simple.gamma_temporal=20.0", f"--workdir={finished[0]}"]
    line = mistake(cache, f"--config={SIMULATED}", *flags)
    assert "config.model.core.gamma_temporal is 20.0 now and 40.0 there" in line


def refusal(cache: Path, workdir: Path, config: str, *flags: str) -> str:
    """Why ``train`` refuses a configuration; asked in this process, since scripts take seconds to start."""
    made = configuration(config, *flags)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("OPENRETINA_JAX_CACHE", str(cache))
        with pytest.raises(UserError) as caught:
            train(made, workdir, Console(quiet=True))
    return str(caught.value)


def test_a_trained_model_is_the_start_of_others(cache: Path, finished: tuple[Path, str], tmp_path: Path) -> None:
    """A new readout on a frozen core, and an autoencoder of the responses; both are runs like any other."""
    trained = openretina_jax.load(finished[0])
    start_from = f"--config.start_from={finished[0]}"
    more = (*(flag for flag in SMALL if "config.model" not in flag), "--config.train.epochs=2", start_from)
    frozen_core = ('--config.train.trainable=("readout",)', f"--workdir={tmp_path / 'frozen'}")
    output = finish(start(cache, *frozen_core, small=more))
    frozen = openretina_jax.load(tmp_path / "frozen")
    np.testing.assert_array_equal(frozen.core.layers[0].conv.spatial[...], trained.core.layers[0].conv.spatial[...])
    assert (frozen.readout.features[...] != trained.readout.features[...]).any()
    assert summary(output)[1] == trained.data_info.n_neurons

    flags = ("--config.autoencoder.hidden=16", f"--workdir={tmp_path / 'autoencoder'}")
    output = finish(start(cache, *flags, small=more))
    model = openretina_jax.load(tmp_path / "autoencoder")
    assert summary(output)[1] == trained.data_info.n_neurons
    np.testing.assert_array_equal(model.base.readout.features[...], trained.readout.features[...])
    assert model.encode(np.zeros(model.stimulus_shape(40), np.float32)).shape == (1, 40 - model.lag, 16)


def test_trackers_follow_a_run_and_its_resumption(
    cache: Path, finished: tuple[Path, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    del finished  # whose programs are used
    monkeypatch.setenv("DO_NOT_TRACK", "true")
    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"file:{tmp_path}/mlruns")
    workdir = tmp_path / "run"
    flags = [f"--config.logging.{name}=True" for name in ("wandb", "mlflow")] + ["--config.logging.tensorboard=False"]
    for epochs_now in (1, 2):
        output = finish(start(cache, *flags, f"--workdir={workdir}", f"--config.train.epochs={epochs_now}"))
    assert "tensorboard" not in output + "".join(path.name for path in workdir.iterdir())
    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")  # which the script does for itself
    run = MlflowClient(f"file:{tmp_path}/mlruns").get_run((workdir / "mlflow_run").read_text())
    assert run.info.status == "FINISHED"
    assert run.data.params["optimizer.learning_rate"] == "0.01"
    assert run.data.metrics["epoch"] == 2
    assert run.data.metrics["test_correlation"] == pytest.approx(summary(output)[0], abs=5e-5)
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
    options = configuration(SIMULATED, *SMALL).data.simulated.to_dict()
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
    assert f"checkpoints/{EPOCHS} cannot be read" in line
