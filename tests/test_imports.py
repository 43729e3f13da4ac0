"""Imports inside the package point downwards only."""

import ast
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parent.parent / "openretina_jax"

# from the bottom up; parts of one layer may import each other
LAYERS = [
    {"errors", "memory", "devices", "precision", "processes", "interruption", "extras", "settings", "whole_file"},
    {"data"},
    {"modules"},
    {"models"},
    {"interop"},
    {"evaluation"},
    {"visualize"},
    {"training"},
    {"benchmarks", "search"},
    {"check_data", "config", "command_line", "evaluate", "__init__"},
]
LEVEL = {part: level for level, parts in enumerate(LAYERS) for part in parts}

# where a library may be imported; those not named here may be imported anywhere
HOME = {
    "matplotlib": ("visualize/",),
    "ml_collections": ("__init__.py", "config.py", "command_line.py", "evaluate.py", "settings.py"),
    "absl": ("config.py", "command_line.py"),
    "wandb": ("training/trackers.py",),
    "mlflow": ("training/trackers.py",),
    "optuna": ("search/",),
    "torch": ("benchmarks/reference.py",),
    "openretina": ("benchmarks/reference.py", "benchmarks/loading_reference.py"),
}

FILES = sorted(str(file.relative_to(PACKAGE)) for file in PACKAGE.rglob("*.py"))


def imported(file: str) -> Iterator[str]:
    """Dotted names of the modules that a file imports, in functions too."""
    for node in ast.walk(ast.parse((PACKAGE / file).read_text())):
        if isinstance(node, ast.ImportFrom):
            yield from (f"{'.' * node.level}{node.module}.{alias.name}" for alias in node.names)
        elif isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)


IMPORTS = [(file, name) for file in FILES for name in imported(file)]


def layer(path: str) -> int:
    """The layer of a file or of a dotted name below the package; the package itself is at the top."""
    return LEVEL.get(re.split(r"[./]", path)[0], len(LAYERS) - 1)


def test_every_part_has_its_layer() -> None:
    assert {re.split(r"[./]", file)[0] for file in FILES} == LEVEL.keys()


def test_imports_point_downwards() -> None:
    inside = [
        (file, name.removeprefix("openretina_jax.")) for file, name in IMPORTS if name.startswith("openretina_jax.")
    ]
    assert inside
    assert [(file, name) for file, name in inside if layer(name) > layer(file)] == []


def test_imports_are_absolute() -> None:
    assert [(file, name) for file, name in IMPORTS if name.startswith(".")] == []


@pytest.mark.parametrize("library", HOME)
def test_libraries_stay_at_home(library: str) -> None:
    users = {file for file, name in IMPORTS if name.split(".")[0] == library}
    assert {file for file in users if not file.startswith(HOME[library])} == set()


def test_data_needs_no_jax() -> None:
    users = {file for file, name in IMPORTS if name.split(".")[0] in ("jax", "flax", "optax")}
    assert {file for file in users if file.startswith("data/")} == {"data/batches.py"}


@pytest.mark.parametrize(
    ("module", "late"),
    [
        ("openretina_jax", {"jax", "flax", "orbax", "pandas", "matplotlib", "scipy", "h5py"}),
        ("openretina_jax.command_line", {"jax", "flax", "orbax", "pandas", "matplotlib", "scipy", "h5py"}),
        ("openretina_jax.config", {"matplotlib", "scipy.signal", "scipy.optimize"}),
    ],
)
def test_slow_libraries_are_imported_where_they_are_used(module: str, late: set[str]) -> None:
    """The first step of a run does not wait for libraries that it does not use."""
    code = f"import sys, {module}; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=PACKAGE.parent)
    assert module in done.stdout.split()
    assert late & set(done.stdout.split()) == set()
