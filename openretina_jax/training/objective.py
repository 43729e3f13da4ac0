"""The number that a step lowers: data term plus penalties, balanced whatever the step contains."""

import dataclasses
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Float32

from openretina_jax.data.batches import Batch
from openretina_jax.errors import UserError
from openretina_jax.models.core_readout import CoreReadout
from openretina_jax.modules import losses

PerNeuron = Float[Array, "timeline neuron"]


def _of_frames(loss: Callable[..., Array]) -> Callable[[Array, Array, Array], tuple[Array, Array]]:
    """Sum over windows and recorded frames, and their number, of a loss with a value for every frame."""

    def sums(prediction: Array, response: Array, recorded: Array) -> tuple[Array, Array]:
        value = jnp.where(recorded, loss(prediction, jnp.where(recorded, response, 0)), 0)
        return value.sum(axis=(1, 2)), recorded.sum(axis=(1, 2))

    return sums


def _of_windows(measure: Callable[..., Array]) -> Callable[[Array, Array, Array], tuple[Array, Array]]:
    """Sum over windows, and their number, of the negative of a measure with a value for every window."""

    def sums(prediction: Array, response: Array, recorded: Array) -> tuple[Array, Array]:
        value = measure(prediction, response, recorded)
        whole = recorded.any(axis=2)
        return jnp.where(whole, -value, 0).sum(axis=1), whole.sum(axis=1)

    return sums


LOSSES: dict[str, Callable[[Array, Array, Array], tuple[Array, Array]]] = {
    "poisson": _of_frames(losses.poisson),
    "l1_poisson": _of_frames(losses.l1_poisson),
    "squared_error": _of_frames(losses.squared_error),
    "correlation": _of_windows(losses.correlation),
}


@dataclasses.dataclass(frozen=True)
class Objective:
    """Data term and penalties of a step.

    Every neuron's data term is its mean loss times ``samples``, however many frames of it a step holds; the penalty of
    the core counts once per session in the step; the sum is divided by the number of sessions. So the balance of data
    and penalties depends neither on the number and length of windows, nor on how many sessions (and neurons) share a
    step. A step with one session and ``samples`` frames per neuron gives exactly the reference's sum.

    Attributes:
        loss: name of the loss.
        samples: frames (for "correlation": windows) of a neuron that its data term stands for; the reference's step has
            128 windows x 20 predicted frames.
    """

    loss: str = "poisson"
    samples: int = 128 * 20

    def __post_init__(self) -> None:
        if self.loss not in LOSSES:
            raise UserError(f'loss "{self.loss}" is unknown; choose among {", ".join(LOSSES)}')

    def __call__(
        self, model: CoreReadout, batch: Batch, session_size: Float[Array, " all_neurons"], key: Array | None
    ) -> tuple[Float32[Array, ""], dict[str, Float32[Array, ""]]]:
        """The objective of a step in training mode, and what to log."""
        timelines, windows = batch.stimulus.shape[:2]
        maps = model.core(batch.stimulus.reshape(-1, *batch.stimulus.shape[2:]), train=True, key=key)
        maps = maps.reshape(timelines, windows, *maps.shape[1:])
        width = batch.neuron_mask.shape[1]
        prediction = jax.vmap(lambda m, first: model.readout(m, first, width))(maps, batch.first_neuron)
        response = losses.without_lag(batch.responses, prediction.shape[2])
        lag = batch.stimulus.shape[2] - prediction.shape[2]
        known_history = batch.own_order[:, :, None] | (batch.clip_time[:, :, lag:, None] >= lag)
        recorded = jnp.isfinite(response) & batch.neuron_mask[:, None, None] & known_history

        total, count = LOSSES[self.loss](prediction, response, recorded)
        sessions = batch.n_sessions.sum()
        data = (total * (self.samples / jnp.maximum(count, 1))).sum()
        penalty_core = model.core.regularizer() * sessions
        penalty_readout = self._readout_penalty(model, batch, session_size)
        objective = (data + penalty_core + penalty_readout) / sessions

        correlation = losses.correlation(prediction, response, recorded)
        judged = recorded.any(axis=2)
        return objective, {
            "objective": objective,
            "loss": total.sum() / jnp.maximum(count.sum(), 1),
            "penalty_core": penalty_core / sessions,
            "penalty_readout": penalty_readout / sessions,
            "correlation": jnp.where(judged, correlation, 0).sum() / jnp.maximum(judged.sum(), 1),
        }

    def _readout_penalty(self, model: CoreReadout, batch: Batch, session_size: Array) -> Array:
        """Penalties of the neurons in the step: a sum, or the mean over each session's neurons."""
        penalty = model.readout.penalty()
        if model.readout.average_penalty:
            penalty = penalty / session_size
        width = batch.neuron_mask.shape[1]
        rows = jax.vmap(lambda first: jax.lax.dynamic_slice_in_dim(penalty, first, width))(batch.first_neuron)
        return jnp.where(batch.neuron_mask, rows, 0).sum()


def rows_in(batch: Batch, n_neurons: int) -> Any:
    """Which rows of the readout's table take part in a step, ``(neuron,)``."""
    index = batch.first_neuron[:, None] + jnp.arange(batch.neuron_mask.shape[1])
    return jnp.zeros(n_neurons, bool).at[index].max(batch.neuron_mask)
