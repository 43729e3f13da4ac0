"""Ascent of stimuli: its options, the state of a batch of stimuli, and the compiled program that moves it."""

import dataclasses
import functools
from typing import Any

import jax
import jax.numpy as jnp
import optax
from flax import nnx, struct
from jaxtyping import Array, Float, Int, PyTree

from openretina_jax.errors import UserError
from openretina_jax.insilico.constraints import Constraint
from openretina_jax.insilico.objectives import Objective
from openretina_jax.insilico.parametrization import Parametrization, Pixels
from openretina_jax.insilico.targets import Targets

STEPS_PER_RUN = 10  # steps on the device before the host looks which targets have ended


@dataclasses.dataclass(frozen=True)
class Ascent:
    """Options of the ascent of stimuli.

    Attributes:
        steps: largest number of gradients of a stimulus.
        learning_rate: step relative to the size of the parameters; it falls to 0 like a cosine. Within a norm, long
            steps find higher optima in fewer steps, and more alike: little is left of where a stimulus was.
        optimizer: optax transformation instead of plain ascent with this rate; it sees gradients of root mean square
            1, and its updates are relative to the root mean square of the parameters.
        patience, tolerance: a stimulus ends when its objective has not risen by the share ``tolerance`` in ``patience``
            steps (None: it never ends early).
        jitter_px, jitter_frames: largest random shift of the stimulus in every step, for results that do not hang on
            single pixels.
        parametrization: parametrisation of the stimuli, whose numbers are moved.
        block: number of stimuli that climb at once; memory is proportional to it.
    """

    steps: int = 50
    learning_rate: float = 3.0
    optimizer: optax.GradientTransformation | None = None
    patience: int | None = 20
    tolerance: float = 1e-3
    jitter_px: int = 0
    jitter_frames: int = 0
    parametrization: Parametrization = dataclasses.field(default_factory=Pixels)
    block: int = 16

    def __post_init__(self) -> None:
        for name, least in (("steps", 1), ("block", 1), ("jitter_px", 0), ("jitter_frames", 0)):
            if getattr(self, name) < least:
                raise UserError(f"{name} is {getattr(self, name)}; it must be {least} or more")
        if self.patience is not None and self.patience < 1:
            raise UserError(f"patience is {self.patience}; it must be 1 or more, or None")
        if not self.learning_rate > 0:
            raise UserError(f"learning_rate is {self.learning_rate}; it must be above 0")

    def transformation(self) -> optax.GradientTransformation:
        """Make the optimiser as an optax transformation."""

        def rate(count: Array) -> Array:
            return (
                self.learning_rate * (1 + jnp.cos(jnp.pi * jnp.minimum(count.astype(jnp.float32) / self.steps, 1))) / 2
            )

        return optax.sgd(rate) if self.optimizer is None else self.optimizer


class Slots(struct.PyTreeNode):
    """State of the stimuli that climb at once, a slot for each.

    Attributes:
        parameters: parameters of the stimuli, which are moved.
        optimizer: state of the optimiser.
        best, best_value: stimulus of the highest objective so far, and the objective.
        rise_from: objective at the last rise that counted, for the patience.
        waited: number of steps since then.
        count: number of gradients taken.
        key: random key.
    """

    parameters: PyTree
    optimizer: PyTree
    best: Float[Array, "slot time height width channel"]
    best_value: Float[Array, " slot"]
    rise_from: Float[Array, " slot"]
    waited: Int[Array, " slot"]
    count: Int[Array, " slot"]
    key: Array


def objectives_of(
    graph: Any, state: nnx.State, targets: Targets, stimulus: Array, objective: Objective, window: int
) -> tuple[Array, Array]:
    """Compute the objective of every target, and its responses."""
    responses = targets.respond(nnx.merge(graph, state, copy=True), stimulus)
    return objective(responses[:, responses.shape[1] - window :], targets), responses


@functools.partial(jax.jit, static_argnums=0, static_argnames=("objective", "window"))
def evaluate(
    graph: Any, state: nnx.State, targets: Targets, stimulus: Array, *, objective: Objective, window: int
) -> tuple[Float[Array, " target"], Float[Array, "target new_time"]]:
    """Compute the objective of every target at its stimulus, and the mean response of its neurons."""
    value, responses = objectives_of(graph, state, targets, stimulus, objective, window)
    return value, targets.mean(responses)


@functools.partial(jax.jit, static_argnums=0, static_argnames=("objective", "window", "shape"))
def linear(
    graph: Any,
    state: nnx.State,
    targets: Targets,
    constraint: Constraint,
    *,
    shape: tuple[int, int, int, int],
    objective: Objective,
    window: int,
) -> Float[Array, "target time height width channel"]:
    """Compute the gradient at grey, within the constraint; held pixels have their values."""

    def total(stimulus: Array) -> Array:
        return objectives_of(graph, state, targets, stimulus, objective, window)[0].sum()

    grey = constraint.grey((len(targets.rows), *shape))
    return constraint.apply(jax.grad(total)(grey))


@functools.partial(jax.jit, static_argnums=0, static_argnames=("objective", "window"))
def score_natural(
    graph: Any,
    state: nnx.State,
    targets: Targets,
    windows: Array,
    constraint: Constraint,
    *,
    objective: Objective,
    window: int,
) -> tuple[Array, Array]:
    """Move natural windows into the constraint, and compute the objective (window, target) of each for every target."""
    windows = constraint.apply(windows)
    responses = targets.respond_alike(nnx.merge(graph, state, copy=True), windows)
    cut = responses[:, :, responses.shape[2] - window :]
    return windows, jax.vmap(lambda one: objective(one, targets))(cut)


@functools.partial(jax.jit, static_argnames=("shape", "ascent"))
def begin(
    key: Array, given: Array | None, shaken: Array, constraint: Constraint, *, shape: tuple[int, ...], ascent: Ascent
) -> Slots:
    """Make slots that begin from noise, or from given stimuli."""
    noise = jax.vmap(lambda key: jax.random.normal(key, shape))(key)
    if given is None:
        movies = noise
    else:
        size = jnp.sqrt(jnp.square(given).mean((1, 2, 3, 4), keepdims=True))
        movies = given + jnp.where(shaken, 0.1, 0.0)[:, None, None, None, None] * size * noise
    movies = constraint.apply(movies)
    parameters = ascent.parametrization.encode(movies)
    never = jnp.full(len(key), -jnp.inf)
    none = jnp.zeros(len(key), jnp.int32)
    return Slots(
        parameters=parameters,
        optimizer=jax.vmap(ascent.transformation().init)(parameters),
        best=movies,
        best_value=never,
        rise_from=never,
        waited=none,
        count=none,
        key=key,
    )


@jax.jit
def replaced(slots: Slots, fresh: Slots, chosen: Array) -> Slots:
    """Replace the chosen slots by fresh ones."""
    return jax.tree.map(lambda old, new: jnp.where(chosen.reshape(-1, *(1,) * (old.ndim - 1)), new, old), slots, fresh)


def shapes_of(tree: Any) -> tuple[Any, tuple[Any, ...]]:
    """Describe arguments by structure and shapes, by which compiled programs are kept."""
    leaves, structure = jax.tree.flatten(tree)
    return structure, tuple(jax.ShapeDtypeStruct(jnp.shape(leaf), jnp.result_type(leaf)) for leaf in leaves)


@functools.lru_cache(maxsize=16)
def compiled_climb(
    graph: Any, ascent: Ascent, window: int, objective: Objective, structure: Any, leaves: tuple[Any, ...]
) -> Any:
    """Compile the ascent, once for all experiments of the same shapes."""

    def program(*leaves: Array) -> tuple[Slots, Array]:
        return climb(graph, ascent, window, objective, *jax.tree.unflatten(structure, leaves))

    return jax.jit(program).lower(*leaves).compile()


def climb(
    graph: Any,
    ascent: Ascent,
    window: int,
    objective: Objective,
    state: nnx.State,
    targets: Targets,
    constraint: Constraint,
    slots: Slots,
) -> tuple[Slots, Float[Array, "step slot"]]:
    """Take a few steps with every slot."""
    optimizer = ascent.transformation()
    decode = ascent.parametrization.decode

    def total(stimulus: Array) -> tuple[Array, Array]:
        value, _ = objectives_of(graph, state, targets, stimulus, objective, window)
        return value.sum(), value

    def step(slots: Slots, _: None) -> tuple[Slots, Array]:
        movies, pull = jax.vjp(lambda z: decode(z, *slots.best.shape[1:4]), slots.parameters)
        stimulus, scale = constraint.scaled(movies)
        parameters = ascent.parametrization.moved(slots.parameters, stimulus, scale)
        shift = _shifts(slots, ascent)
        (_, value), slope = jax.value_and_grad(total, has_aux=True)(_shifted(stimulus, shift, 1))
        slope = constraint.of_free(_shifted(slope, shift, -1))
        # the bounds have no slope of their own: a pixel at its bound must be able to leave it
        (gradient,) = pull(slope)
        gradient = jax.tree.map(lambda g, size: -g / size, gradient, _sizes(gradient))
        with jax.numpy_dtype_promotion("standard"):  # optax raises floats to integer powers
            updates, state_of_optimizer = jax.vmap(optimizer.update)(gradient, slots.optimizer, parameters)
        moved = jax.tree.map(lambda z, u, size: z + u * size, parameters, updates, _sizes(parameters))
        counts = slots.count < ascent.steps
        better = counts & (value > slots.best_value)
        wanted = slots.rise_from + ascent.tolerance * jnp.abs(slots.rise_from)
        rise = counts & ((value > wanted) | jnp.isinf(slots.rise_from))
        after = Slots(
            parameters=moved,
            optimizer=state_of_optimizer,
            best=jnp.where(better[:, None, None, None, None], stimulus, slots.best),
            best_value=jnp.where(better, value, slots.best_value),
            rise_from=jnp.where(rise, value, slots.rise_from),
            waited=jnp.where(rise, 0, slots.waited + 1),
            count=slots.count + 1,
            key=slots.key,
        )
        return after, value

    return jax.lax.scan(step, slots, None, length=STEPS_PER_RUN)


def _sizes(tree: PyTree) -> PyTree:
    """Root mean square over all leaves of every slot, in the shape of each leaf, never 0."""
    leaves = jax.tree.leaves(tree)
    count = sum(leaf[0].size for leaf in leaves)
    power = sum(jnp.square(leaf).reshape(len(leaf), -1).sum(axis=1) for leaf in leaves) / count
    size = jnp.sqrt(jnp.maximum(power, 1e-30))
    return jax.tree.map(lambda leaf: size.reshape(-1, *(1,) * (leaf.ndim - 1)), tree)


def _shifts(slots: Slots, ascent: Ascent) -> Int[Array, "slot 3"] | None:
    """Random shifts in time, height and width; None: no jitter."""
    most = (ascent.jitter_frames, ascent.jitter_px, ascent.jitter_px)
    if not any(most):
        return None

    def draw(key: Array, count: Array) -> Array:
        return jax.random.randint(jax.random.fold_in(key, count), (3,), -jnp.asarray(most), jnp.asarray(most) + 1)

    return jax.vmap(draw)(slots.key, slots.count)


def _shifted(movies: Array, shift: Array | None, sign: int) -> Array:
    """Movies that are rolled by the shifts."""
    if shift is None:
        return movies
    return jax.vmap(lambda movie, by: jnp.roll(movie, (sign * by[0], sign * by[1], sign * by[2]), (0, 1, 2)))(
        movies, shift
    )
