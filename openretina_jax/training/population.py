"""Many models trained as one: a trainer and checkpoints with an axis more, the member, for the loop of ``fit``."""

import copy
import dataclasses
import functools
import logging
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import psutil
from jaxtyping import Array, Bool, Float32, Int

from openretina_jax.models.core_readout import Model
from openretina_jax.training.checkpoint import Checkpoints
from openretina_jax.training.members import Members, Values, with_values
from openretina_jax.training.objective import Metrics
from openretina_jax.training.schedules import Rates
from openretina_jax.training.step import Recipe, Trainer, TrainState

WHOLE = "population"  # folder of the checkpoints of all members together
_log = logging.getLogger(__name__)

MEMORY_SHARE = 0.5  # of the device's memory, for the temporaries of the members that are computed at once


class Population:
    """The steps of many models of one structure, which differ in seed and numbers.

    A ``Trainer`` whose state is stacked: the arrays of its state, metrics and scores have one more axis, the first: the
    member. All members see the same windows in the same order, so that these are gathered once; everything else is a
    member's own. A member that has stopped, or whose numbers are no longer numbers, stays as it is.

    Attributes:
        graph: structure of the models.
        recipe: what the members have in common.

    Args:
        recipe: likewise.
        members: what they differ in.
    """

    def __init__(self, recipe: Recipe, members: Members):
        self.recipe, self._members, self._values = recipe, members, members.arrays()
        self._common = Trainer(members.models[0], recipe)
        self.graph = self._common.graph

    def start(self, model: Model) -> TrainState:
        """The states before the first step; ``model`` has no part in them, since each member has its own."""
        del model
        pairs = zip(self._members, self._members.models, strict=True)
        states = [self._trainer(values).start(own) for values, own in pairs]
        return jax.tree.map(lambda *leaves: jnp.stack(leaves), *states)

    def member(self, state: TrainState, number: int) -> TrainState:
        """The state of one member."""
        return _member(state, number)

    def rates(self, state: TrainState, epoch: Int[Array, ""] | int) -> Rates:
        """Learning rate and momentum of each member's next step."""
        return jax.vmap(lambda values, state: self._trainer(values).rates(state, epoch))(self._values, state)

    def epoch(self, frames: int) -> Callable[..., tuple[TrainState, Metrics]]:
        """The compiled function of an epoch, see ``Trainer.epoch``."""
        chunk = self._members.chunk

        @functools.partial(
            jax.jit,
            donate_argnames="state",
            static_argnames="chunk",
            compiler_options=self._common.compiler_options,
        )
        def run(state: TrainState, values: Values, *windows: Any, chunk: int) -> tuple[TrainState, Metrics]:
            def one(member: tuple[TrainState, Values]) -> tuple[TrainState, Metrics]:
                return self._advance(frames, *member, *windows)

            return jax.lax.map(one, (state, values), batch_size=chunk)

        def run_epoch(state: TrainState, *windows: Any) -> tuple[TrainState, Metrics]:
            nonlocal chunk
            if chunk is None:
                chunk = self._fitting(run, state, windows)
            state, metrics = run(state, self._values, *windows, chunk=chunk)
            steps = int(metrics["finite_steps"].max())
            for number in np.flatnonzero(metrics["finite_steps"] < steps):
                _log.warning("member %d ends: its loss was not finite in this epoch, which is undone", number)
            return state, metrics

        return run_epoch

    def judge(self, state: TrainState, score: Float32[Array, " member"]) -> TrainState:
        """The states after an epoch with these validation scores."""

        def one(values: Values, state: TrainState, score: Array) -> TrainState:
            judged = self._trainer(values).judge(state, score)
            return _where(state.patience.stop | ~jnp.isfinite(score), _stopped(state), judged)

        return jax.vmap(one)(self._values, state, score)

    def _trainer(self, values: Values) -> Trainer:
        """Of a member with these values, which may be traced."""
        trainer = copy.copy(self._common)
        trainer.recipe = dataclasses.replace(self._members.recipe(values), schedule=self.recipe.schedule)
        return trainer

    def _advance(self, frames: int, state: TrainState, values: Values, *windows: Any) -> tuple[TrainState, Metrics]:
        """A member's epoch, which counts only if it goes on and all its numbers are numbers."""
        new, metrics = self._trainer(values).steps(frames, state, *windows)
        goes_on = ~state.patience.stop
        finite = new.step - state.step == metrics["finite_steps"]
        lost = jax.tree.map(lambda metric: jnp.full_like(metric, jnp.nan, float), metrics)
        lost["finite_steps"] = jnp.where(goes_on, metrics["finite_steps"], new.step - state.step)
        return _where(goes_on & finite, new, _stopped(state)), _where(goes_on & finite, metrics, lost)

    def _fitting(self, run: Any, state: TrainState, windows: tuple[Any, ...]) -> int:
        """How many members fit into the memory, by what the compiler says that one needs."""
        one, values = jax.tree.map(lambda leaf: leaf[:1], (state, self._values))
        needed = run.lower(one, values, *windows, chunk=1).compile().memory_analysis().temp_size_in_bytes
        return int(np.clip(MEMORY_SHARE * device_memory() / needed, 1, len(self._members)))


class PopulationCheckpoints:
    """The checkpoints of a population.

    After every epoch, first each member with a new best is saved as any run is, then the state of all as one
    checkpoint, from which a run resumes. If a run is killed in between, members are an epoch ahead; the resumed run
    comes to the same numbers there.

    Args:
        workdir: of the population; members have folders ``members/0``, ``members/1``, ... there.
        about: what goes with every checkpoint as JSON; a member's configuration has its own values.
        members: of the population.
    """

    def __init__(self, workdir: Path, about: Mapping[str, Any], members: Members):
        self._whole = Checkpoints(workdir / WHOLE, about)
        self.folder = self._whole.folder
        self._members = [
            Checkpoints(member_folder(workdir, number) / "checkpoints", {**about, "config": config})
            for number, config in enumerate(with_values(about["config"], values) for values in members)
        ]

    @property
    def last_epoch(self) -> int | None:
        """Epoch of the last checkpoint, or None."""
        return self._whole.last_epoch

    @property
    def best_epoch(self) -> int | None:
        """Epoch of the best member's best checkpoint, or None."""
        return self._whole.best_epoch

    def save(self, epoch: int, state: TrainState, score: Float32[Array, " member"], seconds: float) -> None:
        """Save the state after an epoch."""
        for number, checkpoints in enumerate(self._members):
            if state.patience.is_best[number] and checkpoints.last_epoch != epoch:
                checkpoints.save(epoch, _member(state, number), score[number], seconds)
        self._whole.save(epoch, state, jnp.nanmax(score), seconds)

    def restore(self, epoch: int, like: TrainState) -> TrainState:
        """The states of all members after that epoch, see ``Checkpoints.restore``."""
        return self._whole.restore(epoch, like)

    def restore_best(self, like: TrainState) -> TrainState:
        """Every member's best state; one that has none (its first epoch failed) is as in ``like``."""
        states = [
            _member(like, number) if one.best_epoch is None else one.restore_best(_member(like, number))
            for number, one in enumerate(self._members)
        ]
        return jax.tree.map(lambda *leaves: jnp.stack(leaves), *states)

    def about(self, epoch: int) -> dict[str, Any]:
        """What was saved with the states."""
        return self._whole.about(epoch)


def member_folder(workdir: Path, number: int) -> Path:
    """The folder of a member's run."""
    return workdir / "members" / str(number)


def device_memory() -> int:
    """Bytes of the default device."""
    known = jax.devices()[0].memory_stats() or {}
    return known.get("bytes_limit", psutil.virtual_memory().total)


def _member(state: TrainState, number: int) -> TrainState:
    return jax.tree.map(lambda leaf: leaf[number], state)


def _stopped(state: TrainState) -> TrainState:
    patience = dataclasses.replace(state.patience, is_best=jnp.zeros((), bool), stop=jnp.ones((), bool))
    return dataclasses.replace(state, patience=patience)


def _where(chosen: Bool[Array, ""], new: Any, old: Any) -> Any:
    return jax.tree.map(lambda n, o: jnp.where(chosen, n, o), new, old)
