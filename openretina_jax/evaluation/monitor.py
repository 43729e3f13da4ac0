"""Scores of the validation by which training finds its best epoch, lowers the learning rate and ends."""

import abc
import dataclasses
from typing import ClassVar, Literal

import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from openretina_jax.modules import losses
from openretina_jax.runtime.registry import Registry

SCORES = Registry("score", __name__)
Clips = Float[Array, "clip time neuron"]


class Monitor:
    """A score of the validation that training follows, by its name among the scores of all neurons.

    Attributes:
        mode: whether the best score is the highest ("max") or the lowest ("min").
        name: name of the scores of neurons.
    """

    mode: ClassVar[Literal["max", "min"]] = "max"
    name: ClassVar[str] = "monitored"

    def to_maximize(self, mean: Float[Array, "*member"]) -> Float[Array, "*member"]:
        """Give a mean score a sign such that higher is better."""
        return mean if self.mode == "max" else -mean

    def from_maximized(self, value: float) -> float:
        """Undo the sign of ``to_maximize``."""
        return value if self.mode == "max" else -value


class Score(Monitor, abc.ABC):
    """A measure of predicted whole clips.

    One of your own is a frozen dataclass with a ``value``, registered in ``SCORES`` or named in ``config.stopping`` as
    "my_lab.my_module:Mine"; options of the configuration are its fields.
    """

    @abc.abstractmethod
    def value(
        self, prediction: Clips, response: Clips, recorded: Bool[Array, "clip time neuron"]
    ) -> Float[Array, "clip neuron"]:
        """Compute the score of every clip and neuron; it is compiled, and only recorded frames may count."""

    def neurons(
        self, prediction: Clips, response: Clips, recorded: Bool[Array, "clip time neuron"]
    ) -> Float[Array, " neuron"]:
        """Compute the mean over the clips in which a neuron was recorded; NaN if there are none."""
        clips = recorded.any(axis=1)
        value = self.value(prediction, jnp.where(recorded, response, 0), recorded)
        return jnp.where(clips, value, 0).sum(axis=0) / clips.sum(axis=0).astype(value.dtype)


@SCORES("correlation")
@dataclasses.dataclass(frozen=True)
class CorrelationScore(Score):
    """Pearson correlation over time; a clip whose prediction is not finite has 0."""

    name: ClassVar[str] = "correlation"

    def value(
        self, prediction: Clips, response: Clips, recorded: Bool[Array, "clip time neuron"]
    ) -> Float[Array, "clip neuron"]:
        """Correlation of every clip."""
        correlation = losses.correlation(prediction, response, recorded)
        return jnp.where(jnp.isfinite(correlation), correlation, 0)


@SCORES("loss")
@dataclasses.dataclass(frozen=True)
class LossScore(Monitor):
    """Mean loss of a frame, that of the objective, which the ``Scorer`` of a training always computes."""

    mode: ClassVar[Literal["max", "min"]] = "min"
    name: ClassVar[str] = "loss"
