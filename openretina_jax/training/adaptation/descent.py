"""L-BFGS for many small problems at once: every row of a table has its own curvature and its own step.

The objective of a row depends on that row alone. One evaluation of all rows at their trial points is a pass over the
data; each row then accepts its point, or tries a shorter step in the next pass, whatever the others do. So no pass is
spent on rows that wait for a line search of another.

Sources: Nocedal and Wright 2006, "Numerical Optimization", algorithms 7.4 (L-BFGS) and 3.1 (backtracking); Bertsekas
1982, https://doi.org/10.1137/0320018, for the coordinates that rest at a constraint.
"""

import dataclasses
from collections.abc import Callable

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int32

MEMORY = 12  # pairs of steps and changes of the gradient
SUFFICIENT = 1e-4  # share of the promised decrease that a step must bring
SHORTER = 0.3  # factor of a step that was refused
FIRST_STEP = 0.05  # length of the first step of a row
MOST_REFUSED = 6  # steps in a row, after which the curvature is forgotten; twice that, and the row has ended
CURVATURE = 1e-6  # least cosine between a step and the change of the gradient

Table = Float[Array, "row number"]
PerRow = Float[Array, " row"]


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Descent:
    """Where every row is, and where it goes.

    Attributes:
        x, value, gradient: best point so far, its objective and gradient.
        steps, changes: the last accepted steps and changes of the gradient, newest first; 0 where there are none.
        direction, length: the trial point is ``x + length * direction``, moved into the constraints.
        refused: trial points refused since the last accepted one.
    """

    x: Table
    value: PerRow
    gradient: Table
    steps: Float[Array, "memory row number"]
    changes: Float[Array, "memory row number"]
    direction: Table
    length: PerRow
    refused: Int32[Array, " row"]

    @property
    def ended(self) -> Bool[Array, " row"]:
        """Rows for which no step lowers the objective any more."""
        return (self.refused >= 2 * MOST_REFUSED) | (jnp.abs(self.direction).max(axis=1) == 0)


def begin(x: Table, value: PerRow, gradient: Table, project: Callable[[Table], Table]) -> Descent:
    """Start at a point inside the constraints.

    Args:
        x: the point.
        value, gradient: objective of every row there, and its gradient.
        project: moves a table into the constraints.
    """
    none = jnp.zeros((MEMORY, *x.shape), x.dtype)
    refused = jnp.zeros(len(x), jnp.int32)
    state = Descent(x, value, gradient, none, none, jnp.zeros_like(x), jnp.ones_like(value), refused)
    return _directed(state, project)


def trial(state: Descent, project: Callable[[Table], Table]) -> Table:
    """The point of every row at which the objective is wanted next; rows that have ended stay."""
    moved = project(state.x + state.length[:, None] * state.direction)
    return jnp.where(state.ended[:, None], state.x, moved)


def advance(state: Descent, x: Table, value: PerRow, gradient: Table, project: Callable[[Table], Table]) -> Descent:
    """Accept or refuse the trial point of every row.

    Args:
        state: that of ``trial``.
        x: the trial point.
        value, gradient: objective of every row there, and its gradient.
        project: moves a table into the constraints.
    """
    step, change = x - state.x, gradient - state.gradient
    promised = jnp.minimum(_dot(state.gradient, step), 0)
    good = jnp.isfinite(value) & jnp.isfinite(gradient).all(axis=1) & ~state.ended
    accepted = good & (value < state.value) & (value <= state.value + SUFFICIENT * promised)
    curved = accepted & (_dot(step, change) > CURVATURE * jnp.sqrt(_dot(step, step) * _dot(change, change)))

    def newest(history: Array, new: Table) -> Array:
        return jnp.where(curved[:, None], jnp.concatenate([new[None], history[:-1]]), history)

    refused = jnp.where(accepted, 0, state.refused + 1)
    forget = refused == MOST_REFUSED
    histories = ((state.steps, step), (state.changes, change))
    steps, changes = (jnp.where(forget[:, None], 0, newest(*pair)) for pair in histories)
    chosen = accepted[:, None]
    moved = Descent(
        x=jnp.where(chosen, x, state.x),
        value=jnp.where(accepted, value, state.value),
        gradient=jnp.where(chosen, gradient, state.gradient),
        steps=steps,
        changes=changes,
        direction=state.direction,
        length=jnp.where(accepted | forget, 1, SHORTER * state.length),
        refused=refused,
    )
    again = _directed(moved, project)
    turned = accepted | forget
    direction = jnp.where(turned[:, None], again.direction, state.direction)
    return dataclasses.replace(moved, direction=direction)


def _directed(state: Descent, project: Callable[[Table], Table]) -> Descent:
    """The state with the direction of L-BFGS, in the coordinates that no constraint holds."""
    largest = jnp.abs(state.gradient).max(axis=1, keepdims=True)
    free = project(state.x - state.gradient / jnp.maximum(largest, jnp.finfo(jnp.float32).tiny)) != state.x
    reduced = jnp.where(free, state.gradient, 0)
    products = jax.vmap(_dot)(state.steps, state.changes)
    known = products > 0
    inverse = jnp.where(known, 1 / jnp.where(known, products, 1), 0)

    def backwards(q: Table, pair: tuple[Array, Array, Array]) -> tuple[Table, Array]:
        step, change, inverse = pair
        alpha = inverse * _dot(step, q)
        return q - alpha[:, None] * change, alpha

    def forwards(r: Table, pair: tuple[Array, Array, Array, Array]) -> tuple[Table, None]:
        step, change, inverse, alpha = pair
        return r + step * (alpha - inverse * _dot(change, r))[:, None], None

    pairs = (state.steps, state.changes, inverse)
    q, alpha = jax.lax.scan(backwards, reduced, pairs)
    squares = _dot(state.changes[0], state.changes[0])
    norm = jnp.sqrt(_dot(reduced, reduced))
    scale = jnp.where(known[0], products[0] / jnp.maximum(squares, 1e-30), FIRST_STEP / jnp.maximum(norm, 1e-30))
    r, _ = jax.lax.scan(forwards, scale[:, None] * q, (*pairs, alpha), reverse=True)
    return dataclasses.replace(state, direction=jnp.where(free, -r, 0))


def _dot(a: Table, b: Table) -> PerRow:
    return (a * b).sum(axis=1)
