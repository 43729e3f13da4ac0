"""Course of the learning rate over epochs or steps.

The trajectories are those of torch's schedules (https://pytorch.org/docs/stable/optim.html), as closed forms of the
epoch or step instead of recursions: nothing has to be saved, and a resumed run goes on where it was. All is computed on
JAX scalars, inside the compiled epoch. Those of optax have fewer digits in single precision: a rate of 0.02 that falls
by a factor of 0.9999 is wrong by up to 7e-7 there, and by 2e-9 here.
"""

import abc
import dataclasses
import math
from collections.abc import Sequence
from typing import Any, Literal, NamedTuple

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float32, Int32

from openretina_jax.errors import UserError
from openretina_jax.runtime.registry import Registry
from openretina_jax.training.patience import Plateau

SCHEDULES = Registry("schedule", __name__, given=("total_steps",))
SCHEDULES("plateau")(Plateau)

Count = Int32[Array, ""]
Rate = float | Float32[Array, ""]


class Rates(NamedTuple):
    """Learning rate and momentum of a step.

    Attributes:
        learning_rate: of the step.
        momentum: takes the place of the optimiser's own (``b1`` of AdamW); None: the optimiser keeps its own.
    """

    learning_rate: Float32[Array, "*member"]
    momentum: Float32[Array, "*member"] | None = None


class Schedule(abc.ABC):
    """Course of the learning rate over epochs or steps.

    One of your own is a frozen dataclass with ``rates``, registered in ``SCHEDULES``; options of the configuration are
    its fields.
    """

    @abc.abstractmethod
    def rates(self, initial: Rate, epoch: Count, step: Count) -> Rates:
        """Rates of the next step; a pure function, compiled with the step.

        Args:
            initial: learning rate of the recipe, as lowered by validation so far.
            epoch: finished epochs.
            step: finished optimiser steps.
        """

    def for_run(self, steps: int) -> "Schedule":
        """The schedule of a run of that many steps, for those whose course depends on the length of the run."""
        del steps
        return self


@SCHEDULES("constant")
@dataclasses.dataclass(frozen=True)
class Constant(Schedule):
    """The rate stays as it is."""

    def rates(self, initial: Rate, epoch: Count, step: Count) -> Rates:
        """Rates after ``epoch`` finished epochs, see ``Schedule``."""
        return Rates(jnp.asarray(initial, jnp.float32))


@SCHEDULES("step")
@dataclasses.dataclass(frozen=True)
class Step(Schedule):
    """The rate is multiplied by ``factor`` after every ``every`` epochs (torch's StepLR).

    Attributes:
        every: epochs from one step to the next.
        factor: by which the rate is multiplied.

    Raises:
        UserError: an option out of its range.
    """

    every: int = 10
    factor: float = 0.1

    def __post_init__(self) -> None:
        _require(self.every >= 1, "step", every=self.every, must_be="at least 1 epoch")
        _require(self.factor > 0, "step", factor=self.factor, must_be="above 0")

    def rates(self, initial: Rate, epoch: Count, step: Count) -> Rates:
        """Rates after ``epoch`` finished epochs, see ``Schedule``."""
        return _scaled(initial, _power(self.factor, epoch // self.every))


@SCHEDULES("multi_step")
@dataclasses.dataclass(frozen=True)
class MultiStep(Schedule):
    """The rate is multiplied by ``factor`` after each of these numbers of epochs (torch's MultiStepLR).

    Attributes:
        milestones: numbers of epochs.
        factor: by which the rate is multiplied.

    Raises:
        UserError: an option out of its range.
    """

    milestones: tuple[int, ...] = (30, 60, 90)
    factor: float = 0.1

    def __post_init__(self) -> None:
        _require(min(self.milestones, default=1) >= 1, "multi_step", milestones=self.milestones, must_be="1 or later")
        _require(self.factor > 0, "multi_step", factor=self.factor, must_be="above 0")

    def rates(self, initial: Rate, epoch: Count, step: Count) -> Rates:
        """Rates after ``epoch`` finished epochs, see ``Schedule``."""
        passed = (epoch >= jnp.asarray(self.milestones, jnp.int32)).sum()
        return _scaled(initial, _power(self.factor, passed))


@SCHEDULES("exponential")
@dataclasses.dataclass(frozen=True)
class Exponential(Schedule):
    """The rate is multiplied by ``factor`` after every epoch (torch's ExponentialLR).

    Attributes:
        factor: by which the rate is multiplied.

    Raises:
        UserError: an option out of its range.
    """

    factor: float = 0.95

    def __post_init__(self) -> None:
        _require(self.factor > 0, "exponential", factor=self.factor, must_be="above 0")

    def rates(self, initial: Rate, epoch: Count, step: Count) -> Rates:
        """Rates after ``epoch`` finished epochs, see ``Schedule``."""
        return _scaled(initial, _power(self.factor, epoch))


@SCHEDULES("cosine")
@dataclasses.dataclass(frozen=True)
class Cosine(Schedule):
    """Half a cosine from the initial rate down to ``lowest``, then up again (torch's CosineAnnealingLR).

    Loshchilov and Hutter 2017 (https://arxiv.org/abs/1608.03983), without restarts.

    Attributes:
        epochs: on the way down, and as many on the way up.
        lowest: rate at the turn.

    Raises:
        UserError: an option out of its range.
    """

    epochs: int = 100
    lowest: float = 1e-6

    def __post_init__(self) -> None:
        _require(self.epochs >= 1, "cosine", epochs=self.epochs, must_be="at least 1 epoch")

    def rates(self, initial: Rate, epoch: Count, step: Count) -> Rates:
        """Rates after ``epoch`` finished epochs, see ``Schedule``."""
        # whole periods are taken off as integers, since a large angle has no digits left behind the point
        left = (self.epochs - epoch % (2 * self.epochs)) / self.epochs
        return _scaled(initial, _half_cosine(left), self.lowest)


@SCHEDULES("cosine_warm_restarts")
@dataclasses.dataclass(frozen=True)
class CosineWarmRestarts(Schedule):
    """Half a cosine from the initial rate to ``lowest``, again and again (torch's CosineAnnealingWarmRestarts).

    Loshchilov and Hutter 2017, https://arxiv.org/abs/1608.03983.

    Attributes:
        first_epochs: epochs until the first restart.
        growth: each cycle has this times the epochs of the one before.
        lowest: rate at the end of a cycle.

    Raises:
        UserError: an option out of its range.
    """

    first_epochs: int = 10
    growth: int = 2
    lowest: float = 1e-6

    def __post_init__(self) -> None:
        kind = "cosine_warm_restarts"
        _require(self.first_epochs >= 1, kind, first_epochs=self.first_epochs, must_be="at least 1 epoch")
        _require(self.growth >= 1, kind, growth=self.growth, must_be="at least 1")

    def rates(self, initial: Rate, epoch: Count, step: Count) -> Rates:
        """Rates after ``epoch`` finished epochs, see ``Schedule``."""
        return _scaled(initial, _half_cosine(self._left(epoch)), self.lowest)

    def _left(self, epoch: Array) -> Array:
        """The part of the current cycle that is still to come."""
        if self.growth == 1:
            return (self.first_epochs - epoch % self.first_epochs) / self.first_epochs
        # growing cycles are few: 31 of them fill the range of an int32
        starts, lengths = [0], [self.first_epochs]
        while (start := starts[-1] + lengths[-1]) <= np.iinfo(np.int32).max:
            starts.append(start)
            lengths.append(lengths[-1] * self.growth)
        cycle = jnp.searchsorted(jnp.asarray(starts, jnp.int32), epoch, side="right") - 1
        length = jnp.asarray(lengths, jnp.float32)[cycle]
        return (length - (epoch - jnp.asarray(starts, jnp.int32)[cycle]).astype(jnp.float32)) / length


@SCHEDULES("one_cycle")
@dataclasses.dataclass(frozen=True)
class OneCycle(Schedule):
    """The rate rises and falls once in a run, the momentum falls and rises (torch's OneCycleLR); steps count.

    Smith and Topin 2017, https://arxiv.org/abs/1708.07120. The rate begins at initial / ``start_divisor``, rises to the
    initial rate and falls to initial / ``start_divisor`` / ``end_divisor``, which it keeps if the run goes on.

    Attributes:
        rise: part of the steps in which the rate rises.
        anneal: along half a cosine or a line.
        cycle_momentum: whether the momentum changes too.
        base_momentum: momentum at the highest rate.
        max_momentum: momentum at the begin and the end.
        start_divisor: highest over first rate.
        end_divisor: first over last rate.
        three_phases: fall as fast as it rose to the first rate, then slowly to the last one; else in one go.
        total_steps: optimiser steps of the run; None: whoever knows the run has to replace it.

    Raises:
        UserError: an option out of its range.
    """

    rise: float = 0.3
    anneal: Literal["cos", "linear"] = "cos"
    cycle_momentum: bool = True
    base_momentum: float = 0.85
    max_momentum: float = 0.95
    start_divisor: float = 25.0
    end_divisor: float = 1e4
    three_phases: bool = False
    total_steps: int | None = None

    def __post_init__(self) -> None:
        kind, total = "one_cycle", self.total_steps
        _require(0 <= self.rise <= 1, kind, rise=self.rise, must_be="between 0 and 1")
        for name in ("base_momentum", "max_momentum"):
            momentum = getattr(self, name)
            _require(0 <= momentum < 1, kind, **{name: momentum}, must_be="at least 0 and below 1")
        for name in ("start_divisor", "end_divisor"):
            divisor = getattr(self, name)
            _require(divisor > 0, kind, **{name: divisor}, must_be="above 0")
        _require(total is None or total >= 1, kind, total_steps=total, must_be="at least 1 step, or None")

    def rates(self, initial: Rate, epoch: Count, step: Count) -> Rates:
        """Rates after ``step`` optimiser steps; ``initial`` is the highest rate.

        Raises:
            UserError: the number of steps of the run was not filled in.
        """
        if self.total_steps is None:
            raise UserError('schedule "one_cycle" needs total_steps: the optimiser steps of the whole run')
        first = initial / self.start_divisor
        last = first / self.end_divisor
        high, low = self.max_momentum, self.base_momentum
        peak = self.rise * self.total_steps - 1
        ends, rates, momenta = [peak, self.total_steps - 1.0], [first, initial, last], [high, low, high]
        if self.three_phases:
            ends, rates, momenta = [peak, 2 * peak, ends[-1]], [first, initial, first, last], [high, low, high, high]
        phase, left = self._position(ends, jnp.minimum(step, self.total_steps - 1).astype(jnp.float32))

        def between(corners: Sequence[Rate]) -> Array:
            values = jnp.stack([jnp.asarray(corner, jnp.float32) for corner in corners])
            return values[phase + 1] + (values[phase] - values[phase + 1]) * left

        return Rates(between(rates), between(momenta) if self.cycle_momentum else None)

    def for_run(self, steps: int) -> "OneCycle":
        """One cycle for the whole run."""
        return self if self.total_steps is not None else dataclasses.replace(self, total_steps=steps)

    def _position(self, ends: Sequence[float], step: Array) -> tuple[Int32[Array, ""], Float32[Array, ""]]:
        """The phase of a step, and how much of the change from its first to its last value is left (1 to 0)."""
        corners = np.array([0, *ends], np.float32)
        # a rise of one step has no length; it shows its last value
        lengths = np.where(np.diff(corners) == 0, np.float32(1), np.diff(corners))
        phase = (step > corners[1:-1]).sum()
        left = (jnp.asarray(corners)[phase + 1] - step) / jnp.asarray(lengths)[phase]
        return phase, _half_cosine(left) if self.anneal == "cos" else left


def _require(holds: bool, kind: str, *, must_be: str, **option: Any) -> None:
    if not holds:
        [(name, value)] = option.items()
        raise UserError(f'schedule "{kind}": {name} is {value!r}, but must be {must_be}')


def _scaled(initial: Rate, weight: Array, lowest: float = 0.0) -> Rates:
    """From ``lowest`` (weight 0) to the initial rate (weight 1)."""
    return Rates(jnp.asarray(lowest + (initial - lowest) * weight, jnp.float32))


def _power(factor: float, count: Array) -> Array:
    """``factor ** count``, by way of the logarithm: a factor near 1 as a float32 has too few digits for many epochs."""
    return jnp.exp(math.log(factor) * count.astype(jnp.float32))


def _half_cosine(left: Array) -> Array:
    """(1 - cos(pi left)) / 2: falls from 1 to 0 with what is left; as a square it has all its digits near 0."""
    return jnp.square(jnp.sin(math.pi / 2 * left))
