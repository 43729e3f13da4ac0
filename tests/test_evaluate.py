"""What is written, and where: folders whole or not at all."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from openretina_jax import evaluate
from openretina_jax.errors import UserError
from openretina_jax.evaluate import Output, put_in_place, writable, write
from openretina_jax.evaluation.evaluation import Evaluation
from tests import tiny


def empty(folder: Path) -> Path:
    folder.mkdir()
    return folder


def test_a_folder_appears_when_it_is_complete(tmp_path: Path) -> None:
    with writable(tmp_path / "new" / "out") as folder:
        (folder / "summary.json").write_text("{}")
        assert not (tmp_path / "new" / "out").exists()
        put_in_place(folder, tmp_path / "new" / "out")
    assert [file.name for file in (tmp_path / "new").rglob("*")] == ["out", "summary.json"]


def test_a_failure_leaves_what_was_there(tmp_path: Path) -> None:
    before = empty(tmp_path / "out") / "summary.json"
    before.write_text("old")

    def fail() -> None:
        with writable(tmp_path / "out") as folder:
            (folder / "summary.json").write_text("new")
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fail()
    assert [file for file in tmp_path.rglob("*") if file.is_file()] == [before]
    assert before.read_text() == "old"


def test_a_full_disk_is_one_line(tmp_path: Path) -> None:
    def fill() -> None:
        with writable(tmp_path / "out"):
            raise OSError(28, "No space left on device")

    with pytest.raises(UserError, match=r"out cannot be written \(No space left on device\); give another --folder"):
        fill()
    assert list(tmp_path.iterdir()) == []


def test_folders_that_are_not_evaluations_stay(tmp_path: Path) -> None:
    folder = empty(tmp_path / "out")
    with pytest.raises(UserError, match="exists; give another --folder, or --overwrite"):
        Output(folder)
    with pytest.raises(UserError, match="holds no evaluation, and is not overwritten"):
        Output(folder, overwrite=True)
    (folder / "summary.json").touch()
    assert Output(folder, overwrite=True).overwrite


@pytest.mark.parametrize("table", ["neurons.txt", "sub/neurons.csv", "neurons"])
def test_names_of_tables(table: str) -> None:
    with pytest.raises(UserError, match=r"give a file name that ends in \.csv or \.parquet"):
        Output(None, table)


def test_parquet_is_an_extra(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(evaluate.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(UserError, match=r"pyarrow is missing: pip install .openretina-jax\[parquet\]"):
        Output(tmp_path / "out", "neurons.parquet")
    monkeypatch.setattr(evaluate.importlib.util, "find_spec", lambda name: name)
    monkeypatch.setattr(pd.DataFrame, "to_parquet", lambda table, file, index: file.write_text(f"{len(table)} rows"))
    output = Output(tmp_path / "out", "neurons.parquet")
    neurons = pd.DataFrame({"session": ["left"], "neuron": [0], "correlation": [np.nan], "split": ["test"]})
    folder = empty(tmp_path / "out")
    write(Evaluation("model", 6, {}, neurons, {}), folder, {}, tiny.dataset(), output)
    assert (folder / "neurons.parquet").read_text() == "1 rows"
    assert not (folder / "neurons.csv").exists()
