"""Measurements on an accelerator: lines come at once, what fails, or has no time, is said, and the rest goes on."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks.accelerator import LEAST_S, ROOT, Job, Sizes, lines, main, measured
from tests.kept import with_programs

PRINTS = Job("prints", ("-c", "print('a word'); print('{\"seconds\": 2}')"))
FAILS = Job("fails", ("-c", "import sys; print('{\"seconds\": 3}'); sys.exit('error: no such thing')"))
WAITS = (sys.executable, "-c", "import os, time; print('{\"process\": %d}' % os.getpid(), flush=True); time.sleep(600)")


def test_lines_and_failures() -> None:
    found = list(measured([PRINTS, FAILS, PRINTS], minutes=5))
    assert [line["seconds"] for line in found if "seconds" in line] == [2, 3, 2]
    assert [(line["job"], line["failed"]) for line in found if "failed" in line] == [("fails", "error: no such thing")]
    assert [line["job"] for line in found if "command_s" in line] == ["prints", "fails", "prints"]


def test_what_there_was_no_time_for() -> None:
    (line,) = measured([PRINTS, FAILS], minutes=0.9 * LEAST_S / 60)
    assert line["left_out"] == ["prints", "fails"]


@pytest.mark.slow
def test_a_command_that_takes_too_long() -> None:
    *_, last = lines(WAITS, seconds=1)
    assert last == {"failed": "stopped after 1 s"}


def test_lines_come_before_the_end_and_nothing_runs_on() -> None:
    coming = lines(WAITS, seconds=300)
    process = next(coming)["process"]
    os.kill(process, 0)  # it is there
    coming.close()
    with pytest.raises(ProcessLookupError):
        os.kill(process, 0)


def test_names_tell_the_jobs_apart() -> None:
    for small in (False, True):
        names = [job.name for job in Sizes(Path("run"), small, ("--against=torch",)).jobs()]
        assert len(names) == len(set(names))


@pytest.mark.parametrize("status", [0, 3])
def test_the_script_begins_with_a_check_on_the_cpu(status: int, tmp_path: Path) -> None:
    python = tmp_path / "python"
    python.write_text(f'#!/bin/sh\necho "$JAX_PLATFORMS" "$@"\nexit {status}\n')
    python.chmod(0o755)
    environment = {**os.environ, "PYTHON": str(python), "JAX_PLATFORMS": ""}
    done = subprocess.run(
        [ROOT / "benchmarks" / "gpu.sh", "--against=torch"], capture_output=True, text=True, env=environment
    )
    assert done.stderr == "cpu -m benchmarks.accelerator --small --against=torch --minutes=30\n"
    assert done.returncode == status
    assert done.stdout == ("" if status else " -m benchmarks.accelerator --against=torch\n")


def test_status_says_whether_a_command_failed(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("sys.argv", ["accelerator", "--small"])
    monkeypatch.setattr(Sizes, "run", lambda _: ("-c", "print('what the simulation prints')"))
    for job in (PRINTS, FAILS):
        monkeypatch.setattr(Sizes, "jobs", lambda _, job=job: iter([job]))
        with pytest.raises(SystemExit) as caught:
            main()
        assert caught.value.code == (job is FAILS)
        assert json.loads(capfd.readouterr().out.splitlines()[0])["job"] == job.name


@pytest.mark.slow
def test_every_script_works(simulated: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One job of each script; the measures of benchmark.py have tests of their own."""
    monkeypatch.setenv("OPENRETINA_JAX_CACHE", str(with_programs(tmp_path)))
    (tmp_path / "simulated").symlink_to(simulated)
    monkeypatch.setenv("JAX_PLATFORMS", "cpu")
    jobs = {job.name: job for job in Sizes(tmp_path / "run", small=True).jobs()}
    wanted = [jobs[name] for name in ("24 sessions", "most exciting stimuli", "hoefling_low_res TF32 train_step")]
    assert {job.words[0] for job in wanted} == {job.words[0] for job in jobs.values()}
    found = list(measured(wanted, minutes=60))
    assert [line for line in found if "failed" in line] == []
    of_jobs = {job.name: [line for line in found if line["job"] == job.name] for job in wanted}
    assert min(map(len, of_jobs.values())) > 1  # more than the time that a job took
    (step,) = [line for line in found if line.get("name") == "train_step"]
    assert step["kernels"] > 0
    assert step["share_of_matmul"] > 0
    (epoch,) = [line for line in of_jobs["24 sessions"] if "epoch" in line]
    assert epoch["seconds"] > 0
