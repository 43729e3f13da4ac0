"""Means, variances and correlations that leave out NaN, which stands for "not recorded".

Everything is computed in double precision, so that sums over long recordings lose nothing.
"""

import numpy as np
from jaxtyping import Float

STD_EPSILON = 1e-8  # added to standard deviations, so that constant traces have correlation 0

Axes = int | tuple[int, ...]


def mean_of(values: Float[np.ndarray, "..."], axis: Axes = 0, *, keepdims: bool = False) -> Float[np.ndarray, "..."]:
    """Mean of the finite values along axes; NaN where there are none."""
    recorded = np.isfinite(values)
    total = np.where(recorded, values, 0).sum(axis=axis, keepdims=keepdims, dtype=np.float64)
    count = recorded.sum(axis=axis, keepdims=keepdims)
    return np.where(count > 0, total / np.maximum(count, 1), np.nan)


def variance_of(values: Float[np.ndarray, "..."], axis: Axes = 0) -> Float[np.ndarray, "..."]:
    """Variance of the finite values along axes, divided by their number; NaN where there are none."""
    return mean_of(np.square(values - mean_of(values, axis, keepdims=True)), axis)


def correlation(
    a: Float[np.ndarray, "..."], b: Float[np.ndarray, "..."], axis: Axes = 0, *, epsilon: float = STD_EPSILON
) -> Float[np.ndarray, "..."]:
    """Pearson correlation along axes; nearly 0 where either is constant.

    Args:
        a, b: arrays that broadcast against each other; values count where both are finite.
        axis: axis, or axes, along which to correlate.
        epsilon: added to each standard deviation; if it is 0, constant traces give NaN.
    """
    both = np.isfinite(a) & np.isfinite(b)
    a, b = (np.where(both, x, np.nan).astype(np.float64) for x in (a, b))
    a, b = (x - mean_of(x, axis, keepdims=True) for x in (a, b))
    norm = (np.sqrt(mean_of(a * a, axis)) + epsilon) * (np.sqrt(mean_of(b * b, axis)) + epsilon)
    with np.errstate(invalid="ignore"):
        return mean_of(a * b, axis) / norm
