"""The checkpoints of a run: the last and the best, each written whole or not at all."""

import dataclasses
import functools
import json
import logging
import uuid
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax
from jaxtyping import Array, Float32

from openretina_jax.errors import UserError
from openretina_jax.models.saving import (
    SCORE,
    DamagedError,
    by_name,
    read_about,
    read_arrays,
    restore_arrays,
    score_of,
    with_hashes,
)
from openretina_jax.runtime.files import plain_folder, whole_file
from openretina_jax.runtime.processes import first_before_others, is_first
from openretina_jax.runtime.stores import KeptFolder
from openretina_jax.training.trainer import TrainState

_log = logging.getLogger(__name__)


class Checkpoints:
    """Saves, and finds again, the state after an epoch.

    Args:
        folder: folder of the checkpoints, one subfolder per epoch.
        about: JSON values that are saved with every checkpoint (configuration, facts about the data).
        kept: of a run in an object store, where every process has a folder of its own (None: all see the same one).

    Raises:
        UserError: all checkpoints in the folder are damaged.
    """

    def __init__(self, folder: Path, about: Mapping[str, Any], kept: KeptFolder | None = None):
        self.folder, self._about, self._kept = folder, about, kept
        set_aside_damaged(folder, shared=kept is None)
        self._begun = any(one.name.isdigit() for one in folder.glob("*"))

    @functools.cached_property
    def _manager(self) -> Any:
        """The library's manager of the folder."""
        import orbax.checkpoint as ocp  # takes a quarter of a second, for which the first step need not wait
        from orbax.checkpoint.checkpoint_managers import AnyPreservationPolicy, BestN, LatestN
        from orbax.checkpoint.options import MultiprocessingOptions

        keep = AnyPreservationPolicy([LatestN(1), BestN(get_metric_fn=lambda metrics: metrics[SCORE], n=1)])
        processes = MultiprocessingOptions()
        if self._kept is not None:
            own = jax.process_index()
            processes = MultiprocessingOptions(own, active_processes={own})
            self.folder.mkdir(parents=True, exist_ok=True)  # which the library refuses to do for some of the processes
        return ocp.CheckpointManager(
            plain_folder(self.folder),
            item_handlers={
                "state": ocp.StandardCheckpointHandler(multiprocessing_options=processes),
                "about": ocp.JsonCheckpointHandler(multiprocessing_options=processes),
            },
            options=ocp.CheckpointManagerOptions(
                preservation_policy=keep,
                best_fn=lambda metrics: metrics[SCORE],
                create=self._kept is None,
                cleanup_tmp_directories=True,
                enable_async_checkpointing=False,  # states are small, and an exit must not wait for a thread
                multiprocessing_options=processes,
            ),
        )

    @property
    def last_epoch(self) -> int | None:
        """Epoch of the last checkpoint, or None."""
        return self._manager.latest_step() if self._begun else None

    @property
    def best_epoch(self) -> int | None:
        """Epoch of the best checkpoint, or None."""
        return self._manager.best_step() if self._begun else None

    def save(self, epoch: int, state: TrainState, score: Float32[Array, ""] | float, seconds: float) -> None:
        """Save the state after an epoch; where there are several processes, each must call."""
        if self._kept is not None and not is_first():
            return
        import orbax.checkpoint as ocp

        self._begun = True
        arrays = jax.device_get(by_name(_saved(state)))  # on the host: which devices there are may change
        about = with_hashes({**self._about, "epoch": epoch, "seconds": seconds, SCORE: float(score)}, arrays)
        args = ocp.args.Composite(state=ocp.args.StandardSave(arrays), about=ocp.args.JsonSave(about))
        try:
            self._manager.save(epoch, args=args, metrics={SCORE: float(score)})
        except Exception as error:  # the library raises anything where it cannot write
            reason = " ".join(str(error).split())[:300] or type(error).__name__
            raise UserError(
                f"{self.folder / str(epoch)} cannot be written ({reason}); {self.last_good()}; check the folder and "
                "the disk, and give the same command again"
            ) from error
        if self._kept is not None:
            self._kept.keep()

    def catch_up(self) -> None:
        """Read what the first process has sent to the store; where there are several processes, each must call."""
        if self._kept is None:
            return
        with first_before_others():
            if not is_first():
                self._kept.store.download(self._kept.folder)
                self._begun = True
                self._manager.reload()

    def last_good(self) -> str:
        """Name the checkpoint to go back to, as a part of a message."""
        good = [one for one in self.folder.glob("*") if one.name.isdigit() and _damage(one, mend=False) is None]
        newest = max(good, key=lambda one: int(one.name), default=None)
        return f"the last good checkpoint is {newest}" if newest else "there is no checkpoint yet"

    def restore(self, epoch: int, like: TrainState) -> TrainState:
        """Restore the state after an epoch, in the structure of ``like``.

        Raises:
            UserError: the checkpoint is damaged or belongs to another model; lists everything that does not fit.
        """
        state: TrainState = restore_arrays(self.folder / str(epoch), _saved(like))
        return dataclasses.replace(state, numbers=like.numbers)

    def resume(self, start: TrainState) -> tuple[TrainState, int, float]:
        """Restore the last state of a run, with its epochs and seconds of training; ``start`` if it has none."""
        done = self.last_epoch
        if done is None:
            return start, 0, 0.0
        _log.info("resuming after epoch %d", done)
        return self.restore(done, start), done, self.about(done)["seconds"]

    def about(self, epoch: int) -> dict[str, Any]:
        """Read the JSON values that were saved with the state."""
        return read_about(self.folder / str(epoch))


def set_aside_damaged(folder: Path, *, shared: bool) -> None:
    """Move damaged checkpoints to the folder ``damaged``, so that a run goes on from the newest whole one.

    Args:
        folder: see ``Checkpoints``.
        shared: whether all processes see the same folder, in which the first one writes.

    Raises:
        UserError: no whole one is left.
    """
    found = sorted((one for one in folder.glob("*") if one.name.isdigit()), key=lambda one: int(one.name))
    with first_before_others():
        pass  # all processes have seen the same checkpoints: orbax reads each of them in all at once
    damaged = {one: error for one in found if (error := _damage(one, mend=is_first() or not shared)) is not None}
    if damaged and len(damaged) == len(found):
        raise UserError(f"{next(iter(damaged.values()))}; no whole checkpoint is left: delete {folder} to start anew")
    with first_before_others():
        for one, error in damaged.items() if is_first() or not shared else ():
            aside = folder.with_name("damaged") / f"{one.name}-{uuid.uuid4().hex[:8]}"
            aside.parent.mkdir(exist_ok=True)
            one.replace(aside)
            _log.warning("%s; it was moved to %s, and the run goes on from the newest whole checkpoint", error, aside)


def _damage(checkpoint: Path, *, mend: bool) -> DamagedError | None:
    """Find the damage of a checkpoint, or None; to mend is to write a wrong file of scores from the description."""
    try:
        score = score_of(checkpoint)
        seconds = read_about(checkpoint).get("seconds")
        if not isinstance(seconds, int | float):
            raise DamagedError(f"{checkpoint} does not say its seconds")
        read_arrays(checkpoint)
    except DamagedError as error:
        return error
    metrics = checkpoint / "metrics" / "metrics"
    content = json.dumps({SCORE: score}).encode()
    try:
        right = json.loads(metrics.read_bytes()) == {SCORE: score}
    except (OSError, ValueError):
        right = False
    if not right and mend:
        _log.warning("%s was damaged, and is written again", metrics)
        with whole_file(metrics) as stream:
            stream.write(content)
    return None


def _saved(state: TrainState) -> TrainState:
    """The part of a state that checkpoints hold."""
    return dataclasses.replace(state, numbers={})
