"""Hash of the content of a data set, by which a run notices that its data are others."""

import hashlib
import math
from typing import Any

import numpy as np

from openretina_jax.data.dataset import Dataset

_MOST_PIXELS = 2**28  # of a movie; of longer ones, frames at equal distances


def fingerprint(dataset: Dataset) -> str:
    """Hash movies, their normalisation, responses, the order of clips, and the split into training and validation."""
    digest = hashlib.sha256()

    def add(what: Any, array: np.ndarray | None = None) -> None:
        digest.update(f"{what}\n".encode())
        if array is not None:
            digest.update(f"{array.shape} {array.dtype}\n".encode())
            digest.update(np.ascontiguousarray(array).data)

    add(("clips", dataset.clip_length, sorted(dataset.validation_clips.items())))
    for name, stimulus in sorted(dataset.stimuli.items()):
        frames = stimulus.frames
        step = max(1, math.ceil(frames.size / _MOST_PIXELS))
        add((name, frames.shape, stimulus.norm_mean, stimulus.norm_std, stimulus.raw))
        for start in range(0, len(frames), 1000 * step):
            add(start, frames[start : start + 1000 * step : step])
    for session in dataset.sessions:
        add((session.name, session.stimulus, session.mirrored, session.condition), session.responses)
        add("order", session.frame_index)
        for test, repeats in sorted(session.repeats.items()):
            add((test, session.test_stimulus(test)), repeats)
    return digest.hexdigest()
