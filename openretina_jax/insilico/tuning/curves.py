"""Indices of tuning curves: selectivity, preferences, half-widths, and a test by permutation; plain NumPy."""

import numpy as np
from jaxtyping import Complex, Float, Float32

TINY = 1e-9  # response below which a curve has no selectivity

Curve = Float[np.ndarray, "neuron parameter"]
Index = Float[np.ndarray, " neuron"]


def extreme(traces: Float[np.ndarray, "neuron *shape time"]) -> Float[np.ndarray, "neuron *shape"]:
    """Response that is farthest from that to grey, with its sign."""
    place = np.abs(traces).argmax(axis=-1)[..., None]
    return np.take_along_axis(traces, place, axis=-1)[..., 0]


def modulation(traces: Float[np.ndarray, "neuron *shape time"]) -> Float[np.ndarray, "neuron *shape"]:
    """Amplitude of the sinusoid of the same variance over time."""
    return np.sqrt(2) * traces.std(axis=-1)


def amplitude(
    trace: Float[np.ndarray, "neuron *shape time"], frequency_hz: float, frame_rate_hz: float
) -> Float[np.ndarray, "neuron *shape"]:
    """Amplitude of the Fourier component at a frequency."""
    wave = np.exp(-2j * np.pi * frequency_hz / frame_rate_hz * np.arange(trace.shape[-1]))
    return 2 * np.abs(trace @ wave) / trace.shape[-1]


def whole_cycles(frequency_hz: float, frames: int, frame_rate_hz: float) -> int:
    """Largest number of frames, up to all, that is nearest to whole cycles."""
    cycles = np.floor(frames / frame_rate_hz * frequency_hz + 1e-9)
    return min(round(cycles / frequency_hz * frame_rate_hz), frames)


def vector(
    curve: Float[np.ndarray, "neuron *repeat angle"], angles_deg: Float[np.ndarray, " angle"], fold: int = 1
) -> Complex[np.ndarray, " neuron"]:
    """Vector sum of responses over angles divided by their sum; its length is the selectivity, from 0 to 1.

    Responses below that to grey count as 0. See Mazurek, Kager and Van Hooser 2014,
    https://doi.org/10.3389/fncir.2014.00092.

    Args:
        curve: responses; those of repeats are added.
        angles_deg: angle of each.
        fold: 1 for directions, 2 for orientations.
    """
    rectified = np.maximum(curve, 0)
    axes = tuple(range(1, curve.ndim))
    waves = np.exp(1j * fold * np.deg2rad(angles_deg))
    return (rectified * waves).sum(axis=axes) / np.maximum(rectified.sum(axis=axes), TINY)


def permutation_p(
    curves: Float[np.ndarray, "neuron repeat angle"],
    angles_deg: Float[np.ndarray, " angle"],
    fold: int = 1,
    *,
    permutations: int = 1000,
    seed: int = 0,
) -> Index:
    """Probability of a vector sum this long if the angles of the responses were exchangeable.

    A model has no noise, so that this is no test against noise. It asks whether the responses are ordered around the
    circle, alike in all repeats (such as phases or contrasts), more than the same responses in random order would be.
    An order that is the same in all repeats is found however small it is, so that a low probability says little where
    the sum is short. Labels are permuted within each repeat, independently.

    Args:
        curves: responses to every angle in every repeat.
        angles_deg: angle of each.
        fold: 1 for directions, 2 for orientations.
        permutations: number of random orders.
        seed: seed of the random orders.
    """
    rng = np.random.default_rng(seed)
    neuron, repeat, angle = curves.shape
    orders = rng.permuted(np.broadcast_to(np.arange(angle), (permutations, repeat, angle)), axis=2)
    waves = np.exp(1j * fold * np.deg2rad(angles_deg))[orders].reshape(permutations, -1)
    rectified = np.maximum(curves, 0).reshape(neuron, -1)
    total = np.maximum(rectified.sum(axis=1), TINY)
    by_chance = np.abs(rectified @ waves.T) / total[:, None]
    found = np.abs(vector(curves, angles_deg, fold))
    return (1 + (by_chance >= found[:, None] - TINY).sum(axis=1)) / (1 + permutations)


def opposite(curve: Curve) -> Index:
    """Response to the preferred of equally spaced directions less that to the opposite one, divided by their sum."""
    rows, preferred = np.arange(len(curve)), curve.argmax(axis=1)
    rectified = np.maximum(curve, 0)
    best, null = rectified[rows, preferred], rectified[rows, (preferred + curve.shape[1] // 2) % curve.shape[1]]
    return contrast_of(best, null)


def contrast_of(one: Float[np.ndarray, "*shape"], other: Float[np.ndarray, "*shape"]) -> Float[np.ndarray, "*shape"]:
    """Difference of two responses divided by their sum; 0 where both are 0. Those below 0 count as 0."""
    one, other = np.maximum(one, 0), np.maximum(other, 0)
    return (one - other) / np.maximum(one + other, TINY)


def preferred_contrast(
    curves: Float[np.ndarray, "neuron contrast parameter"], contrasts: Float[np.ndarray, " contrast"]
) -> tuple[Curve, Index]:
    """Curve of the contrast to which each neuron responds most, and that contrast."""
    chosen = curves.max(axis=2).argmax(axis=1)
    return curves[np.arange(len(curves)), chosen], contrasts[chosen].astype(float)


def crossing(curve: Curve, values: Float[np.ndarray, " parameter"], share: float = 0.5, *, last: bool = False) -> Index:
    """Value at which a curve first reaches a share of its maximum, or last leaves it; linear between values.

    NaN for curves without a positive response. A curve that begins (or ends) above the share gives the first (or last)
    value.
    """
    if last:
        return crossing(curve[:, ::-1], values[::-1], share)
    level = share * curve.max(axis=1)
    above = curve >= level[:, None]
    at = above.argmax(axis=1)
    rows, before = np.arange(len(curve)), np.maximum(at - 1, 0)
    low, high = curve[rows, before], curve[rows, at]
    part = np.where(at > 0, (level - low) / np.where(high > low, high - low, 1), 1)
    found = values[before] + part * (values[at] - values[before])
    return np.where(level > TINY, found, np.nan)


def envelope(trace: Float32[np.ndarray, "neuron time"], frames: int) -> Float[np.ndarray, "neuron time"]:
    """Modulation in a sliding window of so many frames, centred, with the trace mirrored at its ends."""
    padded = np.pad(trace.astype(float), ((0, 0), (frames // 2, frames - 1 - frames // 2)), mode="reflect")
    windows = np.lib.stride_tricks.sliding_window_view(padded, frames, axis=1)
    return modulation(windows)


def transience(traces: Float32[np.ndarray, "neuron time"], late: int) -> Index:
    """1 less the mean of so many last responses to a step relative to the peak; 0: sustained, 1 or more: transient."""
    peak = traces.max(axis=1)
    return np.where(peak > TINY, 1 - traces[:, -late:].mean(axis=1) / np.maximum(peak, TINY), np.nan)


def binned(
    drive: Float[np.ndarray, "neuron time"],
    responses: Float[np.ndarray, "neuron time"],
    edges: Float[np.ndarray, " edge"],
) -> tuple[Float[np.ndarray, "neuron bin"], Index]:
    """Mean response in bins of the drive (NaN: none), and the share of variance that these means explain.

    What lies outside the edges belongs to no bin, and does not count.
    """
    bins = len(edges) - 1
    place = np.digitize(drive, edges) - 1
    inside = (place >= 0) & (place < bins)
    rows = np.broadcast_to(np.arange(len(drive))[:, None], drive.shape)
    flat = (rows * bins + place)[inside]
    shape = (len(drive), bins)
    count, total, squares = (
        np.bincount(flat, weights=values[inside], minlength=len(drive) * bins).reshape(shape)
        for values in (np.ones(drive.shape), responses.astype(float), np.square(responses, dtype=float))
    )
    mean = np.divide(total, count, out=np.full(shape, np.nan), where=count > 0)
    residual = squares.sum(axis=1) - np.nansum(count * mean**2, axis=1)
    around = squares.sum(axis=1) - total.sum(axis=1) ** 2 / np.maximum(count.sum(axis=1), 1)
    return mean, np.where(around > TINY, 1 - residual / np.maximum(around, TINY), np.nan)
