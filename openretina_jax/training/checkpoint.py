"""The checkpoints of a run: the last and the best, each written whole or not at all."""

import dataclasses
import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax
import orbax.checkpoint as ocp
from jaxtyping import Array, Float32
from orbax.checkpoint.checkpoint_managers import AnyPreservationPolicy, BestN, LatestN

from openretina_jax.models.saving import SCORE, by_name, read_about, restore_arrays
from openretina_jax.training.trainer import TrainState

_log = logging.getLogger(__name__)


class Checkpoints:
    """Saves, and finds again, the state after an epoch.

    Args:
        folder: where they lie, one subfolder per epoch.
        about: what goes with every checkpoint as JSON (configuration, facts of the data).
    """

    def __init__(self, folder: Path, about: Mapping[str, Any]):
        self.folder, self._about = folder, about
        keep = AnyPreservationPolicy([LatestN(1), BestN(get_metric_fn=lambda metrics: metrics[SCORE], n=1)])
        self._manager = ocp.CheckpointManager(
            folder.absolute(),
            options=ocp.CheckpointManagerOptions(
                preservation_policy=keep,
                best_fn=lambda metrics: metrics[SCORE],
                cleanup_tmp_directories=True,
                enable_async_checkpointing=False,  # states are small, and an exit must not wait for a thread
            ),
        )

    @property
    def last_epoch(self) -> int | None:
        """Epoch of the last checkpoint, or None."""
        return self._manager.latest_step()

    @property
    def best_epoch(self) -> int | None:
        """Epoch of the best checkpoint, or None."""
        return self._manager.best_step()

    def save(self, epoch: int, state: TrainState, score: Float32[Array, ""] | float, seconds: float) -> None:
        """Save the state after an epoch; of several processes each must call."""
        about = {**self._about, "epoch": epoch, "seconds": seconds, SCORE: float(score)}
        arrays = jax.device_get(by_name(_saved(state)))  # on the host: which devices there are may change
        self._manager.save(
            epoch,
            args=ocp.args.Composite(state=ocp.args.StandardSave(arrays), about=ocp.args.JsonSave(about)),
            metrics={SCORE: float(score)},
        )

    def restore(self, epoch: int, like: TrainState) -> TrainState:
        """The state saved after that epoch, in the structure of ``like``.

        Raises:
            UserError: the checkpoint is damaged or belongs to another model; lists everything that does not fit.
        """
        state: TrainState = restore_arrays(self.folder / str(epoch), _saved(like))
        return dataclasses.replace(state, numbers=like.numbers)

    def resume(self, start: TrainState) -> tuple[TrainState, int, float]:
        """The last state of a run, its epochs and its seconds of training; ``start`` if it has none."""
        done = self.last_epoch
        if done is None:
            return start, 0, 0.0
        _log.info("resuming after epoch %d", done)
        return self.restore(done, start), done, self.about(done)["seconds"]

    def about(self, epoch: int) -> dict[str, Any]:
        """What was saved with the state."""
        return read_about(self.folder / str(epoch))


def _saved(state: TrainState) -> TrainState:
    """The part of a state that checkpoints hold."""
    return dataclasses.replace(state, numbers={})
