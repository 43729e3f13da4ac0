"""Records of epochs that were never trained."""

import functools
from collections.abc import Mapping

import jax.numpy as jnp
import numpy as np

from openretina_jax.training.callbacks import Epoch
from openretina_jax.training.trainer import TrainState
from tests import tiny


@functools.cache
def _state() -> TrainState:
    return tiny.start(tiny.model())


def epoch_of(metrics: Mapping[str, int | float], pictures: Mapping[str, np.ndarray] | None = None) -> Epoch:
    """The record of an epoch of ten steps with these metrics."""
    number = int(metrics["epoch"])
    return Epoch(number, 10 * number, metrics, _state(), jnp.zeros(()), {}, dict(pictures or {}))
