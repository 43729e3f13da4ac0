"""What a regression sees: windows, functions of time, and axes that keep the penalty what it is."""

import dataclasses

import numpy as np
import pytest

from openretina_jax.data.timelines import Tables
from openretina_jax.evaluation.baselines.design import Axes, Shown, Size, Window, filtered, peaks, raised_cosines
from openretina_jax.evaluation.splits import split_timelines
from tests import energy, tiny


def test_functions_of_time() -> None:
    basis = raised_cosines(30, 8)
    np.testing.assert_allclose(basis.T @ basis, np.eye(8), atol=1e-5)
    np.testing.assert_array_equal(raised_cosines(5, 9), np.eye(5))
    time, step = np.log(np.arange(30) + 2.0), np.log(31 / 2) / 7
    bump = 1 + np.cos(np.clip(np.pi / 2 * (time - np.log(2) - 4 * step) / step, -np.pi, np.pi))  # lies in their span
    np.testing.assert_allclose(basis @ (basis.T @ bump), bump, atol=1e-4)


def test_frames_are_weighed_with_every_function() -> None:
    rng = np.random.default_rng(0)
    values, basis = rng.standard_normal((20, 3)).astype(np.float32), rng.standard_normal((4, 2)).astype(np.float32)
    found = filtered(values, basis).reshape(20, 3, 2)
    expected = sum(values[9 - lag, :, None] * basis[lag] for lag in range(4))
    np.testing.assert_allclose(found[9], expected, rtol=1e-5)
    np.testing.assert_allclose(found[1], values[1, :, None] * basis[0] + values[0, :, None] * basis[1], rtol=1e-5)


@pytest.mark.parametrize(
    ("shape", "frames", "expected"),
    [
        ((1, 1, 1), 40, Size((1, 1), 1, 40)),
        ((1, 24, 1), 16, Size((1, 24), 1, 16)),
        ((1, 24, 1), 60, Size((1, 24), 1, 41)),
        ((16, 18, 2), 30, Size((7, 7), 1, 10)),
        ((150, 200, 1), 30, Size((10, 10), 2, 10)),
        ((1, 400, 1), 30, Size((1, 100), 1, 10)),
    ],
)
def test_sizes_fit(shape, frames, expected) -> None:
    found = Size.fitting(shape, frames)
    assert found == expected
    window = found.window((0.0, float(shape[1])), shape)
    assert (window.top, window.left + window.width * window.pixel) == (0, shape[1])


def test_large_pixels_are_means() -> None:
    frames = np.arange(2 * 6 * 8, dtype=np.float32).reshape(2, 6, 8, 1)
    cut = Window(1, 2, 2, 3, 2).cut(frames)
    assert cut.shape == (2, 2, 3, 1)
    assert cut[1, 1, 2, 0] == frames[1, 3:5, 6:8].mean()


def test_history_ends_where_clips_do() -> None:
    tables = Tables(tiny.dataset())
    (timeline, *_) = split_timelines("train", tables)
    separate, joined = Shown.clips(timeline), Shown.clips(timeline, continuous=True)
    length = timeline.clip_length
    assert len(separate.predicted(6)) == len(timeline) // length * (length - 6)
    gaps = (np.diff(timeline.frames) != 1).sum()  # clips kept for validation
    assert len(joined.predicted(6)) == len(timeline) - 6 * (1 + gaps)
    assert gaps
    other_movie = dataclasses.replace(timeline, borders=(length + 2, len(timeline)))
    assert len(Shown.clips(other_movie, continuous=True).predicted(1)) == len(timeline) - (1 + gaps) - 1


def test_axes_are_uncorrelated_and_keep_the_penalty() -> None:
    """A ridge penalty on the weights is the size of a filter plus that of differences between neighbours."""
    dataset = energy.dataset()
    tables = Tables(dataset)
    (timeline,) = split_timelines("train", tables)
    shown, window = Shown.clips(timeline, continuous=True), Window(0, 0, 1, energy.BARS, 1)
    axes, features = Axes.of(tables, shown, window, raised_cosines(4, 4))
    gram = features.T @ features / len(features)
    np.testing.assert_allclose(gram, np.diag(axes.power), atol=1e-4 * axes.power[0] + 1e-4)
    np.testing.assert_allclose(axes.features(tables, shown), features, atol=1e-4)
    weights = np.random.default_rng(0).standard_normal((len(axes.power), 1)).astype(np.float32)
    kernel = axes.filters(weights)[0, 0]
    size = np.square(kernel).sum() + np.square(np.diff(kernel, axis=0)).sum()
    np.testing.assert_allclose(np.square(weights).sum(), size, rtol=1e-3)


def test_receptive_fields_are_where_filters_are_large() -> None:
    filters = np.zeros((1, 5, 6, 2))
    filters[0, 2, 3] = [1.0, 0.5]
    filters[0, 2, 4] = [0.5, 0.0]
    ((row, column),) = peaks(filters, Window(10, 20, 5, 6, 2))
    assert row == 10 + 2.5 * 2
    assert 20 + 3.5 * 2 < column < 20 + 4 * 2
