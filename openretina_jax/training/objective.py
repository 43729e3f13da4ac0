"""Objectives and losses: the number that a step lowers, balanced whichever windows and sessions the step contains."""

import abc
import dataclasses
import functools
from typing import Any, ClassVar, Protocol, runtime_checkable

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Float32, Int, Num

from openretina_jax.data.batches import Batch
from openretina_jax.data.info import DataInfo
from openretina_jax.errors import UserError
from openretina_jax.models.autoencoder import AutoencoderModel
from openretina_jax.models.core_readout import CoreReadout
from openretina_jax.modules import losses
from openretina_jax.modules.cores.core import ReceptiveField
from openretina_jax.modules.layers import Number
from openretina_jax.modules.regularizers import absolute
from openretina_jax.runtime.registry import Registry
from openretina_jax.training.hyperparameters import hyperparameters

Metrics = dict[str, Num[Array, "*member"]]  # scalars, or an entry per member of a population
Responses = Float[Array, "part window time neuron"]
Recorded = Bool[Array, "part window time neuron"]
# sum over the samples of every neuron, and their number: frames, or windows
Sums = tuple[Float[Array, "part neuron"], Float[Array, "part neuron"]]

LOSSES = Registry("loss", __name__)


class Loss(abc.ABC):
    """Distance of predictions from responses; the data term of an objective.

    A loss of your own is a subclass of ``FrameLoss`` or ``WindowLoss`` with a ``value``, made by ``hyperparameters``
    and registered in ``LOSSES``; options of the configuration are its fields.

    Attributes:
        samples: frames (or windows) of a neuron that its data term stands for, see ``ResponseObjective``.
        of_rates: whether predictions must be above 0.
    """

    samples: Number
    of_rates: ClassVar[bool] = False

    @abc.abstractmethod
    def sums(self, prediction: Responses, response: Responses, recorded: Recorded) -> Sums:
        """Sum over the samples of every neuron, and count them."""


@hyperparameters
class FrameLoss(Loss):
    """A loss with a value for every frame.

    Attributes:
        samples: frames of a neuron that its data term stands for; the reference's step has 128 windows x 20 frames.
    """

    samples: Number = 128.0 * 20

    @abc.abstractmethod
    def value(self, prediction: Responses, response: Responses) -> Responses:
        """Compute the loss of every frame; unrecorded frames have response 0, and their value does not count."""

    def sums(self, prediction: Responses, response: Responses, recorded: Recorded) -> Sums:
        """Sum over recorded frames, and count them."""
        value = jnp.where(recorded, self.value(prediction, jnp.where(recorded, response, 0)), 0)
        return value.sum(axis=(1, 2)), recorded.sum(axis=(1, 2)).astype(value.dtype)


@hyperparameters
class WindowLoss(Loss):
    """A loss with a value for every window.

    Attributes:
        samples: windows of a neuron that its data term stands for; the reference's step has 128.
    """

    samples: Number = 128.0

    @abc.abstractmethod
    def value(
        self, prediction: Responses, response: Responses, recorded: Recorded
    ) -> Float[Array, "part window neuron"]:
        """Compute the loss of every window; only recorded frames may count."""

    def sums(self, prediction: Responses, response: Responses, recorded: Recorded) -> Sums:
        """Sum over windows with recorded frames, and count them."""
        value = self.value(prediction, response, recorded)
        whole = recorded.any(axis=2)
        return jnp.where(whole, value, 0).sum(axis=1), whole.sum(axis=1).astype(value.dtype)


@LOSSES("poisson")
@hyperparameters
class Poisson(FrameLoss):
    """Negative Poisson log-likelihood, see ``losses.poisson``."""

    of_rates = True

    def value(self, prediction: Responses, response: Responses) -> Responses:
        """Negative Poisson log-likelihood."""
        return losses.poisson(prediction, response)


@LOSSES("l1_poisson")
@hyperparameters
class L1Poisson(FrameLoss):
    """Poisson loss with a penalty on the predicted rate, see ``losses.l1_poisson``.

    Attributes:
        gamma: weight of the predicted rate.
    """

    of_rates = True

    gamma: Number = 1e-3

    def value(self, prediction: Responses, response: Responses) -> Responses:
        """Poisson loss plus ``gamma`` times the rate."""
        return losses.l1_poisson(prediction, response, self.gamma)


@LOSSES("squared_error")
@hyperparameters
class SquaredError(FrameLoss):
    """Squared error, see ``losses.squared_error``."""

    def value(self, prediction: Responses, response: Responses) -> Responses:
        """Squared difference."""
        return losses.squared_error(prediction, response)


@LOSSES("correlation")
@hyperparameters
class Correlation(WindowLoss):
    """Negative correlation over time, see ``losses.correlation``."""

    def value(
        self, prediction: Responses, response: Responses, recorded: Recorded
    ) -> Float[Array, "part window neuron"]:
        """Negative correlation over time."""
        return -losses.correlation(prediction, response, recorded)


@LOSSES("l1_correlation")
@hyperparameters
class L1Correlation(WindowLoss):
    """Negative correlation with a penalty on the predicted rate, see ``losses.l1_correlation``.

    Attributes:
        gamma: weight of the predicted rate.
    """

    gamma: Number = 2e-4

    def value(
        self, prediction: Responses, response: Responses, recorded: Recorded
    ) -> Float[Array, "part window neuron"]:
        """Negative correlation plus ``gamma`` times the rate."""
        return -losses.l1_correlation(prediction, response, recorded, gamma=self.gamma)


@LOSSES("scaled_correlation")
@hyperparameters
class ScaledCorrelation(WindowLoss):
    """Negative mean correlation over pieces of a window, see ``losses.scaled_correlation``.

    Attributes:
        frames: length of a piece.
    """

    frames: int = 30

    def value(
        self, prediction: Responses, response: Responses, recorded: Recorded
    ) -> Float[Array, "part window neuron"]:
        """Negative mean correlation over pieces of a window."""
        return -losses.scaled_correlation(prediction, response, recorded, frames=self.frames)


@runtime_checkable
class Objective(Protocol):
    """Number that a step lowers. One of your own is a callable pytree, see ``hyperparameters``."""

    def __call__(self, model: Any, batch: Batch, *, train: bool, key: Array | None) -> tuple[Array, Metrics]:
        """Compute the objective of a step, and the metrics to log ("objective" among them).

        Args:
            model: the model.
            batch: batch of the step.
            train: whether the core is in training mode.
            key: random key of the step.
        """


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class ResponseObjective:
    """Loss of predicted responses plus the penalties of the model.

    Every neuron's data term is its mean loss times ``loss.samples``, however many frames of it a step holds; the
    penalties of the core and of a shifter count once per session in the step; the sum is divided by the number of
    sessions. So the balance of data and penalties depends neither on the number and length of windows, nor on how many
    sessions (and neurons) share a step. A step with one session and ``samples`` frames per neuron gives exactly the
    reference's sum.

    Attributes:
        loss: loss of predictions.
        weight: weight of every neuron's data term (None: all alike), see ``cell_type_weights``.
    """

    loss: Loss = dataclasses.field(default_factory=Poisson)
    weight: Float[np.ndarray, " neuron"] | None = None

    def __call__(
        self, model: CoreReadout, batch: Batch, *, train: bool, key: Array | None
    ) -> tuple[Float32[Array, ""], Metrics]:
        """Compute the objective of a step, and the metrics to log.

        Args:
            model: model with a core and a readout.
            batch: batch of the step.
            train: whether the core is in training mode.
            key: random key of the step.
        """
        width = batch.neuron_mask.shape[1]
        given: dict[str, Any] = {} if batch.behaviour is None else {"behaviour": batch.behaviour}
        prediction = model.respond(
            batch.stimulus, batch.first_neuron, width, batch.session, train=train, key=key, **given
        )
        response, recorded = targets(batch, prediction.shape[2], model.receptive_field())
        # predictions that do not count may be infinite, and 0 times infinity would make every gradient NaN
        prediction = jnp.where(recorded, prediction, 0)
        total, count = self.loss.sums(prediction, response, recorded)
        sessions = batch.n_sessions.sum().astype(jnp.float32)
        data = self._weighted(total * (self.loss.samples / jnp.maximum(count, 1)), batch).sum()
        penalty_core = model.core.regularizer() * sessions
        penalty_readout = _readout_penalty(model, batch)
        objective = (data + penalty_core + penalty_readout) / sessions
        of_shifter = {}
        if model.shifter is not None and batch.behaviour is not None:
            shift = jax.vmap(model.shift)(batch.behaviour, batch.session)
            penalty = model.shifter.gamma * jnp.square(shift).sum(axis=-1).mean(axis=(1, 2)).sum() / sessions
            objective, of_shifter = objective + penalty, {"penalty_shifter": penalty}
        return objective, {
            "objective": objective,
            "loss": total.sum() / jnp.maximum(count.sum(), 1),
            "penalty_core": penalty_core / sessions,
            "penalty_readout": penalty_readout / sessions,
            **of_shifter,
            "correlation": _mean_correlation(prediction, response, recorded),
        }

    def _weighted(self, data: Float[Array, "part neuron"], batch: Batch) -> Array:
        if self.weight is None:
            return data
        # rows after the last neuron with a weight belong to sessions that are not trained
        weight = jnp.asarray(self.weight, jnp.float32)
        return data * weight[batch.first_neuron[:, None] + jnp.arange(data.shape[1])]


@hyperparameters
class ReconstructionObjective:
    """Objective of a sparse autoencoder: squared error summed over neurons, plus weighted L1 norm of the code.

    Attributes:
        sparsity: weight of the L1 norm.
    """

    sparsity: Number = 1e-3

    def __call__(
        self, model: AutoencoderModel, batch: Batch, *, train: bool, key: Array | None
    ) -> tuple[Float32[Array, ""], Metrics]:
        """Compute the objective of a step, and the metrics to log; ``train`` and ``key`` have no effect."""
        del train, key
        activations = jax.lax.stop_gradient(model.activations(batch.stimulus, batch.session))
        hidden = model.autoencoder.encode(activations)
        loss = jnp.square(model.autoencoder.decode(hidden) - activations).sum(axis=-1).mean()
        l1 = absolute(hidden).sum(axis=-1).mean()
        objective = loss + self.sparsity * l1
        return objective, {
            "objective": objective,
            "loss": loss,
            "sparsity": l1,
            "active_patterns": (hidden > 0).sum(axis=-1).astype(jnp.float32).mean(),
            "silent_patterns": (hidden <= 0).all(axis=(0, 1, 2)).mean(),
        }


def targets(
    batch: Batch, frames: int, field: ReceptiveField
) -> tuple[Float[Array, "part window frames neuron"], Bool[Array, "part window frames neuron"]]:
    """Align responses with the predicted frames of each window, and mark those that count.

    A response counts if it was recorded, the neuron belongs to the part, and the neuron saw all the frames on which its
    prediction depends: the window follows its own order of clips, or those frames lie within one clip.

    Args:
        batch: batch of a step.
        frames: number of predicted frames of a window.
        field: receptive field of the model.
    """
    response = losses.without_lag(batch.responses, frames)
    lag = batch.stimulus.shape[2] - frames
    seen = batch.own_order[:, :, None] | within_clip(batch.clip_time, field)[:, :, lag:, None]
    return response, jnp.isfinite(response) & batch.neuron_mask[:, None, None] & seen


def within_clip(clip_time: Int[Array, "part window time"], field: ReceptiveField) -> Bool[Array, "part window time"]:
    """Mark the predictions for which all the frames that they depend on, within the window, are of one clip."""
    frames = clip_time.shape[-1]
    past, future = (frames if reach is None else reach for reach in (field.past, field.future))
    time = np.arange(frames)
    first, last = np.maximum(time - past, 0), np.minimum(time + future, frames - 1)
    return clip_time[..., last] - clip_time[..., first] == last - first


def cell_type_weights(info: DataInfo) -> Float[np.ndarray, " neuron"]:
    """Compute weights of neurons that make all cell types count alike.

    Raises:
        UserError: the cell types are not known.
    """
    cell_type = info.neuron_column("cell_type")
    if cell_type is None:
        raise UserError(
            'objective.cell_type_weighted is set, but not all sessions know the "cell_type" of their neurons; '
            "set it to False"
        )
    _, group, counts = np.unique(np.asarray(cell_type), return_inverse=True, return_counts=True)
    with jax.ensure_compile_time_eval():  # the recipe of a population's member is made while its step is traced
        return np.asarray(losses.cell_type_weight(jnp.asarray(group + 1), jnp.asarray(counts)))


def rows_in(batch: Batch, n_neurons: int) -> Bool[Array, " neuron"]:
    """Mark the rows of the readout's table in a step; on several devices it has rows without a neuron too."""
    width = batch.neuron_mask.shape[1]
    index = batch.first_neuron[:, None] + jnp.arange(width)
    return jnp.zeros(max(n_neurons, width), bool).at[index].max(batch.neuron_mask)


def sessions_in(batch: Batch, n_sessions: int) -> Bool[Array, " session"]:
    """Mark the sessions in a step."""
    return jnp.zeros(n_sessions, bool).at[batch.neuron_session].max(batch.neuron_mask)


def _readout_penalty(model: CoreReadout, batch: Batch) -> Array:
    """Penalties of the sessions in the step."""
    n_sessions = len(model.data_info.sessions)
    session = jnp.where(batch.neuron_mask, batch.neuron_session, n_sessions)
    penalty = functools.partial(model.readout.penalty, n_sessions=n_sessions)
    return jax.vmap(lambda first, session: penalty(first, session))(batch.first_neuron, session).sum()


def _mean_correlation(prediction: Array, response: Array, recorded: Array) -> Array:
    correlation = losses.correlation(prediction, response, recorded)
    counted = recorded.any(axis=2)
    return jnp.where(counted, correlation, 0).sum() / jnp.maximum(counted.sum(), 1).astype(correlation.dtype)
