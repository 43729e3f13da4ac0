"""The publications by name: their data from plain settings, real or simulated."""

import dataclasses
import importlib
import pkgutil
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

from openretina_jax import sources
from openretina_jax.data.dataset import Dataset
from openretina_jax.errors import UserError
from openretina_jax.simulation import publications

Progress = Callable[[str, int, int], None]


def source_names() -> list[str]:
    """Names of all sources: those with a simulator have a module of that name here and in ``simulation``."""
    here, simulated = (
        {module.name for module in pkgutil.iter_modules(package.__path__)} for package in (sources, publications)
    )
    return sorted(here & simulated)


def source(name: str) -> ModuleType:
    """The module of a source, which has ``from_settings``.

    Raises:
        UserError: there is none of that name.
    """
    return importlib.import_module(f"{sources.__name__}.{_known(name)}")


def simulator(name: str) -> ModuleType:
    """The module that simulates files of a source: ``SimulationConfig`` and ``simulate``.

    Raises:
        UserError: there is none of that name.
    """
    return importlib.import_module(f"{publications.__name__}.{_known(name)}")


def make_dataset(settings: Mapping[str, Any], cache: Path, progress: Progress | None = None) -> Dataset:
    """The data set of ``config.data``.

    Args:
        settings: ``source`` is its name, ``simulated`` says whether and what to simulate, everything else is what
            ``from_settings`` of the source takes.
        cache: simulated files are kept there.
        progress: told what is simulated, how much of it is done, and of how much.

    Raises:
        UserError: settings contradict each other, or whatever is wrong with the data.
    """
    name, options = _with_simulated_files(settings, cache, progress)
    return source(name).from_settings(options)


def source_problems(settings: Mapping[str, Any], cache: Path, progress: Progress | None = None) -> list[str]:
    """All that keeps ``make_dataset`` from reading the files, a line each, if the source can tell; arguments as there.

    Sources with several files go on after the first problem (``problems`` of their modules).

    Raises:
        UserError: the files cannot be had.
    """
    name, options = _with_simulated_files(settings, cache, progress)
    module = source(name)
    if hasattr(module, "problems") and (found := module.problems(options)):
        return list(found)
    try:
        module.from_settings(options)
    except UserError as error:
        return [str(error)]
    return []


def _with_simulated_files(
    settings: Mapping[str, Any], cache: Path, progress: Progress | None
) -> tuple[str, dict[str, Any]]:
    """Name of the source, and the settings that it takes."""
    options = dict(settings)
    name, simulated = options.pop("source"), dict(options.pop("simulated"))
    if simulated.pop("enabled"):
        # a simulation filters, and scipy takes a second to import
        from openretina_jax.simulation.cache import simulated_files

        files = simulated_files(name, simulated, cache, progress)
        given = sorted(path for path in files if options[path] is not None)
        if given:
            raise UserError(f"config.data.simulated.enabled and config.data.{given[0]} are both set; take one of them")
        options |= files
    return name, options


def simulate(
    name: str,
    folder: Path,
    options: Mapping[str, Any],
    texts: Sequence[str] = (),
    progress: Progress | None = None,
) -> dict[str, Path]:
    """Write simulated files in the format of a source.

    Args:
        name: of the source.
        folder: where to write; made if missing.
        options: of its ``SimulationConfig``; None: as it is by default.
        texts: more of them, as "name=value".
        progress: told what is simulated, how much of it is done, and of how much.

    Returns:
        Paths, by the settings of ``config.data`` that lead to them.

    Raises:
        UserError: an option is unknown or out of range.
    """
    module = simulator(name)
    default_of: dict[str, Any] = {field.name: field.default for field in dataclasses.fields(module.SimulationConfig)}
    given = {key: value for key, value in options.items() if value is not None}
    for text in texts:
        key, _, value = text.partition("=")
        if key not in default_of:
            raise UserError(f'a simulation of {name} has no "{key}"; it has {", ".join(default_of)}')
        try:
            given[key] = type(default_of[key])(value)
        except ValueError as error:
            raise UserError(f"--set={text}: {error}") from error
    folder.mkdir(parents=True, exist_ok=True)
    return module.simulate(folder, module.SimulationConfig(**given), progress)


def _known(name: str) -> str:
    if name not in source_names():
        raise UserError(f'config.data.source is "{name}"; choose among {", ".join(source_names())}')
    return name
