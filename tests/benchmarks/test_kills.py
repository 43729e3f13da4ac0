"""Work that is killed once; ``python -m benchmarks.kills`` does so a hundred times."""

import subprocess
import sys
from pathlib import Path

import pytest


@pytest.mark.slow
def test_an_archive_is_unpacked_after_all() -> None:
    command = (sys.executable, "-m", "benchmarks.kills", "--works=unpacking", "--count=1")
    done = subprocess.run(command, cwd=Path(__file__).parents[2], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "unpacking, KILL 0: ended opens identical\n" in done.stdout
