"""Run notebooks from top to bottom, and write them with their output as .ipynb and .html.

    python notebooks/run.py                 # all of them
    python notebooks/run.py 01 03           # those whose names begin so
    python notebooks/run.py 01 --out=pages

It needs `pip install -e ".[notebooks]"`. A cell that fails ends the run with exit status 1 and its traceback; what came
before is written all the same. The notebooks are Python files with cells (``# %%``): VS Code and Jupyter with the
extension jupytext open them as they are.
"""

import argparse
import os
import sys
import time
from pathlib import Path

import jupytext
import nbclient
import nbconvert
import nbformat

HERE = Path(__file__).parent
TIMEOUT_S = 600  # of a cell


def run(file: Path, folder: Path) -> None:
    """Run a notebook in its own folder, and write it with its output.

    Raises:
        CellExecutionError: a cell failed.
    """
    notebook = jupytext.read(file)
    client = nbclient.NotebookClient(
        notebook,
        timeout=TIMEOUT_S,
        kernel_name="python3",
        coalesce_streams=True,  # a line that is written over is kept once
        resources={"metadata": {"path": str(file.parent)}},
    )
    try:
        client.execute()
    finally:
        folder.mkdir(parents=True, exist_ok=True)
        nbformat.write(notebook, folder / f"{file.stem}.ipynb")
        page, _ = nbconvert.HTMLExporter().from_notebook_node(notebook, {"metadata": {"name": file.stem}})
        (folder / f"{file.stem}.html").write_text(page, encoding="utf-8")


def main() -> None:
    """Run what the command line names."""
    parser = argparse.ArgumentParser(description="Run notebooks, and write them with their output.")
    parser.add_argument("names", nargs="*", help="beginnings of their names; none: all")
    parser.add_argument("--out", type=Path, default=HERE / "rendered", help="folder for the results")
    arguments = parser.parse_args()
    files = [file for file in sorted(HERE.glob("[0-9]*.py")) if file.name.startswith(tuple(arguments.names) or "")]
    if not files:
        sys.exit(f"error: no notebook begins with {' or '.join(arguments.names)}")
    for file in files:
        began, worked = time.perf_counter(), of_kernels()
        run(file, arguments.out)
        took, cores = time.perf_counter() - began, of_kernels() - worked
        print(f"{file.stem}: {took:.0f} s, {cores:.0f} s of processor time", flush=True)


def of_kernels() -> float:
    """Processor time that kernels have taken which have ended, in seconds."""
    times = os.times()
    return times.children_user + times.children_system


if __name__ == "__main__":
    main()
