"""Many models trained as one: a trainer and checkpoints with an axis more, the member, for the loop of ``fit``."""

import copy
import dataclasses
import functools
import logging
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jaxtyping import Array, Bool, Float32, Int

from openretina_jax.models.model import Model
from openretina_jax.models.saving import SCORE
from openretina_jax.training.checkpoint import Checkpoints
from openretina_jax.training.members import Members, Values, with_values
from openretina_jax.training.objective import Metrics
from openretina_jax.training.schedules import Rates
from openretina_jax.training.trainer import Recipe, Trainer, TrainState, compiler_options

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

        @jax.jit  # one program for all members
        def start(values: Values, variables: list[nnx.State]) -> TrainState:
            def one(values: Values, own: nnx.State) -> TrainState:
                return self._trainer(values).start(nnx.merge(self.graph, own))

            return jax.vmap(one)(values, _stacked(variables))

        return start(self._values, [nnx.state(own) for own in self._members.models])

    def member(self, state: TrainState, number: int) -> TrainState:
        """The state of one member."""
        return _member(state, number)

    def rates(self, state: TrainState, epoch: Int[Array, ""] | int) -> Rates:
        """Learning rate and momentum of each member's next step."""
        return jax.vmap(lambda values, state: self._trainer(values).rates(state, epoch))(self._values, state)

    def epoch(self, frames: int) -> Callable[..., tuple[TrainState, Metrics]]:
        """The compiled function of an epoch, see ``Trainer.epoch``.

        Members are computed in chunks, one after the other; a chunk whose members have all stopped costs nothing.
        """

        @functools.partial(
            jax.jit,
            donate_argnames="state",
            static_argnames="chunk",
            compiler_options=compiler_options(),
        )
        def run(state: TrainState, values: Values, *windows: Any, chunk: int) -> tuple[TrainState, Metrics]:
            def train(state: TrainState, values: Values) -> tuple[TrainState, Metrics]:
                return jax.vmap(lambda state, values: self._advance(frames, state, values, *windows))(state, values)

            def rest(state: TrainState, values: Values) -> tuple[TrainState, Metrics]:
                metrics = jax.eval_shape(lambda *members: train(*members)[1], state, values)
                return state, self._no_metrics(metrics, windows)

            def of_chunk(members: tuple[TrainState, Values]) -> tuple[TrainState, Metrics]:
                return jax.lax.cond(members[0].patience.stop.all(), rest, train, *members)

            chunks = jax.tree.map(lambda leaf: leaf.reshape(-1, chunk, *leaf.shape[1:]), (state, values))
            return jax.tree.map(lambda leaf: leaf.reshape(-1, *leaf.shape[2:]), jax.lax.map(of_chunk, chunks))

        chunk = self._members.chunk

        def run_epoch(state: TrainState, *windows: Any) -> tuple[TrainState, Metrics]:
            nonlocal chunk
            if chunk is None:
                chunk = self._chunk(run, state, windows)
            state, metrics = run(state, self._values, *windows, chunk=chunk)
            for number in np.flatnonzero(metrics["finite_steps"] < self._n_steps(windows)):
                _log.warning(
                    "member %d ends: its loss or a gradient was not finite in this epoch, which is undone", number
                )
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
        counts = goes_on & (metrics["finite_steps"] == self._n_steps(windows))
        lost = self._no_metrics(metrics, windows)
        lost["finite_steps"] = jnp.where(goes_on, metrics["finite_steps"], lost["finite_steps"])
        return _where(counts, new, _stopped(state)), _where(counts, metrics, lost)

    def _no_metrics(self, like: Any, windows: tuple[Any, ...]) -> Metrics:
        """The metrics of members that do not train."""
        nothing = {name: jnp.full(metric.shape, jnp.nan) for name, metric in like.items()}
        steps = jnp.full(like["finite_steps"].shape, self._n_steps(windows), like["finite_steps"].dtype)
        return nothing | {"finite_steps": steps}

    def _n_steps(self, windows: tuple[Any, ...]) -> int:
        """Steps of an epoch; ``windows`` are the arguments of ``Trainer.steps`` after the state."""
        return -(-len(windows[2]) // self.recipe.accumulate)

    def _chunk(self, run: Any, state: TrainState, windows: tuple[Any, ...]) -> int:
        """How many members to compute at once: one on CPUs, where more are no faster, else what fits into memory."""
        if jax.default_backend() == "cpu":
            return 1
        one, values = jax.tree.map(lambda leaf: leaf[:1], (state, self._values))
        needed = run.lower(one, values, *windows, chunk=1).compile().memory_analysis().temp_size_in_bytes
        memory = jax.devices()[0].memory_stats()["bytes_limit"]
        return largest_chunk(len(self._members), int(MEMORY_SHARE * memory / needed))


def largest_chunk(size: int, fitting: int) -> int:
    """The most members that fit at once and divide the population into equal chunks; at least 1."""
    return max(chunk for chunk in range(1, size + 1) if size % chunk == 0 and chunk <= max(fitting, 1))


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
        # not that of the whole: a member that has stopped shows its score again after every epoch
        saved = [one.about(one.best_epoch) for one in self._members if one.best_epoch is not None]
        return max(saved, key=lambda about: about[SCORE])["epoch"] if saved else None

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
        return _stacked(states)

    def about(self, epoch: int) -> dict[str, Any]:
        """What was saved with the states."""
        return self._whole.about(epoch)


def member_folder(workdir: Path, number: int) -> Path:
    """The folder of a member's run."""
    return workdir / "members" / str(number)


def _stacked(members: Sequence[Any]) -> Any:
    return jax.tree.map(lambda *leaves: jnp.stack(leaves), *members)


def _member(state: TrainState, number: int) -> TrainState:
    return jax.tree.map(lambda leaf: leaf[number], state)


def _stopped(state: TrainState) -> TrainState:
    patience = dataclasses.replace(state.patience, is_best=jnp.zeros((), bool), stop=jnp.ones((), bool))
    return dataclasses.replace(state, patience=patience)


def _where(chosen: Bool[Array, ""], new: Any, old: Any) -> Any:
    return jax.tree.map(lambda n, o: jnp.where(chosen, n, o), new, old)
