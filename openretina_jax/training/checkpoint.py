"""Checkpoints: the training state as arrays by readable names, and beside it all that it takes to use the model."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax
import numpy as np
import orbax.checkpoint as ocp
from orbax.checkpoint.checkpoint_managers import AnyPreservationPolicy, BestN, LatestN

from openretina_jax.errors import UserError
from openretina_jax.training.step import TrainState

SCORE = "validation_correlation"


class Checkpoints:
    """The last and the best checkpoint of a run, written whole or not at all.

    Args:
        folder: where they lie, one subfolder per epoch.
        about: what goes with every checkpoint as JSON (configuration, model options, facts of the data).
    """

    def __init__(self, folder: Path, about: Mapping[str, Any]):
        self.folder, self._about = folder, about
        keep = AnyPreservationPolicy([LatestN(1), BestN(get_metric_fn=lambda metrics: metrics[SCORE], n=1)])
        self._manager = ocp.CheckpointManager(
            folder.absolute(),
            options=ocp.CheckpointManagerOptions(preservation_policy=keep, cleanup_tmp_directories=True),
        )

    @property
    def last_epoch(self) -> int | None:
        """Epoch of the last checkpoint, or None."""
        return self._manager.latest_step()

    @property
    def best_epoch(self) -> int | None:
        """Epoch of the best checkpoint, or None."""
        self._manager.wait_until_finished()
        return self._manager.best_step()

    def save(self, epoch: int, state: TrainState, score: float, seconds: float) -> None:
        """Save the state after an epoch; returns as soon as the arrays are copied."""
        about = {**self._about, "epoch": epoch, "seconds": seconds, SCORE: score}
        self._manager.save(
            epoch,
            args=ocp.args.Composite(state=ocp.args.StandardSave(_by_name(state)), about=ocp.args.JsonSave(about)),
            metrics={SCORE: score},
        )

    def restore(self, epoch: int, like: TrainState) -> TrainState:
        """The state saved after that epoch, in the structure of ``like``.

        Raises:
            UserError: the checkpoint is damaged or belongs to another model; lists everything that does not fit.
        """
        return restore_state(self.folder / str(epoch), like)

    def about(self, epoch: int) -> dict[str, Any]:
        """What was saved with the state."""
        return read_about(self.folder / str(epoch))

    def close(self) -> None:
        """Wait until everything is on disk."""
        self._manager.wait_until_finished()
        self._manager.close()


def read_about(checkpoint: Path) -> dict[str, Any]:
    """The JSON beside the state of a checkpoint.

    Raises:
        UserError: it is missing or damaged.
    """
    file = checkpoint / "about" / "metadata"
    try:
        return json.loads(file.read_text())
    except (OSError, ValueError) as error:
        raise UserError(f"{checkpoint} is not a complete checkpoint: {error}") from None


def restore_state(checkpoint: Path, like: Any) -> Any:
    """The saved arrays in the structure of ``like``; see ``Checkpoints.restore``."""
    try:
        saved = ocp.StandardCheckpointer().restore((checkpoint / "state").absolute())
    except (OSError, ValueError) as error:
        raise UserError(f"{checkpoint} cannot be read: {str(error).splitlines()[0]}") from None
    wanted = _by_name(like)
    problems = [f"{name} is missing" for name in wanted if name not in saved]
    problems += [f"{name} is left over" for name in saved if name not in wanted and _same_part(name, wanted)]
    problems += [
        f"{name} has shape {saved[name].shape}, not {value.shape}"
        for name, value in wanted.items()
        if name in saved and saved[name].shape != value.shape
    ]
    if problems:
        raise UserError(f"{checkpoint} belongs to another model: {'; '.join(sorted(problems))}")
    values = [jax.numpy.asarray(np.asarray(saved[name])) for name in wanted]
    return jax.tree.unflatten(jax.tree.structure(like), values)


def _same_part(name: str, wanted: Mapping[str, Any]) -> bool:
    """Whether a name belongs to a part of the state that is asked for."""
    return name.split("/")[0] in {other.split("/")[0] for other in wanted}


def _by_name(state: Any) -> dict[str, Any]:
    leaves, _ = jax.tree_util.tree_flatten_with_path(state)
    return {jax.tree_util.keystr(path, simple=True, separator="/"): leaf for path, leaf in leaves}
