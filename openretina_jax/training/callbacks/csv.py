"""Callback that writes the table of epochs."""

import csv
import io
from collections.abc import Mapping
from pathlib import Path

from openretina_jax.errors import UserError
from openretina_jax.runtime.files import whole_file
from openretina_jax.training.callbacks.callback import CALLBACKS, Callback, Epoch


@CALLBACKS("csv")
class CsvTable(Callback):
    """``metrics.csv`` of the workdir: one row per epoch.

    Raises:
        UserError: the table of an earlier part of the run was changed, and cannot be continued.
    """

    def __init__(self, workdir: Path):
        self._file = workdir / "metrics.csv"
        self._columns: list[str] = []

    def on_train_begin(self, epoch: int, step: int) -> None:
        """Continue the table of an earlier run without rows of later epochs: they belong to work that was lost."""
        self._columns, rows = self._read()
        self._replace([row for row in rows if float(row["epoch"]) <= epoch])

    def on_epoch_end(self, epoch: Epoch) -> None:
        """Append a row."""
        self._write(epoch.metrics)

    def _read(self) -> tuple[list[str], list[dict[str, str]]]:
        """The columns and rows of the file."""
        if not self._file.exists():
            return [], []
        try:
            with self._file.open(newline="", encoding="utf-8-sig") as stream:
                reader = csv.DictReader(stream, strict=True)
                rows = list(reader)
            for number, row in enumerate(rows, 1):
                if None in row or None in row.values():
                    raise ValueError(f"row {number} has another number of entries")
                float(row["epoch"])
        except (ValueError, KeyError, csv.Error) as error:
            raise UserError(
                f"{self._file} is no table of epochs ({type(error).__name__}: {error}); was it saved by another "
                "program? Rename it, and the run goes on with a new one"
            ) from error
        return list(rows[0]) if rows else [], rows

    def _replace(self, rows: list[dict[str, str]]) -> None:
        """Write the file anew; columns that a row lacks stay empty."""
        text = io.StringIO(newline="")
        if rows:
            writer = csv.DictWriter(text, self._columns, restval="")
            writer.writeheader()
            writer.writerows(rows)
        else:
            self._columns = []
        with whole_file(self._file) as stream:
            stream.write(text.getvalue().encode())

    def _write(self, row: Mapping[str, int | float]) -> None:
        if new := [column for column in row if column not in self._columns]:  # another version wrote fewer
            _, rows = self._read()
            self._columns += new
            self._replace([*rows, {column: str(value) for column, value in row.items()}])
            return
        with self._file.open("a", newline="", encoding="utf-8") as stream:
            csv.DictWriter(stream, self._columns, restval="").writerow(row)
