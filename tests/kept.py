"""What tests keep for the processes that they start and for the next run: programs and simulated recordings."""

import contextlib
import hashlib
import shutil
import time
from importlib.metadata import version
from pathlib import Path

ROOT = Path(__file__).parents[1]
COMPILED = ROOT / ".pytest_cache" / "programs"
SIMULATED = ROOT / ".pytest_cache" / "simulated"
KEPT_S, KEPT_SIMULATED_S = 14 * 24 * 3600, 24 * 3600  # since a program was made, since recordings were used
WRITERS = ("data", "runtime", "simulation", "sources")  # parts of the package that recordings come from


def with_programs(cache: Path) -> Path:
    """Make a folder a cache of the package that knows these programs, and nothing else."""
    cache.mkdir(parents=True, exist_ok=True)
    with contextlib.suppress(FileExistsError):
        (cache / "xla").symlink_to(COMPILED)
    return cache


def simulated() -> Path:
    """Make the folder of recordings that this code simulates, with these libraries."""
    files = sorted(file for part in WRITERS for file in (ROOT / "openretina_jax" / part).rglob("*.py"))
    digest = hashlib.sha256(" ".join(map(version, ("numpy", "scipy", "h5py"))).encode())
    for file in files:
        digest.update(file.read_bytes())
    folder = SIMULATED / digest.hexdigest()[:12]
    folder.mkdir(parents=True, exist_ok=True)
    folder.touch()
    return folder


def drop_old() -> None:
    """Remove what has been kept too long."""
    COMPILED.mkdir(parents=True, exist_ok=True)
    for program in COMPILED.iterdir():
        if time.time() - program.stat().st_mtime > KEPT_S:
            program.unlink()
    for folder in {*SIMULATED.glob("*")} - {simulated()}:
        if time.time() - folder.stat().st_mtime > KEPT_SIMULATED_S:
            shutil.rmtree(folder)
