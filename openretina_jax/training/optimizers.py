"""Optimisers that know which rows of a readout took part in a step.

In torch a parameter without gradient is skipped: no decay, no moments, no step count. A session that is absent from a
step must keep its rows as they are, which ``optax.adamw`` would move. So every update is told what is present: a scalar
for a parameter of all sessions, one entry per row for a table of neurons or sessions.
"""

import dataclasses
import fnmatch
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple, Protocol, runtime_checkable

import jax
import jax.numpy as jnp
import optax
from flax import nnx
from jaxtyping import Array, Bool, Float32

from openretina_jax.errors import UserError
from openretina_jax.models.model import path_name
from openretina_jax.modules.layers import NeuronParam, Number, SessionParam
from openretina_jax.runtime.registry import Registry
from openretina_jax.training.hyperparameters import hyperparameters

Tree = Any
OPTIMIZERS = Registry("optimizer", __name__, given=("learning_rate",))


@runtime_checkable
class Optimizer(Protocol):
    """Turns gradients into updates of the parameters.

    One of your own is a class registered in ``OPTIMIZERS``, or a function that returns one; options of the
    configuration are its arguments. A function that takes ``learning_rate`` and returns an optax transformation serves
    too (``kind = "optax:lion"``), see ``Rowwise``. Fields of type ``Number`` of a class that is made with
    ``hyperparameters`` may differ between the members of a population.
    """

    def init(self, params: Tree) -> Any:
        """Make the state before the first step, a pytree."""

    def update(
        self,
        gradients: Tree,
        state: Any,
        params: Tree,
        *,
        learning_rate: Array,
        present: Tree,
        momentum: Array | None = None,
    ) -> tuple[Tree, Any]:
        """Compute the updates to be added to the parameters, and the next state.

        Args:
            gradients: gradients of the parameters.
            state: state before the step.
            params: parameters before the step.
            learning_rate: learning rate of the step.
            present: mask of what takes part in the step, see ``presence``; everything else must stay as it is, state
                included.
            momentum: momentum of the step, if a schedule sets it.
        """


def presence(params: nnx.State, rows: Bool[Array, " neuron"], sessions: Bool[Array, " session"]) -> Tree:
    """Mark what of every parameter takes part in a step: rows of a table of neurons or sessions, all of any other."""

    def present(variable: nnx.Variable) -> nnx.Variable:
        match variable:
            case NeuronParam():
                return variable.replace(rows)
            case SessionParam():
                return variable.replace(sessions)
            case _:
                return variable.replace(jnp.ones((), bool))

    return jax.tree.map(present, params, is_leaf=lambda node: isinstance(node, nnx.Variable))


def clip_by_norm(gradients: Tree, norm: Float32[Array, ""], limit: Number | None) -> Tree:
    """Scale gradients to at most ``limit``, by the factor limit / (norm + 1e-6) as in torch (None or 0: unchanged)."""
    if limit is None:
        return gradients
    factor = jnp.where(limit == 0, 1, jnp.minimum(1, limit / (norm + 1e-6)))
    return jax.tree.map(lambda gradient: gradient * factor, gradients)


class AdamState(NamedTuple):
    """Moments, and the number of steps that each parameter (or row) has taken."""

    count: Tree
    mu: Tree
    nu: Tree


@OPTIMIZERS("adamw")
@hyperparameters
class AdamW:
    """AdamW (Loshchilov and Hutter 2019, https://arxiv.org/abs/1711.05101); absent rows stay as they are.

    Every row counts its own steps for the bias correction. A schedule's momentum replaces ``b1`` in its step, in the
    bias correction too (as in torch).

    Attributes:
        b1, b2: decay rates of the means of gradients and of their squares.
        epsilon: added to the root of the mean square.
        weight_decay: share of a parameter, times the learning rate, that a step takes away.
    """

    b1: Number = 0.9
    b2: Number = 0.999
    epsilon: Number = 1e-8
    weight_decay: Number = 0.01

    def init(self, params: Tree) -> AdamState:
        """Moments of 0."""
        # two trees, not one twice: a donated buffer may appear only once
        mu, nu = (jax.tree.map(jnp.zeros_like, params) for _ in range(2))
        return AdamState(count=_counts(params), mu=mu, nu=nu)

    def update(
        self,
        gradients: Tree,
        state: AdamState,
        params: Tree,
        *,
        learning_rate: Array,
        present: Tree,
        momentum: Array | None = None,
    ) -> tuple[Tree, AdamState]:
        """Updates and next state, see ``Optimizer``."""
        b1, b2 = self.b1 if momentum is None else momentum, self.b2
        count = jax.tree.map(lambda c, p: c + p.astype(c.dtype), state.count, present)
        mu = _where(present, jax.tree.map(lambda m, g: b1 * m + (1 - b1) * g, state.mu, gradients), state.mu)
        nu = _where(present, jax.tree.map(lambda v, g: b2 * v + (1 - b2) * g * g, state.nu, gradients), state.nu)

        def step(m: Array, v: Array, c: Array, parameter: Array) -> Array:
            steps = jnp.maximum(_rowwise(c, m), 1).astype(m.dtype)
            direction = (m / _unfilled(b1, steps)) / (jnp.sqrt(v / _unfilled(b2, steps)) + self.epsilon)
            return -learning_rate * (direction + self.weight_decay * parameter)

        updates = jax.tree.map(step, mu, nu, count, params)
        return _where(present, updates, jax.tree.map(jnp.zeros_like, updates)), AdamState(count, mu, nu)


def _unfilled(beta: Number, steps: Array) -> Array:
    """1 - beta^steps; in float32 the plain formula would be off by 1e-5 of it where beta is near 1."""
    return -jnp.expm1(steps * (math.log(beta) if isinstance(beta, float) and beta > 0 else jnp.log(beta)))


class SgdState(NamedTuple):
    """Momentum, and the number of steps that each parameter (or row) has taken."""

    count: Tree
    momentum: Tree


@OPTIMIZERS("sgd")
@hyperparameters
class Sgd:
    """Stochastic gradient descent with torch's momentum; absent rows stay as they are.

    As in torch the first step is not dampened, nor is any without momentum.

    Attributes:
        momentum: share of the last update that goes on.
        dampening: share of the gradient that does not enter the momentum.
        weight_decay: weight of the parameter that is added to its gradient.
        nesterov: whether the gradient is added once more, beyond the momentum (Nesterov's rule).

    Raises:
        UserError: ``nesterov`` with dampening, for which there is no such rule.
    """

    momentum: Number = 0.9
    dampening: float = 0.0
    weight_decay: Number = 0.0
    nesterov: bool = False

    def __post_init__(self) -> None:
        if self.nesterov and self.dampening:
            raise UserError(
                f'optimizer "sgd": dampening is {self.dampening}, but must be 0 with nesterov; drop one of them'
            )

    def init(self, params: Tree) -> SgdState:
        """Momentum of 0."""
        return SgdState(count=_counts(params), momentum=jax.tree.map(jnp.zeros_like, params))

    def update(
        self,
        gradients: Tree,
        state: SgdState,
        params: Tree,
        *,
        learning_rate: Array,
        present: Tree,
        momentum: Array | None = None,
    ) -> tuple[Tree, SgdState]:
        """Updates and next state, see ``Optimizer``."""
        kept = self.momentum if momentum is None else momentum
        gradients = jax.tree.map(lambda g, p: g + self.weight_decay * p, gradients, params)

        def accumulate(buffer: Array, gradient: Array, count: Array) -> Array:
            undamped = (_rowwise(count, gradient) == 0) | (kept == 0)
            return kept * buffer + jnp.where(undamped, 1, 1 - self.dampening) * gradient

        buffer = _where(present, jax.tree.map(accumulate, state.momentum, gradients, state.count), state.momentum)
        direction = jax.tree.map(lambda g, b: g + kept * b if self.nesterov else b, gradients, buffer)
        updates = jax.tree.map(lambda d: -learning_rate * d, direction)
        count = jax.tree.map(lambda c, p: c + p.astype(c.dtype), state.count, present)
        return _where(present, updates, jax.tree.map(jnp.zeros_like, updates)), SgdState(count, buffer)


@dataclasses.dataclass(frozen=True)
class Rowwise:
    """An optax transformation as an optimiser: rows that are absent from a step keep parameters and moments.

    Its step count is one for all rows, so that bias corrections differ from those of torch where sessions are absent.

    Attributes:
        transformation: made with a learning rate of 1; updates are multiplied by the learning rate of the step.
    """

    transformation: optax.GradientTransformation

    def init(self, params: Tree) -> Any:
        """State of the transformation."""
        return self.transformation.init(params)

    def update(
        self,
        gradients: Tree,
        state: Any,
        params: Tree,
        *,
        learning_rate: Array,
        present: Tree,
        momentum: Array | None = None,
    ) -> tuple[Tree, Any]:
        """Updates and next state, see ``Optimizer``.

        Raises:
            UserError: a schedule sets the momentum, which an optax transformation does not take.
        """
        if momentum is not None:
            raise UserError(
                "the schedule changes the momentum, which optimisers of optax keep; set cycle_momentum to False"
            )
        updates, after = self.transformation.update(gradients, state, params)
        updates = jax.tree.map(lambda update: learning_rate * update, updates)
        # a moment is updated in the rows in which its parameter is; step counts always are
        new = optax.tree.map_params(
            self.transformation, lambda _, p: p, after, present, transform_non_params=lambda _: jnp.ones((), bool)
        )
        return _where(present, updates, jax.tree.map(jnp.zeros_like, updates)), _where(new, after, state)


def make_optimizer(options: Mapping[str, Any]) -> Optimizer:
    """Make the optimiser ``options["kind"]`` with the other options.

    Raises:
        UserError: an unknown kind or option.
    """
    made = OPTIMIZERS.make(options, {"learning_rate": 1.0})
    return Rowwise(made) if isinstance(made, optax.GradientTransformation) else made


def _counts(params: nnx.State) -> Tree:
    """Zero steps for every parameter, or every row of a table of neurons or sessions."""

    def zero(variable: nnx.Variable) -> nnx.Variable:
        shape = variable.shape[:1] if isinstance(variable, NeuronParam | SessionParam) else ()
        return variable.replace(jnp.zeros(shape, jnp.int32))

    return jax.tree.map(zero, params, is_leaf=lambda node: isinstance(node, nnx.Variable))


def _rowwise(entry: Array, like: Array) -> Array:
    """Append axes so that an entry per row (or one for all) broadcasts against the parameter."""
    return entry.reshape(entry.shape + (1,) * (like.ndim - entry.ndim))


def _where(present: Tree, new: Tree, old: Tree) -> Tree:
    return jax.tree.map(lambda p, n, o: jnp.where(_rowwise(p, n), n, o), present, new, old)


Trainable = Sequence[str] | Callable[[str], bool] | None


def trainable_filter(model: nnx.Module, trainable: Trainable) -> Callable[[tuple, Any], bool]:
    """Make the filter for ``nnx.split`` that admits the trained parameters of a model.

    Args:
        model: the model.
        trainable: parts of the model, such as ``("readout", "core.layers[1]")``; names with ``*`` are patterns; or a
            function of a parameter's path; None admits all.

    Raises:
        UserError: a name fits no parameter, or nothing is left to train.
    """
    paths = [path_name(path) for path, value in nnx.to_flat_state(nnx.state(model, nnx.Param))]

    def fits(path: str, name: str) -> bool:
        pattern = name.replace("[", "[[]")  # brackets are those of an index
        return path == name or path.startswith((f"{name}.", f"{name}[")) or fnmatch.fnmatchcase(path, pattern)

    if trainable is None:
        chosen = set(paths)
    elif callable(trainable):
        chosen = {path for path in paths if trainable(path)}
    else:
        chosen = {path for path in paths if any(fits(path, name) for name in trainable)}
        for name in trainable:
            if not any(fits(path, name) for path in paths):
                raise UserError(f'train.trainable: no parameter is called "{name}"; there are {", ".join(paths)}')
    if not chosen:
        raise UserError("train.trainable leaves no parameter to train")
    return lambda path, value: isinstance(value, nnx.Param) and path_name(path) in chosen
