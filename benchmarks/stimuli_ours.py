"""Our side of a measurement of optimised stimuli."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

import openretina_jax
from openretina_jax.insilico.ascent import Ascent
from openretina_jax.insilico.constraints import Constraint
from openretina_jax.insilico.experiments import most_exciting


def prepare(task: Mapping[str, Any]) -> tuple[Callable[[], Any], dict[str, Any]]:
    """The search for all neurons, which keeps what it has found in a file.

    Args:
        task: ``checkpoint``, ``rows`` of neurons, ``steps``, ``seeds``, ``frames`` and ``window`` of stimuli, ``norm``,
            ``low`` and ``high`` (by channel), and a ``folder``.
    """
    model = openretina_jax.load(task["checkpoint"])
    channels = model.data_info.input_shape[2]
    constraint = Constraint.of(channels, norm=task["norm"], low=task["low"], high=task["high"])
    ascent = Ascent(steps=task["steps"], patience=None)

    def work() -> None:
        found = most_exciting(
            model,
            task["rows"],
            constraint=constraint,
            window=task["window"],
            frames=task["frames"],
            seeds=task["seeds"],
            ascent=ascent,
        )
        np.save(Path(task["folder"]) / "openretina_jax.npy", found.best)

    return work, {}
