"""What the Tab key completes in a shell: commands, experiments, flags, configurations with their words and settings."""

import ast
import importlib
import runpy
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from openretina_jax import commands

if TYPE_CHECKING:
    from absl import flags

SCRIPTS = {
    "bash": """\
_openretina_jax() {
    local line=${COMP_LINE:0:COMP_POINT} words found
    read -ra words <<< "$line"
    [[ $line == *' ' ]] && words+=('')
    local word=${words[-1]}
    # readline completes what follows the last of its breaks, such as "=" and ":"
    local before=${word%"${word##*["$COMP_WORDBREAKS"]}"}
    mapfile -t found < <("${words[0]}" completion words "${words[@]:1}" 2> /dev/null)
    COMPREPLY=("${found[@]#"$before"}")
    [[ ${found[0]} == *[=.]* ]] && compopt -o nospace
}
complete -o default -F _openretina_jax openretina-jax
""",
    "zsh": """\
_openretina_jax() {
    local -a found
    found=("${(@f)$("${words[1]}" completion words "${(@)words[2,CURRENT-1]}" "$PREFIX" 2> /dev/null)}")
    if [[ -n $found ]]; then
        compadd -S '' -- ${(M)found:#*[=.]*}
        compadd -- ${found:#*[=.]*}
    else
        compset -P '*='
        _files
    fi
}
compdef _openretina_jax openretina-jax
""",
    "fish": """\
complete -c openretina-jax -n 'not string match -q -- "*=*" (commandline -ct)' -f
complete -c openretina-jax -a '(openretina-jax completion words (commandline -opc)[2..-1] (commandline -ct))'
""",
}


def candidates(words: Sequence[str]) -> list[str]:
    """What the last word of a command line may become; none where it may be anything, such as a file.

    Args:
        words: those after the name of the program; the last one may be empty.
    """
    *before, word = words
    if not before:
        found: Iterable[str] = [*commands.names(), "--help", "--version"]
    elif before[0] not in commands.names():
        found = []
    elif before[0] == "insilico" and len(before) == 1 and not word.startswith("-"):
        found = _experiments()
    elif "=" in word:
        name, _, value = word.partition("=")
        found = (f"{name}={one}" for one in _values(before[0], name.removeprefix("--"), value))
    elif word.startswith("--config."):
        found = _settings(word, before)
    else:
        found = [*_flags(before[0]), "--help"]
        if before[0] == "insilico":
            found += [f"--{option}=" for option in _experiments().get(before[1], ())]
    return sorted({one for one in found if one.startswith(word)})


def _experiments() -> dict[str, list[str]]:
    """Options of each registered experiment, by its name; read from the files, since importing them takes seconds."""
    files = (Path(__file__).parents[1] / "experiment" / "insilico").glob("*.py")
    parsed = [node for file in files for node in ast.parse(file.read_text("utf-8")).body]
    classes = {node.name: node for node in parsed if isinstance(node, ast.ClassDef)}

    def options(name: str) -> list[str]:
        if name not in classes:
            return []
        fields = [node.target for node in classes[name].body if isinstance(node, ast.AnnAssign)]
        own = [field.id for field in fields if isinstance(field, ast.Name)]
        return [one for base in classes[name].bases for one in options(ast.unparse(base))] + own

    return {
        ast.literal_eval(kind.args[0]): options(name)
        for name, node in classes.items()
        for kind in node.decorator_list
        if isinstance(kind, ast.Call) and ast.unparse(kind.func) == "EXPERIMENTS"
    }


def _flags(command: str) -> Iterator[str]:
    for flag in _defined(command):
        yield f"--{flag.name}" if flag.boolean else f"--{flag.name}="
        if flag.name == "config":
            yield "--config."


def _defined(command: str) -> "list[flags.Flag]":
    from openretina_jax.experiment.usage import defined_flags  # takes a third of a second

    importlib.import_module(f"{commands.__name__}.{command}")
    return defined_flags()


def _values(command: str, name: str, value: str) -> list[str]:
    """What a flag may be, if it is one of a few things."""
    from openretina_jax.runtime import presets

    if name == "space":
        return presets.names("spaces")
    if name == "format":
        from openretina_jax.simulation.cache import simulator_names

        return simulator_names()
    if name != "config":
        parsers = [flag.parser for flag in _defined(command) if flag.name == name]
        return [one for parser in parsers for one in getattr(parser, "enum_values", ())]
    if ":" not in value:
        return presets.names()
    file, _, chosen = value.partition(":")
    earlier = chosen.rpartition(",")[0]
    place = presets.file_of(file)
    presets.make_importable(place)
    known = runpy.run_path(place).get("WORDS", ())
    return [f"{file}:{earlier}{',' if earlier else ''}{word}" for word in known if word not in earlier.split(",")]


def _settings(word: str, before: Sequence[str]) -> list[str]:
    """Settings of the configuration that is given, up to their next dot."""
    from openretina_jax.runtime.settings import entries, read_config

    given = next((one.partition("=")[2] for one in before if one.startswith("--config=")), None)
    if given is None:
        return []
    names = [f"--config.{name}=" for name in entries(read_config(given))]
    return list({name[: name.find(".", len(word)) + 1] or name for name in names if name.startswith(word)})
