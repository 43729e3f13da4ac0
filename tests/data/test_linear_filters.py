"""Linear filters of neurons from their STAs."""

import dataclasses

import numpy as np
import pytest

from openretina_jax.data.arrays import ArrayRecording, from_arrays
from openretina_jax.data.dataset import Dataset
from openretina_jax.data.linear_filters import linear_filters

SIDE, FRAMES, SLOPE = 14, 9, 0.3
CENTRES = ((3, 4), (9, 11))
KERNEL = np.array([0, 0, 0.2, 0.9, -0.4, 0, 0, 0, 0])  # the first number is the weight of the newest frame
KERNEL = KERNEL / np.linalg.norm(KERNEL)


def linear_cells(smooth: float = 0.0, side: int = SIDE, mirrored: bool = False) -> Dataset:
    """Two linear neurons with noise, that see Gaussians of the movie, the second with a minus sign."""
    rng = np.random.default_rng(0)
    movie = rng.standard_normal((4000, side, side)).astype(np.float32)
    for time in range(1, len(movie)):
        movie[time] = smooth * movie[time - 1] + np.sqrt(1 - smooth**2) * movie[time]
    seen = movie[:, :, ::-1] if mirrored else movie
    scale = side / SIDE
    y, x = np.mgrid[:side, :side]
    responses = []
    for sign, (row, column) in zip((1, -1), CENTRES, strict=True):
        weights = np.exp(-((y - scale * row) ** 2 + (x - scale * column) ** 2) / (2 * (1.3 * scale) ** 2))
        drive = np.convolve(seen.reshape(len(movie), -1) @ (weights / np.linalg.norm(weights)).ravel(), KERNEL)
        responses.append(1 + sign * SLOPE * drive[: len(movie)] + 0.1 * rng.standard_normal(len(movie)))
    recording = ArrayRecording(movie, np.stack(responses, axis=1))
    dataset = from_arrays({"mine": recording}, frame_rate_hz=30.0, normalization=(0.0, 1.0))
    session = dataclasses.replace(dataset.sessions[0], mirrored=mirrored)
    return dataclasses.replace(dataset, sessions=(session,))


@pytest.mark.parametrize(
    ("options", "tolerance"),
    [({}, 1), ({"mirrored": True}, 1), ({"smooth": 0.6}, 1), ({"side": 4 * SIDE}, 4)],
    ids=["white", "mirrored", "smooth", "large"],
)
def test_filters_of_linear_neurons(options, tolerance: int) -> None:
    """Their places, time courses, signs and slopes, of smooth and of large movies too."""
    found = linear_filters(linear_cells(**options), FRAMES)
    side = options.get("side", SIDE)
    assert found.significant.all()
    assert found.spatial.shape == (2, 1, side, side)
    assert np.abs(found.centre - np.array(CENTRES) * side / SIDE).max() <= tolerance
    np.testing.assert_allclose(np.square(found.spatial).sum(axis=(1, 2, 3)), 1, rtol=1e-4)
    for sign, course in zip((1, -1), found.temporal, strict=True):
        assert sign * course[::-1] @ KERNEL > 0.95
        assert np.linalg.norm(course) == pytest.approx(1, rel=1e-5)
    assert (found.spatial.sum(axis=(1, 2, 3)) > 0).all()
    np.testing.assert_allclose(found.slope, SLOPE, rtol=0.25)


@pytest.mark.slow
def test_validation_clips_are_not_looked_at() -> None:
    dataset = linear_cells()
    session = dataset.sessions[0]
    kept = np.isin(session.frame_index // dataset.clip_length, dataset.kept_for_validation(session))
    other = dataclasses.replace(session, responses=np.where(kept[:, None], np.float32(50), session.responses))
    plain, changed = (linear_filters(dataclasses.replace(dataset, sessions=(one,)), FRAMES) for one in (session, other))
    assert kept.any()
    np.testing.assert_array_equal(plain.spatial, changed.spatial)
    np.testing.assert_array_equal(plain.slope, changed.slope)


def test_chosen_neurons() -> None:
    found = linear_filters(linear_cells(), FRAMES)
    second = found.of(np.array([1]))
    assert second.spatial.shape == (1, 1, SIDE, SIDE)
    np.testing.assert_array_equal(second.temporal[0], found.temporal[1])
