"""Responses of neurons between noise and signal, and predictions that are neither perfect nor useless."""

import numpy as np

from openretina_jax.evaluation.splits import SessionResponses


def responses(
    sessions: int = 3, neurons: int = 8, trials: int = 4, frames: int = 60, *, noise: float = 1.0, seed: int = 0
) -> list[SessionResponses]:
    """Sessions that saw one movie."""
    rng = np.random.default_rng(seed)
    result = []
    for number in range(sessions):
        rate = np.exp(0.5 * rng.standard_normal((1, frames, neurons)))
        recorded = rate + noise * rng.standard_normal((trials, 1, frames, neurons))
        predicted = rate * np.exp(0.3 * rng.standard_normal(rate.shape))
        result.append(SessionResponses(f"s{number}", recorded.astype(np.float32), predicted.astype(np.float32)))
    return result


OF_COUNTS = {"bits_per_spike", "explained_deviance"}  # scores that responses have which are never negative


def counts(trials: int = 12, neurons: int = 20, frames: int = 200, seed: int = 0) -> SessionResponses:
    """A session of Poisson spikes, predicted by rates that are somewhat wrong."""
    rng = np.random.default_rng((2, seed))
    rate = np.exp(0.5 * np.random.default_rng(0).standard_normal((1, frames, neurons)))
    recorded = rng.poisson(rate, (trials, *rate.shape))
    predicted = rate * np.exp(0.3 * np.random.default_rng(1).standard_normal(rate.shape))
    return SessionResponses("s0", recorded.astype(np.float32), predicted.astype(np.float32))
