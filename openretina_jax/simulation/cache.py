"""Simulators by name, and simulated files: in a folder of the user's choice, or in the cache for later runs."""

import ast
import dataclasses
import hashlib
import importlib
import json
import logging
import pkgutil
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

from threadpoolctl import threadpool_limits

from openretina_jax import simulation
from openretina_jax.errors import UserError, nearest
from openretina_jax.runtime.download import CACHE_REMEDY
from openretina_jax.runtime.fetch import file_sha256
from openretina_jax.runtime.files import check_writable, locked, whole_folder
from openretina_jax.runtime.registry import construct
from openretina_jax.simulation import publications
from openretina_jax.simulation.writing import Progress

_log = logging.getLogger(__name__)

_WRITTEN = "files.json"
_PARSING = threading.Lock()  # two threads that parse at once crash each other in Python 3.11


def simulator_names() -> list[str]:
    """List the sources whose files can be simulated: each has a module of its name in ``publications``."""
    return sorted(module.name for module in pkgutil.iter_modules(publications.__path__))


def simulator(name: str) -> ModuleType:
    """Import the module that simulates the files of a source: ``SimulationConfig`` and ``simulate``.

    Raises:
        UserError: there is none.
    """
    if name not in simulator_names():
        raise UserError(f'files of "{name}" cannot be simulated; {nearest(name, simulator_names())}')
    return importlib.import_module(f"{publications.__name__}.{name}")


def simulate(
    name: str,
    folder: Path,
    options: Mapping[str, Any],
    texts: Sequence[str] = (),
    progress: Progress | None = None,
) -> dict[str, Path]:
    """Write simulated files in the format of a source.

    Args:
        name: the source.
        folder: where to write; made if missing.
        options: options of its ``SimulationConfig``; None stands for the default.
        texts: further options, as "name=value".
        progress: called with (what is simulated, number done, number in all).

    Returns:
        Paths, by the options of the source that take them.

    Raises:
        UserError: an option is unknown or out of range.
    """
    module = simulator(name)
    default_of: dict[str, Any] = {field.name: field.default for field in dataclasses.fields(module.SimulationConfig)}
    given = dict(options)
    for text in texts:
        key, _, value = text.partition("=")
        try:
            given[key] = type(default_of.get(key, value))(value)
        except ValueError as error:
            raise UserError(f"--set={text}: {error}") from error
    check_writable(folder, remedy="give another --folder")
    folder.mkdir(parents=True, exist_ok=True)
    return _run(module, folder, _config(module, name, given), progress)


def simulated_files(
    name: str, options: Mapping[str, Any], cache: Path, progress: Progress | None = None
) -> dict[str, str]:
    """Simulate the files of a source, unless they are in the cache.

    Args:
        name: the source.
        options: options of its ``SimulationConfig``; None stands for the default.
        cache: folder in which files of the same simulation, by the same version of the simulator, are kept.
        progress: called with (what is simulated, number done, number in all).

    Returns:
        Paths, by the options of the source that take them.

    Raises:
        UserError: an option is unknown or out of range, or the cache cannot be written.
    """
    module = simulator(name)
    config = _config(module, name, options)
    texts = [file.read_text(encoding="utf-8") for file in modules_of(Path(module.__file__ or ""))]
    digest = hashlib.sha256(json.dumps([repr(config), *texts]).encode()).hexdigest()[:12]
    folder = cache / f"{name}_{digest}"
    names = _written(folder)  # before the lock, which a read-only cache does not allow
    if names is None:
        with locked(folder, remedy=CACHE_REMEDY):  # trials of a search begin at the same time
            names = _written(folder) or _simulate(module, config, folder, progress)
    _log.info("simulated recordings are in %s", folder)
    return {option: str(folder / file) for option, file in names.items()}


def _simulate(module: ModuleType, config: Any, folder: Path, progress: Progress | None) -> dict[str, str]:
    with whole_folder(folder, remedy=CACHE_REMEDY) as work:
        files = _run(module, work, config, progress)
        names = {option: str(file.relative_to(work)) for option, file in files.items()}
        about = {"files": names, "sha256": _hashes(work)}
        (work / _WRITTEN).write_text(json.dumps(about), encoding="utf-8")
    return names


def _run(module: ModuleType, folder: Path, config: Any, progress: Progress | None) -> dict[str, Path]:
    # its products are many and small: two threads gain a sixth of the time, and lose ten times as much where another
    # program has a core, since they wait for each other in every one
    with threadpool_limits(1, "blas"):
        return module.simulate(folder, config, progress)


def _written(folder: Path) -> dict[str, str] | None:
    """Paths of an earlier simulation in the folder, by option; None if there is none, or a file has changed."""
    try:
        about = json.loads((folder / _WRITTEN).read_text(encoding="utf-8"))
        return about["files"] if about["sha256"] == _hashes(folder) else None
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None


def _hashes(folder: Path) -> dict[str, str]:
    """Hashes of all files of a folder but the list itself, by their paths in it."""
    files = sorted(file for file in folder.rglob("*") if file.is_file() and file != folder / _WRITTEN)
    return {str(file.relative_to(folder)): file_sha256(file) for file in files}


def modules_of(file: Path) -> list[Path]:
    """List the file of a simulator and all those in this package that it imports, directly or not, sorted."""
    root, package = Path(simulation.__path__[0]), f"{simulation.__name__}."
    found, waiting = set(), [file]
    while waiting:
        file = waiting.pop()
        if file in found:
            continue
        found.add(file)
        with _PARSING:
            tree = ast.parse(file.read_text(encoding="utf-8"))
        for node in ast.walk(tree):
            if isinstance(node, ast.ImportFrom):
                names = [f"{node.module}.{alias.name}" for alias in node.names]
            else:
                names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            for name in names:
                inside = root.joinpath(*name.removeprefix(package).split("."))
                # the last part of a name is a module or something in one
                modules = (inside.with_suffix(".py"), inside.parent.with_suffix(".py"))
                waiting.extend(module for module in modules if name.startswith(package) and module.is_file())
    return sorted(found)


def _config(module: ModuleType, name: str, options: Mapping[str, Any]) -> Any:
    given = {option: value for option, value in options.items() if value is not None}
    return construct(module.SimulationConfig, f'the simulation of "{name}"', given, {})
