"""Training loop: from the first epoch, or the last checkpoint, to the best state."""

import dataclasses
import itertools
import math
import time
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float32, Int

from openretina_jax.data.dataset import Dataset
from openretina_jax.errors import UserError
from openretina_jax.evaluation.monitor import Monitor
from openretina_jax.evaluation.splits import VALIDATION, check_clips
from openretina_jax.models.model import Model
from openretina_jax.runtime.described import Described
from openretina_jax.runtime.processes import in_any, interruptible
from openretina_jax.training.callbacks import Callback, Callbacks, Epoch
from openretina_jax.training.checkpoint import Checkpoints
from openretina_jax.training.feed import Feed
from openretina_jax.training.objective import Metrics
from openretina_jax.training.trainer import Trainer, TrainState


@dataclasses.dataclass(frozen=True, repr=False)
class FitResult(Described):
    """A finished or interrupted run.

    Attributes:
        state: state after the best epoch if the run has finished, else the last one.
        epochs: number of epochs done.
        best_epoch: epoch of the best state (of the best member).
        finished: False if the run was interrupted and can be resumed.
        seconds: seconds of training, over all parts of the run.
    """

    state: TrainState
    epochs: int
    best_epoch: int
    finished: bool
    seconds: float

    def _facts(self) -> dict[str, str]:
        best = f"{self.best_epoch} of {self.epochs}"
        return {"best epoch": best, "finished": str(self.finished), "seconds": f"{self.seconds:.0f}"}


def fit(
    trainer: Trainer, data: Feed, checkpoints: Checkpoints, *, epochs: int, callbacks: Sequence[Callback] = ()
) -> FitResult:
    """Train until the validation score stops rising, or resume such a run.

    The whole state is saved after every epoch. Called again with the same checkpoints, a run goes on from the last one,
    with the same numbers as if it had never stopped. Ctrl-C ends it after the epoch.

    Args:
        trainer: trainer of a model or of a population.
        data: data of the run, with the windows of every epoch.
        checkpoints: checkpoints of this run; they may hold an earlier part of it.
        epochs: largest number of epochs.
        callbacks: callbacks that follow the run; the caller closes them.

    Raises:
        UserError: the model does not fit the data or the length of windows or clips, the checkpoints hold another
            model, or the loss or its gradient is not finite.
    """
    check_fit(trainer, data)
    trainer, callback = trainer.for_run(epochs * data.steps_per_epoch), Callbacks(callbacks)
    state, done, seconds = checkpoints.resume(trainer.init())
    state, scorer, monitor = data.sharding.state(state), trainer.scorer(), trainer.recipe.monitor
    run_epoch = trainer.epoch(data.sampler.window_frames)
    with data.sharding.active(), interruptible() as interrupted, callback.training(done, steps_taken(state)):
        while done < epochs and not np.array(state.patience.stop).all() and not in_any(bool(interrupted)):
            began, before = time.perf_counter(), Before.of(trainer, state, done)
            callback.on_epoch_begin(done)
            state, metrics = data.run(run_epoch, state, done)
            scores = scorer(state.evaluated, data.recordings, data.validation)
            means = mean_over_neurons(scores)
            score = monitor.to_maximize(means[monitor.name]).block_until_ready()
            check_finite(metrics, score, before, data, checkpoints)
            state, done = trainer.end_epoch(state, score), done + 1
            elapsed = time.perf_counter() - began
            seconds += elapsed
            row = epoch_metrics(before, state, means, monitor, metrics, done, elapsed, seconds)
            callback.on_epoch_end(Epoch(done, steps_taken(state), row, state, score, scores))
            # last: a resumed run drops what callbacks wrote of an epoch that was not saved
            checkpoints.save(done, data.sharding.whole(state), before.best(score), seconds)
        finished = not in_any(bool(interrupted))
    checkpoints.catch_up()
    best = checkpoints.best_epoch
    if best is None:
        raise UserError(f"nothing was trained: config.train.epochs is {epochs}; take at least 1")
    state = data.sharding.whole(state)
    return FitResult(checkpoints.restore(best, state) if finished else state, done, best, finished, seconds)


class Before(NamedTuple):
    """Numbers of the state before an epoch, which reuses its buffers.

    Attributes:
        epoch: number of epochs done.
        step: number of optimiser steps taken.
        stopped: whether training had ended before; in a population some members may go on.
        learning_rate: learning rate of the first step.
    """

    epoch: int
    step: Int[np.ndarray, "*member"]
    stopped: Bool[np.ndarray, "*member"]
    learning_rate: float

    @classmethod
    def of(cls, trainer: Trainer, state: TrainState, epoch: int) -> "Before":
        """Read the numbers of a state."""
        rate = median(trainer.rates(state, epoch).learning_rate)
        return cls(epoch, np.array(state.step), np.array(state.patience.stop), rate)

    def best(self, score: Float32[Array, "*member"]) -> float:
        """Find the highest score of the members that have trained; those of others are of an earlier epoch."""
        return float(np.where(self.stopped | np.isnan(score), -np.inf, score).max())


def steps_taken(state: TrainState) -> int:
    """Read the number of optimiser steps, in a population the largest; no program is compiled for it."""
    return int(np.array(state.step).max())


@jax.jit
def mean_over_neurons(scores: Mapping[str, Float32[Array, "*member neuron"]]) -> dict[str, Float32[Array, "*member"]]:
    """Compute the means of scores over the neurons that have one (the others are NaN)."""
    return {name: jnp.nanmean(score, axis=-1) for name, score in scores.items()}


def epoch_metrics(
    before: Before,
    state: TrainState,
    means: Mapping[str, Float32[Array, "*member"]],
    monitor: Monitor,
    metrics: Metrics,
    epoch: int,
    elapsed: float,
    seconds: float,
) -> dict[str, int | float]:
    """Collect the numbers of an epoch by name; in a population medians over its members, and every member's score.

    Args:
        before: numbers of the state before the epoch.
        state: state after it.
        means: means over neurons of validation scores, by name.
        monitor: score that decides; the others are included.
        metrics: training metrics.
        epoch: number of epochs done.
        elapsed: seconds of the epoch.
        seconds: seconds of the run.
    """
    row = {
        "epoch": epoch,
        "seconds": seconds,
        "learning_rate": before.learning_rate,
        "steps_per_second": int((np.array(state.step) - before.step).sum()) / elapsed,
        "validation/correlation": median(means["correlation"]),
        "validation/best": monitor.from_maximized(float(np.array(state.patience.best).max())),
        **{f"validation/{name}": median(mean) for name, mean in means.items() if name != "correlation"},
        **{f"train/{name}": median(value) for name, value in metrics.items()},
    }
    monitored = np.array(means[monitor.name])
    if monitored.ndim:
        row |= {f"validation/members/{number}": float(value) for number, value in enumerate(monitored)}
        row |= {"training_members": int((~np.array(state.patience.stop)).sum())}
    return row


def check_fit(trainer: Trainer, data: Feed) -> None:
    """Check that sessions, windows and clips of the data fit the model."""
    model = trainer.start
    check_sessions(model, data.dataset)
    check_windows(model, data.sampler.window_frames)
    check_clips([VALIDATION, *data.dataset.test_names], data.tables, model.lag)


def check_sessions(model: Model, dataset: Dataset) -> None:
    """Check that the first sessions of a model are those of the data; it may have more, which keep their rows.

    Raises:
        UserError: sessions, or their numbers of neurons, differ.
    """
    needed = {session.name: session.n_neurons for session in dataset.sessions}
    rows = dict(itertools.islice(model.data_info.sessions.items(), len(needed)))
    if list(rows.items()) != list(needed.items()):
        raise UserError(
            f"the model's first sessions and their neurons are {rows}, those of the data are {needed}; "
            "build the model with the data set's info, or add the sessions to it"
        )


def check_windows(model: Model, frames: int) -> None:
    """Check that a model predicts frames of every window.

    Raises:
        UserError: windows are too short, or the model predicts less often than it sees frames.
    """
    if model.receptive_field().future is None:
        raise UserError(
            "the model has fewer predictions than the stimulus has frames, so that responses cannot be compared with "
            "them; let downsample_input of the core begin with 1"
        )
    lag = model.lag
    if frames <= lag:
        raise UserError(
            f"windows have {frames} frames, but the model predicts none of the first {lag} (its lag); raise "
            f"window_frames (config.train.windows), or lower temporal_kernel_sizes, temporal_frames or "
            "cut_first_frames of the model"
        )


def check_finite(
    metrics: Metrics, score: Float32[Array, "*member"], before: Before, data: Feed, checkpoints: Checkpoints
) -> None:
    """Stop a run that diverged (NaN or inf) before its state is saved; a population if all its members did.

    Args:
        metrics: training metrics; "finite_steps", the steps before the first one that was not finite, is taken out.
        score: validation score.
        before: numbers of the state before the epoch.
        data: data of the run.
        checkpoints: checkpoints of the run.

    Raises:
        UserError: names the step, its sessions, and the checkpoint to go back to.
    """
    finite, first_step = int(np.array(metrics.pop("finite_steps")).max()), int(before.step.max())
    if finite < data.steps_per_epoch:
        names = ", ".join(data.sessions_of_step(before.epoch, finite))
        what = f"the loss or its gradient was not finite at step {first_step + finite} ({names})"
    elif not np.isfinite(score).any():
        what = f"the validation score was not finite after step {first_step + finite - 1}"
    else:
        return
    raise UserError(
        f"{what}; {checkpoints.last_good()}; lower config.optimizer.learning_rate or look at the responses of these "
        "sessions"
    )


def median(values: Float32[Array, "*member"]) -> float:
    """Compute the median over the members that still train (metrics of the others are NaN)."""
    known = np.asarray(values)
    known = known[~np.isnan(known)]
    return float(np.median(known)) if len(known) else math.nan
