"""Simulated data sets, written once and read again by later runs."""

import hashlib
import json
import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from filelock import FileLock

from openretina_jax.runtime.fetch import CACHE_REMEDY
from openretina_jax.runtime.files import whole_folder
from openretina_jax.sources.registry import Progress, simulator

_log = logging.getLogger(__name__)

_WRITTEN = "files.json"


def simulated_files(
    source: str, options: Mapping[str, Any], cache: Path, progress: Progress | None = None
) -> dict[str, str]:
    """Simulated files of a source, as the settings that lead to them.

    Args:
        source: whose format it is.
        options: of its ``SimulationConfig``.
        cache: files of the same simulation, by the same version of the simulator, are found there.
        progress: told what is written, how much of it is done, and of how much.

    Raises:
        UserError: numbers of the simulation are out of range.
    """
    module = simulator(source)
    config = module.SimulationConfig(**options)
    digest = hashlib.sha256(json.dumps([repr(config), *_sources()]).encode()).hexdigest()[:12]
    folder = cache / f"{source}_{digest}"
    cache.mkdir(parents=True, exist_ok=True)
    with FileLock(cache / f".{folder.name}.lock"):  # trials of a search begin at the same time
        if not (folder / _WRITTEN).exists():
            with whole_folder(folder, remedy=CACHE_REMEDY) as work:
                files = module.simulate(work, config, progress)
                names = {setting: str(file.relative_to(work)) for setting, file in files.items()}
                (work / _WRITTEN).write_text(json.dumps(names))
    _log.info("simulated recordings are in %s", folder)
    names = json.loads((folder / _WRITTEN).read_text())
    return {setting: str(folder / name) for setting, name in names.items()}


def _sources() -> list[str]:
    """Text of all simulators: files of another version are not taken."""
    return [file.read_text() for file in sorted(Path(__file__).parent.rglob("*.py"))]
