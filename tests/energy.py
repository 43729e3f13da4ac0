"""A simulated recording of flickering bars: an energy model, as complex cells are, and two neurons of other kinds."""

import functools

import numpy as np

from openretina_jax.data.arrays import ArrayRecording, ArrayTest, from_arrays
from openretina_jax.data.dataset import Dataset

BARS, FRAMES = 12, 8
COMPLEX, SIMPLE, REFRACTORY = range(
    3
)  # neurons: two squared filters, one rectified filter, one that pauses after spikes


def rates(movie: np.ndarray) -> np.ndarray:
    """Spikes per frame of the first two neurons: squares of two filters in quadrature, and a softplus of one."""
    space, time = np.arange(BARS) - BARS / 2, np.arange(FRAMES)
    window = np.exp(-0.5 * (space / 2) ** 2)
    course = np.exp(-0.5 * ((time - 2.5) / 1.2) ** 2)
    even, odd = window * np.cos(1.2 * space), window * np.sin(1.2 * space)
    past = np.stack([np.roll(movie, lag, axis=0) for lag in time], axis=1)  # (time, lag, bar)
    first, second, blob = (np.einsum("tlb,l,b->t", past, course, one) for one in (even, odd, window))
    first, second, blob = (one / one.std() for one in (first, second, blob))
    return np.stack([0.15 * (first**2 + second**2), np.log1p(np.exp(2 * blob - 2))], axis=1)


def counts(rate: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Poisson spikes of all neurons; the last one has the rate of the second, but none just after a spike."""
    poisson = rng.poisson(rate)
    pausing = np.zeros(len(rate), int)
    for time in range(len(rate)):
        pausing[time] = 0 if pausing[max(time - 2, 0) : time].any() else min(rng.poisson(rate[time, SIMPLE]), 1)
    return np.concatenate([poisson, pausing[:, None]], axis=1).astype(np.float32)


@functools.cache
def dataset(frames: int = 15000, test_frames: int = 1500) -> Dataset:
    """The recording, with a test that was shown once; nobody may change its arrays."""
    rng = np.random.default_rng(0)
    movies = [rng.choice([-1.0, 1.0], size=(length, BARS)).astype(np.float32) for length in (frames, test_frames)]
    responses = [counts(rates(movie), rng) for movie in movies]
    test = ArrayTest(movies[1][:, None], responses[1], "time neuron")
    return from_arrays({"bars": ArrayRecording(movies[0][:, None], responses[0], {"test": test})}, frame_rate_hz=60.0)
