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
