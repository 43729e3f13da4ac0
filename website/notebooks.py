"""Pages of the notebooks: with their output where they were run before, as source where they were not.

``python notebooks/run.py`` runs them and keeps what they show. A page takes its cells from there if they are those of
the notebook as it is now; otherwise it has the source alone, and says so.
"""

import base64
import json
import re
from pathlib import Path
from typing import Any

NOT_RUN = """!!! note "Source only"
    Run `python notebooks/run.py {name}` before the site is built to see its output here.
"""
OVERVIEW = """# Notebooks

Each runs from top to bottom in about a minute on two cores, on a simulated retina. Open them in VS Code or Jupyter
(with jupytext), or write a page with the output of one:

    pip install -e ".[notebooks]" && python notebooks/run.py 01
"""


def pages(folder: Path, rendered: Path) -> dict[str, str | bytes]:
    """Make a page for each notebook, its pictures, and an overview.

    Args:
        folder: with the notebooks.
        rendered: where ``run.py`` has written the notebooks with their output.
    """
    found: dict[str, str | bytes] = {}
    overview = [OVERVIEW]
    for file in sorted(folder.glob("[0-9]*.py")):
        cells = _cells(file.read_text(encoding="utf-8"))
        title = cells[0][1].splitlines()[0].removeprefix("# ")
        overview.append(f"* [{title}]({file.stem}.md): {_first_sentence(cells[0][1])}")
        found |= _page(file.stem, cells, rendered / f"{file.stem}.ipynb")
    return found | {"notebooks/index.md": "\n".join([*overview, ""])}


def _cells(text: str) -> list[tuple[str, str]]:
    """Cells of a notebook in the percent format: "markdown" or "code", and their text."""
    found = []
    for cell in re.split(r"^# %%", text, flags=re.M)[1:]:
        head, _, body = cell.partition("\n")
        if head.strip() == "[markdown]":
            found.append(("markdown", re.sub(r"^# ?", "", body, flags=re.M).strip()))
        else:
            found.append(("code", body.strip()))
    return found


def _first_sentence(cell: str) -> str:
    paragraph = " ".join(cell.split("\n\n")[1].split())
    return re.split(r"(?<=[.?])\s", paragraph)[0]


def _page(name: str, cells: list[tuple[str, str]], executed: Path) -> dict[str, str | bytes]:
    outputs = _outputs(cells, executed)
    files: dict[str, str | bytes] = {}
    lines = []
    for number, (kind, text) in enumerate(cells):
        if kind == "markdown":
            lines += [text, ""]
            if number == 0 and outputs is None:
                lines += [NOT_RUN.format(name=name[:2]), ""]
            continue
        lines += ["```python", text, "```", ""]
        printed = ""
        for place, output in enumerate((outputs or {}).get(number, ())):
            printed += _text(output)
            if shown := _shown(output, f"{name}_{number}_{place}.png"):
                lines += [*_verbatim(printed), shown, ""]
                printed = ""
            if picture := output.get("data", {}).get("image/png"):
                files[f"notebooks/{name}_{number}_{place}.png"] = base64.b64decode(_joined(picture))
        lines += _verbatim(printed)
    return files | {f"notebooks/{name}.md": "\n".join(lines)}


def _outputs(cells: list[tuple[str, str]], executed: Path) -> dict[int, list[dict[str, Any]]] | None:
    """Outputs of the cells by number; None if the notebook was not run as it is now."""
    if not executed.exists():
        return None
    notebook = json.loads(executed.read_text(encoding="utf-8"))["cells"]
    if [(cell["cell_type"], _joined(cell["source"]).strip()) for cell in notebook] != cells:
        return None
    return {number: cell.get("outputs", []) for number, cell in enumerate(notebook)}


def _shown(output: dict[str, Any], picture: str) -> str:
    """A picture or a table among the outputs of a cell; nothing for text."""
    data = output.get("data", {})
    if "image/png" in data:
        return f"![Output of the cell]({picture})"
    page = _joined(data.get("text/html", ""))
    if not page or page.startswith("<pre"):
        return ""
    page = re.sub(r"<style.*?</style>", "", page, flags=re.DOTALL) if "<table" in page else page
    page = re.sub(r"\n\s*\n", "\n", page.replace(' border="1" class="dataframe"', ""))
    return f'<div class="output">{page}</div>'


def _text(output: dict[str, Any]) -> str:
    """What a cell printed, or the text of its value if there is no picture or table of it."""
    if output["output_type"] == "stream":
        return _joined(output["text"])
    text = _joined(output.get("data", {}).get("text/plain", ""))
    return "" if _shown(output, "") else text.rstrip("\n") + "\n"


def _verbatim(text: str) -> list[str]:
    text = re.sub(r"\x1b\[[0-9;]*m", "", text).strip("\n")
    return ["```text", text, "```", ""] if text.strip() else []


def _joined(text: str | list[str]) -> str:
    return text if isinstance(text, str) else "".join(text)
