"""Recordings that are cut to their first minutes."""

import numpy as np
import pandas as pd
import pytest

from benchmarks.adaptation import first_minutes, plot
from tests import tiny

MINUTES_PER_CLIP = tiny.CLIP_LENGTH / 30 / 60


@pytest.mark.parametrize(("clips", "validation"), [(4, 2), (8, 2)])
def test_the_first_clips_are_left(clips: int, validation: int) -> None:
    whole, short = tiny.dataset(), first_minutes(tiny.dataset(), clips * MINUTES_PER_CLIP)
    assert len(short.validation_clips["train"]) == validation
    for before, after in zip(whole.sessions, short.sessions, strict=True):
        assert len(after.responses) == clips * tiny.CLIP_LENGTH
        training = [clip for clip in shown(before.frame_index) if clip not in tiny.VALIDATION_CLIPS]
        left = [clip for clip in shown(after.frame_index) if clip not in tiny.VALIDATION_CLIPS]
        assert left == training[: clips - validation]
        for frame, response in zip(after.frame_index[::7], after.responses[::7], strict=True):
            (time,) = np.flatnonzero(before.frame_index == frame)
            np.testing.assert_array_equal(response, before.responses[time])


def shown(frame_index: np.ndarray) -> list[int]:
    """Clips in the order in which they were shown."""
    return (frame_index[:: tiny.CLIP_LENGTH] // tiny.CLIP_LENGTH).tolist()


def test_the_picture_has_a_line_for_each_way() -> None:
    rows = [{"minutes": m, "way": way, "test": 0.5} for way in ("adapted", "from scratch") for m in (1.0, 2.0)]
    (axes,) = plot(pd.DataFrame(rows), 10).axes
    assert [line.get_label() for line in axes.lines] == ["adapted", "from scratch"]
