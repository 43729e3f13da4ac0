"""What the pages of the documentation ask their readers to run."""

import re
import shlex
import textwrap
from pathlib import Path
from typing import NamedTuple

from tests.scripts import ROOT

PAGES = (ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md")))
SCRIPTS = {"check": "check_data.py", "convert": "convert_checkpoint.py"}  # of commands; the others have their names


class Program(NamedTuple):
    """A command line of a page.

    Attributes:
        name: script of the checkout, or another program such as "pip".
        arguments: words after it.
        whole: whether it stands by itself; what is quoted in a sentence may lack flags.
    """

    name: str
    arguments: tuple[str, ...]
    whole: bool


def snippets(page: Path) -> list[str]:
    """All Python of a page, in its order."""
    blocks = re.findall(r"^( *)```python\n(.*?)^ *```", page.read_text(encoding="utf-8"), re.DOTALL | re.MULTILINE)
    return [textwrap.dedent(block) for _, block in blocks]


def files(page: Path) -> dict[str, str]:
    """Python that a page shows as a file: its first line is a comment with the path."""
    named = {re.match(r"# ([\w/]+\.py)\n", block): block for block in snippets(page)}
    return {match[1]: block for match, block in named.items() if match}


def programs(text: str) -> list[Program]:
    """All commands of a page: those that stand by themselves, and those that are quoted in a sentence."""
    text = re.sub(r"^ *```python\n.*?^ *```", "", text, flags=re.DOTALL | re.MULTILINE)
    lines = re.sub(r" *\\\n *", " ", "".join(re.findall(r"^ {4,}.*\n", text, re.MULTILINE))).splitlines()
    quoted = [" ".join(span.split()) for span in re.findall(r"(?<!`)`([^`]+)`(?!`)", re.sub(r"^ {4,}.*\n", "", text))]
    found = [program for line in lines for program in _read(line.strip(), whole=True)]
    return found + [program for span in quoted for program in _read(span, whole=False)]


def settings(page: Path) -> set[str]:
    """Settings of a configuration that a page names, by their dotted names."""
    text = page.read_text(encoding="utf-8")
    return set(re.findall(r"(?:--config|`config|\bconfig)\.((?:[a-z_0-9]+\.)+[a-z_0-9]+)(?=[=` ,;)\n])", text))


def _read(line: str, *, whole: bool) -> list[Program]:
    """The programs of a line of a shell."""
    if not re.search(r"python |openretina-jax |pip |\w+\.py --|^pytest|^ruff", line):
        return []
    try:
        words = shlex.split(re.sub(r"[\[\]]", "", line) if "[--" in line else line, comments=True)
    except ValueError:  # a sentence
        return []
    found: list[Program] = []
    while words:
        end = next((place for place, word in enumerate(words) if word in ("&&", "&", "|")), len(words))
        found += _program([word for word in words[:end] if word != "..."], whole=whole)
        words = words[end + 1 :]
    return found


def _program(words: list[str], *, whole: bool) -> list[Program]:
    while words and (re.fullmatch(r"[A-Z_]+=.*", words[0]) or words[0] in ("srun", "mpirun")):
        words = words[1:]
    if not words:
        return []
    if words[0] == "gcloud":
        inner = [word.removeprefix("--command=") for word in words if word.startswith("--command=")]
        return [program for line in inner for program in _read(line, whole=whole)]
    if words[0] in ("python", "python3") and len(words) > 1:
        words = words[1:] if words[1] != "-m" else [" ".join(words[:3]), *words[3:]]
    if words[0] == "openretina-jax" and len(words) > 1 and not words[1].startswith("-"):
        words = [f"scripts/{SCRIPTS.get(words[1], f'{words[1]}.py')}", *words[2:]]
    if words[0].endswith(".py") and (ROOT / "scripts" / words[0]).is_file():
        words = [f"scripts/{words[0]}", *words[1:]]
    return [Program(words[0], tuple(words[1:]), whole)]
