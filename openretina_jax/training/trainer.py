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
import optax
from flax import nnx
from jaxtyping import Array, Float32, Int, Int32, Num, Shaped

from openretina_jax.data.batches import Batch, DataArrays, Timelines, gather
from openretina_jax.errors import UserError
from openretina_jax.evaluation.predict import Scorer
from openretina_jax.models.model import Model
from openretina_jax.modules.layers import Number
from openretina_jax.runtime import devices
from openretina_jax.training.objective import Metrics, rows_in, sessions_in
from openretina_jax.training.optimizers import clip_by_norm, presence, trainable_filter
from openretina_jax.training.patience import Patience
from openretina_jax.training.recipe import Recipe
from openretina_jax.training.schedules import Rates
from openretina_jax.training.sharding import in_place

Windows = Any  # a pytree of arrays whose first axis is the part of a step
GRADIENT_NORM = "gradient_norm_"  # and the part of the model
AVERAGE_WARMUP = 10  # steps; the average of the first steps forgets the initial parameters


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class TrainState:
    """All that a resumed run needs, as one pytree; in a population every array has one more axis, first: the member.

    Attributes:
        step: optimiser steps taken.
        params: trained variables of the model.
        statistics: its other variables (frozen parameters, running statistics, constants).
        optimizer: state of the optimiser.
        patience: learning rate and what led to it.
        average: moving average of all variables, or None.
        numbers: those of the recipe in which members of a population differ, see ``Recipe.varied``. They are not in
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
        """The variables that make the model to be evaluated."""
        return (self.params, self.statistics) if self.average is None else (self.average,)


class Trainer:
    """The steps of a recipe on models of one structure; all methods are pure.

    Attributes:
        start: model that training starts from; it is not changed.
        graph: structure of the models.
        recipe: how they are trained.

    Args:
        start, recipe: see above.

    Raises:
        UserError: the recipe's ``trainable`` does not fit the model.
    """

    def __init__(self, start: Model, recipe: Recipe):
        self.start, self.graph, self.recipe = start, nnx.graphdef(start), recipe
        self._trained = trainable_filter(start, start.trains if recipe.trainable is None else recipe.trainable)
        self._trains_core = any(path[0] == "core" for path, _ in nnx.to_flat_state(nnx.state(start, self._trained)))

    def init(self, model: Model | None = None, numbers: Mapping[str, Array] | None = None) -> TrainState:
        """Initial state.

        Args:
            model: to start from (None: that of the trainer).
            numbers: of the recipe that are other ones in this state, see ``Recipe.varied`` (None: none).
        """
        _, params, statistics = nnx.split(model or self.start, self._trained, ...)  # type: ignore[misc]
        numbers = dict(numbers or {})
        recipe = self.recipe.varied(numbers)
        average = None if recipe.average_decay is None else nnx.state(model or self.start)
        params, statistics, average = _copied((params, statistics, average))
        return TrainState(
            step=jnp.zeros((), jnp.int32),
            params=params,
            statistics=statistics,
            optimizer=jax.jit(recipe.optimizer.init)(params),
            patience=Patience.start(recipe.learning_rate),
            average=average,
            numbers=numbers,
        )

    def for_run(self, steps: int) -> "Trainer":
        """The trainer of a run of that many steps: schedules without an end of their own get that of the run."""
        if self.recipe.schedule is None:
            return self
        trainer = copy.copy(self)
        trainer.recipe = dataclasses.replace(self.recipe, schedule=self.recipe.schedule.for_run(steps))
        return trainer

    def model(self, state: TrainState) -> Model:
        """The model of a state, as it is evaluated."""
        model: Model = nnx.merge(self.graph, *state.evaluated, copy=True)
        return model

    def best(self, state: TrainState, score: Float32[Array, ""]) -> tuple[TrainState, int | None]:
        """State and number of the best member: there is one alone, without a number."""
        del score
        return state, None

    def scorer(self) -> Scorer:
        """Compiled predictions and scores of states."""
        return Scorer(self.graph, self.recipe.monitor)

    def rates(self, state: TrainState, epoch: Int[Array, ""] | int) -> Rates:
        """Learning rate and momentum of the next step.

        Args:
            state: before the step.
            epoch: epochs done.
        """
        base = state.patience.learning_rate
        schedule = self.recipe.schedule
        return Rates(base, None) if schedule is None else schedule.rates(base, jnp.asarray(epoch), state.step)

    def step(
        self, state: TrainState, batch: Batch | Sequence[Batch], epoch: Int[Array, ""] | int = 0
    ) -> tuple[TrainState, Metrics]:
        """One optimiser step on a batch; returns the state and metrics to log.

        Args:
            state: before it.
            batch: windows of some sessions; several batches where the recipe accumulates gradients.
            epoch: epochs done, for schedules that follow them.

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
        """One step, whose parts make their batches one after the other: only one is in memory.

        Args:
            state: before it.
            windows: what the batches of its parts are made from.
            batch_of: makes the batch of a part.
            epoch: epochs done.
        """
        recipe = self.recipe.varied(state.numbers)
        model = nnx.merge(self.graph, state.params, state.statistics, copy=True)

        def present(part: Windows) -> tuple[Array, Array]:
            batch = batch_of(part)  # for its bookkeeping; the stimulus is not used, and so not gathered, here
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
        """The compiled function of an epoch on windows of ``frames`` frames.

        It takes the arguments of ``steps`` and reuses the buffers of the state. One dispatch: the host sends a few
        integers and reads mean metrics.
        """

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
        """Some steps of an epoch, or all.

        Args:
            frames: length of the windows.
            state: before the first one.
            recordings: the data.
            timelines: of the training.
            timeline, start: timelines of the windows of every part of a step, and where they begin there.
            epoch: epochs done.
            shown: frames of these windows, if they are not on the device.
        """

        def one(state: TrainState, windows: Windows) -> tuple[TrainState, Metrics]:
            def batch_of(part: tuple[Array, Array, Array | None]) -> Batch:
                number, start, shown = part
                return gather(recordings, timelines, number, start, frames, shown)

            return self._step(state, windows, batch_of, epoch)

        state, metrics = jax.lax.scan(one, state, devices.everywhere(self._steps((timeline, start, shown))))
        judged = [value for name, value in metrics.items() if name == "objective" or name.startswith(GRADIENT_NORM)]
        finite = jnp.isfinite(jnp.stack(judged)).all(axis=0)
        means = jax.tree.map(jnp.mean, metrics)
        # the first step whose objective or gradient is not a number, or the number of steps
        return state, means | {"finite_steps": jnp.where(finite.all(), len(finite), jnp.argmin(finite))}

    def judge(self, state: TrainState, score: Float32[Array, ""]) -> TrainState:
        """The state after an epoch with that validation score (higher is better)."""
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
        """Gradient, other variables afterwards, and what to log, of one batch."""
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
    """Set in a model what the recipe decides."""
    if recipe.rematerialize:
        model.core.rematerialize = True
    for path, weight in recipe.penalty_weights.items():
        *parts, name = path.split(".")
        # static: a weight is no variable of the model, although it may be traced
        setattr(functools.reduce(getattr, parts, model), name, nnx.static(weight))


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
    """Of programs that train; None on accelerators.

    On CPUs the compiler begins work as early as it can, for the sake of threads, and keeps what comes of it in memory;
    the other order is as fast. It also takes barriers away (``jax.lax.optimization_barrier``), and with them what keeps
    apart results that are computed again for the gradient: it finds that it has them already.
    """
    if devices.backend() != "cpu":
        return None
    return {
        "xla_cpu_scheduler_type": "CPU_SCHEDULER_TYPE_MEMORY_OPTIMIZED",
        "xla_disable_hlo_passes": "cse_barrier_expander",
    }


@jax.jit  # one program, not one for every shape
def _copied(variables: Any) -> Any:
    """Copies: an epoch reuses the buffers of its state, and those of the model must live on."""
    return jax.tree.map(jnp.copy, variables)
