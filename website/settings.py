"""The reference of the configuration: every setting, every kind of every part, every preset, from signatures."""

import ast
import fnmatch
import importlib
import inspect
import re
import textwrap
import tokenize
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from openretina_jax.data.windows import SAMPLERS
from openretina_jax.evaluation.monitor import SCORES
from openretina_jax.experiment.ranges import RANGES
from openretina_jax.modules.cores import CORES
from openretina_jax.modules.readouts import READOUTS
from openretina_jax.modules.shifters import SHIFTERS
from openretina_jax.runtime import presets
from openretina_jax.runtime.registry import Option, Registry
from openretina_jax.runtime.settings import entries, read_config
from openretina_jax.sources import SOURCES
from openretina_jax.training.callbacks import CALLBACKS
from openretina_jax.training.objective import LOSSES
from openretina_jax.training.optimizers import OPTIMIZERS
from openretina_jax.training.schedules import SCHEDULES

CONFIGURATION = """# Configuration

Every setting is an entry of the configuration, and a flag: `config.train.epochs = 20` in a file,
`--config.train.epochs=20` on a command line, `settings={"train.epochs": 20}` for `openretina_jax.train`. This page is
made from the signatures, so it is complete. `--print_config` lists what a run has; [presets](presets.md) are the
configurations that come with the package.

## Settings of a run

Those of parts that have kinds are in the sections below. A preset may have other defaults.
"""
CALLBACKS_TABLE = """## Callbacks

`config.callbacks` names followers of your own ([extending](../extending.md#a-tracker)): every one is
`"package.module:Class"`, or a dictionary with its `kind` and options. These come with the package; `config.logging` and
`--profile` install them.

| class | what it does |
| --- | --- |"""
PRESETS = """# Presets

Configurations that come with the package. Everywhere `--config=NAME` takes the name of one, or the path of a file;
words after a colon choose a variant, as in `--config=hoefling_low_res:simulated,quick`.
"""


class Part(NamedTuple):
    """A part of an experiment that has kinds.

    Attributes:
        title: of the section.
        registry: that knows the kinds.
        chosen_by: the setting that names a kind.
        options_in: where the options of a kind are, with ``KIND`` for its name.
    """

    title: str
    registry: Registry
    chosen_by: str
    options_in: str


PARTS = (
    Part("Cores", CORES, "model.core.kind", "model.core.KIND"),
    Part("Readouts", READOUTS, "model.readout.kind", "model.readout.KIND"),
    Part("Shifters", SHIFTERS, "model.shifter.kind", "model.shifter.KIND"),
    Part("Losses", LOSSES, "objective.loss.kind", "objective.loss.KIND"),
    Part("Optimisers", OPTIMIZERS, "optimizer.kind", "optimizer.KIND"),
    Part("Schedules", SCHEDULES, "schedule.kind", "schedule.KIND"),
    Part("Scores to monitor", SCORES, "stopping.score", "stopping.score"),
    Part("Batch orders", SAMPLERS, "train.order", "train.windows.KIND"),
    Part("Sources", SOURCES, "data.source", "data"),
)


def pages(root: Path) -> dict[str, str]:
    """Make the pages.

    Args:
        root: folder of the repository.
    """
    return {
        "reference/configuration.md": _linked(_configuration(root / "configs" / "common.py")),
        "reference/presets.md": _linked(_presets(root / "configs")),
    }


def _linked(text: str) -> str:
    """Let paths of pages and configurations in docstrings and comments lead there, outside of code."""

    def linked(line: str) -> str:
        if line.startswith("    "):
            return line
        line = re.sub(r"\bdocs/(\w+)\.md\b", r"[\1](../\1.md)", line)
        return re.sub(r"\bconfigs/((?!common)\w+)\.py\b", r"[\1](presets.md#\1)", line)

    return "\n".join(map(linked, text.split("\n")))


def _configuration(common: Path) -> str:
    lines = [CONFIGURATION, *_settings_of_a_run(common), ""]
    for part in PARTS:
        lines += _kinds(part)
    rows = (f"| `{one.__name__}` | {_first_line(one)} |" for one in map(CALLBACKS.__getitem__, CALLBACKS.kinds()))
    lines += [CALLBACKS_TABLE, *rows, ""]
    return "\n".join(lines)


def _settings_of_a_run(common: Path) -> list[str]:
    text = common.read_text(encoding="utf-8")
    comments = _comments(text)
    config = entries(read_config(str(common.with_name("template.py"))))
    of_parts = tuple(part.options_in.partition("KIND")[0] for part in PARTS)
    names = [name for name in _defaults(text) if name in config and (name in comments or not name.startswith(of_parts))]
    names.sort(key=list(config).index)
    rows = [
        f"| `{name}` | {_value(_defaults(text)[name])} | {_range(name)} | {comments.get(name, '')} |" for name in names
    ]
    return ["| setting | default | range | |", "| --- | --- | --- | --- |", *rows]


def _defaults(text: str) -> dict[str, Any]:
    """Settings that ``common.training`` writes out, in their order, by dotted names."""
    return {name: value for name, value, _ in _written(text)}


def _comments(text: str) -> dict[str, str]:
    """Comments beside them, or on the line before, by the names of the settings."""
    tokens = list(tokenize.generate_tokens(iter(text.splitlines(keepends=True)).__next__))
    comments = [token for token in tokens if token.type == tokenize.COMMENT]
    beside = {token.start[0]: _plain(token.string) for token in comments if token.line.lstrip()[0] != "#"}
    before = {token.start[0] + 1: _plain(token.string) for token in comments if token.line.lstrip()[0] == "#"}
    return {name: (before | beside)[line] for name, _, line in _written(text) if line in before | beside}


def _plain(comment: str) -> str:
    """A comment as text of a table, where braces would be attributes."""
    return comment.lstrip("# ").replace("{", "&#123;").replace("|", "&#124;")


def _written(text: str) -> list[tuple[str, Any, int]]:
    """Name, default (as written where it is no constant) and line of the settings of ``common.training``."""
    (function,) = (
        node for node in ast.parse(text).body if isinstance(node, ast.FunctionDef) and node.name == "training"
    )
    found: list[tuple[str, Any, int]] = []
    for node in ast.walk(function):
        if isinstance(node, ast.Call) and node.args and isinstance(node.args[0], ast.Dict):
            part = ast.unparse(node.func).removesuffix(".update").replace("windows", "train.windows")
            found += _entries(node.args[0], "" if part.endswith("ConfigDict") else f"{part}.")
    return found


def _entries(node: ast.Dict, before: str) -> list[tuple[str, Any, int]]:
    found: list[tuple[str, Any, int]] = []
    for key, value in zip(node.keys, node.values, strict=True):
        name = f"{before}{ast.literal_eval(key)}" if key is not None else before
        if isinstance(value, ast.Dict) and value.keys:
            found += _entries(value, f"{name}.")
            continue
        try:
            found.append((name, ast.literal_eval(value), value.lineno))
        except ValueError:
            called = ast.unparse(value.func) if isinstance(value, ast.Call) else ""
            free = called == "settings.free"
            if isinstance(value, ast.Call) and (free or called == "placeholder"):  # the others have kinds
                found.append((name, ast.literal_eval(value.args[0]) if free else None, value.lineno))
    return found


def _kinds(part: Part) -> list[str]:
    """The section of a part."""
    lines = [f"## {part.title}", "", f'`config.{part.chosen_by}` is one of these, or `"package.module:Name"`.', ""]
    for kind in part.registry.kinds():
        maker, where = part.registry[kind], part.options_in.replace("KIND", kind)
        docs = documented(maker)
        lines += [f"### {kind} {{ #{part.title.split()[0].lower()}-{kind} }}", "", about(maker), ""]
        options = part.registry.options(kind)
        if options:
            lines += [
                f"Options, in `config.{where}`:",
                "",
                "| option | type | default | range | |",
                "| --- | --- | --- | --- | --- |",
            ]
            lines += [_option(name, option, where, kind, docs) for name, option in options.items()]
            lines.append("")
    return lines


def _option(name: str, option: Option, where: str, kind: str, docs: Mapping[str, str]) -> str:
    default = "must be given" if option.required else _value(option.default)
    allowed = _range(f"{where}.{name}".replace(f".{kind}.", "."))
    return f"| `{name}` | {_type(option.hint)} | {default} | {allowed} | {docs.get(name, '')} |"


def _range(setting: str) -> str:
    return next((found.text for pattern, found in RANGES.items() if fnmatch.fnmatchcase(setting, pattern)), "")


def _type(hint: Any) -> str:
    written = re.sub(r"(?:[a-z_0-9]+[.])+(?=[A-Za-z])", "", inspect.formatannotation(hint))
    return "" if written == "Any" else f"`{written}`"


def _value(value: Any) -> str:
    return f"`{value!r}`"


def _first_line(maker: Any) -> str:
    return (inspect.getdoc(maker) or "").partition("\n")[0]


def about(maker: Any) -> str:
    """The docstring up to its sections."""
    sections = r"^(?:Args|Attributes|Returns|Raises|Yields):$"
    return re.split(sections, inspect.getdoc(maker) or "", maxsplit=1, flags=re.M)[0].strip()


def documented(maker: Any) -> dict[str, str]:
    """What docstrings say of arguments and attributes, those of base classes too."""
    texts: dict[str, str] = {}
    for one in reversed(getattr(maker, "__mro__", (maker,))):
        for section in ("Attributes", "Args"):
            text = inspect.cleandoc(one.__doc__ or "")
            body = re.search(rf"^{section}:\n((?:[ ]+.*\n?|\n)+)", text, re.M)
            if body:
                texts |= _entries_of(textwrap.dedent(body[1]))
    return texts


def _entries_of(section: str) -> dict[str, str]:
    found: dict[str, str] = {}
    for entry in re.split(r"\n(?=\S)", section.strip()):
        names, _, text = entry.partition(":")
        for name in names.split(","):
            found[name.strip()] = " ".join(text.split()).replace("|", "\\|")
    return found


def _presets(folder: Path) -> str:
    lines = [PRESETS]
    for name in presets.names():
        source = ast.parse((folder / f"{name}.py").read_text(encoding="utf-8"))
        lines += [f"## {name}", "", ast.get_docstring(source) or "", "", *_words(name), ""]
    lines += ["## Spaces", "", "Spaces that `openretina-jax search --space=NAME` takes:", ""]
    for name in presets.names("spaces"):
        source = ast.parse((folder / "spaces" / f"{name}.py").read_text(encoding="utf-8"))
        lines += [f"### Space {name}", "", ast.get_docstring(source) or "", ""]
    return "\n".join(lines)


def _words(name: str) -> list[str]:
    """The words of a preset, as its own module has them."""
    words = importlib.import_module(f"configs.{name}").WORDS if name != "mix" else ()
    return [f"Words: {', '.join(f'`{word}`' for word in words)}"] if words else []
