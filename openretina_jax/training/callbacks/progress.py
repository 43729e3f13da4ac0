"""The live display of a run."""

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

from openretina_jax.training.callbacks.callback import CALLBACKS, Callback, Epoch
from openretina_jax.training.trainer import Trainer

QUIET_EPOCHS = 10  # without a terminal, one line of progress every so many epochs


@CALLBACKS("progress")
class LiveDisplay(Callback):
    """A live line on a terminal, a plain line now and then elsewhere.

    Args:
        console: where to write.
        epochs: most epochs of the run.
        trainer: of the run, which says what score is monitored.
    """

    def __init__(self, console: Console, epochs: int, trainer: Trainer):
        self._live, self._score = console.is_terminal, f"validation/{trainer.recipe.monitor.name}"
        # what fits into 80 columns
        columns = (MofNCompleteColumn(), BarColumn(bar_width=6), TextColumn("{task.fields[scores]}"))
        self._progress = Progress(*columns, console=console, disable=not self._live)
        self._task = self._progress.add_task("", total=epochs, scores="compiling ...")

    def on_train_begin(self, epoch: int, step: int) -> None:
        """Show the display."""
        self._progress.update(self._task, completed=epoch)
        self._progress.start()

    def on_epoch_end(self, epoch: Epoch) -> None:
        """Show the numbers of an epoch."""
        row, number = epoch.metrics, epoch.number
        members = f"{row['training_members']} members: " if "training_members" in row else ""
        scores = (
            f"{members}loss {row['train/loss']:.4f} validation {row[self._score]:.4f} "
            f"(best {row['validation/best']:.4f}) lr {row['learning_rate']:.2g} {row['steps_per_second']:.1f} steps/s"
        )
        self._progress.update(self._task, completed=number, scores=scores)
        if not self._live and (number == 1 or number % QUIET_EPOCHS == 0):
            self._progress.console.print(f"epoch {number}: {scores}", highlight=False, markup=False, soft_wrap=True)

    def on_train_end(self) -> None:
        """Leave the last line standing."""
        self._progress.stop()
