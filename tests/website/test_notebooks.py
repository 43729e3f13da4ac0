"""Pages of notebooks: source where they were not run, output where they were."""

import base64
import json
from pathlib import Path

from website.notebooks import pages

NOTEBOOK = """# %% [markdown]
# # A title
#
# A first sentence. A second one.

# %%
print(1)
2

# %%
3
"""
OUTPUTS = [
    {"output_type": "stream", "text": "1\n"},
    {"output_type": "execute_result", "data": {"text/plain": "2"}},
]
PICTURE = [
    {"output_type": "display_data", "data": {"text/plain": "<Figure>", "image/png": base64.b64encode(b"png").decode()}},
    {
        "output_type": "display_data",
        "data": {"text/html": '<table border="1" class="dataframe"></table>', "text/plain": "x"},
    },
    {"output_type": "display_data", "data": {"text/html": "<pre>rich</pre>", "text/plain": "\x1b[1mrich\x1b[0m"}},
]


def written(folder: Path, second: str = "print(1)\n2") -> None:
    (folder / "01_a.py").write_text(NOTEBOOK)
    title = {"cell_type": "markdown", "source": "# A title\n\nA first sentence. A second one."}
    cells = [title, {"cell_type": "code", "source": second, "outputs": OUTPUTS}]
    cells.append({"cell_type": "code", "source": "3", "outputs": PICTURE})
    (folder / "01_a.ipynb").write_text(json.dumps({"cells": cells}))


def test_output(tmp_path: Path) -> None:
    written(tmp_path)
    found = pages(tmp_path, tmp_path)
    page = found["notebooks/01_a.md"]
    assert "```text\n1\n2\n```" in page
    assert "![Output of the cell](01_a_2_0.png)" in page
    assert '<div class="output"><table></table></div>' in page
    assert "```text\nrich\n```" in page
    assert "Source only" not in page
    assert found["notebooks/01_a_2_0.png"] == b"png"
    assert "[A title](01_a.md): A first sentence." in found["notebooks/index.md"]


def test_a_notebook_that_has_changed_since(tmp_path: Path) -> None:
    written(tmp_path, second="print(2)")
    page = pages(tmp_path, tmp_path)["notebooks/01_a.md"]
    assert "Source only" in page
    assert "```python\nprint(1)\n2\n```" in page
    assert ".png" not in page
