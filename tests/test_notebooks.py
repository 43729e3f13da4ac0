"""The notebooks run from top to bottom, and show what they compute; they share recordings and trained models."""

import ast
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

NOTEBOOKS = Path(__file__).parents[1] / "notebooks"
FILES = sorted(NOTEBOOKS.glob("[0-9]*.py"))


def code_of(file: Path) -> Iterator[ast.Module]:
    """The cells of a notebook that are code."""
    for cell in file.read_text(encoding="utf-8").split("# %%")[1:]:
        if not cell.startswith(" [markdown]"):
            yield ast.parse(cell, str(file))


def run(cell: ast.Module, names: dict[str, Any]) -> None:
    """Run a cell, and show its last value as Jupyter does."""
    *before, last = cell.body
    if not isinstance(last, ast.Expr):
        exec(compile(cell, "cell", "exec"), names)
        return
    exec(compile(ast.Module(before, []), "cell", "exec"), names)
    value = eval(compile(ast.Expression(last.value), "cell", "eval"), names)
    if value is not None:
        shown = (getattr(value, way)() for way in ("_repr_html_", "_repr_png_", "__repr__") if hasattr(value, way))
        assert next(one for one in shown if one)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the notebooks train: those after the first find its model there."""
    return tmp_path_factory.mktemp("notebooks")


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_cells_of_a_notebook(file: Path) -> None:
    """It opens with a title, explains itself, and shows what it computes."""
    text = file.read_text(encoding="utf-8")
    assert text.startswith("# %% [markdown]\n# # ")
    kinds = [line.strip() for line in text.splitlines() if line.startswith("# %%")]
    assert set(kinds) == {"# %%", "# %% [markdown]"}
    assert kinds.count("# %% [markdown]") >= 4
    shown = [node for node in ast.parse(text).body if isinstance(node, ast.Expr)]
    assert len(shown) >= 3


@pytest.mark.slow
@pytest.mark.notebook
@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_a_notebook_runs(file: Path, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(folder)
    names: dict[str, Any] = {"__name__": "__main__"}
    for cell in code_of(file):
        run(cell, names)
    CHECKS.get(file.stem, dict)(**names)


def check_ones_own_data(table: Any, fields: Any, **others: Any) -> None:
    assert table["normalized_correlation"].mean() > 0.8
    assert abs(fields.centre_px - [(3, 3), (6, 6), (8, 4), (5, 9), (9, 9)]).max() < 1.5


def check_closed_loop(table: Any, predicted: Any, heard: Any, model: Any, **others: Any) -> None:
    assert (table["own favourite"] > table["favourites of others"]).mean() > 0.9
    assert (table["own favourite"] > table["the same, of equal norm"]).mean() > 0.9
    assert np.isnan(predicted[: model.lag]).all()
    assert np.corrcoef(predicted[model.lag :].ravel(), heard[model.lag :].ravel())[0, 1] > 0.5


CHECKS = {"03_your_own_data": check_ones_own_data, "13_closed_loop": check_closed_loop}


def test_ones_own_data_takes_ten_lines() -> None:
    (cell,) = [cell for cell in code_of(NOTEBOOKS / "03_your_own_data.py") if "my_retina" in ast.unparse(cell)]
    lines = {node.lineno for node in ast.walk(cell) if isinstance(node, ast.stmt)}
    assert len(lines) <= 10
