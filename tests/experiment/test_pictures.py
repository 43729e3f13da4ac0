"""Pictures of a run."""

import dataclasses
from typing import Any

import numpy as np
import pytest

import openretina_jax
from openretina_jax.data.timelines import Tables
from openretina_jax.evaluation.predict import Split
from openretina_jax.experiment import pictures
from openretina_jax.visualize.style import Figure
from tests import tiny

LAG = 6


def test_traces_of_sessions_with_other_numbers_of_clips(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every neuron's recorded clips begin at the first, and nothing stands where a session has no more."""
    rng = np.random.default_rng(0)
    recordings = {
        name: openretina_jax.ArrayRecording(
            rng.standard_normal((frames, 4, 5, 1)).astype(np.float32), rng.random((frames, 2)).astype(np.float32)
        )
        for name, frames in (("long", 400), ("short", 200))
    }
    dataset = openretina_jax.from_arrays(recordings, frame_rate_hz=30.0, clip_length=20, validation_clips=2)
    first, second = dataset.validation_clips
    dataset = dataclasses.replace(dataset, validation_clips={first: (1, 3, 5, 8), second: (2, 4)})
    tables = Tables(dataset)
    split = Split(tables.validation())
    counts = [len(timeline) // 20 for timeline in split.timelines]
    assert len(set(counts)) == 2
    shown: dict[str, Any] = {}

    def keep(recorded: np.ndarray, *_: Any, **__: Any) -> Figure:
        shown["traces"] = recorded
        return Figure()

    monkeypatch.setattr(pictures, "plot_predictions", keep)
    predicted = np.zeros((max(counts), 20 - LAG, 4), np.float32)
    pictures.trace_picture(tiny.model(), np.zeros(4), predicted, tables, split)
    for timeline, count in zip(split.timelines, counts, strict=True):
        columns = slice(timeline.first_neuron, timeline.first_neuron + 2)
        clips = shown["traces"].reshape(max(counts), 20 - LAG, 4)[..., columns]
        expected = tables.responses[timeline.rows][:, columns].reshape(count, 20, 2)[:, LAG:]
        np.testing.assert_array_equal(clips[:count], expected)
        assert np.isnan(clips[count:]).all()
