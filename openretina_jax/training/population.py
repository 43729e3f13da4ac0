"""Populations: many models trained by one program, which differ in seeds and numbers of their recipes."""

import copy
import dataclasses
import functools
import json
import logging
import zlib
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jaxtyping import Array, Bool, Float32, Int

from openretina_jax.data.batches import Batch
from openretina_jax.errors import UserError
from openretina_jax.evaluation.predict import Scorer
from openretina_jax.models.model import Model
from openretina_jax.training.callbacks import Callback, Epoch
from openretina_jax.training.checkpoint import Checkpoints
from openretina_jax.training.objective import Metrics
from openretina_jax.training.recipe import Recipe, numbers_of
from openretina_jax.training.schedules import Rates
from openretina_jax.training.trainer import Trainer, TrainState, compiler_options

WHOLE = "population"  # folder of the checkpoints of all members together

_log = logging.getLogger(__name__)

MEMORY_SHARE = 0.5  # share of the device's memory for the temporaries of the members that are computed at once


class Population(Trainer):
    """A trainer of many models of one structure, which differ in their parameters and in numbers of their recipes.

    Its states are stacked: arrays of states, metrics and scores have one more axis, the first: the member. A step of
    the population is ``vmap`` of a step. All members see the same windows in the same order, so that these are gathered
    once. A member that has stopped, or that diverged (NaN or inf), stays as it is.

    Args:
        models: models from which the members start.
        recipes: recipe of each member; they may differ in numbers only.
        chunk: number of members that are computed at once, one chunk after the other (None: one on CPUs, where more
            are no faster, else as many as fit into memory).

    Raises:
        UserError: the chunks would not be equal.
    """

    def __init__(self, models: Sequence[Model], recipes: Sequence[Recipe], chunk: int | None = None):
        super().__init__(models[0], recipes[0])
        self._member = Trainer(models[0], recipes[0])
        self.models, self._chunk, self._numbers = list(models), chunk, varying_numbers(recipes)
        if chunk is not None and (chunk < 1 or len(models) % chunk):
            raise UserError(
                f"config.population.chunk is {chunk}, but must divide the population of {len(models)} members"
            )

    def __len__(self) -> int:
        return len(self.models)

    def init(self, model: Model | None = None, numbers: Mapping[str, Array] | None = None) -> TrainState:
        """Make the initial states of all members by one program, or, with a model, the state of that one alone."""
        if model is not None:
            return self._member.init(model, numbers)

        @jax.jit
        def init(numbers: Mapping[str, Array], variables: list[nnx.State]) -> TrainState:
            def member(numbers: Mapping[str, Array], variables: nnx.State) -> TrainState:
                return self._member.init(nnx.merge(self.graph, variables), numbers)

            return jax.vmap(member)(numbers, _stacked(variables))

        return init(self._numbers, [nnx.state(model) for model in self.models])

    def for_run(self, steps: int) -> "Population":
        """Adapt the population to a run of that many steps, see ``Trainer.for_run``."""
        population = copy.copy(self)
        population._member = self._member.for_run(steps)
        population.recipe = population._member.recipe
        return population

    def best(self, state: TrainState, score: Float32[Array, "*member"]) -> tuple[TrainState, int | None]:
        """Choose state and number of the member with the highest score."""
        number = int(jnp.nanargmax(score))
        return member_state(state, number), number

    def scorer(self) -> Scorer:
        """Make the compiled predictions and scores of stacked states."""
        return Scorer(self.graph, self.recipe.monitor, self.recipe.loss, members=True)

    def rates(self, state: TrainState, epoch: Int[Array, ""] | int) -> Rates:
        """Compute learning rate and momentum of each member's next step."""
        return jax.vmap(lambda state: self._member.rates(state, epoch))(state)

    def step(
        self, state: TrainState, batch: Batch | Sequence[Batch], epoch: Int[Array, ""] | int = 0
    ) -> tuple[TrainState, Metrics]:
        """Take a step with every member on the same batch, see ``Trainer.step``."""
        return jax.vmap(lambda state: self._member.step(state, batch, epoch))(state)

    def epoch(self, frames: int) -> Callable[..., tuple[TrainState, Metrics]]:
        """Make the compiled function of an epoch, see ``Trainer.epoch``.

        Members are computed in chunks, one after the other; a chunk whose members have all stopped costs nothing.
        """
        run, chunk = super().epoch(frames), self._chunk

        def run_epoch(state: TrainState, *windows: Any) -> tuple[TrainState, Metrics]:
            nonlocal chunk
            if chunk is None:
                chunk = self._fitting_chunk(run, state, windows)
            state, metrics = run(state, *windows, chunk=chunk)
            for number in np.flatnonzero(metrics["finite_steps"] < self._n_steps(windows)):
                _log.warning(
                    "member %d ends: its loss or a gradient was not finite in this epoch, which is undone", number
                )
            return state, metrics

        return run_epoch

    def _without_start(self) -> "Population":
        population = copy.copy(self)
        del population.start, population.models
        population._member = self._member._without_start()
        return population

    def _compiled_epoch(self, frames: int) -> Callable[..., tuple[TrainState, Metrics]]:
        @functools.partial(
            jax.jit, donate_argnames="state", static_argnames="chunk", compiler_options=compiler_options()
        )
        def run(state: TrainState, *windows: Any, chunk: int) -> tuple[TrainState, Metrics]:
            @jax.jit  # traced once for both branches below
            def train(state: TrainState, *windows: Any) -> tuple[TrainState, Metrics]:
                return jax.vmap(lambda state: self._advance(frames, state, *windows))(state)

            def rest(state: TrainState, *windows: Any) -> tuple[TrainState, Metrics]:
                metrics = jax.eval_shape(lambda *arguments: train(*arguments)[1], state, *windows)
                return state, self._no_metrics(metrics, windows)

            def train_chunk(state: TrainState) -> tuple[TrainState, Metrics]:
                return jax.lax.cond(state.patience.stop.all(), rest, train, state, *windows)

            chunks = jax.tree.map(lambda leaf: leaf.reshape(-1, chunk, *leaf.shape[1:]), state)
            return jax.tree.map(lambda leaf: leaf.reshape(-1, *leaf.shape[2:]), jax.lax.map(train_chunk, chunks))

        return run

    def end_epoch(self, state: TrainState, score: Float32[Array, " member"]) -> TrainState:
        """Advance the states after an epoch by its validation scores."""

        def end_epoch(state: TrainState, score: Array) -> TrainState:
            ended = self._member.end_epoch(state, score)
            return _where(state.patience.stop | ~jnp.isfinite(score), _stopped(state), ended)

        return jax.vmap(end_epoch)(state, score)

    def _advance(self, frames: int, state: TrainState, *windows: Any) -> tuple[TrainState, Metrics]:
        """A member's epoch, which counts only if the member has not stopped and stays finite."""
        new, metrics = self._member.steps(frames, state, *windows)
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

    def _fitting_chunk(self, run: Any, state: TrainState, windows: tuple[Any, ...]) -> int:
        """Number of members to compute at once: one on CPUs, where more are no faster, else as many as fit."""
        if jax.default_backend() == "cpu":
            return 1
        one = jax.tree.map(lambda leaf: leaf[:1], state)
        needed = run.lower(one, *windows, chunk=1).compile().memory_analysis().temp_size_in_bytes
        memory = jax.devices()[0].memory_stats()["bytes_limit"]
        return largest_chunk(len(self), int(MEMORY_SHARE * memory / needed))


def varying_numbers(recipes: Sequence[Recipe]) -> dict[str, np.ndarray]:
    """Find the numbers in which recipes differ, one per recipe, by their paths (see ``numbers_of``).

    Raises:
        UserError: recipes differ in more than numbers.
    """
    if len({jax.tree.structure(recipe) for recipe in recipes}) > 1:
        raise UserError(
            "the recipes of a population differ in more than numbers, so that no program serves all members"
        )
    columns = {name: [numbers_of(recipe)[name] for recipe in recipes] for name in numbers_of(recipes[0])}
    return {
        name: np.asarray(column, np.int32 if isinstance(column[0], int) else np.float32)
        for name, column in columns.items()
        if not all(np.array_equal(value, column[0]) for value in column)
    }


def largest_chunk(size: int, fitting: int) -> int:
    """Find the most members that fit at once and divide the population into equal chunks; at least 1."""
    return max(chunk for chunk in range(1, size + 1) if size % chunk == 0 and chunk <= max(fitting, 1))


class MemberCheckpoints(Callback):
    """Saves the best state of every member as that of any run; whole populations are saved by ``fit``.

    If a run is killed in between, members are an epoch ahead; the resumed run comes to the same numbers there.

    Args:
        workdir: folder of the population; members have folders ``members/0``, ``members/1``, ... there.
        abouts: JSON values that are saved with the checkpoints of each member.
    """

    everywhere = True

    def __init__(self, workdir: Path, abouts: Sequence[Mapping[str, Any]]):
        self._members = [
            Checkpoints(member_folder(workdir, number) / "checkpoints", about) for number, about in enumerate(abouts)
        ]

    def on_epoch_end(self, epoch: Epoch) -> None:
        """Save the members that have a new best."""
        for number, checkpoints in enumerate(self._members):
            if epoch.state.patience.is_best[number] and checkpoints.last_epoch != epoch.number:
                state = member_state(epoch.state, number)
                checkpoints.save(epoch.number, state, epoch.score[number], epoch.metrics["seconds"])


def member_folder(workdir: Path, number: int) -> Path:
    """Name the folder of a member's run."""
    return workdir / "members" / str(number)


def _stacked(members: Sequence[Any]) -> Any:
    return jax.tree.map(lambda *leaves: jnp.stack(leaves), *members)


def member_state(state: TrainState, number: int) -> TrainState:
    """Take the state of one member from that of a population."""
    return jax.tree.map(lambda leaf: leaf[number], state)


def _stopped(state: TrainState) -> TrainState:
    patience = dataclasses.replace(state.patience, is_best=jnp.zeros((), bool), stop=jnp.ones((), bool))
    return dataclasses.replace(state, patience=patience)


def _where(chosen: Bool[Array, ""], new: Any, old: Any) -> Any:
    return jax.tree.map(lambda n, o: jnp.where(chosen, n, o), new, old)


def draw(vary: Mapping[str, Any], size: int, seed: int) -> dict[str, list[float]]:
    """Draw values of settings for every member.

    A value depends on the seed, the setting's name and the member's number alone: more members or further settings
    leave it as it is. Values are rounded to float32, so that a single run can have the same.

    Args:
        vary: distribution of each setting: ``{"uniform": (low, high)}``, ``{"log_uniform": (low, high)}`` or
            ``{"one_of": (a, b, ...)}``.
        size: number of members.
        seed: seed of the draws.

    Raises:
        UserError: there is no such distribution, or its numbers are wrong.
    """
    return {name: _draws(name, distribution, size, seed) for name, distribution in vary.items()}


def _draws(name: str, distribution: Any, size: int, seed: int) -> list[float]:
    uniform = np.random.default_rng((seed, zlib.crc32(name.encode()))).random(size)
    match distribution:
        case {"uniform": [int() | float() as low, int() | float() as high]} if low <= high < np.inf:
            values = low + (high - low) * uniform
        case {"log_uniform": [int() | float() as low, int() | float() as high]} if 0 < low <= high < np.inf:
            values = low * (high / low) ** uniform
        case {"one_of": [_, *_] as numbers} if all(isinstance(number, int | float) for number in numbers):
            values = np.asarray(numbers)[(uniform * len(numbers)).astype(int)]
        case _:
            raise UserError(
                f'config.population.vary: "{name}" is {json.dumps(distribution)}, but must be '
                '{"uniform": [low, high]}, {"log_uniform": [low, high]} with 0 < low <= high, '
                'or {"one_of": [a, b, ...]}'
            )
    return [float(np.float32(value)) for value in values]
