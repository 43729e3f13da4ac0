"""The table of epochs is continued, without rows of lost work."""

import csv
from pathlib import Path

from openretina_jax.training.writers import CsvWriter


def rows(file: Path) -> list[dict[str, str]]:
    with file.open(newline="") as stream:
        return list(csv.DictReader(stream))


def test_rows_of_lost_work_are_dropped(tmp_path: Path) -> None:
    file = tmp_path / "metrics.csv"
    first = CsvWriter(file, 0)
    for epoch in (1, 2, 3):
        first.write({"epoch": epoch, "loss": epoch / 10})
    resumed = CsvWriter(file, 2)
    resumed.write({"epoch": 3, "loss": 0.7})
    assert rows(file) == [{"epoch": "1", "loss": "0.1"}, {"epoch": "2", "loss": "0.2"}, {"epoch": "3", "loss": "0.7"}]
    assert [path.name for path in tmp_path.iterdir()] == ["metrics.csv"]


def test_a_fresh_run_leaves_no_old_rows(tmp_path: Path) -> None:
    file = tmp_path / "metrics.csv"
    CsvWriter(file, 0).write({"epoch": 1, "loss": 0.1})
    CsvWriter(file, 0).write({"epoch": 1, "correlation": 0.5})
    assert rows(file) == [{"epoch": "1", "correlation": "0.5"}]
