"""The notebooks are programs of cells; the cheapest ones run as they are."""

import ast
import runpy
from pathlib import Path

import pytest

NOTEBOOKS = Path(__file__).parents[1] / "notebooks"
FILES = sorted(NOTEBOOKS.glob("[0-9]*.py"))


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
def test_ones_own_data_in_ten_lines(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys) -> None:
    file = NOTEBOOKS / "03_your_own_data.py"
    _, lines = file.read_text(encoding="utf-8").split("import openretina_jax\n", maxsplit=1)
    assert len(lines.partition("\n\n# %%")[0].split("\n\n")[1].splitlines()) <= 10
    monkeypatch.chdir(tmp_path)
    names = runpy.run_path(str(file))
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "training on 5 neurons in 1 session, in runs/my_retina"
    assert any(line.startswith("noise correlation ") for line in lines)
    assert names["table"]["normalized_correlation"].mean() > 0.8
    centres = names["fields"].centre_px
    assert abs(centres - [(3, 3), (6, 6), (8, 4), (5, 9), (9, 9)]).max() < 1.5
