"""Callbacks from plain settings, the pictures of an epoch, and the live display."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from flax import traverse_util
from rich.console import Console

from openretina_jax.errors import require
from openretina_jax.evaluation.predict import Scorer
from openretina_jax.experiment.progress import progress_of
from openretina_jax.experiment.recipe import with_kind
from openretina_jax.runtime.processes import is_first
from openretina_jax.training.callbacks import CALLBACKS, Callback, Epoch
from openretina_jax.training.feed import Feed
from openretina_jax.training.trainer import Trainer

_FIRST_EPOCH = "compiling and first epoch"
TRACKERS = ("tensorboard", "wandb", "mlflow")  # switches of config.logging


def check_callbacks(settings: Mapping[str, Any]) -> None:
    """Refuse callbacks that there are not, or whose library is not installed.

    Raises:
        UserError: names them, with the remedy.
    """
    for tracker in ("wandb", "mlflow"):
        if settings["logging"][tracker]:
            require(tracker, tracker, f"config.logging.{tracker} is set")
    for chosen in settings["callbacks"]:
        CALLBACKS[with_kind(chosen)["kind"]]


def make_callbacks(
    settings: Mapping[str, Any], *, workdir: Path, trainer: Trainer, data: Feed, console: Console
) -> list[Callback]:
    """The callbacks of ``config.logging``, ``config.train.picture_every`` and ``config.callbacks``, in their order.

    A resumed run goes on in the same run of every tracker.

    Args:
        settings: of the run.
        workdir: of the run.
        trainer, data: of the run.
        console: for the live display.

    Raises:
        UserError: a tracker cannot be reached, or does not know the run any more.
    """
    given = {
        "workdir": workdir,
        "config": traverse_util.flatten_dict(dict(settings), sep="."),
        "trainer": trainer,
        "data": data,
        "epochs": settings["train"]["epochs"],
        "console": console,
    }
    logging = settings["logging"]
    names = {name: logging[name] for name in ("project", "run", "wandb_mode", "mlflow_uri")}
    every = settings["train"]["picture_every"]
    chosen: list[dict[str, Any]] = [{"kind": "pictures", "every": every}] if every else []
    chosen += [{"kind": "csv"}, *({"kind": tracker} for tracker in TRACKERS if logging[tracker]), {"kind": "progress"}]
    chosen += map(with_kind, settings["callbacks"])
    return [
        CALLBACKS.make(options, given | (names if options["kind"] in TRACKERS else {}))
        for options in chosen
        if is_first() or CALLBACKS[options["kind"]].everywhere
    ]


@CALLBACKS("pictures")
class Pictures(Callback):
    """Pictures of the model's weights and of its predictions, for the callbacks after it to show.

    Args:
        trainer, data: of the run.
        every: epochs between pictures.
    """

    everywhere = True

    def __init__(self, trainer: Trainer, data: Feed, every: int = 10):
        self._trainer, self._data, self._every = trainer, data, every
        self._scorer = Scorer(trainer.graph)

    def on_epoch_end(self, epoch: Epoch) -> None:
        """Add the pictures of the best member."""
        if epoch.number % self._every:
            return
        from openretina_jax.experiment.pictures import epoch_pictures  # matplotlib may wait for the first step

        data = self._data
        state, number = self._trainer.best(epoch.state, epoch.score)
        predicted = self._scorer.predict(state.evaluated, data.recordings, data.validation)
        model = self._trainer.model(data.sharding.whole(state))
        correlation = np.atleast_2d(np.asarray(epoch.scores["correlation"]))[number or 0]
        if is_first():
            epoch.pictures.update(epoch_pictures(model, correlation, predicted, data.tables, data.validation))


@CALLBACKS("progress")
class LiveDisplay(Callback):
    """How far the run is, with the time left: see ``ProgressLine``.

    The first epoch is shown by itself, since it waits for the compiler.

    Args:
        console: where to write.
        epochs: most epochs of the run.
        trainer: of the run, which says what score is monitored.
    """

    def __init__(self, console: Console, epochs: int, trainer: Trainer):
        self._line, self._epochs = progress_of(console), epochs
        self._score, self._compiled = f"validation/{trainer.recipe.monitor.name}", False

    def on_epoch_begin(self, epoch: int) -> None:
        """Say that the work has begun."""
        if not self._compiled:
            self._line(_FIRST_EPOCH, 0, 1)

    def on_epoch_end(self, epoch: Epoch) -> None:
        """Show the numbers of an epoch."""
        row = epoch.metrics
        members = f"{row['training_members']} members, " if "training_members" in row else ""
        note = (
            f"{members}loss {row['train/loss']:.3f}, validation {row[self._score]:.4f} "
            f"(best {row['validation/best']:.4f})"
        )
        if not self._compiled:
            self._line(_FIRST_EPOCH, 1, 1)
            self._compiled = True
        self._line("epochs", epoch.number, self._epochs, note)

    def on_train_end(self) -> None:
        """Make room for the report."""
        self._line.end()


def finished_files(workdir: Path) -> Sequence[Path]:
    """Tables and pictures that a finished run leaves in its workdir."""
    return sorted(file for file in workdir.iterdir() if file.suffix in (".csv", ".png"))
