"""Where a run is recorded: a CSV file, the trackers that were asked for, and the terminal."""

import csv
import io
import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType

import numpy as np
from jaxtyping import UInt8
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

from openretina_jax.runtime.files import whole_file
from openretina_jax.runtime.processes import is_first
from openretina_jax.training.trackers import Tracker

_log = logging.getLogger(__name__)

QUIET_EPOCHS = 10  # without a terminal, one line of progress every so many epochs


class CsvWriter:
    """``metrics.csv``: one row per epoch; the first row fixes the columns.

    Args:
        file: a file of an earlier run is continued.
        epoch: rows after this epoch are dropped: they belong to work that was lost.
    """

    def __init__(self, file: Path, epoch: int):
        self._file = file
        rows: list[dict[str, str]] = []
        if file.exists():
            with file.open(newline="") as stream:
                rows = [row for row in csv.DictReader(stream) if int(row["epoch"]) <= epoch]
        self._columns = list(rows[0]) if rows else None
        text = io.StringIO()
        if rows:
            writer = csv.DictWriter(text, list(rows[0]))
            writer.writeheader()
            writer.writerows(rows)
        with whole_file(file) as stream:
            stream.write(text.getvalue().encode())

    def write(self, row: Mapping[str, int | float]) -> None:
        """Append a row."""
        with self._file.open("a", newline="") as stream:
            writer = csv.DictWriter(stream, self._columns or list(row))
            if self._columns is None:
                writer.writeheader()
                self._columns = list(row)
            writer.writerow(row)


class Writers:
    """The table of epochs and the trackers of a run; of several processes only the first writes.

    Args:
        workdir: of the run.
        trackers: where else numbers and pictures go.
    """

    def __init__(self, workdir: Path, trackers: Sequence[Tracker] = ()):
        self._workdir, self._trackers = workdir, trackers
        self._status = "stopped"
        self.on = is_first()

    def __enter__(self) -> "Writers":
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        for tracker in self._trackers:
            tracker.close(self._status if error is None else "failed")

    def resume(self, epoch: int, step: int) -> None:
        """Begin to write, after that epoch and optimiser step (0: a fresh run)."""
        if self.on:
            self._csv = CsvWriter(self._workdir / "metrics.csv", epoch)
        for tracker in self._trackers:
            tracker.resume(step)

    def scalars(self, step: int, row: Mapping[str, int | float]) -> None:
        """Log the numbers of an epoch; ``row`` also holds "epoch"."""
        if self.on:
            self._csv.write(row)
        for tracker in self._trackers:
            tracker.scalars(step, row)

    def picture(self, name: str, image: UInt8[np.ndarray, "height width 3"], step: int) -> None:
        """Log a picture."""
        for tracker in self._trackers:
            tracker.picture(name, image, step)

    def finish(self, scores: Mapping[str, float], checkpoint: Path) -> None:
        """Log what the finished run leaves behind: scores, tables and pictures of the workdir, the best checkpoint."""
        self._status = "finished"
        files = sorted(file for file in self._workdir.iterdir() if file.suffix in (".csv", ".png"))
        for tracker in self._trackers:
            tracker.finish(scores, files, checkpoint)


class EpochProgress:
    """A live line on a terminal, a plain line now and then elsewhere.

    Args:
        console: where to write.
        epochs: number of epochs of the run.
        done: epochs done before.
    """

    def __init__(self, console: Console, epochs: int, done: int):
        self._live = console.is_terminal
        # what fits into 80 columns
        columns = (MofNCompleteColumn(), BarColumn(bar_width=6), TextColumn("{task.fields[scores]}"))
        self._progress = Progress(*columns, console=console, disable=not self._live)
        self._task = self._progress.add_task("", total=epochs, completed=done, scores="compiling ...")

    def __enter__(self) -> "EpochProgress":
        self._progress.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._progress.stop()

    def update(self, row: Mapping[str, int | float]) -> None:
        """Show the numbers of an epoch."""
        members = f"{row['training_members']} members: " if "training_members" in row else ""
        scores = (
            f"{members}loss {row['train/loss']:.4f} validation {row['validation/correlation']:.4f} "
            f"(best {row['validation/best']:.4f}) lr {row['learning_rate']:.2g} {row['steps_per_second']:.1f} steps/s"
        )
        epoch = int(row["epoch"])
        self._progress.update(self._task, completed=epoch, scores=scores)
        if not self._live and (epoch == 1 or epoch % QUIET_EPOCHS == 0):
            _log.info("epoch %d: %s", epoch, scores)
