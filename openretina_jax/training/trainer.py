"""The state of a training run, and the pure functions that advance it.

A loop of one's own needs ``Trainer.init``, ``Trainer.step`` and batches; jit and vmap are the caller's:

    trainer = Trainer(model, Recipe(ResponseObjective(), AdamW(), learning_rate=0.01))
    state, step = trainer.init(), jax.jit(trainer.step)
    for batch in batches:
        state, metrics = step(state, batch)
    model = trainer.model(state)
"""

import copy
import dataclasses
import functools
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import nnx
from jaxtyping import Array, Float32, Int, Int32, Num, Shaped

from openretina_jax.data.batches import Batch, DataArrays, Timelines, gather
from openretina_jax.errors import UserError
from openretina_jax.evaluation.monitor import CorrelationScore
from openretina_jax.evaluation.predict import Scorer
from openretina_jax.models.model import Model
from openretina_jax.modules.layers import Number
from openretina_jax.runtime import devices
from openretina_jax.runtime.programs import kept
from openretina_jax.training.objective import Metrics, rows_in, sessions_in
from openretina_jax.training.optimizers import Optimizer, clip_by_norm, presence, trainable_filter
from openretina_jax.training.patience import Patience, PatienceRules
from openretina_jax.training.recipe import Recipe
from openretina_jax.training.schedules import Rates
from openretina_jax.training.sharding import in_place

Windows = Any  # a pytree of arrays; their first axis is the part of a step
GRADIENT_NORM = "gradient_norm_"  # prefix of a metric; the part of the model follows
AVERAGE_WARMUP = 10  # steps; the decay grows from 1/10, so that the average soon forgets the initial parameters


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class TrainState:
    """State of a run, all that is needed to resume it; in a population every array has a leading axis, the member.

    Attributes:
        step: number of optimiser steps taken.
        params: trained variables of the model.
        statistics: its other variables (frozen parameters, running statistics, constants).
        optimizer: state of the optimiser.
        patience: learning rate, and the scores and counts from which it follows.
        average: moving average of all variables, or None.
        numbers: numbers of the recipe in which members of a population differ, see ``Recipe.varied``. They are not in
            checkpoints, since they follow from the configuration.
    """

    step: Int32[Array, "*member"]
    params: nnx.State
    statistics: nnx.State
    optimizer: Any
    patience: Patience
    average: nnx.State | None = None
    numbers: Mapping[str, Num[Array, "*member"]] = dataclasses.field(default_factory=dict)

    @property
    def evaluated(self) -> tuple[nnx.State, ...]:
        """Variables of the model that is evaluated."""
        return (self.params, self.statistics) if self.average is None else (self.average,)


class Trainer:
    """Training steps by a recipe, for models of one structure; all methods are pure.

    Attributes:
        start: model that training starts from; it is not changed.
        graph: structure of the models.
        recipe: recipe of the training.

    Args:
        start, recipe: see above.

    Raises:
        UserError: the recipe's ``trainable`` does not fit the model.
    """

    def __init__(self, start: Model, recipe: Recipe):
        self.start, self.graph, self.recipe = start, nnx.graphdef(start), recipe
        self._trained = trainable_filter(start, start.trains if recipe.trainable is None else recipe.trainable)
        self._trained_paths = tuple(path for path, _ in nnx.to_flat_state(nnx.state(start, self._trained)))
        self._trains_core = any(path[0] == "core" for path in self._trained_paths)

    def init(self, model: Model | None = None, numbers: Mapping[str, Array] | None = None) -> TrainState:
        """Make the initial state.

        Args:
            model: model to start from (None: that of the trainer).
            numbers: numbers that replace those of the recipe in this state, see ``Recipe.varied`` (None: none).
        """
        _, params, statistics = nnx.split(model or self.start, self._trained, ...)  # type: ignore[misc]
        numbers = dict(numbers or {})
        recipe = self.recipe.varied(numbers)
        average = None if recipe.average_decay is None else nnx.state(model or self.start)
        params, statistics, average = _copied((params, statistics, average))
        return TrainState(
            step=jax.device_put(np.int32(0)),
            params=params,
            statistics=statistics,
            optimizer=kept(_optimizer_start, recipe.optimizer)(params),
            patience=Patience.start(recipe.learning_rate),
            average=average,
            numbers=numbers,
        )

    def for_run(self, steps: int) -> "Trainer":
        """Adapt the trainer to a run of that many steps: schedules without an end of their own get that of the run."""
        if self.recipe.schedule is None:
            return self
        trainer = copy.copy(self)
        trainer.recipe = dataclasses.replace(self.recipe, schedule=self.recipe.schedule.for_run(steps))
        return trainer

    def model(self, state: TrainState) -> Model:
        """Build the model of a state, as it is evaluated."""
        model: Model = nnx.merge(self.graph, *state.evaluated, copy=True)
        return model

    def best(self, state: TrainState, score: Float32[Array, ""]) -> tuple[TrainState, int | None]:
        """Choose state and number of the best member: here there is one alone, without a number."""
        del score
        return state, None

    def scorer(self) -> Scorer:
        """Make the compiled predictions and scores of states."""
        return Scorer(self.graph, self.recipe.monitor, self.recipe.loss)

    def rates(self, state: TrainState, epoch: Int[Array, ""] | int) -> Rates:
        """Compute learning rate and momentum of the next step.

        Args:
            state: state before the step.
            epoch: number of epochs done.
        """
        base = state.patience.learning_rate
        schedule = self.recipe.schedule
        return Rates(base, None) if schedule is None else schedule.rates(base, jnp.asarray(epoch), state.step)

    def step(
        self, state: TrainState, batch: Batch | Sequence[Batch], epoch: Int[Array, ""] | int = 0
    ) -> tuple[TrainState, Metrics]:
        """Take one optimiser step on a batch; returns the state and metrics to log.

        Args:
            state: state before the step.
            batch: windows of some sessions; several batches where the recipe accumulates gradients.
            epoch: number of epochs done, for schedules that follow it.

        Raises:
            UserError: there are not as many batches as the recipe accumulates.
        """
        batches = [batch] if isinstance(batch, Batch) else list(batch)
        if len(batches) != self.recipe.accumulate:
            raise UserError(f"a step takes {self.recipe.accumulate} batches (accumulate), not {len(batches)}")
        structure = jax.tree.structure(batches[0])
        parts = [jnp.stack(leaves) for leaves in zip(*map(jax.tree.leaves, batches), strict=True)]
        return self._step(state, parts, lambda leaves: jax.tree.unflatten(structure, leaves), epoch)

    def _step(
        self, state: TrainState, windows: Windows, batch_of: Callable[[Windows], Batch], epoch: Int[Array, ""] | int
    ) -> tuple[TrainState, Metrics]:
        """Take one step, making the batches of its parts one after the other: only one is in memory.

        Args:
            state: state before the step.
            windows: arrays from which the batches are made; their first axis is the part.
            batch_of: function that makes the batch of a part.
            epoch: number of epochs done.
        """
        recipe = self.recipe.varied(state.numbers)
        model = nnx.merge(self.graph, state.params, state.statistics, copy=True)

        def present(part: Windows) -> tuple[Array, Array]:
            batch = batch_of(part)  # the stimulus is not used here, so that the compiler does not gather it
            return rows_in(batch, model.data_info.n_neurons), sessions_in(batch, len(model.data_info.sessions))

        rows, sessions = (part.any(axis=0) for part in jax.vmap(present)(windows))
        model.project(rows)
        params = nnx.state(model, self._trained)
        key = jax.random.fold_in(jax.random.key(recipe.seed), state.step)

        def add_part(
            carry: tuple[nnx.State, nnx.State], part: tuple[Array, Windows]
        ) -> tuple[tuple[nnx.State, nnx.State], Metrics]:
            statistics, total = carry
            number, windows = part
            gradient, statistics, metrics = self._gradient(
                recipe, params, statistics, batch_of(windows), jax.random.fold_in(key, number)
            )
            return (statistics, jax.tree.map(jnp.add, total, gradient)), metrics

        numbers = jnp.arange(recipe.accumulate)
        start = (state.statistics, jax.tree.map(jnp.zeros_like, params))
        (statistics, gradient), metrics = jax.lax.scan(add_part, start, (numbers, windows), unroll=len(numbers) == 1)
        gradient = jax.tree.map(lambda g: g / len(numbers), gradient)
        metrics = jax.tree.map(jnp.mean, metrics)
        metrics |= {f"{GRADIENT_NORM}{part}": optax.tree.norm(gradient[part]) for part in gradient}
        gradient = model.project_gradient(gradient)
        gradient = clip_by_norm(gradient, optax.tree.norm(gradient), recipe.clip)
        rates = self.rates(state, epoch)
        updates, optimizer = recipe.optimizer.update(
            gradient,
            state.optimizer,
            params,
            learning_rate=rates.learning_rate,
            momentum=rates.momentum,
            present=presence(params, rows, sessions),
        )
        params = optax.apply_updates(params, updates)
        state = dataclasses.replace(
            state,
            step=state.step + 1,
            params=params,
            statistics=statistics,
            optimizer=optimizer,
            average=_averaged(state, nnx.merge_state(params, statistics), recipe.average_decay),
        )
        return in_place(state), metrics

    def epoch(self, frames: int) -> Callable[..., tuple[TrainState, Metrics]]:
        """Make the compiled function of an epoch on windows of ``frames`` frames.

        It takes the arguments of ``steps`` and reuses the buffers of the state. An epoch is one dispatch: the host
        sends a few integers and reads mean metrics. Trainers that take the same steps share the program.
        """
        return kept(_epoch_program, _Steps(self._facts(), self._without_start()), frames, devices.backend())

    def _facts(self) -> tuple[Any, ...]:
        """All that a step depends on; the rest of the recipe acts between epochs, or is in the state."""
        between: dict[str, Any] = {"learning_rate": 0.0, "rules": PatienceRules(), "monitor": CorrelationScore()}
        step = dataclasses.replace(self.recipe, **between, reset_optimizer=False, trainable=None)
        numbers = tuple(map(_comparable, jax.tree.leaves(step)))
        return type(self), self.graph, self._trained_paths, jax.tree.structure(step), numbers

    def _without_start(self) -> "Trainer":
        """The trainer without the model that it starts from, whose arrays need not live as long as the program."""
        trainer = copy.copy(self)
        del trainer.start
        return trainer

    def _compiled_epoch(self, frames: int) -> Callable[..., tuple[TrainState, Metrics]]:
        """A new program of an epoch."""

        @jax.jit(donate_argnames="state", compiler_options=compiler_options())
        def run(state: TrainState, *windows: Any) -> tuple[TrainState, Metrics]:
            return self.steps(frames, state, *windows)

        return run

    def steps(
        self,
        frames: int,
        state: TrainState,
        recordings: DataArrays,
        timelines: Timelines,
        timeline: Int[Array, "part timeline window"],
        start: Int[Array, "part timeline window"],
        epoch: Int[Array, ""],
        shown: Num[Array, "part timeline window time height width channel"] | None = None,
    ) -> tuple[TrainState, Metrics]:
        """Take some steps of an epoch, or all.

        Args:
            frames: length of the windows.
            state: state before the first step.
            recordings: the data.
            timelines: training timelines.
            timeline, start: timelines of the windows of every part of a step, and where they begin there.
            epoch: number of epochs done.
            shown: frames of these windows, if they are not on the device.
        """

        def one(state: TrainState, windows: Windows) -> tuple[TrainState, Metrics]:
            def batch_of(part: tuple[Array, Array, Array | None]) -> Batch:
                number, start, shown = part
                return gather(recordings, timelines, number, start, frames, shown)

            return self._step(state, windows, batch_of, epoch)

        state, metrics = jax.lax.scan(one, state, devices.everywhere(self._steps((timeline, start, shown))))
        watched = [value for name, value in metrics.items() if name == "objective" or name.startswith(GRADIENT_NORM)]
        finite = jnp.isfinite(jnp.stack(watched)).all(axis=0)
        means = jax.tree.map(jnp.mean, metrics)
        # the first step whose objective or gradient is not a number, or the number of steps
        return state, means | {"finite_steps": jnp.where(finite.all(), len(finite), jnp.argmin(finite))}

    def end_epoch(self, state: TrainState, score: Float32[Array, ""]) -> TrainState:
        """Advance the state after an epoch by its validation score (higher is better)."""
        recipe = self.recipe.varied(state.numbers)
        patience = recipe.rules.update(state.patience, score, recipe.learning_rate)
        optimizer = state.optimizer
        if recipe.reset_optimizer:
            lowered = patience.learning_rate < state.patience.learning_rate
            fresh = recipe.optimizer.init(state.params)
            optimizer = jax.tree.map(lambda new, old: jnp.where(lowered, new, old), fresh, optimizer)
        return dataclasses.replace(state, patience=patience, optimizer=optimizer)

    def _gradient(
        self, recipe: Recipe, params: nnx.State, statistics: nnx.State, batch: Batch, key: Array
    ) -> tuple[nnx.State, nnx.State, Metrics]:
        """Gradient, other variables afterwards, and metrics of one batch."""
        batch = dataclasses.replace(batch, stimulus=batch.stimulus.astype(recipe.compute_dtype))

        def objective(params: nnx.State) -> tuple[Array, tuple[nnx.State, Metrics]]:
            model = nnx.merge(self.graph, params, statistics, copy=True)
            _adapt(model, recipe)
            value, metrics = recipe.objective(model, batch, train=self._trains_core, key=key)
            return value, (nnx.split_state(nnx.state(model), self._trained, ...)[1], metrics)

        gradient, (statistics, metrics) = jax.grad(objective, has_aux=True)(params)
        return gradient, statistics, metrics

    def _steps(self, windows: Windows) -> Windows:
        """The windows of every step, from those of all parts; the last step is filled with parts of the first ones."""
        parts = self.recipe.accumulate

        def grouped(x: Array) -> Array:
            steps = -(-len(x) // parts)
            return x[jnp.arange(steps * parts) % len(x)].reshape(steps, parts, *x.shape[1:])

        return jax.tree.map(grouped, windows)


def _adapt(model: Any, recipe: Recipe) -> None:
    """Set the attributes of a model that the recipe decides."""
    if recipe.rematerialize:
        model.core.rematerialize = True
    for path, weight in recipe.penalty_weights.items():
        *parts, name = path.split(".")
        # static: a weight is no variable of the model, although it may be traced
        setattr(functools.reduce(getattr, parts, model), name, nnx.static(weight))


def _optimizer_start(optimizer: Optimizer) -> Callable[[nnx.State], Any]:
    return jax.jit(optimizer.init)


@dataclasses.dataclass(frozen=True)
class _Steps:
    """A trainer that equals others which take the same steps."""

    facts: tuple[Any, ...]
    trainer: Trainer = dataclasses.field(compare=False)


def _epoch_program(steps: _Steps, frames: int, backend: str) -> Callable[..., tuple[TrainState, Metrics]]:
    del backend  # it decides how things are computed
    return steps.trainer._compiled_epoch(frames)


def _comparable(leaf: Any) -> Any:
    """A leaf of a recipe, with a hash if it is an array."""
    value = np.asarray(leaf)
    return leaf if value.dtype == object else (type(leaf), value.dtype, value.shape, value.tobytes())


def _averaged(state: TrainState, variables: nnx.State, decay: Number | None) -> nnx.State | None:
    """The moving average after a step that led to these variables."""
    if state.average is None or decay is None:
        return None
    step = state.step.astype(jnp.float32)
    decay = jnp.minimum(decay, (1 + step) / (AVERAGE_WARMUP + step))

    def move(average: Shaped[Array, "*shape"], new: Shaped[Array, "*shape"]) -> Array:
        return average + (1 - decay) * (new - average) if jnp.issubdtype(new.dtype, jnp.floating) else new

    return jax.tree.map(move, state.average, variables)


def compiler_options() -> dict[str, str] | None:
    """Compiler options of programs that train; None on accelerators.

    By default XLA schedules work on CPUs as early as possible, for the sake of threads, and keeps the results in
    memory; the memory-optimised order is as fast. XLA also removes barriers (``jax.lax.optimization_barrier``), and
    then merges what a checkpointed function recomputes for the gradient with what it had computed before. Its rewriting
    of sums into trees hides them from its library of fast reductions, which are as exact. Vectors are as wide as the
    processor has them, not half as wide.
    """
    if devices.backend() != "cpu":
        return None
    return {
        "xla_cpu_scheduler_type": "CPU_SCHEDULER_TYPE_MEMORY_OPTIMIZED",
        "xla_cpu_prefer_vector_width": "512",
        "xla_disable_hlo_passes": "cse_barrier_expander,tree_reduction_rewriter",
    }


@jax.jit  # one program, not one for every shape
def _copied(variables: Any) -> Any:
    """Copy arrays: an epoch reuses the buffers of its state, and those of the model must live on."""
    return jax.tree.map(jnp.copy, variables)
