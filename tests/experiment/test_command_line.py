"""Commands whose output goes nowhere."""

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PROGRAM = """
import os
from openretina_jax.experiment import command_line

def main():
    with open("file", "w") as stream:
        assert stream.fileno() > 2
        for _ in range(2000):
            command_line.console.print("a line of many words " * 5, soft_wrap=True)
        os.write(1, b"what a library prints")
        stream.write("whole")

command_line.run(main)
"""


@pytest.mark.slow
@pytest.mark.parametrize(
    ("shell", "status"), [('"$@" <&- >&- 2>&-', 0), ('"$@" | true; exit ${PIPESTATUS[0]}', 2), ('"$@" >/dev/full', 2)]
)
def test_output_that_cannot_be_written(shell: str, status: int, tmp_path: Path) -> None:
    program = ("bash", "-c", shell, "bash", sys.executable, "-c", PROGRAM)
    done = subprocess.run(program, cwd=tmp_path, env={"PYTHONPATH": str(ROOT)}, capture_output=True, text=True)
    assert done.returncode == status, done.stderr
    if status:
        (line,) = done.stderr.splitlines()
        assert line.startswith("error: the output or a file: ")
    else:
        assert (tmp_path / "file").read_text() == "whole"
