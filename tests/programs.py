"""Compiled programs, which all processes that tests start and all runs of the tests share."""

import contextlib
from pathlib import Path

COMPILED = Path(__file__).parents[1] / ".pytest_cache" / "programs"


def with_programs(cache: Path) -> Path:
    """Make a folder a cache of the package that knows these programs, and nothing else."""
    cache.mkdir(parents=True, exist_ok=True)
    with contextlib.suppress(FileExistsError):
        (cache / "xla").symlink_to(COMPILED)
    return cache
