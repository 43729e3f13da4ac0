"""Recipe of a training run, as one pytree of numbers."""

import dataclasses
from collections.abc import Mapping
from typing import Any

import jax
from jaxtyping import Array, Int

from openretina_jax.errors import UserError
from openretina_jax.evaluation.monitor import CorrelationScore, Monitor
from openretina_jax.modules.layers import Number
from openretina_jax.training.objective import FrameLoss, Objective, ResponseObjective
from openretina_jax.training.optimizers import Optimizer, Trainable
from openretina_jax.training.patience import PatienceRules
from openretina_jax.training.schedules import Schedule

COMPUTE_TYPES = ("float32", "bfloat16")


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Recipe:
    """Objective, optimiser and all other settings by which a model is trained.

    It is a pytree; its leaves are the numbers that may differ between the members of a population.

    Attributes:
        objective: number that a step lowers.
        optimizer: turns gradients into updates.
        learning_rate: learning rate of the first epoch.
        rules: rules by which validation lowers the learning rate and ends training.
        clip: largest norm of a step's gradient (None or 0: any).
        average_decay: decay of the moving average of parameters, which is evaluated and saved in their place (None: no
            average).
        penalty_weights: weights that replace those of the model, by their paths in it ("core.gamma_temporal").
        seed: seed of dropout and other randomness; step n uses ``fold_in(key(seed), n)``.
        schedule: course of the learning rate (None: constant).
        monitor: validation score that the rules follow, and by which the best epoch is found.
        reset_optimizer: whether the optimiser forgets its moments when validation lowers the learning rate.
        accumulate: number of parts of a step, whose gradients are averaged.
        trainable: selection of the trained parameters (None: all), see ``trainable_filter``.
        compute_dtype: type of stimulus and feature maps in training, one of ``COMPUTE_TYPES``; parameters, batch
            statistics, readout sums and loss are float32 always.
        rematerialize: whether the backward pass recomputes the maps within a layer of the core instead of storing
            them.

    Raises:
        UserError: there is no such ``compute_dtype``, or ``clip`` or ``accumulate`` is too small.
    """

    objective: Objective
    optimizer: Optimizer
    learning_rate: Number
    rules: PatienceRules = dataclasses.field(default_factory=PatienceRules)
    clip: Number | None = None
    average_decay: Number | None = None
    penalty_weights: Mapping[str, Number] = dataclasses.field(default_factory=dict)
    seed: int | Int[Array, ""] = 0
    schedule: Schedule | None = dataclasses.field(default=None, metadata={"static": True})
    monitor: Monitor = dataclasses.field(default=CorrelationScore(), metadata={"static": True})
    reset_optimizer: bool = dataclasses.field(default=False, metadata={"static": True})
    accumulate: int = dataclasses.field(default=1, metadata={"static": True})
    trainable: Trainable = dataclasses.field(default=None, metadata={"static": True})
    compute_dtype: str = dataclasses.field(default="float32", metadata={"static": True})
    rematerialize: bool = dataclasses.field(default=False, metadata={"static": True})

    def __post_init__(self) -> None:
        if self.compute_dtype not in COMPUTE_TYPES:
            known = " or ".join(COMPUTE_TYPES)
            raise UserError(f'config.train.compute_dtype is "{self.compute_dtype}"; choose {known}')
        if self.accumulate < 1:
            raise UserError(f"config.optimizer.accumulate is {self.accumulate}; a step has at least 1 part")
        if isinstance(self.clip, int | float) and self.clip < 0:  # not a number yet where members differ in it
            raise UserError(f"config.optimizer.clip_norm is {self.clip}; take a positive norm, or 0 for no limit")

    @property
    def loss(self) -> FrameLoss | None:
        """Loss of single frames that the objective lowers; None if it is one of windows, or another objective."""
        loss = self.objective.loss if isinstance(self.objective, ResponseObjective) else None
        return loss if isinstance(loss, FrameLoss) else None

    def varied(self, numbers: Mapping[str, Array]) -> "Recipe":
        """Replace numbers of the recipe, named as in ``numbers_of``."""
        if not numbers:
            return self
        return jax.tree.unflatten(
            jax.tree.structure(self), [numbers.get(name, own) for name, own in numbers_of(self).items()]
        )


def numbers_of(recipe: Recipe) -> dict[str, Any]:
    """Name the numbers of a recipe by their paths, such as "optimizer/weight_decay", in the order of its leaves."""
    leaves, _ = jax.tree_util.tree_flatten_with_path(recipe)
    return {jax.tree_util.keystr(path, simple=True, separator="/"): leaf for path, leaf in leaves}
