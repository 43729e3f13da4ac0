"""A process that has lost another one ends, and says why."""

import re
import socket
import subprocess
import sys
import time

import pytest

from tests.scripts import ROOT, TIMEOUT_S

ENDS_WITHIN_S = 60


def free_port() -> int:
    """A port that nobody uses now."""
    with socket.socket() as probe:
        probe.bind(("localhost", 0))
        return probe.getsockname()[1]


@pytest.mark.slow
@pytest.mark.parametrize("dead", [0, 1])
def test_what_is_left_of_two_processes_ends(dead: int) -> None:
    together = [f"--coordinator=localhost:{free_port()}", "--processes=2"]
    command = [sys.executable, "-m", "tests.runtime.together", *together]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    running = [subprocess.Popen([*command, f"--process={n}"], cwd=ROOT, **pipes) for n in range(2)]
    for process in running:
        while process.stdout.readline() != "together\n":
            assert process.poll() is None, process.stderr.read()
    running[dead].kill()
    began = time.monotonic()
    errors = [process.communicate(timeout=TIMEOUT_S)[1] for process in running][1 - dead]
    assert time.monotonic() - began < ENDS_WITHIN_S
    assert all(process.returncode for process in running)
    if dead == 1:
        (line,) = [line for line in errors.splitlines() if line.startswith("error: ")]
        assert "another process of this run has ended" in line
        assert "Traceback" not in errors
    else:  # which notices first is a matter of chance: our own line, or jax's
        assert re.search("another (process of this run has ended|task died)", errors)
