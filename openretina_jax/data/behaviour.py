"""Behaviour of the animal beside its responses: eye position, pupil, speed, ..., a number per frame and channel."""

from collections.abc import Mapping

import numpy as np
from jaxtyping import Float, Float32

from openretina_jax.data.masked import mean_of, variance_of
from openretina_jax.errors import UserError

BEHAVIOUR = "time channel"


def check_behaviour(
    name: str,
    behaviour: Float32[np.ndarray, "time channel"] | None,
    of_tests: Mapping[str, Float32[np.ndarray, "_ _ test_channel"]],
    responses: Float32[np.ndarray, "response_time neuron"],
    repeats: Mapping[str, Float32[np.ndarray, "_ _ neuron"]],
) -> None:
    """Check that every response of a session, of each trial of a test too, has its behaviour.

    Args:
        name: name of the session.
        behaviour, of_tests: behaviour during the training movie, and in every trial of the tests; NaN where not known.
        responses, repeats: responses, as in ``Session``.

    Raises:
        UserError: some is missing, or has another number of frames, trials or channels.
    """
    if behaviour is None:
        if of_tests:
            raise UserError(f"{name}: has behaviour in the tests {sorted(of_tests)}, but none in the training movie")
        return
    if len(behaviour) != len(responses):
        raise UserError(f"{name}: behaviour has {len(behaviour)} frames, the responses have {len(responses)}")
    if not np.isfinite(behaviour).any(axis=0).all():
        raise UserError(f"{name}: a channel of the behaviour is NaN throughout; leave it out")
    if of_tests.keys() != repeats.keys():
        raise UserError(
            f"{name}: has behaviour in the tests {sorted(of_tests)}, but responses to {sorted(repeats)}; give it for "
            "each trial of each test, NaN where it is not known"
        )
    for test, shown in of_tests.items():
        wanted = (*repeats[test].shape[:2], behaviour.shape[1])
        if shown.shape != wanted:
            raise UserError(
                f'{name}: behaviour in test "{test}" has (trial, time, channel) {shown.shape}, but must have {wanted}'
            )


def behaviour_statistics(behaviour: Float32[np.ndarray, "time channel"]) -> dict[str, list[float]]:
    """Compute "mean" and standard "deviation" of every channel, without NaN; of one that never changes 1."""
    deviation = np.sqrt(variance_of(behaviour))
    return {"mean": mean_of(behaviour).tolist(), "deviation": np.where(deviation > 0, deviation, 1).tolist()}


def known(behaviour: Float[np.ndarray, "*time channel"]) -> np.ndarray:
    """Mark the frames of which all channels are known, ``(*time, 1)``."""
    return np.isfinite(behaviour).all(axis=-1, keepdims=True)
