"""Patches of images and temporal filters, for readouts whose neurons see a patch through a window of time."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, Num

from openretina_jax.errors import UserError
from openretina_jax.runtime.devices import precision


def patch_corners(
    centres: Num[Array, "neuron 2"] | Num[np.ndarray, "neuron 2"], patch: tuple[int, int], image: tuple[int, int]
) -> Int[Array, "neuron 2"]:
    """Top left pixel of patches around centres, shifted where needed to lie inside the image.

    Args:
        centres: row and column; fractions of a pixel are dropped.
        patch: height and width of the patches.
        image: height and width of the image.

    Raises:
        UserError: the patches are larger than the image.
    """
    if patch[0] > image[0] or patch[1] > image[1]:
        raise UserError(
            f"a patch of {patch[0]} x {patch[1]} pixels is larger than the image, {image[0]} x {image[1]}; take a "
            "smaller one (spatial_size or patch of config.model.readout)"
        )
    size = jnp.asarray(patch)
    return jnp.clip(jnp.asarray(centres).astype(jnp.int32) - size // 2, 0, jnp.asarray(image) - size)


def crop_patch(
    image: Float[Array, "*rest height width"], corner: Int[Array, "2"], patch: tuple[int, int]
) -> Float[Array, "*rest patch_height patch_width"]:
    """Crop the patch of an image whose top left pixel is ``corner``."""
    rest = image.shape[:-2]
    return jax.lax.dynamic_slice(image, _start(rest, corner), (*rest, *patch))


def crop_patches(
    images: Float[np.ndarray, "neuron *rest height width"], corners: Int[Array, "neuron 2"], patch: tuple[int, int]
) -> Float[Array, "neuron *rest patch_height patch_width"]:
    """Crop a patch of its own out of every neuron's image, see ``crop_patch``."""
    return jax.vmap(lambda image, at: crop_patch(image, at, patch))(jnp.asarray(images, jnp.float32), corners)


def unit_norm(kernels: Float[Array, "neuron *number"]) -> Float[Array, "neuron *number"]:
    """Kernels scaled to norm 1; those of zeros as they are."""
    norm = jnp.sqrt(jnp.square(kernels).sum(axis=tuple(range(1, kernels.ndim)), keepdims=True))
    return kernels / jnp.where(norm == 0, 1, norm)


def place_patch(
    patch: Float[Array, "*rest patch_height patch_width"], corner: Int[Array, "2"], image: tuple[int, int]
) -> Float[Array, "*rest height width"]:
    """Place a patch at ``corner`` of an image of zeros."""
    rest = patch.shape[:-2]
    return jax.lax.dynamic_update_slice(jnp.zeros((*rest, *image), patch.dtype), patch, _start(rest, corner))


def _start(rest: tuple[int, ...], corner: Int[Array, "2"]) -> tuple[Array, ...]:
    """Where a patch begins; all of one type, which Python's 0 is not with ``JAX_ENABLE_X64``."""
    return (*(jnp.zeros_like(corner[0]),) * len(rest), *corner)


def filter_in_time(
    x: Float[Array, "batch time *place"], kernel: Float[Array, " frame"]
) -> Float[Array, "batch new_time *place"]:
    """Cross-correlate over time without padding: the last frame of the kernel meets the frame of the response.

    It multiplies blocks of time by the kernel's Toeplitz matrix. A matrix product is fast in both directions, while XLA
    would recompute a sum of shifted arrays for every term of the gradient.

    Raises:
        UserError: the kernel has more frames than ``x``.
    """
    frames = len(kernel)
    new_time = _new_time(x, frames)
    if not isinstance(new_time, int):  # a symbolic size, in a program exported for movies of any length
        return _shifted_sum(x, list(kernel))
    block = min(frames, new_time)
    starts = range(0, new_time, block)
    padding = starts[-1] + block - new_time
    padded = jnp.pad(x, [(0, 0), (0, padding)] + [(0, 0)] * (x.ndim - 2))
    blocks = jnp.stack([padded[:, start : start + block + frames - 1] for start in starts], axis=1)
    lag = np.arange(block + frames - 1) - np.arange(block)[:, None]
    toeplitz = jnp.where((lag >= 0) & (lag < frames), kernel[np.clip(lag, 0, frames - 1)], 0)
    filtered = jnp.einsum("st,bnt...->bns...", toeplitz, blocks, precision=precision())
    return filtered.reshape(x.shape[0], -1, *x.shape[2:])[:, :new_time]


def filter_each_in_time(
    x: Float[Array, "batch time *place"], kernels: Float[Array, "frame *place"]
) -> Float[Array, "batch new_time *place"]:
    """``filter_in_time`` with a kernel for every place.

    Raises:
        UserError: the kernels have more frames than ``x``.
    """
    return _shifted_sum(x, list(kernels))


def _shifted_sum(x: Array, weights: list[Array]) -> Array:
    """Sum over lags of the frames times their weights."""
    new_time = _new_time(x, len(weights))
    terms = [weight * x[:, n : n + new_time] for n, weight in enumerate(weights)]
    return sum(terms[1:], start=terms[0])


def _new_time(x: Array, frames: int) -> Any:
    """Frames of the output: a number, or a symbolic size in programs exported for movies of any length."""
    if x.shape[1] < frames:
        raise UserError(f"{x.shape[1]} frames are too few for temporal filters of {frames}; take longer windows")
    return x.shape[1] - frames + 1
