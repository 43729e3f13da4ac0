"""Measurements: their lines, the turns of two programs, our work, and what is said when something is wrong."""

import json
import math
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, get_args

import pytest

from benchmarks import ours, serving
from benchmarks.children import Program, child, reference
from benchmarks.run import MEASURES, Task, benchmark, take
from openretina_jax.errors import UserError
from openretina_jax.experiment.recipe import resolved
from openretina_jax.modules.kernels.lowerings import Lowering
from openretina_jax.runtime.settings import read_config
from tests.scripts import call, mistake, start, wait

CONFIG = Path(__file__).parents[2] / "configs" / "hoefling_low_res.py"
CORE = {"kind": "simple", "hidden_channels": [2], "temporal_kernel_sizes": [3], "spatial_kernel_sizes": [3]}
SETTINGS = resolved(read_config(CONFIG).to_dict())
SETTINGS["model"] = {"core": {**CORE, "lowering": "dense"}, "readout": {"kind": "gaussian_mask"}}
SETTINGS["data"]["resolution"] = "6x5"
SETTINGS["train"]["windows"]["shared"] = {"window_frames": 10, "windows_per_step": 1, "within_clips": False}
TASK = Task(
    measure="train_step",
    variant="configured",
    threads=1,
    settings=SETTINGS,
    lowering="dense",
    input_shape=(6, 5, 2),
    sessions=3,
    neurons=4,
    windows=2,
    frames=8,
    training_clips=4,
    validation_clips=2,
    clip_frames=10,
)
FULL = {**SETTINGS, "model": {**SETTINGS["model"], "core": {**CORE, "convolution": "full"}}}
FAKE = """
import os, pathlib, sys, time
def prepare(task):
    def work():
        with (pathlib.Path(__file__).parent / "turns").open("a") as turns:
            turns.write("{name}")
        time.sleep({seconds})
    print("something that a library prints")
    about = dict(shape=dict(steps=1), windows=6, lowering=None, device="none", versions=dict())
    about["shape"]["cores"] = len(os.sched_getaffinity(0))
    about["shape"]["omp"] = int(os.environ["OMP_NUM_THREADS"])
    return work, about
"""


HUNGRY = """
kept = b"a" * 200_000_000

def prepare(task):
    about = dict(shape=dict(steps=1), windows=1, lowering=None, device="none", versions=dict())
    return lambda: len(b"b" * 100_000_000), about
"""


def fake(folder: Path, name: str, seconds: float) -> Program:
    file = folder / f"{name}.py"
    file.write_text(FAKE.format(name=name, seconds=seconds))
    return Program(name, sys.executable, file)


def failing(folder: Path, text: str, remedy: str | None = "do this") -> Program:
    file = folder / "failing.py"
    file.write_text(text)
    return Program("it", sys.executable, file, remedy=remedy)


def measure_only(settings: dict[str, Any] = SETTINGS, **options: Any) -> list[dict[str, Any]]:
    chosen: dict[str, Any] = {
        "measures": ["train_step"],
        "threads": [1],
        "lowerings": [],
        "repeats": 1,
        "sessions": 1,
        "neurons": 2,
        "windows": 2,
        "frames": 50,
        "reference_python": None,
    }
    return list(benchmark({"configured": settings}, **(chosen | options)))


def test_programs_take_turns(tmp_path: Path) -> None:
    fast, slow, ratio = take(TASK, [fake(tmp_path, "a", 0.01), fake(tmp_path, "b", 0.03)], repeats=3)
    assert (
        tmp_path / "turns"
    ).read_text() == "ab" + "ababab" + "ab"  # not counted: the first repeats, and the last for the memory
    assert [line["implementation"] for line in (fast, slow)] == ["a", "b"]
    assert 0.01 <= fast["seconds"]["min"] <= fast["seconds"]["median"]
    assert slow["seconds"]["min"] >= 0.03
    assert fast["windows_per_second"] == pytest.approx(6 / fast["seconds"]["median"], rel=1e-2)
    assert fast["compile_seconds"] >= 0.01
    assert ratio["implementation"] == "b / a"
    assert {line["variant"] for line in (fast, slow, ratio)} == {"configured"}
    for name in ("median", "min"):
        assert ratio["ratio"][name] == pytest.approx(slow["seconds"][name] / fast["seconds"][name], rel=1e-2)


def test_a_process_has_the_cores_it_was_given(tmp_path: Path) -> None:
    (line,) = take(TASK, [fake(tmp_path, "a", 0)], repeats=1)
    assert line["shape"]["cores"] == line["shape"]["omp"] == line["threads"] == 1


def test_memory_of_the_work_is_what_it_needs_for_a_moment(tmp_path: Path) -> None:
    program = fake(tmp_path, "a", 0)
    program.file.write_text(HUNGRY)
    (line,) = take(TASK, [program], repeats=2)
    assert line["peak_memory_mb"] > 300
    assert line["work_memory_mb"] == pytest.approx(100, abs=10)


def test_memory_that_the_system_does_not_tell(monkeypatch: pytest.MonkeyPatch) -> None:
    assert serving.peak_memory_mb() > 1
    assert math.isnan(serving._memory_mb("VmNone"))
    opened = open

    def refuse(file: Any, *arguments: Any, **options: Any) -> Any:
        if file == "/proc/self/clear_refs":
            raise PermissionError(file)
        return opened(file, *arguments, **options)

    monkeypatch.setattr("builtins.open", refuse)
    assert math.isnan(serving.memory_mb_of(lambda: None))


@pytest.mark.parametrize(
    ("measure", "shape", "windows"),
    [
        pytest.param("forward", {"steps": 1, "windows": 2, "frames": 8}, 2, marks=pytest.mark.slow),
        pytest.param("train_step", {"steps": 1, "windows": 2, "frames": 8}, 2, marks=pytest.mark.slow),
        ("eval_step", {"steps": 1, "windows": 2, "frames": 10}, 2),
        # 3 sessions, 40 frames of each
        pytest.param("epoch", {"steps": 6, "windows": 2, "frames": 8}, 12, marks=pytest.mark.slow),
        # 4 clips of 3 sessions
        pytest.param("epoch_shared", {"steps": 4, "windows": 1, "frames": 10}, 12, marks=pytest.mark.slow),
        pytest.param(
            "population_singly", {"steps": 4, "windows": 1, "frames": 10}, 96, marks=pytest.mark.slow
        ),  # of 8 models
        pytest.param("population", {"steps": 4, "windows": 1, "frames": 10}, 96, marks=pytest.mark.slow),
        pytest.param("stream", {"steps": 100, "windows": 1, "frames": 1}, 100, marks=pytest.mark.slow),
    ],
)
def test_our_work(measure: str, shape: dict[str, int], windows: int) -> None:
    task = {**vars(TASK), "measure": measure}
    work, about = ours.prepare(task)
    assert (about["shape"], about["windows"], about["lowering"]) == (shape, windows, "dense")
    assert {"jax", "flax", "python"} <= about["versions"].keys()
    assert ("operations" in about) == (measure in ("forward", "train_step"))
    assert ("kernels" in about) == (measure == "train_step")
    work()
    work()  # a second time, since buffers are reused


def test_every_measure_has_its_work() -> None:
    assert all(hasattr(ours.Training, measure) for measure in MEASURES)


@pytest.mark.slow
def test_script_prints_a_line_per_lowering(tmp_path: Path) -> None:
    options = [
        "--measure=eval_step",
        "--windows=1",
        "--neurons=2",
        "--repeats=2",
        "--lowering=auto,factored",
        "--shape=20,17,1",
        "--config.model.core.simple.hidden_channels=(2,2)",
        "--table",
    ]
    done = wait(start("benchmark.py", f"--config={CONFIG}", *options, cache=tmp_path))
    assert done.returncode == 0, done.stderr
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    assert [line["lowering"] for line in lines] == ["auto", "factored"]
    for line in lines:
        assert (line["name"], line["implementation"], line["threads"]) == ("eval_step", "openretina_jax", 1)
        windows = {"steps": 1, "windows": 15, "frames": 150, "sessions": 1, "neurons": 2}
        assert line["shape"] == {**windows, "height": 20, "width": 17, "channels": 1}
        assert line["repeats"] == 2
        assert 0 < line["seconds"]["min"] <= line["seconds"]["median"] < line["compile_seconds"]
        assert line["windows_per_second"] > 0
        assert line["peak_memory_mb"] > 50
        assert 0 < line["work_memory_mb"] < line["peak_memory_mb"]
        assert line["machine"].keys() == {"cpu", "cores", "busy_with_others", "device", "versions"}
    assert [row.split(" | ")[0] for row in done.stderr.splitlines()[-2:]] == ["| configured", "| configured, factored"]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            {"measures": ["train"]},
            f'measure "train" is unknown; choose among {", ".join(MEASURES)}',
        ),
        ({"lowerings": ["fast"]}, f'lowering "fast" is unknown; choose among {", ".join(get_args(Lowering))}'),
        ({"lowerings": ["dense"], "settings": FULL}, 'variant "configured" has no lowering to choose; '),
        ({"threads": [0]}, "0 threads do not fit a machine with "),
        ({"threads": [4096]}, "4096 threads do not fit a machine with "),
        (
            {"reference_python": "/no/python"},
            "there is no Python interpreter /no/python; give the one in which openretina ",
        ),
        (
            {"reference_python": "/no/python", "against": "torch"},
            "there is no Python interpreter /no/python; give the one in which torch is installed",
        ),
    ],
)
def test_wrong_choices(options: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError) as caught:
        measure_only(**options)
    assert str(caught.value).startswith(message)


def test_reference_that_is_not_installed(tmp_path: Path) -> None:
    bare = tmp_path / "python"
    bare.write_text(f'#!/bin/sh\nexec {sys.executable} -I -S "$@"\n')
    bare.chmod(0o755)
    message = (
        f"openretina does not run in {bare}: ModuleNotFoundError: No module named 'torch'; install openretina there"
    )
    with pytest.raises(UserError, match=message), child(reference(str(bare)), vars(TASK)):
        pass


@pytest.mark.parametrize(
    ("text", "remedy", "error", "message"),
    [
        (
            "1 / 0",
            "do this",
            UserError,
            f"it does not run in {sys.executable}: ZeroDivisionError: division by zero; do",
        ),
        ("1 / 0", None, RuntimeError, "it failed: ZeroDivisionError: division by zero\nTraceback"),
        ("import os; os.abort()", "do this", UserError, "does not run in .*: it was ended by SIGABRT; do this"),
        ("import os; os._exit(3)", "do this", UserError, "does not run in .*: it was ended by exit status 3; do this"),
        ("class UserError(Exception): pass\nraise UserError('too: few')", None, UserError, "^too: few$"),
    ],
)
def test_failing_program(tmp_path: Path, text: str, remedy: str | None, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message), child(failing(tmp_path, text, remedy), vars(TASK)):
        pass


@pytest.mark.slow
def test_our_refusal_is_passed_on() -> None:
    settings = {**SETTINGS, "model": {**SETTINGS["model"], "core": {"kind": "complex"}}}
    with pytest.raises(UserError, match=r"^core kind 'complex' is unknown"):
        measure_only(settings)


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        ([f"--config={CONFIG}", "--threads=two"], "must be numbers of cores, such as 1,2"),
        ([f"--config={CONFIG}", "--repeats=0"], "repeats"),
        (["--config=none.py"], "there is no file none.py"),
    ],
)
def test_wrong_flags(flags: Sequence[str], message: str, tmp_path: Path) -> None:
    done = call("benchmark.py", *flags, cache=tmp_path)
    assert done.stdout == ""
    assert message in mistake(done)
