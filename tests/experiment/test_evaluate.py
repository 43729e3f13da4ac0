"""What is written, and where."""

import importlib.util
import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from openretina_jax.errors import UserError
from openretina_jax.evaluation.evaluate import Evaluation
from openretina_jax.experiment.evaluate import Output, data_settings, write
from tests import tiny


def empty(folder: Path) -> Path:
    folder.mkdir()
    return folder


def test_folders_that_are_not_evaluations_stay(tmp_path: Path) -> None:
    folder = empty(tmp_path / "out")
    with pytest.raises(UserError, match="exists; give another --folder, or --overwrite"):
        Output(folder)
    with pytest.raises(UserError, match="holds no evaluation, and is not overwritten"):
        Output(folder, overwrite=True)
    (folder / "summary.json").touch()
    assert Output(folder, overwrite=True).overwrite


def test_arrays_in_memory_are_in_no_file(tmp_path: Path) -> None:
    for part in ("state", "about"):
        empty(tmp_path / part)
    about = {"config": {"data": {"source": "arrays"}}}
    (tmp_path / "about" / "metadata").write_text(json.dumps(about))
    with pytest.raises(UserError, match=r"in memory, which no file holds; call openretina_jax\.evaluate\(model"):
        data_settings(str(tmp_path), None)


@pytest.mark.parametrize("table", ["neurons.txt", "sub/neurons.csv", "neurons"])
def test_names_of_tables(table: str) -> None:
    with pytest.raises(UserError, match=r"give a file name that ends in \.csv or \.parquet"):
        Output(None, table)


def test_parquet_is_an_extra(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(UserError, match=r"pyarrow is not installed; run pip install -e .\.\[parquet\]"):
        Output(tmp_path / "out", "neurons.parquet")
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: name)
    monkeypatch.setattr(pd.DataFrame, "to_parquet", lambda table, file, index: file.write_text(f"{len(table)} rows"))
    output = Output(tmp_path / "out", "neurons.parquet")
    neurons = pd.DataFrame({"session": ["left"], "neuron": [0], "correlation": [np.nan], "split": ["test"]})
    folder = empty(tmp_path / "out")
    write(Evaluation("model", 6, {}, neurons, {}), folder, {}, tiny.dataset(), output)
    assert (folder / "neurons.parquet").read_text() == "1 rows"
    assert not (folder / "neurons.csv").exists()
