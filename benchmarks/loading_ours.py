"""Our side of a measurement of loading."""

import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from openretina_jax.experiment.data import make_dataset

WINDOWS, WINDOW_FRAMES = 64, 50


def prepare(task: Mapping[str, Any]) -> tuple[Callable[[], Any], dict[str, Any]]:
    """Loading, as a function that does it, and nothing to say of it.

    Args:
        task: ``source``, the ``settings`` for it, and a ``cache`` folder.
    """
    os.environ["OPENRETINA_JAX_CACHE"] = task["cache"]
    settings = {"source": task["source"], **task["settings"]}

    def work() -> np.ndarray:
        dataset = make_dataset(settings, Path(task["cache"]))
        movie = dataset.stimuli[dataset.sessions[0].stimulus]
        starts = np.random.default_rng(0).integers(len(movie.frames) - WINDOW_FRAMES, size=WINDOWS)
        return np.stack([movie.normalized(slice(start, start + WINDOW_FRAMES)) for start in starts])

    return work, {}
