"""Imports inside the package point downwards only."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parent.parent / "openretina_jax"

# from the bottom up; parts of one layer may import each other
LAYERS = [
    {"errors"},
    {"data"},
    {"modules"},
    {"models"},
    {"evaluation"},
    {"visualize"},
    {"training"},
    {"benchmarks"},
    {"config", "command_line", "__init__"},
]
LEVEL = {part: level for level, parts in enumerate(LAYERS) for part in parts}

# where a library may be imported; those not named here may be imported anywhere
HOME = {
    "matplotlib": ("visualize/",),
    "ml_collections": ("config.py", "command_line.py"),
    "absl": ("config.py", "command_line.py"),
    "torch": ("benchmarks/reference.py",),
    "openretina": ("benchmarks/reference.py",),
}

FILES = sorted(str(file.relative_to(PACKAGE)) for file in PACKAGE.rglob("*.py"))


def imported(file: str) -> Iterator[str]:
    """Dotted names of the modules that a file imports, in functions too; imports for type checkers do not count."""
    tree = ast.parse((PACKAGE / file).read_text())
    for node in ast.walk(tree):
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING":
            node.body = []
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{file} has a relative import"
            yield from (f"{node.module}.{alias.name}" for alias in node.names)
        elif isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)


def part_of(file: str) -> str:
    return file.split("/")[0].removesuffix(".py")


def test_every_part_has_its_layer() -> None:
    assert {part_of(file) for file in FILES} <= LEVEL.keys()


@pytest.mark.parametrize("file", FILES)
def test_imports_point_downwards(file: str) -> None:
    own = LEVEL[part_of(file)]
    for name in imported(file):
        package, _, rest = name.partition(".")
        if package == "openretina_jax" and rest:
            part = rest.split(".")[0]
            assert LEVEL[part if part in LEVEL else "__init__"] <= own, f"{file} imports {name}"


@pytest.mark.parametrize("file", FILES)
def test_libraries_stay_at_home(file: str) -> None:
    for name in imported(file):
        for library, home in HOME.items():
            if name.split(".")[0] == library:
                assert file.startswith(home), f"{file} imports {name}"


@pytest.mark.parametrize("file", [file for file in FILES if file.startswith("data/") and file != "data/batches.py"])
def test_data_needs_no_jax(file: str) -> None:
    libraries = {name.split(".")[0] for name in imported(file)}
    assert not libraries & {"jax", "flax", "optax"}
