"""The life of a run, from the first epoch (or the last checkpoint) to the scores on the test movies."""

import contextlib
import dataclasses
import logging
import math
import signal
import threading
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import grain
import jax.numpy as jnp
import numpy as np
import optax
from flax import nnx
from rich.console import Console

from openretina_jax.data.batches import Recordings, TimelineTable
from openretina_jax.data.dataset import Dataset
from openretina_jax.data.timelines import Tables, Timeline
from openretina_jax.data.windows import EpochWindows, SessionOrder, SharedOrder
from openretina_jax.errors import UserError
from openretina_jax.evaluation.scores import Scorer, Split
from openretina_jax.models.core_readout import CoreReadout
from openretina_jax.training.checkpoint import Checkpoints
from openretina_jax.training.objective import Objective
from openretina_jax.training.patience import PatienceRules
from openretina_jax.training.pictures import trace_picture, weight_pictures
from openretina_jax.training.step import Trainer, TrainState
from openretina_jax.training.writers import EpochProgress, Writers

_log = logging.getLogger(__name__)

ORDERS: dict[str, type[SessionOrder] | type[SharedOrder]] = {"session": SessionOrder, "shared": SharedOrder}


@dataclasses.dataclass(frozen=True)
class FitResult:
    """A finished or interrupted run.

    Attributes:
        state: the best state if the run has finished, else the last one.
        epochs: epochs done.
        best_epoch: epoch of the best state.
        finished: False if the run was interrupted and can be resumed.
        seconds: of training, all parts of the run together.
        recordings: the data on the device.
        tables: the data on the host.
    """

    state: TrainState
    epochs: int
    best_epoch: int
    finished: bool
    seconds: float
    recordings: Recordings
    tables: Tables


def fit(
    *,
    model: CoreReadout,
    dataset: Dataset,
    workdir: Path,
    about: Mapping[str, Any],
    optimizer: optax.GradientTransformationExtraArgs,
    objective: Objective,
    rules: PatienceRules,
    learning_rate: float,
    clip: float | None,
    order: str,
    window_frames: int,
    windows_per_step: int,
    epochs: int,
    picture_every: int,
    seed: int,
    console: Console,
) -> FitResult:
    """Train until the validation score stops rising, or resume such a run.

    A run saves its whole state after every epoch. Called again with the same ``workdir`` it goes on from the last save,
    with the same numbers as if it had never stopped.

    Args:
        model: with fresh parameters; it is not changed.
        dataset: recordings, movies and split.
        workdir: logs go there, checkpoints to its ``checkpoints``.
        about: saved as JSON with every checkpoint.
        optimizer: see ``optimizers``.
        objective: what a step lowers.
        rules: when to lower the learning rate and when to stop.
        learning_rate: of the first epoch.
        clip: largest norm of a step's gradient (None: any).
        order: "session" or "shared", see ``data.windows``.
        window_frames: length of a window.
        windows_per_step: windows of a step (in "shared" order: of each timeline).
        epochs: most epochs to train.
        picture_every: epochs between pictures of filters, masks and validation traces in TensorBoard (0: none).
        seed: of data order and dropout.
        console: for the live display.

    Raises:
        UserError: the data do not allow such windows, the workdir holds another model, or the loss is not finite.
    """
    tables = Tables(dataset)
    timelines = tables.training() if order == "session" else tables.shared_training()
    windows = ORDERS[order](timelines, frames=window_frames, windows_per_step=windows_per_step, seed=seed)
    data = grain.MapDataset.source(windows)
    trainer = Trainer(nnx.graphdef(model), objective, optimizer, clip, seed)
    state = TrainState.start(model, optimizer, learning_rate)
    checkpoints = Checkpoints(workdir / "checkpoints", about)
    done, seconds = 0, 0.0
    if checkpoints.last_epoch is not None:
        done, seconds = checkpoints.last_epoch, checkpoints.about(checkpoints.last_epoch)["seconds"]
        state = checkpoints.restore(done, state)
        _log.info("resuming after epoch %d", done)

    recordings, table = Recordings.of(tables), TimelineTable.of(timelines)
    validation, scorer = Split(tables.validation()), Scorer(trainer.graph)
    run_epoch = trainer.epoch(window_frames)
    writers = Writers(workdir, done, int(state.step))
    with EpochProgress(console, epochs, done) as progress, interruptible() as interrupted:
        while done < epochs and not state.patience.stop and not interrupted:
            began = time.perf_counter()
            chosen = data[done]
            first_step = int(state.step)
            state, metrics = run_epoch(state, recordings, table, chosen.timeline, chosen.start)
            scores = scorer(state.params, state.statistics, recordings, validation)
            row = {name: float(value) for name, value in metrics.items()}
            score = jnp.nanmean(scores["correlation"])
            check_finite(row.pop("finite_steps"), float(score), first_step, chosen, timelines, checkpoints)
            rate = float(state.patience.learning_rate)
            state = dataclasses.replace(state, patience=rules.update(state.patience, score, learning_rate))
            done += 1
            elapsed = time.perf_counter() - began
            seconds += elapsed
            row = {
                "epoch": done,
                "seconds": seconds,
                "learning_rate": rate,
                "steps_per_second": windows.steps_per_epoch / elapsed,
                "validation/correlation": float(score),
                "validation/best": float(state.patience.best),
                "validation/loss": float(jnp.nanmean(scores["loss"])),
                **{f"train/{name}": value for name, value in row.items()},
            }
            writers.scalars(int(state.step), row)  # first: a resumed run drops rows that it has no state of
            checkpoints.save(done, state, float(score), seconds)
            if picture_every and done % picture_every == 0:
                current = nnx.merge(trainer.graph, state.params, state.statistics)
                correlation = np.asarray(scores["correlation"])
                predicted = scorer.predict(state.params, state.statistics, recordings, validation)
                figures = weight_pictures(current, correlation)
                figures["traces"] = trace_picture(current, correlation, predicted, tables, validation)
                for name, figure in figures.items():
                    writers.picture(name, figure, int(state.step))
            progress.update(row)
        finished = not interrupted
    writers.close()
    best = checkpoints.best_epoch
    if best is None:
        raise UserError(f"nothing was trained: config.train.epochs is {epochs}; take at least 1")
    if finished:
        state = checkpoints.restore(best, state)
    return FitResult(state, done, best, finished, seconds, recordings, tables)


def check_finite(
    finite_steps: float,
    score: float,
    first_step: int,
    chosen: EpochWindows,
    timelines: list[Timeline],
    checkpoints: Checkpoints,
) -> None:
    """Stop a run whose numbers are no longer numbers, before its state is saved.

    Raises:
        UserError: names the step, its sessions, and the checkpoint to go back to.
    """
    number = int(finite_steps)
    if number < len(chosen.timeline):
        names = ", ".join(sorted({timelines[timeline].name for timeline in chosen.timeline[number].ravel()}))
        what = f"the loss was not finite at step {first_step + number} ({names})"
    elif not math.isfinite(score):
        what = f"the validation score was not finite after step {first_step + number - 1}"
    else:
        return
    last = checkpoints.last_epoch
    back = f"the last good checkpoint is {checkpoints.folder / str(last)}" if last else "there is no checkpoint yet"
    raise UserError(f"{what}; {back}; lower config.optimizer.learning_rate or look at the responses of these sessions")


class Interruption:
    """True once the user or the system has asked the run to stop."""

    def __init__(self) -> None:
        self._asked = False

    def __bool__(self) -> bool:
        return self._asked

    def ask(self, number: int, _: object) -> None:
        """Handle a signal: finish the epoch; a second one ends the process as usual."""
        self._asked = True
        _log.warning("%s: stopping after this epoch (again to stop at once)", signal.Signals(number).name)
        signal.signal(number, signal.default_int_handler if number == signal.SIGINT else signal.SIG_DFL)


@contextlib.contextmanager
def interruptible() -> Iterator[Interruption]:
    """Let Ctrl-C and SIGTERM end the epoch instead of the process (in the main thread, which receives them)."""
    interruption = Interruption()
    if threading.current_thread() is not threading.main_thread():
        yield interruption
        return
    numbers = (signal.SIGINT, signal.SIGTERM)
    previous = [signal.signal(number, interruption.ask) for number in numbers]
    try:
        yield interruption
    finally:
        for number, handler in zip(numbers, previous, strict=True):
            signal.signal(number, handler)
