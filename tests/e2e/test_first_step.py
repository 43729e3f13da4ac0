"""What a run does before its first step, in a process of its own."""

from pathlib import Path

import pytest

from tests.e2e.loaded import LATE, Loaded
from tests.e2e.runs import TRAINED, follow
from tests.scripts import printed, start, wait

pytestmark = pytest.mark.slow


def test_the_first_step_waits_for_no_library_that_comes_later(cache: Path, tmp_path: Path) -> None:
    flags = [*TRAINED, "--config.train.epochs=2", follow(Loaded), f"--workdir={tmp_path / 'run'}"]
    output = printed(wait(start("train.py", *flags, cache=cache)))
    first, second = (line for line in output.splitlines() if line.startswith("loaded: "))
    assert first == "loaded: []"
    assert {name for name in LATE if name in second} >= {"orbax", "tensorboardX"}  # after it they are there
