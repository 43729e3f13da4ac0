"""Rules that follow a validation score: when the learning rate is lowered, and when training ends."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float32, Int32

from openretina_jax.modules import initial
from openretina_jax.modules.layers import Number
from openretina_jax.training.hyperparameters import hyperparameters

SMALLEST_REDUCTION = 1e-8  # torch ignores smaller ones


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Patience:
    """The state; a part of the training state. In a population every array has an entry per member.

    Attributes:
        learning_rate: of the next epoch.
        plateau_best, plateau_bad: score to beat, and epochs that failed to since the last reduction.
        stop_best, stop_bad: likewise for the end of training.
        best: highest score so far.
        is_best: whether the last score was the highest so far.
        stop: whether training should end.
    """

    learning_rate: Float32[Array, "*member"]
    plateau_best: Float32[Array, "*member"]
    plateau_bad: Int32[Array, "*member"]
    stop_best: Float32[Array, "*member"]
    stop_bad: Int32[Array, "*member"]
    best: Float32[Array, "*member"]
    is_best: Bool[Array, "*member"]
    stop: Bool[Array, "*member"]

    @classmethod
    def start(cls, learning_rate: Number) -> "Patience":
        """The state before the first epoch."""
        # not one array for all: a donated buffer may appear only once; not weakly typed: that would compile twice
        return cls(
            learning_rate=jnp.asarray(learning_rate, jnp.float32),
            plateau_best=initial.full((), -np.inf),
            plateau_bad=jax.device_put(np.int32(0)),
            stop_best=initial.full((), -np.inf),
            stop_bad=jax.device_put(np.int32(0)),
            best=initial.full((), -np.inf),
            is_best=jax.device_put(np.False_),
            stop=jax.device_put(np.False_),
        )


@hyperparameters
class Plateau:
    """Lower the learning rate when the score stops rising: torch's ReduceLROnPlateau (absolute threshold).

    Attributes:
        factor: of a reduction of the learning rate.
        epochs: bad epochs that are forgiven before a reduction.
        threshold: a better score must be higher by this.
        reductions: the learning rate ends at ``factor ** reductions`` times the first one.
    """

    factor: Number = 0.3
    epochs: int = 5
    threshold: Number = 5e-4
    reductions: int = 3


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class PatienceRules:
    """When to lower the learning rate and when to stop; scores are better when higher.

    The end is that of Lightning's EarlyStopping.

    Attributes:
        plateau: when to lower the learning rate (None: never).
        stop_epochs: bad epochs until training ends.
        stop_threshold: a better score must be higher by this.
    """

    plateau: Plateau | None = dataclasses.field(default_factory=Plateau)
    stop_epochs: int = dataclasses.field(default=10, metadata={"static": True})
    stop_threshold: Number = 1e-3

    def update(self, state: Patience, score: Float32[Array, ""], initial_rate: Number) -> Patience:
        """The state after an epoch with that validation score."""
        plateau = self.plateau
        lowest = initial_rate if plateau is None else initial_rate * plateau.factor**plateau.reductions
        return _updated(self, state, score, lowest)


@jax.jit  # else every one of its operations would be a program of its own
def _updated(rules: PatienceRules, state: Patience, score: Array, lowest_rate: Number) -> Patience:
    goes_on = score - rules.stop_threshold > state.stop_best
    stop_bad = jnp.where(goes_on, 0, state.stop_bad + 1)
    state = dataclasses.replace(
        state,
        stop_best=jnp.where(goes_on, score, state.stop_best),
        stop_bad=stop_bad,
        best=jnp.maximum(state.best, score),
        is_best=score > state.best,
        stop=stop_bad >= rules.stop_epochs,
    )
    return state if rules.plateau is None else _lowered(state, score, lowest_rate, rules.plateau)


def _lowered(state: Patience, score: Array, lowest_rate: Number, plateau: Plateau) -> Patience:
    better = score > state.plateau_best + plateau.threshold
    bad = jnp.where(better, 0, state.plateau_bad + 1)
    reduced = jnp.maximum(state.learning_rate * plateau.factor, lowest_rate)
    due = bad > plateau.epochs
    lower = due & (state.learning_rate - reduced > SMALLEST_REDUCTION)
    return dataclasses.replace(
        state,
        learning_rate=jnp.where(lower, reduced, state.learning_rate),
        plateau_best=jnp.where(better, score, state.plateau_best),
        plateau_bad=jnp.where(due, 0, bad),
    )
