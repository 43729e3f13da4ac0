"""Experiments exactly as openretina 1.1.1 does them, for comparison with its results.

They keep its order of operations, its windows and its defaults, faults included; ``docs/migrating.md`` lists these. Our
own experiments are in the other files of this package. Stimuli are ``(batch, time, height, width, channel)`` in the
units of the model; an objective takes a batch of one.
"""

import dataclasses
import functools
import logging
from collections.abc import Callable, Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, Float, Float32

from openretina_jax.errors import UserError
from openretina_jax.insilico.decomposition import space_time
from openretina_jax.models.core_readout import CoreReadout
from openretina_jax.models.model import Model
from openretina_jax.modules.cores.simple import SimpleCore

_log = logging.getLogger(__name__)

Stimulus = Float[Array, "batch time height width channel"]
Objective = Callable[[Array], Array]  # stimulus -> number that is maximised
Penalty = Callable[[Array], Array]  # stimulus -> number that is minimised
Processor = Callable[[Array], Array]  # stimulus after a step -> stimulus before the next step
Reducer = Callable[[Array], Array]  # (time, ...) -> mean over some of the time
Ranges = Sequence[Sequence[float | None]]  # least and largest value of every channel; None: no limit

# what openretina visualize asks of stimuli for the model of Höfling et al. 2024, in the units of that model
HOEFLING_RANGES = ((-0.654, 6.269), (-0.913, 6.269))
HOEFLING_NORM = 30.0
EMPTY_FRAMES = 10  # grey frames before an image, beyond those that the model needs as history

mean_over_time: Reducer = functools.partial(jnp.mean, axis=0)


def slice_mean(responses: Float[Array, "*shape"], *, start: int, length: int, axis: int = 0) -> Float[Array, "*rest"]:
    """Mean over ``length`` responses from ``start`` on, fewer if there are fewer.

    If none is left, the first ones are taken, with a warning.
    """
    count = responses.shape[axis]
    if start >= count:
        _log.warning("there are %d responses, none of them from number %d on; the first are taken", count, start)
        start = 0
    return jax.lax.slice_in_dim(responses, start, min(start + length, count), axis=axis).mean(axis)


def responses_to(model: Model, stimulus: Stimulus, session: str | None) -> Float[Array, "new_time neuron"]:
    """Responses to a batch of one; without a session those of all, in the order of the sessions' names."""
    responses = model(stimulus, session=session)[0]
    if session is not None:
        return responses
    rows = [np.arange(count) + first for first, count in map(model.rows, sorted(model.data_info.sessions))]
    return responses[:, np.concatenate(rows)]


def increase_objective(
    model: Model, neurons: int | Sequence[int], session: str | None, reducer: Reducer = mean_over_time
) -> Objective:
    """Mean response of neurons, see ``responses_to`` for their numbers."""
    chosen = np.atleast_1d(neurons)
    return lambda stimulus: reducer(responses_to(model, stimulus, session)[:, chosen].mean(-1))


def inner_objective(model: CoreReadout, layer: int, channel: int, reducer: Reducer = mean_over_time) -> Objective:
    """Output of a core's layer for one channel at the pixel in the middle.

    Raises:
        UserError: the core has no such layer.
    """
    core = model.core
    if not isinstance(core, SimpleCore) or not 0 <= layer < len(core.layers):
        raise UserError(f"the core of the model has no layer {layer}; see model.core for its layers")

    def objective(stimulus: Array) -> Array:
        maps = core.layer_outputs(stimulus)[layer]
        return reducer(maps[:, :, maps.shape[2] // 2, maps.shape[3] // 2, channel].mean(0))

    return objective


def contrastive_objective(
    model: Model,
    on: Sequence[int],
    off: Sequence[Sequence[int]],
    session: str | None,
    reducer: Reducer = mean_over_time,
    temperature: float = 1.6,
) -> Objective:
    """Response of one cluster of neurons in contrast to others (Burg et al. 2024, arXiv 2401.05342)."""

    def objective(stimulus: Array) -> Array:
        scores = reducer(responses_to(model, stimulus, session))
        return contrast_of_scores(jnp.stack([scores[np.asarray(one)].mean() for one in (on, *off)]), temperature)

    return objective


def contrast_of_scores(scores: Float[Array, " cluster"], temperature: float = 1.6) -> Float[Array, ""]:
    """Logarithm of the softmax of the first cluster's score, plus that of the number of clusters."""
    scaled = scores / temperature
    return scaled[0] - jax.nn.logsumexp(scaled) + np.log(len(scores))


def change_norm(stimulus: Stimulus, ranges: Ranges, norm: float | None) -> Stimulus:
    """Scale each stimulus of a batch to a norm (None: not), and clip every channel then; the norm is not restored."""
    low, high = _limits(ranges, stimulus)
    if norm is not None:
        stimulus = stimulus * (norm / jnp.sqrt(jnp.square(stimulus).sum(axis=(1, 2, 3, 4), keepdims=True)))
    return jnp.clip(stimulus, low, high)


def low_pass_kernel(sigma: float, size: int) -> Float32[Array, " size"]:
    """Gaussian of sum 1; its peak is at ``size // 2``, half a frame late if the size is even."""
    kernel = jnp.exp(-((jnp.arange(size, dtype=jnp.float32) - size // 2) ** 2) / (2 * sigma**2))
    return kernel / kernel.sum()


def low_pass(stimulus: Stimulus, sigma: float, size: int) -> Stimulus:
    """Smooth over time by a Gaussian; frames before and after the stimulus count as 0."""
    time, before = stimulus.shape[1], (size - 1) // 2
    padded = jnp.pad(stimulus, ((0, 0), (before, size - 1 - before), (0, 0), (0, 0), (0, 0)))
    kernel = low_pass_kernel(sigma, size)
    return sum((kernel[lag] * padded[:, lag : lag + time] for lag in range(size)), start=jnp.zeros_like(stimulus))


def range_penalty(stimulus: Stimulus, ranges: Ranges, max_norm: float | None, factor: float = 1.0) -> Float[Array, ""]:
    """Sum of what is beyond the range of its channel and of what the norm of the whole batch is too large."""
    low, high = _limits(ranges, stimulus)
    penalty = jax.nn.relu(low - stimulus).sum() + jax.nn.relu(stimulus - high).sum()
    if max_norm is not None:
        square = jnp.square(stimulus).sum()
        tiny = jnp.finfo(square.dtype).tiny  # where all is 0 the gradient of the norm is 0, not NaN
        penalty += jax.nn.relu(jnp.sqrt(jnp.maximum(square, tiny)) - max_norm)
    return factor * penalty


@dataclasses.dataclass
class Stopper:
    """End of an optimisation; an object serves one of them.

    Attributes:
        max_iterations: largest number of iterations.
        patience: number of losses above the least one after which the optimisation ends early (None: it never does).
        min_delta: margin by which a loss must exceed the least one to count. Only a new least loss resets the count.
    """

    max_iterations: int
    patience: int | None = None
    min_delta: float = 0.0
    least: float = dataclasses.field(default=np.inf, init=False)
    count: int = dataclasses.field(default=0, init=False)

    def stop(self, loss: float) -> bool:
        """Record a loss, and say whether the optimisation ends."""
        if loss < self.least:
            self.least, self.count = loss, 0
        elif loss > self.least + self.min_delta:
            self.count += 1
            return self.patience is not None and self.count >= self.patience
        return False


class Optimized(NamedTuple):
    """A stimulus, and the loss at the beginning of every iteration that led to it."""

    stimulus: Float32[Array, "batch time height width channel"]
    losses: Float[np.ndarray, " iteration"]


def optimize_as_openretina(
    objective: Objective,
    stimulus: Stimulus,
    optimizer: optax.GradientTransformation,
    stopper: Stopper,
    *,
    processors: Sequence[Processor] = (),
    penalties: Sequence[Penalty] = (),
) -> Optimized:
    """Optimise a stimulus: a step down the gradient of penalties less objective, then the processors in their order."""

    def loss_of(stimulus: Array) -> Array:
        return sum((penalty(stimulus) for penalty in penalties), start=-objective(stimulus))

    @jax.jit
    def step(stimulus: Array, state: optax.OptState) -> tuple[Array, optax.OptState, Array]:
        loss, gradient = jax.value_and_grad(loss_of)(stimulus)
        with jax.numpy_dtype_promotion("standard"):  # optax.adam raises a float to an integer
            update, state = optimizer.update(gradient, state, stimulus)
        stimulus = optax.apply_updates(stimulus, update)
        for process in processors:
            stimulus = process(stimulus)
        return stimulus, state, loss

    state, losses = optimizer.init(stimulus), []
    for _ in range(stopper.max_iterations):
        stimulus, state, loss = step(stimulus, state)
        losses.append(float(loss))
        if stopper.stop(losses[-1]):
            break
    return Optimized(stimulus, np.array(losses))


class GradientGrid(NamedTuple):
    """Objective and its gradient where the two channels of a stimulus have been scaled by contrasts.

    Attributes:
        gradient: derivatives of the objective by the contrasts of both channels.
        response: objective.
        norm: norm of the gradient.
        contrasts: contrasts of either channel.
    """

    gradient: Float32[np.ndarray, "2 first second"]
    response: Float32[np.ndarray, "first second"]
    norm: Float32[np.ndarray, "first second"]
    contrasts: Float[np.ndarray, " first"]


def gradient_grid(objective: Objective, stimulus: Stimulus, step: float = 0.1) -> GradientGrid:
    """Scale the two channels of a stimulus by contrasts from -1 to 1; rounding may add one contrast beyond 1."""
    contrasts = np.arange(-1, 1 + step, step)
    count = len(contrasts)
    pairs = np.stack(np.meshgrid(contrasts, contrasts, indexing="ij"), -1).reshape(-1, 2).astype(np.float32)

    @jax.jit
    def of_pairs(pairs: Array, stimulus: Array) -> tuple[Array, Array]:
        return jax.lax.map(jax.value_and_grad(lambda pair: objective(pair * stimulus)), pairs)

    response, gradient = (np.asarray(values) for values in of_pairs(pairs, stimulus))
    gradient = gradient.T.reshape(2, count, count)
    return GradientGrid(gradient, response.reshape(count, count), np.linalg.norm(gradient, axis=0), contrasts)


def equalize_channels(stimulus: Stimulus, flip_first: bool = False) -> Stimulus:
    """Scale both channels of a batch of one to one norm, keeping that of the whole; ``flip_first`` flips a sign."""
    norms = jnp.sqrt(jnp.square(stimulus).sum(axis=(0, 1, 2, 3)))
    equal = stimulus / norms * jnp.asarray([-1.0 if flip_first else 1.0, 1.0])
    return equal * (jnp.linalg.norm(norms) / jnp.linalg.norm(equal))


def prepare_movies(
    images: Float32[np.ndarray, "image height width channel"],
    lag: int,
    *,
    shown_frames: int = 16,
    norm_mean: float = 0.0,
    norm_std: float = 1.0,
) -> tuple[Float32[np.ndarray, "image time height width channel"], int]:
    """Show images after grey, which is one number: the mean over all images, pixels and channels.

    Args:
        images: raw images.
        lag: ``Model.lag``.
        shown_frames: frames of each image.
        norm_mean, norm_std: normalisation of the images.

    Returns:
        The movies, and the number of grey frames.
    """
    grey_frames = lag + EMPTY_FRAMES
    shown = ((images - norm_mean) / norm_std)[:, None]
    grey = np.full_like(shown, shown.mean())
    return np.concatenate([grey.repeat(grey_frames, axis=1), shown.repeat(shown_frames, axis=1)], axis=1), grey_frames


def lsta_library(
    model: Model,
    movies: Float32[np.ndarray, "image time height width channel"],
    session: str,
    neuron: int,
    window: tuple[int, int] = (5, 15),
) -> tuple[Float32[np.ndarray, "image height width channel"], Float32[np.ndarray, "image new_time neuron"]]:
    """Mean gradient over *all* frames, grey ones too, of a neuron's responses in a window summed.

    The window counts the model's responses. The image of ``prepare_movies`` begins at the eleventh of them, so that the
    first half of the default window does not depend on it.

    Returns:
        Gradients, and the responses of all neurons of the session.
    """
    first, end = window

    def of_movie(movie: Array) -> tuple[Array, Array]:
        def response(movie: Array) -> tuple[Array, Array]:
            responses = responses_to(model, movie[None], session)
            return responses[first:end, neuron].sum(), responses

        gradient, responses = jax.grad(response, has_aux=True)(movie)
        return gradient.mean(axis=0), responses

    gradients, responses = jax.jit(lambda movies: jax.lax.map(of_movie, movies))(movies)
    return np.asarray(gradients), np.asarray(responses)


def decompose_kernel(
    kernel: Float[np.ndarray, "time height width"],
) -> tuple[Float32[np.ndarray, " time"], Float32[np.ndarray, "height width"]]:
    """Time course and image of a kernel; the mean of the image around the middle of the frame is positive.

    Where the receptive field does not lie there, the sign says nothing; ``decomposition.space_time`` takes the field's
    own centre.
    """
    spatial, temporal, _ = space_time(kernel[..., None])
    y, x = (size // 2 for size in spatial.shape)
    sign = -1 if spatial[y - 3 : y + 2, x - 3 : x + 2].mean() < 0 else 1
    return sign * temporal[:, 0], sign * spatial


def _limits(ranges: Ranges, stimulus: Array) -> tuple[Array, Array]:
    """Least and largest value of every channel.

    Raises:
        UserError: there are not as many ranges as channels.
    """
    if len(ranges) != stimulus.shape[-1]:
        raise UserError(f"there are {len(ranges)} ranges for {stimulus.shape[-1]} channels; give one for each")
    low = [-np.inf if least is None else least for least, _ in ranges]
    high = [np.inf if largest is None else largest for _, largest in ranges]
    return jnp.asarray(low, stimulus.dtype), jnp.asarray(high, stimulus.dtype)
