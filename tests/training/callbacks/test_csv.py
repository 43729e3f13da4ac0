"""The table of epochs is continued, without rows of lost work."""

import csv
from pathlib import Path

from openretina_jax.training.callbacks.csv import CsvTable
from tests.training.callbacks.epochs import epoch_of


def rows(file: Path) -> list[dict[str, str]]:
    with file.open(newline="") as stream:
        return list(csv.DictReader(stream))


def test_rows_of_lost_work_are_dropped(tmp_path: Path) -> None:
    file = tmp_path / "metrics.csv"
    first, resumed = CsvTable(tmp_path), CsvTable(tmp_path)
    first.on_train_begin(0, 0)
    for epoch in (1, 2, 3):
        first.on_epoch_end(epoch_of({"epoch": epoch, "loss": epoch / 10}))
    resumed.on_train_begin(2, 20)
    resumed.on_epoch_end(epoch_of({"epoch": 3, "loss": 0.7}))
    assert rows(file) == [{"epoch": "1", "loss": "0.1"}, {"epoch": "2", "loss": "0.2"}, {"epoch": "3", "loss": "0.7"}]
    assert [path.name for path in tmp_path.iterdir()] == ["metrics.csv"]


def test_a_fresh_run_leaves_no_old_rows(tmp_path: Path) -> None:
    file = tmp_path / "metrics.csv"
    for metrics in ({"epoch": 1, "loss": 0.1}, {"epoch": 1, "correlation": 0.5}):
        table = CsvTable(tmp_path)
        table.on_train_begin(0, 0)
        table.on_epoch_end(epoch_of(metrics))
    assert rows(file) == [{"epoch": "1", "correlation": "0.5"}]
