"""Runs in an object store: stopped, killed, with the disk of the machine lost, of two machines, and read afterwards."""

import os
import shutil
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import fsspec
import numpy as np
import pandas as pd
import pytest
from rich.console import Console

import openretina_jax
from openretina_jax.data import ArrayRecording
from openretina_jax.errors import UserError
from openretina_jax.experiment.notebook import changed
from openretina_jax.experiment.train import train
from openretina_jax.runtime.stores import Store, local_copy
from tests.e2e.runs import (
    EPOCHS,
    SIMULATED,
    TRAINED,
    Blank,
    Slow,
    Stop,
    arrays,
    assert_same_arrays,
    epochs,
    follow,
    summary,
    wait_for_epochs,
)
from tests.runtime.test_processes import free_port
from tests.scripts import TIMEOUT_S, call, mistake, printed, start, wait
from tests.stores import s3

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("blank_pictures")]


@pytest.fixture(scope="module")
def bucket() -> Iterator[str]:
    with s3() as address:
        yield address


@pytest.fixture(scope="module")
def stored(bucket: str, cache: Path, finished: tuple[Path, str]) -> tuple[str, str]:
    """The address of a run that was stopped, then killed, and what the machine printed that finished it.

    Each begins without what the one before had on its disk.
    """
    address = f"{bucket}/runs/lost"
    run, scratch = (*TRAINED, f"--workdir={address}"), Store(address).place(cache / "runs" / "0")
    assert "stopped after epoch 2; the same" in printed(call("train.py", *run, follow(Stop), cache=cache))
    shutil.rmtree(cache / "runs")

    process = start("train.py", *run, follow(Slow), cache=cache)
    while len(epochs(scratch)) < 2:
        assert process.poll() is None
    wait_for_epochs(2, scratch, process)
    process.kill()
    assert "resuming after epoch 2\n" in wait(process).stdout
    shutil.rmtree(cache / "runs")

    return address, printed(call("train.py", *run, cache=cache))


def test_a_run_whose_disk_is_lost_goes_on_as_if_nothing_had_happened(
    stored: tuple[str, str], finished: tuple[Path, str], tmp_path: Path
) -> None:
    address, output = stored
    assert f"resuming after epoch {3}\n" in output or f"resuming after epoch {4}\n" in output
    assert f"neurons     {address}/neurons.csv" in output
    copy = local_copy(address, tmp_path)
    assert epochs(copy) == list(range(1, EPOCHS + 1))
    assert_same_arrays(arrays(copy), arrays(finished[0]))
    assert summary(output) == summary(finished[1])
    found, expected = (
        {str(file.relative_to(folder)) for file in folder.rglob("*") if file.is_file() and file.suffix != ".lock"}
        for folder in (copy, finished[0])
    )
    same = {name for name in expected if not name.startswith(("tensorboard", "checkpoints"))}
    assert same <= found
    best = {name.split("/")[1] for name in found if name.startswith("checkpoints/")}
    assert best == {name.split("/")[1] for name in expected if name.startswith("checkpoints/")}


def test_a_stored_run_is_read_by_its_address(
    stored: tuple[str, str], finished: tuple[Path, str], cache: Path, tmp_path: Path
) -> None:
    address = stored[0]
    models = [openretina_jax.load(place) for place in (address, finished[0])]
    session = next(iter(models[0].data_info.sessions))
    movie = np.random.default_rng(0).normal(size=models[0].stimulus_shape(40)).astype(np.float32)
    np.testing.assert_array_equal(*(model(movie, session=session) for model in models))
    scores = [tmp_path / name for name in "ab"]
    for place, folder in zip((address, finished[0]), scores, strict=True):
        printed(call("evaluate.py", f"--checkpoint={place}", f"--folder={folder}", cache=cache))
    pd.testing.assert_frame_equal(*(pd.read_csv(folder / "neurons.csv") for folder in scores))
    printed(call("visualize.py", f"--checkpoint={address}", f"--folder={tmp_path / 'pictures'}", cache=cache))
    assert list((tmp_path / "pictures").glob("*.png"))


def test_a_notebook_trains_in_a_store(bucket: str, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENRETINA_JAX_CACHE", str(cache))
    rng = np.random.default_rng(0)
    movie, responses = rng.integers(256, size=(1200, 8, 8), dtype=np.uint8), rng.random((1200, 3), dtype=np.float32)
    dataset = openretina_jax.from_arrays({"a": ArrayRecording(movie, responses)}, frame_rate_hz=30.0)
    quick = {"train.epochs": 1, "train.picture_every": 0}
    trained = openretina_jax.train(dataset, f"{bucket}/runs/notebook", settings=quick)
    loaded, shown = openretina_jax.load(f"{bucket}/runs/notebook"), rng.normal(size=trained.stimulus_shape(60))
    np.testing.assert_array_equal(*(model(shown.astype(np.float32), session="a") for model in (trained, loaded)))


def test_recordings_are_read_by_their_address(finished: tuple[Path, str], bucket: str) -> None:
    recordings = Path(openretina_jax.load(finished[0]).data_info.source["files"]["source"])
    fsspec.filesystem("s3").put(str(recordings), f"{bucket}/recordings", recursive=True)
    settings = {
        "data.path": f"{bucket}/recordings/",
        "data.test_names": ("random_noise_2", "random_noise_3"),
        "data.validation_clips": 2,
    }
    loaded = openretina_jax.load_dataset("hdf5_core_readout", settings)
    assert loaded.source["files"]["source"] == settings["data.path"]
    assert list(loaded.info.sessions) == sorted(file.stem for file in recordings.glob("*.hdf5"))


@pytest.mark.parametrize(
    ("script", "flags"),
    [
        ("evaluate.py", ["--checkpoint={run}", "--folder={place}"]),
        ("visualize.py", ["--checkpoint={run}", "--folder={place}"]),
        ("insilico.py", ["mei", "--checkpoint={run}", "--folder={place}"]),
        ("convert_checkpoint.py", ["--checkpoint={run}", "--folder={place}"]),
        ("convert_checkpoint.py", ["--checkpoint={run}", "--out={place}.npz"]),
        ("convert_checkpoint.py", ["--checkpoint={run}", "--program={place}.zip"]),
        ("convert_checkpoint.py", ["--checkpoint={run}", "--stream={place}.zip"]),
        ("adapt.py", ["--checkpoint={run}", "--recordings=nowhere", "--folder={place}"]),
        ("baselines.py", ["--checkpoint={run}", "--table={place}.csv"]),
        ("simulate.py", ["--format=hdf5", "--folder={place}"]),
        ("check_data.py", [f"--config={SIMULATED}", "--folder={place}"]),
        ("search.py", [f"--config={SIMULATED}", "--space=hoefling_low_res", "--workdir={place}"]),
        ("search.py", [f"--config={SIMULATED}", "--space=hoefling_low_res", "--workdir={tmp}", "--storage={place}"]),
    ],
)
def test_results_are_not_written_to_addresses(
    script: str, flags: list[str], finished: tuple[Path, str], cache: Path, tmp_path: Path
) -> None:
    """They would be in a folder of this machine whose name looks like an address."""
    given = [flag.format(run=finished[0], place="s3://bucket/x", tmp=tmp_path / "search") for flag in flags]
    line = mistake(call(script, *given, cache=cache, folder=tmp_path))
    assert "is an address, but only runs can be there" in line
    assert not (tmp_path / "s3:").exists()


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (
            ["--workdir=s3://no-such-bucket/x"],
            "s3://no-such-bucket/x cannot be read (not found: The specified bucket does not exist)",
        ),
        (["--workdir=nix://bucket/x"], "a store that cannot be reached: Protocol not known: nix"),
    ],
)
def test_mistakes_are_told_before_the_data_are_read(
    flags: list[str], message: str, bucket: str, cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("openretina_jax.experiment.train.make_dataset", lambda *_: pytest.fail("the data were read"))
    assert message in mistake(call("train.py", *TRAINED, f"--workdir={tmp_path / 'x'}", *flags, cache=cache))


def test_a_run_to_start_from_must_be_there(bucket: str, tmp_path: Path) -> None:
    config = changed("template", {"start_from": "s3://no-such-bucket/x", "data.path": "nowhere"})
    with pytest.raises(UserError, match="s3://no-such-bucket/x cannot be read"):
        train(config, tmp_path / "run", Console(quiet=True))


def test_another_run_is_not_trained_over(stored: tuple[str, str], cache: Path) -> None:
    flags = (f"--workdir={stored[0]}", "--config.seed=7")
    assert "holds another run: config.seed is 7 now" in mistake(call("train.py", *TRAINED, *flags, cache=cache))


@pytest.fixture(scope="module")
def machines(cache: Path, finished: tuple[Path, str], tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Caches of two machines, which have the recordings and compiled programs already."""
    del finished
    made = [tmp_path_factory.mktemp("machine") for _ in range(2)]
    for one in made:
        for name in ("simulated", "xla"):
            (one / name).symlink_to((cache / name).resolve())
    return made


def start_two(machines: list[Path], address: str, *flags: str) -> list[subprocess.Popen[str]]:
    together = (f"--workdir={address}", f"--coordinator=localhost:{free_port()}", "--processes=2")
    return [
        start("train.py", *TRAINED, *flags, *together, f"--process={number}", cache=machine)
        for number, machine in enumerate(machines)
    ]


def outputs(running: list[subprocess.Popen[str]]) -> list[str]:
    """What processes print that end well."""
    done = [process.communicate(timeout=TIMEOUT_S) for process in running]
    assert [process.returncode for process in running] == [0, 0], done
    return [output for output, _ in done]


def test_two_machines_are_told_to_stop_and_lost(bucket: str, machines: list[Path]) -> None:
    """A signal to one of them, which clusters send before an end, saves on both and ends both.

    What they learn in the end is, to the bit, what one machine with two devices learns that nobody disturbs. Ctrl-C, to
    the other, is in ``test_processes.py``.
    """
    undisturbed, disturbed = f"{bucket}/runs/two", f"{bucket}/runs/two_lost"
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("JAX_NUM_CPU_DEVICES", "2")
        alone = (f"--workdir={undisturbed}", "--config.mesh.data=2", follow(Blank))
        printed(wait(start("train.py", *TRAINED, *alone, cache=machines[0])))
    shutil.rmtree(machines[0] / "runs")
    running = start_two(machines, disturbed, follow(Slow))
    wait_for_epochs(2, Store(disturbed).place(machines[0] / "runs" / "0"), *running)
    running[1].send_signal(signal.SIGTERM)
    first, second = outputs(running)
    assert "stopped after epoch" in first
    assert "epoch" not in second
    for machine in machines:
        shutil.rmtree(machine / "runs")
    first, second = outputs(start_two(machines, disturbed, follow(Blank)))
    assert "resuming after epoch" in first
    summary(first)
    assert "correlation" not in second
    copies = [local_copy(address, machines[0]) for address in (undisturbed, disturbed)]
    assert [epochs(copy) for copy in copies] == [list(range(1, EPOCHS + 1))] * 2
    assert_same_arrays(*map(arrays, copies))
    assert (copies[0] / "neurons.csv").read_bytes() == (copies[1] / "neurons.csv").read_bytes()
    assert not os.path.exists(machines[1] / "runs" / "0")
