"""Receptive fields of models: averages and covariances of noise weighted by the response, and mean gradients.

For Gaussian noise of variance σ² the average of the stimulus weighted by the response, divided by σ², is the mean
gradient of the response (Stein's lemma), and the covariance weighted so, divided by σ⁴, its mean matrix of second
derivatives. Both are given in these units. The last frame is the one of the response.
"""

import dataclasses
import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Float32

from openretina_jax.errors import UserError
from openretina_jax.insilico.blocks import BLOCK_VALUES, Chosen, check_every_frame, checked
from openretina_jax.insilico.decomposition import ReceptiveFields, space_time
from openretina_jax.insilico.gradients import mean_gradients
from openretina_jax.insilico.targets import as_targets, respond_all
from openretina_jax.models.model import Model
from openretina_jax.runtime.devices import precision

Kernels = Float32[np.ndarray, "neuron frame height width channel"]


def noise_sta(
    model: Model,
    *,
    frames: int = 20_000,
    check_px: int = 1,
    contrast: float = 1.0,
    kernel_frames: int | None = None,
    seed: int = 0,
) -> Kernels:
    """Average Gaussian white noise weighted by the responses to it, for all neurons in one pass.

    The noise is drawn on the device, block by block. Memory is that of the result, twice, and of one block of at most
    ``BLOCK_VALUES`` numbers.

    Args:
        model: a trained model.
        frames: number of responses that are averaged, at least.
        check_px: side of a check of the noise; each pixel then has the sum over its check.
        contrast: standard deviation of the noise in the units of the model.
        kernel_frames: frames of the result (None: those of the model's receptive field).
        seed: seed of the noise.

    Raises:
        UserError: an option is out of its range, the receptive field has no end, or the model does not answer every
            frame.
    """
    noise = _noise(model, frames, check_px, contrast, kernel_frames)
    key = jax.random.key(seed)
    found = np.asarray(_sta(model, jax.random.split(key, noise.blocks), noise=noise))
    return np.ascontiguousarray(found.swapaxes(0, 1)).reshape(-1, noise.kernel_frames, *model.data_info.input_shape)


@dataclasses.dataclass(frozen=True, eq=False)
class Stc:
    """Directions of the stimulus, beside the average, along which the response is curved.

    Attributes:
        names: names of the neurons.
        eigenvalues: mean second derivative of the response along each direction, the largest absolute value first;
            positive ones excite whatever their sign, negative ones suppress.
        eigenvectors: directions of norm 1, whose largest absolute value is positive.
        p: share of responses shifted in time whose largest absolute eigenvalue is as large (the given ones count).
    """

    names: tuple[str, ...]
    eigenvalues: Float32[np.ndarray, "neuron component"]
    eigenvectors: Float32[np.ndarray, "neuron component frame height width channel"]
    p: Float32[np.ndarray, "neuron component"]


def noise_stc(
    model: Model,
    neurons: Chosen,
    *,
    frames: int = 20_000,
    pixels: int = 9,
    components: int = 4,
    shifts: int = 20,
    contrast: float = 1.0,
    kernel_frames: int | None = None,
    seed: int = 0,
) -> Stc:
    """Decompose the covariance of noise weighted by responses, within the receptive fields.

    The stimulus of a neuron is what the strongest pixels of its average show in all frames of the kernel; the average
    itself is projected out (Schwartz et al. 2006, https://doi.org/10.1167/6.4.13). Memory is that of ``shifts + 1``
    matrices for each neuron, with as many rows as the numbers of such a stimulus.

    Args:
        model: a trained model.
        neurons: chosen neurons or targets.
        frames: number of responses, at least; several times the numbers of a stimulus are needed.
        pixels: number of pixels of a receptive field.
        components: number of directions.
        shifts: number of random shifts of the responses in time, which say what chance gives.
        contrast: standard deviation of the noise in the units of the model.
        kernel_frames: frames of a stimulus (None: those of the model's receptive field).
        seed: seed of noise and shifts.

    Raises:
        UserError: see ``noise_sta``; or there are more pixels or directions than the stimulus has.
    """
    targets = as_targets(model, neurons)
    noise = _noise(model, frames, 1, contrast, kernel_frames)
    height, width, channels = model.data_info.input_shape
    numbers = noise.kernel_frames * pixels * channels
    if not (0 < pixels <= height * width and 0 < components < numbers):
        raise UserError(
            f"{pixels} pixels and {components} directions were asked for; frames have {height * width} pixels, and "
            f"there must be fewer directions than numbers of a stimulus ({numbers})"
        )
    average = noise_sta(model, frames=frames, contrast=contrast, kernel_frames=kernel_frames, seed=seed)
    average = np.einsum("nmfhwc,nm->nfhwc", average[targets.rows], targets.weights)
    chosen = np.argsort(-np.abs(space_time(average).spatial.reshape(len(targets), -1)), axis=1)[:, :pixels]
    flat = average.reshape(len(targets), noise.kernel_frames, height * width, channels)
    mean = np.take_along_axis(flat, chosen[:, None, :, None], axis=2).reshape(len(targets), numbers)
    norm = np.linalg.norm(mean, axis=1, keepdims=True)
    mean = np.divide(mean, norm, out=np.zeros_like(mean), where=norm > 0)
    keys = jax.random.split(jax.random.fold_in(jax.random.key(seed), 1), noise.blocks)
    matrices = _stc(
        model, keys, targets.rows, targets.weights, chosen.astype(np.int32), mean, noise=noise, shifts=shifts
    )
    return _directions(
        np.asarray(matrices), targets.names, chosen, (noise.kernel_frames, height, width, channels), components
    )


def mean_gradient(
    model: Model, windows: Float[np.ndarray, "window time height width channel"], neurons: Chosen = "all"
) -> Kernels:
    """Average the gradient of the last response over windows of a movie, such as natural ones.

    Args:
        model: a trained model.
        windows: normalised windows; only the last frames count, as many as the model's receptive field has.
        neurons: chosen neurons or targets.

    Raises:
        UserError: the windows do not fit the model, or are too short.
    """
    windows = checked(model, windows, 1)
    past = model.receptive_field().past
    return mean_gradients(model, windows if past is None else windows[:, -max(past, model.lag) - 1 :], neurons)


def described(model: Model, kernels: Kernels, neurons: Chosen = "all") -> ReceptiveFields:
    """Describe kernels of the model's neurons: centre, size, polarity, ..."""
    return ReceptiveFields.of(kernels, as_targets(model, neurons).names, model.data_info.frame_rate_hz)


class _Noise(NamedTuple):
    """Blocks of noise: ``windows`` windows of ``frames`` frames each, the last ``used`` of which have responses."""

    blocks: int
    windows: int
    frames: int
    used: int
    kernel_frames: int
    check_px: int
    contrast: float

    def draw(self, key: Array, shape: tuple[int, int, int]) -> Float[Array, "window frame height width channel"]:
        """Draw a block."""
        height, width, channels = shape
        checks = (-(-height // self.check_px), -(-width // self.check_px))
        drawn = self.contrast * jax.random.normal(key, (self.windows, self.frames, *checks, channels))
        for axis in (2, 3):
            drawn = drawn.repeat(self.check_px, axis=axis)
        return drawn[:, :, :height, :width]

    @property
    def responses(self) -> int:
        """Responses of a block."""
        return self.windows * self.used


def _noise(model: Model, frames: int, check_px: int, contrast: float, kernel_frames: int | None) -> _Noise:
    """Choose the blocks."""
    if frames < 2 or check_px < 1 or not contrast > 0 or (kernel_frames is not None and kernel_frames < 1):
        raise UserError(
            f"frames is {frames}, check_px {check_px}, contrast {contrast} and kernel_frames {kernel_frames}; at least "
            "2 frames are needed, and all must be above 0"
        )
    field = model.receptive_field()
    if kernel_frames is None:
        if field.frames is None:
            raise UserError("the model's receptive field has no first frame; give kernel_frames")
        kernel_frames = field.frames if field.past is None else field.past + 1
    history = max(kernel_frames - 1, model.lag)
    used = 3 * max(kernel_frames, 20)  # three quarters of the frames have responses that are used
    check_every_frame(model, history + used)
    values = (history + used) * int(np.prod(model.data_info.input_shape))
    windows = min(max(2, BLOCK_VALUES // values), -(-frames // used))
    blocks = -(-frames // (windows * used))
    return _Noise(blocks, windows, history + used, used, kernel_frames, check_px, contrast)


@functools.partial(jax.jit, static_argnames="noise")
def _sta(model: Model, keys: Array, *, noise: _Noise) -> Float[Array, "frame neuron pixel"]:
    shape = model.data_info.input_shape
    values, first = int(np.prod(shape)), noise.frames - noise.used - noise.kernel_frames + 1

    def add(total: Array, key: Array) -> tuple[Array, None]:
        shown = noise.draw(key, shape)
        responses = respond_all(model, shown)[:, -noise.used :]
        responses -= responses.mean(axis=(0, 1))
        pixels = shown.reshape(noise.windows, noise.frames, values)

        def at(frame: Array) -> Array:
            seen = jax.lax.dynamic_slice_in_dim(pixels, first + frame, noise.used, axis=1)
            return jnp.einsum("wrn,wrp->np", responses, seen, precision=precision())

        return total + jax.lax.map(at, jnp.arange(noise.kernel_frames)), None

    start = jnp.zeros((noise.kernel_frames, model.data_info.n_neurons, values))
    total = jax.lax.scan(add, start, keys)[0]
    # one degree of freedom of every block goes into its mean
    return total / (noise.blocks * (noise.responses - 1) * noise.contrast**2)


@functools.partial(jax.jit, static_argnames=("noise", "shifts"))
def _stc(
    model: Model,
    keys: Array,
    rows: Array,
    weights: Array,
    chosen: Array,
    mean: Array,
    *,
    noise: _Noise,
    shifts: int,
) -> Float[Array, "target shift number number"]:
    """Weighted covariances without the direction of the average; the first of each target is not shifted."""
    height, width, channels = model.data_info.input_shape
    first = noise.frames - noise.used - noise.kernel_frames + 1

    def add(total: Array, key: Array) -> tuple[Array, None]:
        noise_key, shift_key = jax.random.split(key)
        shown = noise.draw(noise_key, (height, width, channels))
        responses = jnp.einsum("wrnm,nm->nwr", respond_all(model, shown)[:, -noise.used :, rows], weights)
        responses = responses.reshape(len(rows), -1)
        responses -= responses.mean(axis=1, keepdims=True)
        least = min(noise.kernel_frames, noise.responses - 1)
        by = jax.random.randint(shift_key, (shifts,), least, noise.responses)
        shifted = jax.vmap(lambda by: jnp.roll(responses, by, axis=1), out_axes=1)(by)
        given = jnp.concatenate([responses[:, None], shifted], axis=1)
        pixels = shown.reshape(noise.windows, noise.frames, height * width, channels)

        def of_target(one: tuple[Array, Array, Array]) -> Array:
            chosen, mean, given = one
            seen = pixels[:, :, chosen].reshape(noise.windows, noise.frames, -1)
            parts = [seen[:, first + frame :][:, : noise.used] for frame in range(noise.kernel_frames)]
            stimuli = jnp.stack(parts, axis=2).reshape(noise.responses, -1)
            stimuli -= jnp.outer(jnp.matmul(stimuli, mean, precision=precision()), mean)
            return jax.lax.map(lambda weight: jnp.matmul(stimuli.T * weight, stimuli, precision=precision()), given)

        return total + jax.lax.map(of_target, (chosen, mean, given)), None

    start = jnp.zeros((len(rows), shifts + 1, mean.shape[1], mean.shape[1]))
    total = jax.lax.scan(add, start, keys)[0]
    return total / (noise.blocks * (noise.responses - 1) * noise.contrast**4)


def _directions(
    matrices: Float32[np.ndarray, "neuron shift number number"],
    names: tuple[str, ...],
    chosen: np.ndarray,
    shape: tuple[int, int, int, int],
    components: int,
) -> Stc:
    """Eigenvectors of the first matrix of each neuron, judged by the largest eigenvalue of the others."""
    frames, height, width, channels = shape
    count, shifts = len(matrices), matrices.shape[1] - 1
    eigenvalues, p = np.empty((2, count, components), np.float32)
    eigenvectors = np.zeros((count, components, frames, height * width, channels), np.float32)
    for number, (given, *shifted) in enumerate(matrices):
        values, vectors = np.linalg.eigh(given)
        order = np.argsort(-np.abs(values))[:components]
        chance = np.array([np.abs(np.linalg.eigvalsh(matrix)).max() for matrix in shifted])
        eigenvalues[number] = values[order]
        p[number] = (1 + (chance[:, None] >= np.abs(values[order])).sum(0)) / (1 + shifts)
        found = vectors[:, order].T
        found *= np.sign(np.take_along_axis(found, np.abs(found).argmax(1)[:, None], 1))
        eigenvectors[number][:, :, chosen[number]] = found.reshape(components, frames, -1, channels)
    return Stc(names, eigenvalues, eigenvectors.reshape(count, components, *shape), p)
