import numpy as np
import pytest

from openretina_jax.data.artificial_patterns import (
    annulus,
    apparent_motion,
    centre_surround,
    disc,
    edge,
    gabor,
    grating,
    plaid,
    separable,
    sinusoid,
    steps,
)
from openretina_jax.data.artificial_stimuli import drifting_grating, moving_bars
from openretina_jax.errors import UserError


@pytest.mark.parametrize("radius_um", [100.0, 200.0, 400.0])
def test_discs_have_their_area_and_place(radius_um):
    image = disc(30, 24, radius_um=radius_um, pixel_size_um=50.0, centre_px=(12.3, 11.6))
    np.testing.assert_allclose(image.sum(), np.pi * (radius_um / 50) ** 2, rtol=0.02)
    assert (image.min(), image.max()) == (0, 1)
    centre = (image * np.indices((30, 24))).sum(axis=(1, 2)) / image.sum()
    np.testing.assert_allclose(centre, (12.3, 11.6), atol=0.05)


def test_annuli_lie_around_discs():
    settings = {"pixel_size_um": 50.0, "centre_px": (4.0, 6.0)}
    inner, outer = (disc(12, 14, radius_um=radius, **settings) for radius in (100.0, 200.0))
    ring = annulus(12, 14, inner_um=100.0, outer_um=200.0, **settings)
    np.testing.assert_allclose(inner + ring, outer, atol=1e-6)
    both = centre_surround(12, 14, centre=1.0, surround=-0.5, radius_um=100.0, outer_um=200.0, **settings)
    np.testing.assert_allclose(both, inner - 0.5 * ring, atol=1e-6)
    everywhere = centre_surround(12, 14, centre=1.0, surround=1.0, radius_um=100.0, **settings)
    np.testing.assert_allclose(everywhere, 1)
    assert disc(3, 3, radius_um=100.0, pixel_size_um=50.0)[1, 1] == 1  # in the middle


def test_edges():
    vertical = edge(4, 6, direction_deg=0.0)
    np.testing.assert_allclose(vertical, np.tile([-1, -1, -1, 1, 1, 1], (4, 1)))
    np.testing.assert_allclose(edge(6, 4, direction_deg=90.0), vertical.T[::-1], atol=1e-6)
    np.testing.assert_allclose(edge(4, 6, offset_px=1.0), np.roll(vertical, 1, axis=1) * [-1, 1, 1, 1, 1, 1])


def test_stripes_have_their_orientation_and_period():
    horizontal = grating(16, 8, orientation_deg=0.0, period_um=400.0, pixel_size_um=50.0)
    assert np.ptp(horizontal, axis=1).max() < 1e-6
    np.testing.assert_allclose(horizontal[8:], horizontal[:8], atol=1e-6)
    vertical = grating(8, 16, orientation_deg=90.0, period_um=400.0, pixel_size_um=50.0)
    assert np.ptp(vertical, axis=0).max() < 1e-6
    moving = drifting_grating(8, 16, 1, direction_deg=0.0, temporal_frequency_hz=2.0, duration_s=0.1)
    np.testing.assert_allclose(moving[0, ..., 0], vertical, atol=1e-6)


def test_gabors_are_gratings_under_a_gaussian():
    image = gabor(21, 21, orientation_deg=30.0, phase_deg=90.0, sigma_um=100.0, centre_px=(9.0, 12.0))
    assert np.unravel_index(image.argmax(), image.shape) == (9, 12)
    np.testing.assert_allclose(image[9, 12], 1, rtol=1e-5)
    middle = gabor(21, 21, orientation_deg=30.0, phase_deg=20.0, sigma_um=1e5)
    np.testing.assert_allclose(middle, grating(21, 21, orientation_deg=30.0, phase_deg=20.0), atol=1e-3)


def test_courses_and_separable_movies():
    course = steps([0.0, -1.0], duration_s=0.1, frame_rate_hz=30.0)
    np.testing.assert_array_equal(course, [0, 0, 0, -1, -1, -1])
    wave = sinusoid(2.0, duration_s=1.0, frame_rate_hz=32.0, contrast=0.5)
    np.testing.assert_allclose(wave[[0, 4, 12, 16]], [0, 0.5, -0.5, 0], atol=1e-6)
    image = grating(3, 4, phase_deg=45.0)
    movie = separable(image, wave, 2, channel=1)
    assert movie.dtype == np.float32
    assert (movie[..., 0] == 0).all()
    np.testing.assert_allclose(movie[4, ..., 1], 0.5 * image, rtol=1e-5)
    np.testing.assert_array_equal(separable(image, wave, 3)[..., 2], movie[..., 1])


def test_plaids_are_sums_of_gratings():
    options = {"period_um": 200.0, "duration_s": 0.2}
    movie = plaid(8, 9, 1, direction_deg=90.0, angle_deg=60.0, **options)
    parts = [drifting_grating(8, 9, 1, direction_deg=angle, **options) for angle in (60.0, 120.0)]
    np.testing.assert_allclose(movie, np.mean(parts, axis=0), atol=1e-6)


def test_apparent_motion():
    movie = apparent_motion(5, 9, 1, bar_width_um=50.0, distance_um=100.0, delay_s=0.2, shown_s=0.1, duration_s=0.5)
    assert movie.shape == (15, 5, 9, 1)
    lit = [[time, np.flatnonzero(frame[0, :, 0] > 0.5).tolist()] for time, frame in enumerate(movie) if frame.any()]
    assert lit == [[0, [3]], [1, [3]], [2, [3]], [6, [5]], [7, [5]], [8, [5]]]
    back = apparent_motion(
        5, 9, 1, direction_deg=180.0, bar_width_um=50.0, distance_um=100.0, delay_s=0.2, shown_s=0.1, duration_s=0.5
    )
    np.testing.assert_allclose(back, movie[:, :, ::-1], atol=1e-6)


def test_bars_of_other_contrast():
    usual, dark = moving_bars(6, 6, 1), moving_bars(6, 6, 1, contrast=-0.5, background=0.0)
    np.testing.assert_allclose(dark, -0.25 * (usual + 1), atol=1e-6)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: annulus(3, 3, inner_um=20.0, outer_um=10.0, pixel_size_um=50.0), "radii are 20.0 and 10.0"),
        (lambda: sinusoid(15.0, duration_s=1.0, frame_rate_hz=30.0), "take less than 15.0 Hz"),
        (lambda: separable(grating(2, 2), steps([1.0], duration_s=1.0, frame_rate_hz=2.0), channel=2), "channel is 2"),
    ],
)
def test_mistakes(make, message):
    with pytest.raises(UserError, match=message):
        make()
