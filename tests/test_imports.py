"""Imports inside the package point downwards only."""

import ast
import functools
import graphlib
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parent.parent / "openretina_jax"

# from the bottom up; parts of one layer may import each other, but no files in a circle
LAYERS = [
    {"errors", "runtime"},
    {"data", "sources", "simulation"},
    {"modules", "models", "interop"},
    {"training", "evaluation", "insilico"},
    {"experiment", "search", "visualize", "__init__"},
    {"commands", "__main__"},
]
LEVEL = {part: level for level, parts in enumerate(LAYERS) for part in parts}

# where a library may be imported; those not named here may be imported anywhere
HOME = {
    "matplotlib": ("visualize/",),
    "ml_collections": ("__init__.py", "experiment/", "commands/", "runtime/settings.py"),
    "absl": ("experiment/", "commands/"),
    "wandb": ("training/callbacks/wandb.py",),
    "mlflow": ("training/callbacks/mlflow.py",),
    "optuna": ("search/",),
    "pynwb": ("data/nwb.py",),
    "fsspec": ("runtime/stores.py",),
    "retinawhitenoise": ("data/white_noise.py",),
    "torch": (),
    "openretina": (),
    "benchmarks": (),
}

FILES = sorted(str(file.relative_to(PACKAGE)) for file in PACKAGE.rglob("*.py"))


def imported(file: str) -> Iterator[str]:
    """Dotted names of the modules that a file imports, in functions too."""
    for node in ast.walk(ast.parse((PACKAGE / file).read_text())):
        if isinstance(node, ast.ImportFrom):
            yield from (f"{'.' * node.level}{node.module}.{alias.name}" for alias in node.names)
        elif isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)


@functools.cache
def all_imports() -> list[tuple[str, str]]:
    """Files and the names that they import."""
    return [(file, name) for file in FILES for name in imported(file)]


def layer(path: str) -> int:
    """The layer of a file or of a dotted name below the package; the package itself is at the top."""
    return LEVEL.get(re.split(r"[./]", path)[0], LEVEL["__init__"])


def test_every_part_has_its_layer() -> None:
    assert {re.split(r"[./]", file)[0] for file in FILES} == LEVEL.keys()


def test_imports_point_downwards() -> None:
    inside = [
        (file, name.removeprefix("openretina_jax."))
        for file, name in all_imports()
        if name.startswith("openretina_jax.")
    ]
    assert inside
    assert [(file, name) for file, name in inside if layer(name) > layer(file)] == []


def path_of(name: str) -> str | None:
    """The file that a dotted name below the package lies in: a module, or a name of one."""
    parts = name.removeprefix("openretina_jax.").split(".")
    for length in range(len(parts), 0, -1):
        for path in ("/".join(parts[:length]) + ".py", "/".join([*parts[:length], "__init__.py"])):
            if path in FILES:
                return path
    return None


def test_no_files_import_each_other_in_a_circle() -> None:
    graph: dict[str, set[str]] = {file: set() for file in FILES}
    for file, name in all_imports():
        if name.startswith("openretina_jax.") and (target := path_of(name)):
            graph[file].add(target)
    assert sum(map(len, graph.values())) > len(FILES)
    try:
        tuple(graphlib.TopologicalSorter(graph).static_order())
    except graphlib.CycleError as error:
        pytest.fail(" -> ".join(error.args[1]))


def test_imports_are_absolute() -> None:
    assert [(file, name) for file, name in all_imports() if name.startswith(".")] == []


@pytest.mark.parametrize("library", HOME)
def test_libraries_stay_at_home(library: str) -> None:
    users = {file for file, name in all_imports() if name.split(".")[0] == library}
    assert {file for file in users if not file.startswith(HOME[library])} == set()


LAYER_OF_DATA = ("data/", "sources/", "simulation/")


def test_data_needs_no_jax() -> None:
    users = {file for file, name in all_imports() if name.split(".")[0] in ("jax", "flax", "optax")}
    assert {file for file in users if file.startswith(LAYER_OF_DATA)} == {"data/batches.py"}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("module", "late"),
    [
        ("openretina_jax", {"jax", "flax", "orbax", "pandas", "matplotlib", "scipy", "h5py"}),
        ("openretina_jax.experiment.command_line", {"jax", "flax", "orbax", "pandas", "matplotlib", "scipy", "h5py"}),
        ("openretina_jax.training.loop", {"orbax", "grain", "pandas", "matplotlib", "h5py"}),
        (
            "openretina_jax.experiment.train",
            {"matplotlib", "scipy.signal", "scipy.optimize", "huggingface_hub", "pandas", "orbax", "tensorboardX"},
        ),
    ],
)
def test_slow_libraries_are_imported_where_they_are_used(module: str, late: set[str]) -> None:
    """The first step of a run does not wait for libraries that it does not use."""
    code = f"import sys, {module}; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=PACKAGE.parent)
    assert module in done.stdout.split()
    assert late & set(done.stdout.split()) == set()


@pytest.mark.slow
def test_the_package_imports_its_experiments_when_they_are_used() -> None:
    code = "import openretina_jax; print(openretina_jax.insilico.most_exciting.__name__)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=PACKAGE.parent)
    assert done.stdout.split() == ["most_exciting"]
