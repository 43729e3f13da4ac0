"""TensorBoard: event files beside the checkpoints."""

import math
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from openretina_jax.training.callbacks import callback

# tensorboardX imports the clients of all object stores that it finds: the first step of a run need not wait for it
if TYPE_CHECKING:
    from tensorboardX.event_file_writer import EventsWriter
    from tensorboardX.proto.event_pb2 import Event
    from tensorboardX.proto.summary_pb2 import Summary

BOTH = ("train", "validation")  # drawn over each other
OF_THE_RUN = "run"  # group of numbers that are no score
# settings that runs most often differ in, for the table that compares runs; the card "settings" has all
COMPARED = (
    "model.core.kind",
    "model.core.hidden_channels",
    "model.core.spatial_kernel_sizes",
    "model.core.temporal_kernel_sizes",
    "model.core.dropout_rate",
    "model.readout.kind",
    "objective.loss.kind",
    "optimizer.kind",
    "optimizer.learning_rate",
    "schedule.kind",
    "train.epochs",
    "seed",
)


@callback.CALLBACKS("tensorboard")
class TensorBoard(callback.Callback):
    """Event files in a folder of the run's name in ``tensorboard`` of the workdir.

    They are written here and not by the thread of ``SummaryWriter``: when that cannot write, it ends, and the run would
    wait for it for ever.

    Args:
        workdir: of the run.
        config: settings of the run by dotted names, shown beside it.
        run: name that is shown (None: that of the workdir).
    """

    def __init__(self, workdir: Path, config: Mapping[str, Any], run: str | None = None):
        self._folder = workdir / "tensorboard" / (run or workdir.absolute().name).replace("/", "_")
        self._config, self._step = config, 0
        self._before: int | None = None  # steps before this start
        self._events: EventsWriter | None = None

    def on_train_begin(self, epoch: int, step: int) -> None:
        """Forget later steps: they belong to work that was lost."""
        self._folder.mkdir(parents=True, exist_ok=True)
        self._before = step

    def on_epoch_end(self, epoch: callback.Epoch) -> None:
        """Log numbers and pictures."""
        from tensorboardX.summary import image, scalar

        self._step = epoch.step
        for name, value in _known(epoch.metrics).items():
            self._summarize(scalar(tag(name), value), epoch.step)
        for name, picture in epoch.pictures.items():
            group = "predictions" if name == "traces" else "weights"  # in the order of the alphabet
            self._summarize(image(f"{group}/{name}", picture, dataformats="HWC"), epoch.step)
        self._opened().flush()

    def on_test_end(self, scores: Mapping[str, float], files: Sequence[Path], checkpoint: str) -> None:
        """Log the scores of the best epoch, and the settings to which they belong."""
        from tensorboardX.summary import hparams, scalar

        if self._before is None:
            return
        tags = {f"final/{name}": value for name, value in _known(scores).items()}
        for name, value in tags.items():
            self._summarize(scalar(name, value), self._step)
        shown = {name: _plain(self._config[name]) for name in COMPARED if self._config.get(name) is not None}
        for summary in hparams(shown, tags):
            self._summarize(summary, self._step)

    def close(self, status: str) -> None:
        """Flush everything."""
        if self._events is not None:
            self._events.close()

    def _opened(self) -> "EventsWriter":
        """The file of this start, which begins with its first numbers."""
        if self._events is None:
            from tensorboardX.event_file_writer import EventsWriter

            # in the order of the starts; the second in a file's name does not tell them apart
            start = len(list(self._folder.iterdir()))
            self._events = EventsWriter(str(self._folder / f"events_{start:03d}"))
            self._begin(self._before or 0)
        return self._events

    def _begin(self, step: int) -> None:
        from tensorboardX.proto.event_pb2 import Event, SessionLog
        from tensorboardX.summary import custom_scalars, text

        if step:
            self._write(Event(step=step + 1, file_version="brain.Event:2"))
            self._write(Event(step=step + 1, session_log=SessionLog(status=SessionLog.START)))
        else:
            self._summarize(text("settings", _as_table(self._config)), 0)
            both = {name: ["Multiline", [f"{name}/{split}" for split in BOTH]] for name in ("loss", "correlation")}
            self._summarize(custom_scalars({"Training and validation": both}), 0)

    def _summarize(self, summary: "Summary", step: int) -> None:
        from tensorboardX.proto.event_pb2 import Event

        self._write(Event(step=step, summary=summary))

    def _write(self, event: "Event") -> None:
        event.wall_time = time.time()
        self._opened().write_event(event)


def tag(name: str) -> str:
    """Name of a number of an epoch, in the group where it is compared: "train/loss" is "loss/train".

    Penalties and gradients have a group each, as in "penalty/core", and so has the best score, "best/validation".
    """
    split, slash, what = name.partition("/")
    if not slash:
        return f"{OF_THE_RUN}/{name}"
    for group in ("penalty", "gradient_norm"):
        if what.startswith(f"{group}_"):
            return f"{group}/{what.removeprefix(f'{group}_')}"
    return what if "/" in what else f"{what}/{split}"


def _known(values: Mapping[str, int | float]) -> dict[str, int | float]:
    """Numbers without NaN, which is what the Poisson loss and bits per spike of traces are; the writer would warn."""
    return {name: value for name, value in values.items() if not math.isnan(value)}


def _plain(value: Any) -> str | float | int | bool:
    return value if isinstance(value, str | float | int | bool) else str(value)


def _as_table(config: Mapping[str, Any]) -> str:
    """Settings as a table in Markdown."""
    return "\n".join(["| setting | value |", "| --- | --- |", *(f"| {key} | `{config[key]}` |" for key in config)])
