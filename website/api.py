"""The reference of the package: a page for every part, rendered from docstrings by mkdocstrings."""

import ast
import importlib
import pkgutil
from pathlib import Path

import openretina_jax

PARTS = (
    "data",
    "sources",
    "simulation",
    "modules",
    "models",
    "interop",
    "training",
    "evaluation",
    "insilico",
    "visualize",
    "search",
    "experiment",
    "runtime",
)


def pages() -> dict[str, str]:
    """Make an overview of the public names, and a page for every part."""
    return {"reference/api/index.md": _overview()} | {f"reference/api/{part}.md": _part(part) for part in PARTS}


def _overview() -> str:
    rows = [_row(name) for name in openretina_jax.__all__ if name != "__version__"]
    parts = [f"| [`openretina_jax.{part}`]({part}.md) | {_about(f'openretina_jax.{part}')} |" for part in PARTS]
    return "\n".join(
        [
            "# API reference",
            "",
            "These names are all that most work needs. They are imported when they are used, so that",
            "`import openretina_jax` takes a tenth of a second.",
            "",
            "| name | what it is |",
            "| --- | --- |",
            *rows,
            "",
            "## Parts",
            "",
            "| package | what is in it |",
            "| --- | --- |",
            *parts,
            "",
            "Errors that a user can mend are `openretina_jax.errors.UserError`, one line each.",
            "[The architecture](../../architecture.md) says how the parts depend on one another.",
            "",
        ]
    )


def _row(name: str) -> str:
    value = getattr(openretina_jax, name)
    module = getattr(value, "__module__", None)
    if module is None:
        part = value.__name__.removeprefix("openretina_jax.")
        return f"| [`openretina_jax.{name}`]({part}.md) | {_about(value.__name__)} |"
    line = (value.__doc__ or "").partition("\n")[0]
    described = value if hasattr(value, "__name__") else type(value)  # an object is described by its class
    return f"| [`openretina_jax.{name}`][{module}.{described.__name__}] | {line} |"


def _part(part: str) -> str:
    """A page with the modules of a part, one after the other."""
    package = f"openretina_jax.{part}"
    lines = [f"# {package}", "", _text(package), ""]
    for module in _modules(package):
        lines += [f"::: {module}", ""]
    return "\n".join(lines)


def _modules(package: str) -> list[str]:
    """Modules of a package that define something public, at any depth."""
    found = pkgutil.walk_packages(importlib.import_module(package).__path__, f"{package}.")
    return [module.name for module in found if _defines(module.name)]


def _defines(module: str) -> bool:
    body = ast.parse(_file(module).read_text(encoding="utf-8")).body
    return any(
        isinstance(node, ast.FunctionDef | ast.ClassDef) and not node.name.startswith("_") and ast.get_docstring(node)
        for node in body
    )


def _file(module: str) -> Path:
    root = Path(openretina_jax.__file__).parents[1].joinpath(*module.split("."))
    return root / "__init__.py" if root.is_dir() else root.with_suffix(".py")


def _text(module: str) -> str:
    return ast.get_docstring(ast.parse(_file(module).read_text(encoding="utf-8"))) or ""


def _about(module: str) -> str:
    return _text(module).partition("\n")[0]
