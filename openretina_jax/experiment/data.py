"""Data sets from plain settings: the only place that knows both the sources and their simulators."""

import dataclasses
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from ml_collections import ConfigDict

from openretina_jax.data.dataset import Dataset
from openretina_jax.errors import UserError, nearest
from openretina_jax.experiment.ranges import check_ranges
from openretina_jax.runtime.registry import construct, options, tuples
from openretina_jax.runtime.settings import entry, kinds_of
from openretina_jax.simulation.cache import simulated_files, simulator, simulator_names
from openretina_jax.simulation.writing import Progress
from openretina_jax.sources import PROBLEMS, SOURCES


def make_dataset(settings: Mapping[str, Any], cache: Path, progress: Progress | None = None) -> Dataset:
    """Make the data set of ``config.data``.

    Args:
        settings: ``source`` is a name in ``SOURCES`` or "module:function"; ``simulated``, where it is given, says
            whether and what to simulate; everything else are the options of the source.
        cache: folder in which simulated files are kept.
        progress: told what is simulated, how much of it is done, and of how much.

    Raises:
        UserError: an unknown source or option, settings that contradict each other, or whatever is wrong with the data.
    """
    check_ranges({"data": settings})
    name, given = _with_simulated_files(settings, cache, progress)
    dataset = _called(SOURCES[name], f'source "{name}"', given)
    if not isinstance(dataset, Dataset):
        raise UserError(f'source "{name}" returns {type(dataset).__name__}, but must return a Dataset')
    return dataset


def simulated_folder(settings: Mapping[str, Any], cache: Path, progress: Progress | None = None) -> Path:
    """Find the simulated files of ``config.data``, which has the truth beside them; arguments as ``make_dataset``.

    Raises:
        UserError: the data are not simulated.
    """
    given = dict(settings)
    simulated = dict(given.get("simulated") or {})
    if not simulated.pop("enabled", False):
        raise UserError(
            f'the data of source "{given.get("source")}" were not simulated here; give the folder of the truth'
        )
    return Path(next(iter(simulated_files(given["source"], simulated, cache, progress).values()))).parent


def source_problems(settings: Mapping[str, Any], cache: Path, progress: Progress | None = None) -> list[str]:
    """List all that keeps ``make_dataset`` from reading the files, a line each; arguments as there.

    A source that lists its own problems (``PROBLEMS``) goes on after the first; of others the first alone is known.

    Raises:
        UserError: the files cannot be had, or an option is wrong.
    """
    name, given = _with_simulated_files(settings, cache, progress)
    load = SOURCES[name]
    if name in PROBLEMS.kinds():
        wanted = PROBLEMS.options(name)
        known = {option: value for option, value in given.items() if option in wanted}
        if found := list(_called(PROBLEMS[name], f'source "{name}"', known)):
            return found
    try:
        _called(load, f'source "{name}"', given)
    except UserError as error:
        return [str(error)]
    return []


def data_config(source: str, simulated: Mapping[str, Any] | None = None, **given: Any) -> ConfigDict:
    """Make the ``config.data`` of a source: all of its options, and all of its simulator's if it has one.

    Options that are not given have the defaults of the source's signature. None, there and where there is no default,
    becomes an entry without a value that flags can set; so do options of the simulator that are not given, for which it
    has its own defaults.

    Args:
        source: a name in ``SOURCES``, or "module:function".
        simulated: options of the simulator that differ from its defaults, or that a run is to keep.
        given: options of the source that differ from their defaults.

    Raises:
        UserError: there is no such source or option.
    """
    entries = {"source": source, **_entries(SOURCES[source], f'source "{source}"', given)}
    if source in simulator_names():
        config = simulator(source).SimulationConfig
        unset = dict.fromkeys(field.name for field in dataclasses.fields(config))
        chosen = _entries(config, f'the simulation of "{source}"', unset | dict(simulated or {}))
        entries["simulated"] = {"enabled": False, **chosen}
    elif simulated:
        raise UserError(f'files of "{source}" cannot be simulated; leave out the options of a simulation')
    return ConfigDict(entries).lock()


def _with_simulated_files(
    settings: Mapping[str, Any], cache: Path, progress: Progress | None
) -> tuple[str, dict[str, Any]]:
    """Name of the source, and the options that it takes."""
    given = dict(settings)
    name, simulated = given.pop("source", None), dict(given.pop("simulated", None) or {})
    if name is None:
        raise UserError(f"config.data.source is not given; choose among {', '.join(SOURCES.kinds())}")
    if simulated.pop("enabled", False):
        files = simulated_files(name, simulated, cache, progress)
        if twice := sorted(path for path in files if given.get(path) is not None):
            raise UserError(f"config.data.simulated.enabled and config.data.{twice[0]} are both set; take one of them")
        given |= files
    return name, given


def _called(function: Callable[..., Any], what: str, given: Mapping[str, Any]) -> Any:
    """Call a function with options as they are in configurations."""
    hints = {name: option.hint for name, option in options(function, ()).items()}
    plain: dict[str, Any] = {}
    for name, value in given.items():
        plain[name] = value
        if isinstance(value, Mapping):
            plain[name] = {key: tuples(item) for key, item in value.items()}
            if part := _part(hints.get(name)):
                plain[name] = construct(part, f"{what}: {name}", plain[name], {})
    return construct(function, what, plain, {})


def _entries(function: Callable[..., Any], what: str, given: Mapping[str, Any]) -> dict[str, Any]:
    """Entries of a configuration for all options of a function."""
    of_function = options(function, ())
    for name in given:
        if name not in of_function:
            raise UserError(f'{what} has no option "{name}"; {nearest(name, of_function)}')
    entries: dict[str, Any] = {}
    for name, option in of_function.items():
        value = given.get(name, option.default)
        if part := _part(option.hint):
            entries[name] = _entries(part, f"{what}: {name}", value or {})
        elif isinstance(value, Mapping):
            entries[name] = dict(value)
        else:
            entries[name] = entry(value, option.hint)
    return entries


def _part(hint: Any) -> type | None:
    """The data class that an option is an object of, so that its settings are the fields of that; None if of none."""
    kinds = kinds_of(hint)
    is_one = len(kinds) == 1 and isinstance(kinds[0], type) and dataclasses.is_dataclass(kinds[0])
    return kinds[0] if is_one else None
