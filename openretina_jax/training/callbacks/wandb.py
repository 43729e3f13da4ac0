"""Callback that logs to Weights & Biases."""

import os
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from openretina_jax.errors import UserError
from openretina_jax.training.callbacks.callback import CALLBACKS, Callback, Epoch, keep_identity, one_line

PROJECT = "openretina_jax"
MODES = ("online", "offline", "disabled")


@CALLBACKS("wandb")
class Wandb(Callback):
    """A run of Weights & Biases; its own files lie in ``wandb`` of the workdir, its identity in ``wandb_run``.

    A resumed run goes on in the same run. Steps that come again are drawn over each other.

    Args:
        workdir: folder of the run.
        config: settings of the run by dotted names, shown beside it.
        project: where runs are listed (None: WANDB_PROJECT, or our name).
        run: name that is shown (None: WANDB_NAME, or that of the workdir).
        wandb_mode: "online", "offline" or "disabled" (None: WANDB_MODE, or online).

    Raises:
        UserError: the server cannot be reached, or there is no such mode.
    """

    def __init__(
        self,
        workdir: Path,
        config: Mapping[str, Any],
        project: str | None = None,
        run: str | None = None,
        wandb_mode: str | None = None,
    ):
        import wandb  # an extra

        if wandb_mode not in (None, *MODES):
            raise UserError(f'config.logging.wandb_mode is "{wandb_mode}"; choose {", ".join(MODES)}')
        self._image = wandb.Image
        identity = workdir / "wandb_run"
        with one_line("wandb", wandb.Error):
            self._run = wandb.init(
                project=project or os.environ.get("WANDB_PROJECT", PROJECT),
                name=run or os.environ.get("WANDB_NAME", workdir.absolute().name),
                id=identity.read_text(encoding="utf-8") if identity.exists() else None,
                resume="allow",
                dir=str(workdir),
                mode=wandb_mode,  # type: ignore[arg-type]
                config=dict(config),
                allow_val_change=True,  # a resumed run may train longer
                settings=wandb.Settings(silent=True, console="off"),
            )
            keep_identity(identity, self._run.id)
            # an axis of our own: rows of steps that were lost come again
            self._run.define_metric("step")
            self._run.define_metric("*", step_metric="step")

    def on_epoch_end(self, epoch: Epoch) -> None:
        """Log numbers and pictures."""
        pictures = {name: self._image(image) for name, image in epoch.pictures.items()}
        self._run.log({"step": epoch.step, **epoch.metrics, **pictures})

    def on_test_end(self, scores: Mapping[str, float], files: Sequence[Path], checkpoint: str) -> None:
        """Put scores and the checkpoint's path into the summary, files beside it."""
        self._run.summary.update({**scores, "checkpoint": checkpoint})
        for file in files:
            shutil.copy(file, self._run.dir)  # whose files are sent with the run

    def close(self, status: str) -> None:
        """Send what has not been sent."""
        self._run.finish(exit_code=1 if status == "failed" else 0)
