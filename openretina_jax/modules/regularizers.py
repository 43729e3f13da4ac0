"""Penalties on weights, and the small filters that they are made of.

Filters are sums of shifted arrays: XLA fuses these into one loop and, unlike a convolution, computes them in full
precision on every device.
"""

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Float32

from openretina_jax.errors import UserError
from openretina_jax.modules.layers import Number

LAPLACE_EPSILON = 1e-6
SPARSITY_EPSILON = 1e-8

_SECOND_DIFFERENCE = np.array([-1, 2, -1])
# minus the Laplace operator, and two Laplacians of Gaussians
_LAPLACE = {
    3: np.array([[0, -1, 0], [-1, 4, -1], [0, -1, 0]]),
    5: np.array([[0, 0, 1, 0, 0], [0, 1, 2, 1, 0], [1, 2, -16, 2, 1], [0, 1, 2, 1, 0], [0, 0, 1, 0, 0]]),
    7: np.array(
        [
            [0, 0, 1, 1, 1, 0, 0],
            [0, 1, 3, 3, 3, 1, 0],
            [1, 3, 0, -7, 0, 3, 1],
            [1, 3, -7, -24, -7, 3, 1],
            [1, 3, 0, -7, 0, 3, 1],
            [0, 1, 3, 3, 3, 1, 0],
            [0, 0, 1, 1, 1, 0, 0],
        ]
    ),
}


def is_active(gamma: Number) -> bool:
    """False only if the weight of a penalty is the constant 0, so that the penalty need not be computed."""
    return isinstance(gamma, Array) or gamma != 0


def absolute(x: Float[Array, "*shape"]) -> Float[Array, "*shape"]:
    """Absolute value with gradient 0 at 0.

    ``jnp.abs`` has gradient 1 at 0, which would move weights that are clamped to exactly 0.
    """
    return jnp.where(x == 0, 0, jnp.abs(x))


def laplace(
    images: Float[Array, "*batch height width"], size: int = 3, padding: int | None = None
) -> Float[Array, "*batch new_height new_width"]:
    """Filter images with a Laplace filter.

    Args:
        images: images to filter.
        size: pixels of the filter, 3, 5 or 7; the larger ones smooth, and have the opposite sign.
        padding: rows and columns of zeros on every side (None: as many as keep the size).

    Raises:
        UserError: there is no such filter, or it is larger than the padded image.
    """
    if size not in _LAPLACE:
        raise UserError(f"there is no Laplace filter of size {size}; choose among {', '.join(map(str, _LAPLACE))}")
    return _response(images, _LAPLACE[size], padding)


def laplace_1d(traces: Float[Array, "*batch time"], padding: int | None = None) -> Float[Array, "*batch new_time"]:
    """Compute the negative second difference of traces; ``padding`` as in ``laplace``."""
    return _response(traces, _SECOND_DIFFERENCE, padding)


def laplace_energy(
    kernels: Float[Array, "*batch height width"], padding: int | None = 0, away_from_centre: bool = False
) -> Float[Array, "*batch"]:
    """Squared response to the 3x3 Laplace filter of every kernel, summed over pixels.

    Args:
        kernels: spatial kernels.
        padding: as in ``laplace``.
        away_from_centre: weight the response by one minus a Gaussian, whose standard deviation is a quarter of the
            kernel's shorter side, so that detail is free in the centre.
    """
    return jnp.square(_spatial_response(kernels, padding, away_from_centre)).sum(axis=(-2, -1))


def spatial_laplace(
    kernels: Float[Array, "out in height width"],
    padding: int | None = 0,
    average: bool = False,
    away_from_centre: bool = False,
) -> Float32[Array, ""]:
    """Squared response of all kernels to the 3x3 Laplace filter over their squared norm.

    Args:
        kernels: spatial kernels.
        padding, away_from_centre: as in ``laplace_energy``.
        average: divide means instead of sums; numerator and denominator differ in their numbers of pixels.
    """
    return _relative_energy(_spatial_response(kernels, padding, away_from_centre), kernels, average)


def temporal_laplace(
    kernels: Float[Array, "out in time"], padding: int | None = 0, average: bool = False
) -> Float32[Array, ""]:
    """Squared second difference of all kernels over their squared norm; arguments as in ``spatial_laplace``."""
    return _relative_energy(laplace_1d(kernels, padding), kernels, average)


def gaussian_2d(
    size: int | tuple[int, int],
    sigma: float = 5.0,
    ratio: float = 1.0,
    theta: float = 0.0,
    centre: tuple[float, float] = (0.0, 0.0),
    normalize: bool = True,
) -> Float32[np.ndarray, "height width"]:
    """A two-dimensional Gaussian with peak 1.

    Args:
        size: height and width in pixels; one number is both.
        sigma: standard deviation along its first principal axis, in pixels.
        ratio: ``sigma`` over the standard deviation along its second principal axis.
        theta: angle from the image's (rows, columns) to its principal axes, in radians.
        centre: row and column of the peak, from the middle of the image.
        normalize: shift and scale to the range 0 to 1.
    """
    shape = (size, size) if isinstance(size, int) else size
    rows, columns = (np.arange(n) - (n - 1) / 2 - shift for n, shift in zip(shape, centre, strict=True))
    first = rows[:, None] * np.cos(theta) + columns * np.sin(theta)
    second = columns * np.cos(theta) - rows[:, None] * np.sin(theta)
    gaussian = np.exp(-0.5 * (np.square(first) + np.square(ratio * second)) / sigma**2)
    if normalize:
        gaussian -= gaussian.min()
        gaussian /= gaussian.max()
    return gaussian.astype(np.float32)


def group_sparsity(kernels: Float[Array, "out in *kernel"], epsilon: float = SPARSITY_EPSILON) -> Float32[Array, ""]:
    """Penalty that favours outputs with few inputs: the summed norms of an output's kernels over their joint norm.

    A kernel that is exactly zero has gradient 0.

    Args:
        kernels: kernels, summed over outputs.
        epsilon: added to the squared joint norm.
    """
    energy = jnp.square(kernels).sum(axis=tuple(range(2, kernels.ndim)))
    norm = _root(epsilon + energy.sum(axis=1))
    return (_root(energy).sum(axis=1) / jnp.where(norm > 0, norm, 1)).sum()


def _response(x: Array, weights: np.ndarray, padding: int | None) -> Array:
    """Cross-correlation of the last axes with ``weights``; zeros are added on all sides (None: to keep the size)."""
    if padding is None:
        padding = len(weights) // 2
    size = x.shape[-weights.ndim :]
    new_size = [n + 2 * padding - len(weights) + 1 for n in size]
    if min(new_size) < 1:
        raise UserError(
            f"kernels of {'x'.join(map(str, size))} with padding {padding} are smaller than a Laplace filter of "
            f"{'x'.join(map(str, weights.shape))}; use larger kernels or set the weight of the penalty to 0"
        )
    padded = jnp.pad(x, [(0, 0)] * (x.ndim - weights.ndim) + [(padding, padding)] * weights.ndim)

    def shifted(start: tuple[int, ...]) -> Array:
        return padded[..., *(slice(first, first + n) for first, n in zip(start, new_size, strict=True))]

    terms = [int(weight) * shifted(start) for start, weight in np.ndenumerate(weights) if weight]
    return sum(terms[1:], start=terms[0])


def _spatial_response(kernels: Array, padding: int | None, away_from_centre: bool) -> Array:
    response = laplace(kernels, padding=padding)
    if not away_from_centre:
        return response
    height, width = kernels.shape[-2:]
    weight = 1 - gaussian_2d((height, width), sigma=min(height, width) / 4)
    margin = (response.shape[-1] - width) // 2  # negative where the response lacks the kernel's border
    return response * jax.lax.pad(jnp.asarray(weight), np.float32(1), [(margin, margin, 0)] * 2)


def _relative_energy(response: Array, kernels: Array, average: bool) -> Array:
    aggregate = jnp.mean if average else jnp.sum
    return aggregate(jnp.square(response)) / (aggregate(jnp.square(kernels)) + LAPLACE_EPSILON)


def _root(x: Array) -> Array:
    """Square root with gradient 0 (not infinity) at 0."""
    positive = x > 0
    return jnp.where(positive, jnp.sqrt(jnp.where(positive, x, 1)), 0)
