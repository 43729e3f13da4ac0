"""Gradients of responses with respect to stimuli: at any stimulus, at images, along contrasts, and along paths.

Each is one program, which runs over targets in blocks (see ``blocks``).
"""

import dataclasses
import functools
from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Float32

from openretina_jax.errors import UserError
from openretina_jax.insilico.blocks import (
    Chosen,
    Window,
    blocks,
    check_every_frame,
    checked,
    history_frames,
    members,
    score,
)
from openretina_jax.insilico.targets import as_targets
from openretina_jax.models.model import Model

CONTRASTS = tuple(np.linspace(-1, 1, 21).tolist())


def gradients(
    model: Model,
    stimuli: Float[np.ndarray, "stimulus time height width channel"],
    neurons: Chosen,
    window: int = 1,
) -> Float32[np.ndarray, "neuron stimulus time height width channel"]:
    """Compute the gradient of every neuron's mean response in the last frames of every stimulus.

    Args:
        model: a trained model.
        stimuli: normalised movies.
        neurons: chosen neurons or targets.
        window: number of last responses.

    Raises:
        UserError: the stimuli do not fit the model, or are too short for the window.
    """
    targets = as_targets(model, neurons)
    stimuli = checked(model, stimuli, window)
    found = np.empty((len(targets) * len(stimuli), *stimuli.shape[1:]), np.float32)
    for pairs, place in blocks(len(found), stimuli[0].size):
        target, stimulus = np.divmod(pairs, len(stimuli))
        block = _gradient(model, stimuli[stimulus], *members(model, targets[target]), window=(-window, None))
        found[place] = block[: place.stop - place.start]
    return found.reshape(len(targets), *stimuli.shape)


def mean_gradients(
    model: Model,
    stimuli: Float[np.ndarray, "stimulus time height width channel"],
    neurons: Chosen,
    weights: Float[np.ndarray, " stimulus"] | None = None,
    window: int = 1,
) -> Float32[np.ndarray, "neuron time height width channel"]:
    """Sum the gradients at several stimuli, weighted (None: their mean); see ``gradients``.

    The stimuli of a program come one after the other, so that memory does not grow with their number.
    """
    targets = as_targets(model, neurons)
    stimuli = checked(model, stimuli, window)
    if weights is None:
        weights = np.full(len(stimuli), 1 / len(stimuli))
    found = np.empty((len(targets), *stimuli.shape[1:]), np.float32)
    for target, place in blocks(len(targets), stimuli[0].size):
        block = _mean_gradient(
            model,
            stimuli,
            weights.astype(np.float32),
            *members(model, targets[target]),
            window=(-window, None),
        )
        found[place] = block[: place.stop - place.start]
    return found


def integrated_gradients(
    model: Model,
    stimulus: Float[np.ndarray, "time height width channel"],
    neurons: Chosen,
    *,
    baseline: float | Float[np.ndarray, "#time #height #width #channel"] = 0.0,
    steps: int = 32,
    window: int = 1,
) -> Float32[np.ndarray, "neuron time height width channel"]:
    """Attribute the score to pixels: the difference from a baseline times the mean gradient on the way from there.

    The attributions of a neuron sum up to its score less that of the baseline, but for the error of the quadrature
    (Gauss and Legendre's). Source: Sundararajan et al. 2017, https://proceedings.mlr.press/v70/sundararajan17a.html.

    Args:
        model: a trained model.
        stimulus: normalised movie.
        neurons: chosen neurons or targets.
        baseline: movie, frame, pixel or number from which the way begins.
        steps: stimuli on the way.
        window: number of last responses in the score.

    Raises:
        UserError: the stimulus does not fit the model, or is too short for the window.
    """
    nodes, weights = np.polynomial.legendre.leggauss(steps)
    difference = (stimulus - np.asarray(baseline)).astype(np.float32)
    way = stimulus - ((1 - nodes) / 2).astype(np.float32)[:, None, None, None, None] * difference
    return difference * mean_gradients(model, way, neurons, weights / 2, window)


@dataclasses.dataclass(frozen=True, eq=False)
class Lsta:
    """Gradients of responses to images, each shown after grey (local spike-triggered averages).

    Source: Goldin et al. 2022, https://doi.org/10.1038/s41467-022-33242-8.

    Attributes:
        names: names of the neurons.
        images: the images.
        gradients: gradient of the mean response in the window with respect to the image, that is, summed over the
            frames in which it is shown.
        responses: each neuron's own responses from the first frame of the image on.
        window: frames of the window after the onset of the image.
    """

    names: tuple[str, ...]
    images: Float32[np.ndarray, "image height width channel"]
    gradients: Float32[np.ndarray, "neuron image height width channel"]
    responses: Float32[np.ndarray, "neuron image frame"]
    window: tuple[int, int]

    @property
    def mean_responses(self) -> Float32[np.ndarray, "neuron image"]:
        """Mean response in the window."""
        return self.responses[..., slice(*self.window)].mean(-1)


def lsta(
    model: Model,
    images: Float[np.ndarray, "image height width channel"],
    neurons: Chosen,
    *,
    shown_frames: int = 16,
    window: tuple[int, int] = (0, 10),
    grey: Sequence[float] | None = None,
) -> Lsta:
    """Show images after grey, and compute the gradient of every neuron's response with respect to every image.

    Args:
        model: a trained model.
        images: normalised images.
        neurons: chosen neurons or targets.
        shown_frames: frames for which an image is shown.
        window: first frame of the window and the one after its last, counted from the onset of the image.
        grey: value of every channel before the image (None: the mean of all images in this channel).

    Raises:
        UserError: the images do not fit the model, the window is not while they are shown, or the model does not answer
            every frame.
    """
    targets = as_targets(model, neurons)
    first, end = window
    if not 0 <= first < end <= shown_frames:
        raise UserError(
            f"the window {window} must lie within the {shown_frames} frames of an image; both count from its onset"
        )
    before = history_frames(model)
    check_every_frame(model, before + shown_frames)
    levels = images.mean(axis=(0, 1, 2)) if grey is None else np.asarray(grey)
    if levels.shape != images.shape[-1:]:
        raise UserError(f"grey has {levels.size} values for {images.shape[-1]} channels; give one for each")
    empty = np.broadcast_to(levels, (before, *images.shape[1:])).astype(np.float32)
    checked(model, empty[None], 0)
    pixels = images.astype(np.float32)
    found = np.empty((len(targets) * len(images), *images.shape[1:]), np.float32)
    responses = np.empty((len(found), shown_frames), np.float32)
    for pairs, place in blocks(len(found), (before + shown_frames) * images[0].size):
        target, image = np.divmod(pairs, len(images))
        block = _image_gradient(
            model, pixels[image], empty, *members(model, targets[target]), frames=shown_frames, window=window
        )
        found[place], responses[place] = (part[: place.stop - place.start] for part in block)
    shape = (len(targets), len(images))
    return Lsta(
        names=targets.names,
        images=pixels,
        gradients=found.reshape(*shape, *images.shape[1:]),
        responses=responses.reshape(*shape, shown_frames),
        window=window,
    )


@dataclasses.dataclass(frozen=True, eq=False)
class ContrastGrid:
    """Score where two channels of a stimulus are scaled by contrasts.

    Attributes:
        names: names of the neurons.
        channels: the two channels.
        contrasts: factors of either channel.
        response: score by the contrasts of the first and of the second channel.
        gradient: its derivatives by these contrasts.
    """

    names: tuple[str, ...]
    channels: tuple[int, int]
    contrasts: Float32[np.ndarray, " contrast"]
    response: Float32[np.ndarray, "neuron contrast contrast"]
    gradient: Float32[np.ndarray, "neuron contrast contrast 2"]


def contrast_grid(
    model: Model,
    stimuli: Float[np.ndarray, "stimulus time height width channel"],
    neurons: Chosen,
    *,
    contrasts: Sequence[float] | Float[np.ndarray, " contrast"] = CONTRASTS,
    channels: tuple[int, int] = (0, 1),
    window: int = 1,
) -> ContrastGrid:
    """Scale two channels of every neuron's stimulus by all pairs of contrasts; other channels stay as they are.

    Source: Höfling et al. 2024, https://doi.org/10.7554/eLife.86860.

    Args:
        model: a trained model.
        stimuli: normalised movie for each neuron, such as its most exciting one, or a single movie for all.
        neurons: chosen neurons or targets.
        contrasts: factors of either channel.
        channels: the two channels.
        window: number of last responses in the score.

    Raises:
        UserError: the stimuli do not fit the model or the neurons, or there are no such channels.
    """
    targets = as_targets(model, neurons)
    stimuli = checked(model, stimuli, window)
    count = stimuli.shape[-1]
    if len(stimuli) not in (1, len(targets)):
        raise UserError(
            f"there are {len(stimuli)} stimuli for {len(targets)} neurons; give one for each, or a single one"
        )
    if len(set(channels)) < 2 or not all(0 <= channel < count for channel in channels):
        raise UserError(f"the channels {channels} must be two different ones of 0 to {count - 1}")
    levels = np.asarray(contrasts, np.float32)
    pairs = np.stack(np.meshgrid(levels, levels, indexing="ij"), -1).reshape(-1, 2)
    response = np.empty((len(targets), len(pairs)), np.float32)
    gradient = np.empty((*response.shape, 2), np.float32)
    for target, place in blocks(len(targets), stimuli[0].size):
        shown = stimuli[np.minimum(target, len(stimuli) - 1)]
        block = _contrast_gradient(
            model, shown, pairs, *members(model, targets[target]), channels=channels, window=(-window, None)
        )
        response[place], gradient[place] = (part[: place.stop - place.start] for part in block)
    shape = (len(targets), len(levels), len(levels))
    return ContrastGrid(targets.names, channels, levels, response.reshape(shape), gradient.reshape(*shape, 2))


@dataclasses.dataclass(frozen=True, eq=False)
class JacobianSpectrum:
    """Directions of stimulus space that neurons together tell apart, at every stimulus.

    Attributes:
        singular_values: singular values of the gradients of all neurons, in falling order.
        participation_ratio: effective number of directions, (Σλ)² / Σλ² of the squared singular values λ.
    """

    singular_values: Float32[np.ndarray, "stimulus direction"]
    participation_ratio: Float32[np.ndarray, " stimulus"]


def jacobian_spectrum(
    model: Model,
    stimuli: Float[np.ndarray, "stimulus time height width channel"],
    neurons: Chosen = "all",
    window: int = 1,
) -> JacobianSpectrum:
    """Compute the singular values of the neurons' gradients at every stimulus; arguments as for ``gradients``.

    The gradients at one stimulus are in memory at a time.
    """
    targets = as_targets(model, neurons)
    values = []
    for stimulus in stimuli:
        rows = gradients(model, stimulus[None], targets, window).reshape(len(targets), -1).astype(np.float64)
        products = rows @ rows.T if len(rows) <= rows.shape[1] else rows.T @ rows
        values.append(np.maximum(np.linalg.eigvalsh(products)[::-1], 0))
    squares = np.array(values)
    total = np.square(squares).sum(-1)
    ratio = squares.sum(-1) ** 2 / np.where(total > 0, total, np.nan)
    return JacobianSpectrum(np.sqrt(squares).astype(np.float32), ratio.astype(np.float32))


@functools.partial(jax.jit, static_argnames="window")
def _gradient(
    model: Model, stimuli: Array, rows: Array, weights: Array, session: Array | None, *, window: Window
) -> Array:
    return jax.grad(lambda stimuli: score(model, stimuli, rows, weights, session, window)[0].sum())(stimuli)


@functools.partial(jax.jit, static_argnames="window")
def _mean_gradient(
    model: Model,
    stimuli: Array,
    share: Array,
    rows: Array,
    weights: Array,
    session: Array | None,
    *,
    window: Window,
) -> Array:
    def add(total: Array, one: tuple[Array, Array]) -> tuple[Array, None]:
        stimulus, share = one
        shown = jnp.broadcast_to(stimulus, total.shape)
        gradient = jax.grad(lambda shown: score(model, shown, rows, weights, session, window)[0].sum())(shown)
        return total + share * gradient, None

    return jax.lax.scan(add, jnp.zeros((len(rows), *stimuli.shape[1:])), (stimuli, share))[0]


@functools.partial(jax.jit, static_argnames=("frames", "window"))
def _image_gradient(
    model: Model,
    images: Array,
    empty: Array,
    rows: Array,
    weights: Array,
    session: Array | None,
    *,
    frames: int,
    window: tuple[int, int],
) -> tuple[Array, Array]:
    before = jnp.broadcast_to(empty, (len(images), *empty.shape))

    def of_images(images: Array) -> tuple[Array, Array]:
        shown = jnp.repeat(images[:, None], frames, axis=1)
        movies = jnp.concatenate([before, shown], axis=1)
        # the last responses are those to the frames of the image
        of_image = (window[0] - frames, window[1] - frames or None)
        scores, responses = score(model, movies, rows, weights, session, of_image)
        return scores.sum(), responses[:, -frames:]

    return jax.grad(of_images, has_aux=True)(images)


@functools.partial(jax.jit, static_argnames=("channels", "window"))
def _contrast_gradient(
    model: Model,
    stimuli: Array,
    pairs: Array,
    rows: Array,
    weights: Array,
    session: Array | None,
    *,
    channels: tuple[int, int],
    window: Window,
) -> tuple[Array, Array]:
    def of_pair(pair: Array) -> tuple[Array, Array]:
        def scaled(contrasts: Array) -> tuple[Array, Array]:
            gain = jnp.ones((len(stimuli), stimuli.shape[-1])).at[:, np.array(channels)].set(contrasts)
            scores, _ = score(model, stimuli * gain[:, None, None, None], rows, weights, session, window)
            return scores.sum(), scores

        gradient, scores = jax.grad(scaled, has_aux=True)(jnp.broadcast_to(pair, (len(stimuli), 2)))
        return scores, gradient

    scores, gradient = jax.lax.map(of_pair, pairs)
    return scores.T, gradient.swapaxes(0, 1)
