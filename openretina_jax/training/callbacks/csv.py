"""The table of epochs."""

import csv
import io
from collections.abc import Mapping
from pathlib import Path

from openretina_jax.runtime.files import whole_file
from openretina_jax.training.callbacks.callback import CALLBACKS, Callback, Epoch


@CALLBACKS("csv")
class CsvTable(Callback):
    """``metrics.csv`` of the workdir: one row per epoch; the first row fixes the columns."""

    def __init__(self, workdir: Path):
        self._file = workdir / "metrics.csv"
        self._columns: list[str] | None = None

    def on_train_begin(self, epoch: int, step: int) -> None:
        """Continue the table of an earlier run without rows of later epochs: they belong to work that was lost."""
        rows: list[dict[str, str]] = []
        if self._file.exists():
            with self._file.open(newline="") as stream:
                rows = [row for row in csv.DictReader(stream) if int(row["epoch"]) <= epoch]
        self._columns = list(rows[0]) if rows else None
        text = io.StringIO()
        if rows:
            writer = csv.DictWriter(text, list(rows[0]))
            writer.writeheader()
            writer.writerows(rows)
        with whole_file(self._file) as stream:
            stream.write(text.getvalue().encode())

    def on_epoch_end(self, epoch: Epoch) -> None:
        """Append a row."""
        self._write(epoch.metrics)

    def _write(self, row: Mapping[str, int | float]) -> None:
        with self._file.open("a", newline="") as stream:
            writer = csv.DictWriter(stream, self._columns or list(row))
            if self._columns is None:
                writer.writeheader()
                self._columns = list(row)
            writer.writerow(row)
