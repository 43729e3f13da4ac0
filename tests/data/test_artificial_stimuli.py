from pathlib import Path

import numpy as np
import pytest

from openretina_jax.data.artificial_stimuli import (
    as_seen,
    at_triggers,
    checkerboard_noise,
    chirp,
    colored_pulse,
    contrast,
    drifting_grating,
    flashes,
    moving_bars,
)
from openretina_jax.errors import UserError

FROZEN = np.load(Path(__file__).parent.parent / "goldens" / "sources" / "artificial_stimuli.npz")


def test_colored_pulse_equals_openretina():
    pulse = colored_pulse(3, 4, 2, 1, n_frames=5, before=2, after=1)
    np.testing.assert_array_equal(pulse.transpose(3, 0, 1, 2), FROZEN["pulse"][0])


def test_contrast_equals_openretina_and_is_undone():
    grey = np.arange(256.0)
    np.testing.assert_array_equal(contrast(grey), FROZEN["normalized"])
    movie = contrast(grey)[:, None, None, None]
    np.testing.assert_allclose(as_seen(movie, 0.0, 1.0)[:, 0, 0, 0], grey, atol=1e-4)
    np.testing.assert_allclose(as_seen(movie, 100.0, 50.0)[:, 0, 0, 0], (grey - 100) / 50, atol=1e-5)
    assert as_seen(movie) is movie


def test_presentations_at_triggers_equal_openretina():
    movie = np.arange(12, dtype=np.float32).reshape(2, 3, 2, 1)
    shown = at_triggers(movie, [0.1, 0.34, 0.41], frame_rate_hz=30.0)
    np.testing.assert_array_equal(shown, FROZEN["presented"])
    # openretina shows all of it, and later presentations too late
    cut = at_triggers(movie, [0.0, 1.0], frame_rate_hz=1.0, between=-1.0)
    np.testing.assert_array_equal(cut, np.concatenate([movie[:1], movie]))


@pytest.mark.parametrize("rate_hz", [30.0, 60.0])
def test_chirp(rate_hz):
    intensity = chirp(2, 3, 1, frame_rate_hz=rate_hz)
    assert intensity.shape == (33 * rate_hz, 2, 3, 1)
    assert np.ptp(intensity, axis=(1, 2, 3)).max() == 0
    trace = intensity[:, 0, 0, 0]
    at = lambda seconds: trace[round(seconds * rate_hz)]  # noqa: E731
    assert [at(1), at(3), at(6), at(9), at(19), at(29), at(31)] == [-1, 1, -1, 0, 0, 0, -1]
    sweep, ramp = (trace[round(begin * rate_hz) : round((begin + 8) * rate_hz)] for begin in (10, 20))
    crossings = np.flatnonzero(np.diff(np.signbit(sweep)))
    assert len(crossings) in (63, 64)  # 32 cycles, faster and faster
    assert np.abs(ramp[: len(ramp) // 8]).max() < 0.13
    assert ramp.max() > 0.9


@pytest.mark.parametrize(("direction", "axis", "sign"), [(0, 1, 1), (180, 1, -1), (90, 0, -1), (270, 0, 1)])
def test_bars_move_in_their_direction(direction, axis, sign):
    (movie,) = moving_bars(20, 20, 2, pixel_size_um=50.0, directions_deg=[float(direction)])
    assert movie.shape == (123, 20, 20, 2)
    bright = (movie[..., 0] + 1) / 2
    seen = np.flatnonzero(bright.sum(axis=(1, 2)) > 119)  # six columns: the whole width is on the screen
    centres = (bright * np.indices((20, 20))[axis]).sum(axis=(1, 2))[seen] / bright.sum(axis=(1, 2))[seen]
    np.testing.assert_allclose(np.diff(centres), sign * 1000 / 50 / 30, atol=1e-4)
    np.testing.assert_allclose(bright.sum(axis=(1, 2))[seen] / 20, 300 / 50, rtol=1e-4)


def test_bars_do_not_depend_on_the_resolution():
    coarse, fine = (
        moving_bars(size, size, 1, pixel_size_um=pixel, directions_deg=[45.0])
        for size, pixel in ((12, 50.0), (48, 12.5))
    )
    pooled = fine.reshape(1, 123, 12, 4, 12, 4, 1).mean(axis=(3, 5))
    assert np.abs(pooled - coarse).mean() < 0.02


def test_flashes():
    movie = flashes(2, 2, 2, frame_rate_hz=10.0, on_s=0.2, off_s=0.3, count=2, channel=1)
    np.testing.assert_array_equal(movie[:, 0, 0, 1], [-1, -1, -1, 1, 1] * 2)
    np.testing.assert_array_equal(movie[..., 0], -1)
    np.testing.assert_array_equal(flashes(1, 1, 2, count=1)[..., 0], flashes(1, 1, 2, count=1)[..., 1])


def test_gratings_drift():
    settings = {"pixel_size_um": 50.0, "period_um": 400.0, "temporal_frequency_hz": 2.0, "frame_rate_hz": 30.0}
    movie = drifting_grating(4, 16, 2, direction_deg=0.0, contrast=0.5, **settings)
    assert movie.shape == (60, 4, 16, 2)
    np.testing.assert_allclose(movie[15], movie[0], atol=1e-6)  # a period of time
    np.testing.assert_allclose(movie[:, :, 8:], movie[:, :, :8], atol=1e-6)  # a period of space
    np.testing.assert_allclose(np.abs(movie).max(), 0.5, rtol=0.02)
    spectrum = np.fft.fft2(movie[:15, 0, :8, 0])  # time by space
    assert np.unravel_index(np.abs(spectrum).argmax(), spectrum.shape) in ((1, 7), (14, 1))  # rightwards
    upwards = drifting_grating(16, 4, 2, direction_deg=90.0, contrast=0.5, **settings)
    np.testing.assert_allclose(upwards, movie.swapaxes(1, 2)[:, ::-1], atol=1e-6)


def test_noise_is_balanced_and_repeats_with_its_seed():
    movie = checkerboard_noise(9, 12, 2, n_frames=301, check_px=4, frames_per_pattern=3, seed=1)
    assert movie.shape == (301, 9, 12, 2)
    assert set(np.unique(movie)) == {-1, 1}
    assert abs(movie.mean()) < 0.1
    np.testing.assert_array_equal(movie[..., 0], movie[..., 1])
    np.testing.assert_array_equal(movie[:300:3], movie[2:300:3])
    np.testing.assert_array_equal(movie[:, :4, :4], np.broadcast_to(movie[:, :1, :1], (301, 4, 4, 2)))
    np.testing.assert_array_equal(
        movie, checkerboard_noise(9, 12, 2, n_frames=301, check_px=4, frames_per_pattern=3, seed=1)
    )
    own = checkerboard_noise(8, 8, 2, n_frames=200, independent_channels=True)
    assert abs((own[..., 0] * own[..., 1]).mean()) < 0.05


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: colored_pulse(2, 2, 2, 2, n_frames=1), "channel is 2, but the movie has channels 0 to 1"),
        (lambda: flashes(2, 2, 2, channel=-1), "channel is -1"),
        (lambda: checkerboard_noise(2, 2, n_frames=3, check_px=0), "check_px is 0 .* must be at least 1"),
        (lambda: at_triggers(flashes(1, 1), [1.0, 1.0], frame_rate_hz=30.0), "triggers must be times"),
        (lambda: at_triggers(flashes(1, 1), [], frame_rate_hz=30.0), "triggers must be times"),
    ],
)
def test_mistakes(make, message):
    with pytest.raises(UserError, match=message):
        make()
