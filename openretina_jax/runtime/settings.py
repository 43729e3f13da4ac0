"""Configuration files, their settings by dotted names, and which of these have an effect."""

import re
import runpy
import traceback
import types
import typing
from collections.abc import Container, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import ml_collections
from ml_collections.config_dict import FieldReference, placeholder

from openretina_jax.errors import UserError, nearest
from openretina_jax.runtime import presets
from openretina_jax.runtime.registry import Registry

Entries = Mapping[str, tuple[type, Any]]  # type and value of every setting of a configuration, by dotted names

# the parts of a configuration, and entries that each must have
PARTS: Mapping[str, tuple[str, ...]] = {
    "seed": (),
    "start_from": (),
    "callbacks": (),
    "autoencoder": ("hidden", "sparsity"),
    "data": ("source",),
    "logging": ("tensorboard", "wandb", "mlflow", "project", "run", "wandb_mode", "mlflow_uri"),
    "mesh": ("data", "neuron"),
    "model": ("core", "readout"),
    "objective": ("loss", "cell_type_weighted"),
    "optimizer": ("kind", "learning_rate", "clip_norm", "accumulate", "reset_when_lowered"),
    "population": ("size", "seed", "vary", "chunk", "ensemble"),
    "schedule": ("kind",),
    "stopping": ("epochs", "threshold", "score"),
    "train": (
        *("order", "windows", "epochs", "picture_every", "trainable", "compute_dtype", "matmul_precision"),
        *("frames_on_device", "rematerialize", "average_decay"),
    ),
}

# settings that have an effect only if another one has a certain value, besides the options of chosen kinds
_ONLY_IF = (
    ("model", "start_from", None),
    ("train.windows.session", "train.order", "session"),
    ("train.windows.shared", "train.order", "shared"),
    ("data.simulated", "data.simulated.enabled", True),
    ("data.resolution", "data.simulated.enabled", False),
)


def read_config(path: str | Path) -> ml_collections.ConfigDict:
    """The configuration in a file, locked; words after a colon choose variants.

    Args:
        path: a file, or the name of a configuration that comes with the package: "hoefling_low_res:simulated,quick".

    Raises:
        UserError: there is no such file, it does not know a word, or there is a mistake in it.
    """
    name, colon, words = str(path).partition(":")
    name = presets.file_of(name)
    config = returned_by(name, "get_config", *([words] if colon else []))
    if not isinstance(config, ml_collections.ConfigDict):
        raise UserError(f"{name}: get_config() must return a ConfigDict, but returns {type(config).__name__}")
    check_known_parts(config)
    return config.lock()


def check_known_parts(config: Mapping[str, Any] | ml_collections.ConfigDict) -> None:
    """Refuse a configuration with a part that nothing reads.

    Raises:
        UserError: names the first.
    """
    for name in config:
        if name not in PARTS:
            known = [*PARTS, *(f"{part}.{entry}" for part, entries in PARTS.items() for entry in entries)]
            inside = [other for other in known if other.endswith(f".{name}")]
            hint = f"did you mean config.{inside[0]}?" if inside else nearest(str(name), known)
            raise UserError(f"config.{name} is no part of a configuration, and nothing reads it; {hint}")


def check_parts(config: Mapping[str, Any] | ml_collections.ConfigDict) -> None:
    """Refuse a configuration for training that lacks a part or an entry, or has a part that nothing reads.

    Raises:
        UserError: names the first.
    """
    check_known_parts(config)
    for name, entries in PARTS.items():
        missing = [name] if name not in config else [f"{name}.{one}" for one in entries if one not in config[name]]
        if missing:
            raise UserError(
                f"the configuration lacks config.{missing[0]}; begin with common.training(), as configs/template.py "
                "does, and change what differs"
            )


def returned_by(file: str, function: str, *arguments: str) -> Any:
    """What a function in a Python file returns.

    Raises:
        UserError: there is no such file or function, or it fails; says in which line.
    """
    if not Path(file).is_file():
        raise UserError(f"there is no file {file}; {_others(file, function)}")
    presets.make_importable(file)
    try:
        names = runpy.run_path(file)
        if function in names:
            return names[function](*arguments)
    except UserError:
        raise
    except Exception as error:
        lines = [frame.lineno for frame in traceback.extract_tb(error.__traceback__) if frame.filename == file]
        raise UserError(f"{file}{f', line {lines[-1]}' if lines else ''}: {explained(error)}") from error
    raise UserError(f"{file} has no function {function}(); {_others(file, function)}")


def _others(file: str, function: str) -> str:
    """What to take instead of a file: one beside it that has the function."""
    known = [
        str(other)
        for other in sorted(Path(file).parent.glob("*.py"))
        if f"def {function}(" in other.read_text("utf-8", "replace")
    ]
    return nearest(file, known) if known else f"give one that has a function {function}(), such as those in configs/"


def explained(error: Exception) -> str:
    """An error in a line; where a configuration has no such entry, without all those that it has."""
    inner = error.args[0] if error.args and isinstance(error.args[0], KeyError) else error
    text = str(inner.args[0]) if isinstance(inner, KeyError) and inner.args else str(inner)
    if entry := re.match(r"""(?:Key )?["'](\w+)["'](?: does not exist|$)""", text, re.MULTILINE):
        meant = re.search(r'Did you mean "(\w+)"', text)
        hint = f'did you mean "{meant[1]}"?' if meant else "configs/common.py has all of them, or the kind's own class"
        return f'the configuration has no entry "{entry[1]}"; {hint}'
    return f"{type(error).__name__}: {' '.join(text.split())}"


def choice(registry: Registry, kind: str | None) -> ml_collections.ConfigDict:
    """A part of which one kind is chosen.

    ``part.kind`` is its name, and ``part.<kind>`` holds the options of each registered kind, with the defaults of its
    class or function. Those of a kind "package.module:Name" are given together, in the dictionary ``part.options``.

    Args:
        registry: of the part.
        kind: that is chosen (None: there is no such part).
    """
    kinds = {
        name: {key: entry(option.default, option.hint) for key, option in registry.options(name).items()}
        for name in registry.kinds()
    }
    named = placeholder(str) if kind is None else kind
    return ml_collections.ConfigDict({"kind": named, **kinds, "options": placeholder(object)})


def free(value: Any) -> FieldReference:
    """An entry whose value may have another type, such as a kind, or a dictionary with its kind and options."""
    return FieldReference(value, field_type=object)


def entry(value: Any, hint: Any) -> FieldReference:
    """An entry with a value and the type that others must have; without one, flags can set it.

    Args:
        value: of the entry.
        hint: type of an argument, which says that of its entry: paths are words, sequences tuples; ``object`` where
            several are possible.
    """
    found = set()
    for kind in kinds_of(hint):
        origin = typing.get_origin(kind) or kind
        if origin is typing.Literal:
            found.add(type(typing.get_args(kind)[0]))
        elif origin in (list, tuple, Sequence):
            found.add(tuple)
        elif origin in (bool, int, float, str):
            found.add(origin)
    return FieldReference(value, field_type=found.pop() if len(found) == 1 else object)


def kinds_of(hint: Any) -> list[Any]:
    """The types that an argument may have, but for None."""
    several = typing.get_origin(hint) in (typing.Union, types.UnionType)
    return [kind for kind in (typing.get_args(hint) if several else (hint,)) if kind is not types.NoneType]


def chosen(name: str, part: Mapping[str, Any], registry: Registry | None = None) -> dict[str, Any]:
    """The chosen kind of a part alone, its options and what all kinds share beside its name.

    Args:
        name: of the part, for messages.
        part: see ``choice``; settings beside the dictionaries are those that all kinds share.
        registry: of the part, where kinds need no dictionary (None: there are no others).

    Raises:
        UserError: there is no such kind, or options are given where they have no effect.
    """
    kinds = {key: value for key, value in part.items() if isinstance(value, dict) and key != "options"}
    common = {key: value for key, value in part.items() if key not in {*kinds, "options"}}
    kind, options = part["kind"], part.get("options")
    if kind in kinds:
        if options is not None:
            raise UserError(
                f'config.{name}.options is given, but the options of "{kind}" are those of config.{name}.{kind}'
            )
        return common | kinds[kind]
    if registry is None or (":" not in str(kind) and kind not in registry.kinds()):
        raise UserError(f'config.{name}.kind is "{kind}"; choose among {", ".join(kinds)}')
    if not isinstance(options, dict | None):
        raise UserError(f"config.{name}.options is {options!r}, but must be a dictionary of options by name")
    return common | registry.complete({"kind": kind, **(options or {})})


def entries(config: ml_collections.ConfigDict, prefix: str = "") -> dict[str, tuple[type, Any]]:
    """Type and value of every setting, by dotted names; settings without a value have a type too."""
    result: dict[str, tuple[type, Any]] = {}
    for name in config:
        if isinstance(config[name], ml_collections.ConfigDict):
            result |= entries(config[name], f"{prefix}{name}.")
        else:
            result[prefix + name] = (config.get_type(name), config[name])
    return result


def check_known(given: Iterable[str], known: Entries) -> None:
    """Refuse settings that a configuration does not have.

    Raises:
        UserError: the first of them, and the nearest one that there is.
    """
    for name in given:
        if name not in known:
            raise UserError(f'the configuration has no setting "{name}"; {nearest(name, known)}')


def check_effect(given: Iterable[str], known: Entries, free: Container[str] = ()) -> None:
    """Refuse settings that are given and change nothing.

    Args:
        given: their names.
        known: the settings of the configuration, those that are given included.
        free: settings whose values are not fixed.

    Raises:
        UserError: the first of them, and why.
    """
    for name in given:
        if reason := without_effect(name, known, free):
            raise UserError(f"config.{name} is given, but has no effect while {reason}; change that, or leave it out")


def without_effect(name: str, known: Entries, free: Container[str] = ()) -> str | None:
    """Why a setting changes nothing, such as an option of a kind that is not chosen; None if it does.

    Args: as those of ``check_effect``.
    """
    for setting, wanted in _conditions(name):
        if setting in known and setting not in free and setting != name and known[setting][1] != wanted:
            value = known[setting][1]
            return f"config.{setting} is " + (f'"{value}"' if isinstance(value, str) else f"{value}")
    return None


def _conditions(name: str) -> Iterator[tuple[str, Any]]:
    """Settings, and the values that they must have for another one to have an effect."""
    parts = name.split(".")
    for length in range(1, len(parts) - 1):
        yield ".".join([*parts[:length], "kind"]), parts[length]
    for prefix, setting, wanted in _ONLY_IF:
        if f"{name}.".startswith(f"{prefix}."):
            yield setting, wanted
