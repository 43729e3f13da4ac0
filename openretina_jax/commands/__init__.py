"""Commands of ``openretina-jax``: a module for each, with its flags."""

import ast
import runpy
from pathlib import Path


def names() -> list[str]:
    """Names of the commands."""
    return sorted(file.stem for file in Path(__file__).parent.glob("[!_]*.py"))


def first_line(name: str) -> str:
    """What a command does, in a line; its module is not imported."""
    text = Path(__file__).with_name(f"{name}.py").read_text(encoding="utf-8")
    return (ast.get_docstring(ast.parse(text)) or "").partition("\n")[0]


def run(name: str) -> None:
    """Run a command with the flags in ``sys.argv``."""
    runpy.run_path(str(Path(__file__).with_name(f"{name}.py")), run_name="__main__")
