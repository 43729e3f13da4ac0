"""TensorBoard: event files beside the checkpoints."""

from pathlib import Path

from tensorboardX import SummaryWriter

from openretina_jax.training.callbacks.callback import CALLBACKS, Callback, Epoch


@CALLBACKS("tensorboard")
class TensorBoard(Callback):
    """Event files in ``tensorboard`` of the workdir."""

    def __init__(self, workdir: Path):
        self._folder, self._board = workdir / "tensorboard", None

    def on_train_begin(self, epoch: int, step: int) -> None:
        """Forget later steps: they belong to work that was lost."""
        self._board = SummaryWriter(str(self._folder), purge_step=step + 1 if step else None)

    def on_epoch_end(self, epoch: Epoch) -> None:
        """Log numbers and pictures."""
        assert self._board is not None
        for name, value in epoch.metrics.items():
            self._board.add_scalar(name, value, epoch.step)
        for name, image in epoch.pictures.items():
            self._board.add_image(name, image, epoch.step, dataformats="HWC")
        self._board.flush()

    def close(self, status: str) -> None:
        """Flush everything."""
        if self._board is not None:
            self._board.close()
