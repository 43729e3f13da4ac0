"""A process that has lost another one ends, and says why."""

import re
import signal
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
@pytest.mark.parametrize(("number", "how"), [(0, signal.SIGKILL), (1, signal.SIGTERM)])
def test_a_process_that_has_lost_another_ends(number: int, how: signal.Signals) -> None:
    """What happens in the middle of a run is in ``tests/e2e/test_processes.py``; before it, SIGTERM ends at once."""
    together = [f"--coordinator=localhost:{free_port()}", "--processes=2"]
    command = [sys.executable, "-m", "tests.runtime.together", *together]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    running = [subprocess.Popen([*command, f"--process={n}"], cwd=ROOT, **pipes) for n in range(2)]
    for process in running:
        while process.stdout.readline() != "together\n":
            assert process.poll() is None, process.stderr.read()
    running[number].send_signal(how)
    began = time.monotonic()
    errors = [process.communicate(timeout=TIMEOUT_S)[1] for process in running][1 - number]
    assert time.monotonic() - began < ENDS_WITHIN_S
    assert running[number].returncode == -how
    assert running[1 - number].returncode
    # which notices first is a matter of chance: our own line, or jax's
    assert re.search("another (process of this run has ended|task died)", errors)
