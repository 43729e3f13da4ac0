"""Objectives of optimised stimuli: what is maximised, as plain functions of the responses in a window.

An objective takes the responses of the neurons of every target, ``(target, frame, member)``, in the frames of the
window alone, and the targets, and returns a number for each target. One's own is a function like these:

    def peak(responses, targets):
        return targets.mean(responses).max(axis=1)
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from openretina_jax.insilico.targets import Targets

Responses = Float[Array, "target frame member"]
Score = Float[Array, " target"]
Objective = Callable[..., Array]  # (responses, targets) -> a number for each target

TEMPERATURE = 1.6  # value of Burg et al. 2024


def increase(responses: Responses, targets: Targets) -> Score:
    """Mean response of the neurons of a target over the window."""
    return targets.mean(responses).mean(axis=1)


def decrease(responses: Responses, targets: Targets) -> Score:
    """Negative mean response."""
    return -increase(responses, targets)


def transient(responses: Responses, targets: Targets) -> Score:
    """Mean response in the first half of the window less that in the second half."""
    mean = targets.mean(responses)
    half = mean.shape[1] // 2
    return mean[:, :half].mean(axis=1) - mean[:, half:].mean(axis=1)


def sustained(responses: Responses, targets: Targets) -> Score:
    """Mean response over the window less its standard deviation over frames."""
    mean = targets.mean(responses)
    return mean.mean(axis=1) - jnp.sqrt(jnp.square(mean - mean.mean(axis=1, keepdims=True)).mean(axis=1) + 1e-12)


def discriminative(responses: Responses, targets: Targets, temperature: float = TEMPERATURE) -> Score:
    """Log odds that the first group of neurons responds most, by a softmax over groups (Burg et al. 2024).

    ``log(exp(r_0 / T) / mean_g exp(r_g / T))`` with ``r_g`` the weighted mean response of group ``g``, see
    https://doi.org/10.48550/arXiv.2401.05342.
    """
    count = targets.n_groups
    of_group = jax.nn.one_hot(targets.group, count, dtype=responses.dtype) * targets.weights[..., None]
    scores = jnp.einsum("nm,nmg->ng", responses.mean(axis=1), of_group) / temperature
    return scores[:, 0] - jax.nn.logsumexp(scores, axis=1) + jnp.log(jnp.asarray(count, responses.dtype))


def match(responses: Responses, targets: Targets) -> Score:
    """Negative mean squared difference from the responses that are wanted, for metamers.

    Members count by their weights; ``targets.wanted`` holds the responses.
    """
    if targets.wanted is None:
        raise ValueError("match needs targets with the responses that are wanted")
    squares = jnp.square(responses - targets.wanted).mean(axis=1)
    return -(targets.weights * squares).sum(axis=1)
