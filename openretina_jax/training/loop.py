"""The life of a run, from the first epoch (or the last checkpoint) to the scores on the test movies."""

import dataclasses
import itertools
import logging
import math
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import jax.numpy as jnp
import numpy as np
from flax import nnx
from jaxtyping import Array, Float32, Int
from rich.console import Console

from openretina_jax.data.batches import DataArrays, Timelines
from openretina_jax.data.dataset import Dataset
from openretina_jax.data.timelines import Tables, Timeline
from openretina_jax.data.windows import make_sampler
from openretina_jax.errors import UserError
from openretina_jax.evaluation.predict import VALIDATION, Scorer, Split, check_clips
from openretina_jax.models.model import Model
from openretina_jax.runtime.processes import in_any, interruptible
from openretina_jax.training.checkpoint import Checkpoints
from openretina_jax.training.feed import Feed, fits_on_device
from openretina_jax.training.members import Members
from openretina_jax.training.objective import Metrics
from openretina_jax.training.population import Population, PopulationCheckpoints
from openretina_jax.training.profile import tracing
from openretina_jax.training.sharding import Sharding
from openretina_jax.training.trainer import Recipe, Trainer, TrainState
from openretina_jax.training.writers import EpochProgress, Writers

_log = logging.getLogger(__name__)


@dataclasses.dataclass(frozen=True)
class FitResult:
    """A finished or interrupted run.

    Attributes:
        state: the best state if the run has finished, else the last one; in a population those of all members.
        epochs: epochs done.
        best_epoch: epoch of the best state (of the best member).
        finished: False if the run was interrupted and can be resumed.
        seconds: of training, all parts of the run together.
        recordings: the data on the devices; without the movies if these do not fit.
        tables: the data on the host.
    """

    state: TrainState
    epochs: int
    best_epoch: int
    finished: bool
    seconds: float
    recordings: DataArrays
    tables: Tables

    def split(self, timelines: Sequence[Timeline]) -> Split:
        """Timelines to be predicted from these recordings."""
        return Split(timelines, self.tables if self.recordings.frames is None else None)


def fit(
    *,
    model: Model,
    dataset: Dataset,
    workdir: Path,
    about: Mapping[str, Any],
    recipe: Recipe,
    order: str,
    window_frames: int,
    windows_per_step: int,
    within_clips: bool = False,
    epochs: int,
    picture_every: int,
    console: Console,
    sharding: Sharding,
    writers: Writers,
    members: Members | None = None,
    profile: bool = False,
    frames_on_device: bool | None = None,
) -> FitResult:
    """Train until the validation score stops rising, or resume such a run.

    A run saves its whole state after every epoch. Called again with the same ``workdir`` it goes on from the last save,
    with the same numbers as if it had never stopped.

    Args:
        model: what to start from; it is not changed. Its first sessions are those of the data set.
        dataset: recordings, movies and split.
        workdir: checkpoints go to its ``checkpoints``.
        about: saved as JSON with every checkpoint.
        recipe: what a step does, and how the learning rate goes on.
        order: "session", "shared", or another kind of ``data.windows.SAMPLERS``.
        window_frames: length of a window.
        windows_per_step: windows of a step (in "shared" order: of each timeline).
        within_clips: whether no window crosses the border of two clips.
        epochs: most epochs to train.
        picture_every: epochs between pictures of weights and validation traces (0: none).
        console: for the live display.
        sharding: what lies on which device.
        writers: where numbers and pictures go.
        members: of a population, which is trained instead of the model (None: the model alone).
        profile: whether to write a trace of the second epoch of this call.
        frames_on_device: whether the device holds all movies, or the host sends windows of them (None: as it fits).

    Raises:
        UserError: the model does not fit the length of windows or clips, the data or the devices do not allow such
            windows, the data belong to other sessions, the workdir holds another model, or the loss or its gradient is
            not finite.
    """
    check_sessions(model, dataset)
    tables = Tables(dataset, per_session=model.per_session)
    lag = model.lag
    check_windows(model, window_frames, lag, order)
    check_clips([VALIDATION, *dataset.test_names], tables, lag)
    windows = make_sampler(
        order,
        tables,
        window_frames=window_frames,
        windows_per_step=windows_per_step,
        within_clips=within_clips,
        seed=int(recipe.seed),
    )
    timelines = windows.timelines
    sharding.check(windows[0])
    recipe = recipe.for_run(epochs * -(-windows.steps_per_epoch // recipe.accumulate))
    trainer = Trainer(model, recipe) if members is None else Population(recipe, members)
    state = trainer.start(model)
    checkpoints = (
        Checkpoints(workdir / "checkpoints", about)
        if members is None
        else PopulationCheckpoints(workdir, about, members)
    )
    state, done, seconds = resumed(checkpoints, state)
    on_device = fits_on_device(tables, sharding.n_local_devices) if frames_on_device is None else frames_on_device
    if members is not None and not on_device:
        raise UserError("a population needs its movies on the device; set config.train.frames_on_device to True")
    feed = Feed(windows, tables, parts=recipe.accumulate, on_device=on_device, first_epoch=done)
    state, recordings = sharding.state(state), sharding.recordings(tables, on_device)
    table, scorer = Timelines.of(timelines), Scorer(trainer.graph, members=members is not None)
    validation = Split(tables.validation(), None if on_device else tables)
    run_epoch, first_epoch = trainer.epoch(window_frames), done
    writers.resume(done, int(state.step.max()))
    traced = workdir / "profile" if profile else None
    with sharding.active(), EpochProgress(console, epochs, done) as progress, interruptible() as interrupted:
        while done < epochs and not state.patience.stop.all() and not in_any(bool(interrupted)):
            began = time.perf_counter()
            before, rate = np.array(state.step), median(trainer.rates(state, done).learning_rate)
            with tracing(traced if done == first_epoch + 1 else None):  # the first one compiles
                state, metrics = feed.run(run_epoch, state, recordings, table, epoch=done)
                scores = scorer(state.evaluated, recordings, validation)
                score = jnp.nanmean(scores["correlation"], axis=-1).block_until_ready()
            parts = windows[done].timeline
            steps = np.split(parts, range(recipe.accumulate, len(parts), recipe.accumulate))
            check_finite(metrics.pop("finite_steps"), score, int(before.max()), steps, timelines, checkpoints)
            state = trainer.judge(state, score)
            done += 1
            elapsed = time.perf_counter() - began
            seconds += elapsed
            speed = int((state.step - before).sum()) / elapsed
            row = {"epoch": done, "seconds": seconds, "learning_rate": rate, "steps_per_second": speed}
            row |= columns(state, score, scores["loss"], metrics)
            last_step = int(state.step.max())
            writers.scalars(last_step, row)  # first: a resumed run drops rows that it has no state of
            checkpoints.save(done, sharding.whole(state), score, seconds)
            if picture_every and done % picture_every == 0:
                number = int(jnp.nanargmax(score))
                shown = trainer.member(state, number).evaluated
                current = nnx.merge(trainer.graph, *sharding.whole(shown))
                correlation = np.atleast_2d(np.asarray(scores["correlation"]))[number]
                predicted = scorer.predict(shown, recordings, validation)
                draw(writers, last_step, current, correlation, predicted, tables, validation)
            progress.update(row)
        finished = not in_any(bool(interrupted))
    best = checkpoints.best_epoch
    if best is None:
        raise UserError(f"nothing was trained: config.train.epochs is {epochs}; take at least 1")
    state = sharding.whole(state)
    if finished:
        state = checkpoints.restore_best(state)
    return FitResult(state, done, best, finished, seconds, recordings, tables)


def resumed(checkpoints: Checkpoints | PopulationCheckpoints, start: TrainState) -> tuple[TrainState, int, float]:
    """The last state of a run, its epochs and its seconds of training; ``start`` if it has none."""
    done = checkpoints.last_epoch
    if done is None:
        return start, 0, 0.0
    state = checkpoints.restore(done, start)
    _log.info("resuming after epoch %d", done)
    return state, done, checkpoints.about(done)["seconds"]


def columns(
    state: TrainState, score: Float32[Array, "*member"], loss: Float32[Array, "*member neuron"], metrics: Metrics
) -> dict[str, int | float]:
    """What the log says of how well a model did in an epoch; in a population the median of the members.

    Args:
        state: after the epoch.
        score, loss: of the validation.
        metrics: of the training.
    """
    return {
        "validation/correlation": median(score),
        "validation/best": float(state.patience.best.max()),
        "validation/loss": median(jnp.nanmean(loss, axis=-1)),
        **{f"train/{name}": median(value) for name, value in metrics.items()},
        **member_columns(state, score),
    }


def draw(writers: Writers, step: int, *shown: Any) -> None:
    """Log the pictures of what ``epoch_pictures`` is shown, in the process that writes."""
    from openretina_jax.experiment.pictures import epoch_pictures  # matplotlib may wait for the first step

    if writers.on:
        for name, image in epoch_pictures(*shown).items():
            writers.picture(name, image, step)


def check_sessions(model: Model, dataset: Dataset) -> None:
    """The first sessions of a model must be those of the data; it may have more, which keep their rows.

    Raises:
        UserError: says which differ.
    """
    needed = {session.name: session.n_neurons for session in dataset.sessions}
    rows = dict(itertools.islice(model.data_info.sessions.items(), len(needed)))
    if list(rows.items()) != list(needed.items()):
        raise UserError(
            f"the model's first sessions and their neurons are {rows}, those of the data are {needed}; "
            "build the model with the data set's info, or add the sessions to it"
        )


def check_windows(model: Model, frames: int, lag: int, order: str) -> None:
    """A model must predict frames of every window.

    Raises:
        UserError: says how many frames there are, and how many the model needs.
    """
    if model.receptive_field().future is None:
        raise UserError(
            "the model has fewer predictions than the stimulus has frames, so that responses cannot be compared with "
            "them; let downsample_input of the core begin with 1"
        )
    if frames <= lag:
        raise UserError(
            f"windows have {frames} frames, but the model predicts none of the first {lag} (its lag); raise "
            f"config.train.windows.{order}.window_frames, or lower temporal_kernel_sizes, temporal_frames or "
            "cut_first_frames of the model"
        )


def check_finite(
    finite_steps: Int[Array, "*member"],
    score: Float32[Array, "*member"],
    first_step: int,
    steps: Sequence[np.ndarray],
    timelines: list[Timeline],
    checkpoints: Checkpoints | PopulationCheckpoints,
) -> None:
    """Stop a run whose numbers are no longer numbers, before its state is saved; a population if all members' are.

    Args:
        finite_steps: steps before the first one that was not finite.
        score: of the validation.
        first_step: number of the first step of the epoch.
        steps: numbers of the timelines in each step.
        timelines: of the training.
        checkpoints: of the run.

    Raises:
        UserError: names the step, its sessions, and the checkpoint to go back to.
    """
    number = int(finite_steps.max())
    if number < len(steps):
        names = ", ".join(sorted({timelines[timeline].name for timeline in steps[number].ravel()}))
        what = f"the loss or its gradient was not finite at step {first_step + number} ({names})"
    elif not jnp.isfinite(score).any():
        what = f"the validation score was not finite after step {first_step + number - 1}"
    else:
        return
    last = checkpoints.last_epoch
    back = f"the last good checkpoint is {checkpoints.folder / str(last)}" if last else "there is no checkpoint yet"
    raise UserError(f"{what}; {back}; lower config.optimizer.learning_rate or look at the responses of these sessions")


def median(values: Float32[Array, "*member"]) -> float:
    """Of the members that still train (the others' metrics are NaN); the value itself where there is one alone."""
    known = np.asarray(values)
    known = known[~np.isnan(known)]
    return float(np.median(known)) if len(known) else math.nan


def member_columns(state: TrainState, score: Float32[Array, "*member"]) -> dict[str, int | float]:
    """What the log of a population has besides: how many members still train, and every member's validation score."""
    if score.ndim == 0:
        return {}
    scores = {f"validation/members/{number}": float(value) for number, value in enumerate(score)}
    return {"training_members": int((~state.patience.stop).sum())} | scores
