"""Training state, and the pure functions that advance it."""

import dataclasses
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import optax
from flax import nnx
from jaxtyping import Array, Float, Int, Int32

from openretina_jax.data.batches import Batch, Recordings, TimelineTable
from openretina_jax.models.core_readout import CoreReadout
from openretina_jax.training.objective import Objective, rows_in
from openretina_jax.training.optimizers import clip_by_norm, presence
from openretina_jax.training.patience import Patience

Metrics = dict[str, Float[Array, ""]]


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class TrainState:
    """All that a resumed run needs, as one pytree.

    Attributes:
        step: optimiser steps taken.
        params: trained variables of the model.
        statistics: its other variables (running statistics, constants).
        optimizer: state of the optimiser.
        patience: learning rate and what led to it.
    """

    step: Int32[Array, ""]
    params: nnx.State
    statistics: nnx.State
    optimizer: Any
    patience: Patience

    @classmethod
    def start(
        cls, model: CoreReadout, optimizer: optax.GradientTransformationExtraArgs, learning_rate: float
    ) -> "TrainState":
        """The state before the first step."""
        _, params, statistics = nnx.split(model, nnx.Param, ...)  # type: ignore[misc]
        return cls(
            step=jnp.zeros((), jnp.int32),
            params=params,
            statistics=statistics,
            optimizer=optimizer.init(params),
            patience=Patience.start(learning_rate),
        )


@dataclasses.dataclass(frozen=True)
class Trainer:
    """The fixed parts of a training step.

    Attributes:
        graph: structure of the model.
        objective: what a step lowers.
        optimizer: see ``optimizers``.
        clip: largest norm of the gradient (None: any).
        seed: of dropout and other randomness; step n uses ``fold_in(key(seed), n)``.
    """

    graph: nnx.GraphDef
    objective: Objective
    optimizer: optax.GradientTransformationExtraArgs
    clip: float | None
    seed: int

    def step(
        self, state: TrainState, batch: Batch, session_size: Float[Array, " neuron"]
    ) -> tuple[TrainState, Metrics]:
        """One step on one batch."""
        model = nnx.merge(self.graph, state.params, state.statistics, copy=True)
        rows = rows_in(batch, model.readout.n_neurons)
        model.readout.project(rows)
        params = nnx.state(model, nnx.Param)
        key = jax.random.fold_in(jax.random.key(self.seed), state.step)

        def objective(params: nnx.State) -> tuple[Array, tuple[Metrics, nnx.State]]:
            model = nnx.merge(self.graph, params, state.statistics, copy=True)
            value, metrics = self.objective(model, batch, session_size, key)
            return value, (metrics, nnx.state(model, nnx.Not(nnx.Param)))

        gradients, (metrics, statistics) = jax.grad(objective, has_aux=True)(params)
        metrics |= {f"gradient_norm_{part}": optax.tree.norm(gradients[part]) for part in ("core", "readout")}
        gradients = clip_by_norm(gradients, optax.tree.norm(gradients), self.clip)
        updates, optimizer = self.optimizer.update(
            gradients,
            state.optimizer,
            params,
            learning_rate=state.patience.learning_rate,
            present=presence(params, rows),
        )
        state = dataclasses.replace(
            state,
            step=state.step + 1,
            params=optax.apply_updates(params, updates),
            statistics=statistics,
            optimizer=optimizer,
        )
        return state, metrics

    def epoch(self, frames: int) -> Callable[..., tuple[TrainState, Metrics]]:
        """The compiled function of an epoch on windows of ``frames`` frames.

        It takes the state (whose buffers it reuses), recordings, timelines, and the windows' timelines and starts of
        every step. One dispatch: the host sends a few integers and reads one set of mean metrics.
        """

        @jax.jit(donate_argnames="state")
        def run(
            state: TrainState,
            recordings: Recordings,
            timelines: TimelineTable,
            timeline: Int[Array, "step timeline window"],
            start: Int[Array, "step timeline window"],
        ) -> tuple[TrainState, Metrics]:
            def one(state: TrainState, windows: tuple[Array, Array]) -> tuple[TrainState, Metrics]:
                batch = recordings.gather(timelines, *windows, frames)
                return self.step(state, batch, recordings.session_size)

            state, metrics = jax.lax.scan(one, state, (timeline, start))
            finite = jnp.isfinite(metrics["objective"])
            means = jax.tree.map(jnp.mean, metrics)
            # the first step whose objective is not a number, or the number of steps
            return state, means | {"finite_steps": jnp.where(finite.all(), len(finite), jnp.argmin(finite))}

        return run
