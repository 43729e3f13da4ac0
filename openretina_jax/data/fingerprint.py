"""Hash of the content of a data set, by which a resumed run notices that its data changed."""

import hashlib
from typing import Any

import numpy as np

from openretina_jax.data.dataset import Dataset
from openretina_jax.data.stimulus import sample_slices


def fingerprint(dataset: Dataset) -> str:
    """Hash movies (of long ones, a sample of frames), normalisation, responses, order of clips, and split.

    Runs keep it and compare: the bytes that are hashed, and their order, must not change.
    """
    digest = hashlib.sha256()

    def add(what: Any, array: np.ndarray | None = None) -> None:
        digest.update(f"{what}\n".encode())
        if array is not None:
            digest.update(f"{array.shape} {array.dtype}\n".encode())
            digest.update(np.ascontiguousarray(array).data)

    add(("clips", dataset.clip_length, sorted(dataset.validation_clips.items())))
    if dataset.interrupted:
        add(("begins", sorted((name, begins) for name, begins in dataset.begins.items() if begins)))
    for name, stimulus in sorted(dataset.stimuli.items()):
        frames = stimulus.frames
        add((name, frames.shape, stimulus.norm_mean, stimulus.norm_std, stimulus.raw))
        for part in sample_slices(frames):
            add(part.start, frames[part])
    for session in dataset.sessions:
        add((session.name, session.stimulus, session.mirrored, session.condition), session.responses)
        add("order", session.frame_index)
        for test, repeats in sorted(session.repeats.items()):
            add((test, session.test_stimulus(test)), repeats)
        if session.behaviour is not None:
            for shown in (
                session.behaviour,
                *(session.test_behaviour[test] for test in sorted(session.test_behaviour)),
            ):
                add("behaviour", shown)
    return digest.hexdigest()
