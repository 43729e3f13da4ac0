"""What the tests of scripts share, in all processes of pytest."""

from pathlib import Path

import pytest
from filelock import FileLock

from tests.programs import with_programs


@pytest.fixture(scope="session")
def cache(shared: Path) -> Path:
    """Simulated recordings and compiled programs, common to all scripts."""
    return with_programs(shared / "cache")


@pytest.fixture(scope="session")
def finished(shared: Path, cache: Path) -> tuple[Path, str]:
    """The folder of a run that nobody disturbed, trained as a user does, and what it printed."""
    from tests.e2e.runs import TRAINED  # imports jax, whose settings tests/conftest.py makes after it read this file
    from tests.scripts import printed, start, wait

    workdir, output = shared / "finished", shared / "finished.txt"
    with FileLock(shared / "finished.lock"):
        if not output.exists():
            every = ("--config.train.picture_every=5", f"--workdir={workdir}")
            output.write_text(printed(wait(start("train.py", *TRAINED, *every, cache=cache))))
    return workdir, output.read_text()
