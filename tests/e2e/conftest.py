"""What the tests of scripts share, in all processes of pytest."""

import contextlib
from pathlib import Path

import pytest
from filelock import FileLock

from tests.kept import with_programs


@pytest.fixture(scope="session")
def cache(shared: Path, simulated: Path) -> Path:
    """Simulated recordings and compiled programs, common to all scripts."""
    folder = with_programs(shared / "cache")
    with contextlib.suppress(FileExistsError):
        (folder / "simulated").symlink_to(simulated)
    return folder


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
