"""Measurements on an accelerator: what fails, or has no time, is said, and the rest goes on."""

from pathlib import Path

from benchmarks.accelerator import LEAST_S, Job, jobs, measured

PRINTS = Job("prints", ("-c", "print('a word'); print('{\"seconds\": 2}')"))
FAILS = Job("fails", ("-c", "import sys; print('{\"seconds\": 3}'); sys.exit('error: no such thing')"))


def test_lines_and_failures() -> None:
    lines = list(measured([PRINTS, FAILS, PRINTS], minutes=5, reference_python=None))
    assert [line.get("seconds") for line in lines] == [2, None, 3, None, 2, None]
    assert [line["failed"] for line in lines if "failed" in line] == ["error: no such thing"]


def test_what_there_was_no_time_for() -> None:
    (line,) = measured([PRINTS, FAILS], minutes=0.9 * LEAST_S / 60, reference_python=None)
    assert line["left_out"] == ["prints", "fails"]


def test_names_tell_the_jobs_apart() -> None:
    for small in (False, True):
        names = [job.name for job in jobs(Path("runs"), small=small)]
        assert len(names) == len(set(names))
