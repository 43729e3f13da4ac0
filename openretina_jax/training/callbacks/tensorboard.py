"""TensorBoard: event files beside the checkpoints."""

import time
from pathlib import Path

from tensorboardX.event_file_writer import EventsWriter
from tensorboardX.proto.event_pb2 import Event, SessionLog
from tensorboardX.summary import image, scalar

from openretina_jax.training.callbacks import callback


@callback.CALLBACKS("tensorboard")
class TensorBoard(callback.Callback):
    """Event files in ``tensorboard`` of the workdir.

    They are written here and not by the thread of ``SummaryWriter``: when that cannot write, it ends, and the run would
    wait for it for ever.
    """

    def __init__(self, workdir: Path):
        self._folder = workdir / "tensorboard"
        self._events: EventsWriter | None = None

    def on_train_begin(self, epoch: int, step: int) -> None:
        """Forget later steps: they belong to work that was lost."""
        self._folder.mkdir(parents=True, exist_ok=True)
        self._events = EventsWriter(str(self._folder / "events"))
        if step:
            self._write(Event(step=step + 1, file_version="brain.Event:2"))
            self._write(Event(step=step + 1, session_log=SessionLog(status=SessionLog.START)))

    def on_epoch_end(self, epoch: callback.Epoch) -> None:
        """Log numbers and pictures."""
        assert self._events is not None
        for name, value in epoch.metrics.items():
            self._write(Event(step=epoch.step, summary=scalar(name, value)))
        for name, picture in epoch.pictures.items():
            self._write(Event(step=epoch.step, summary=image(name, picture, dataformats="HWC")))
        self._events.flush()

    def close(self, status: str) -> None:
        """Flush everything."""
        if self._events is not None:
            self._events.close()

    def _write(self, event: Event) -> None:
        assert self._events is not None
        event.wall_time = time.time()
        self._events.write_event(event)
