"""Still patterns, time courses, and artificial stimuli made of them, of any size and frame rate.

A pattern says how much of a contrast each pixel has: spots, annuli, edges, gratings, Gabor patches. A time course says
what the contrast is in each frame: steps, sinusoids. ``separable`` multiplies them to a movie, in the conventions of
``artificial_stimuli``. Positions are pixel indices (row, column); the first pixel's centre is at (0, 0).

    spot = disc(18, 16, radius_um=150, pixel_size_um=50)
    movie = separable(spot, steps([0.0, 1.0, 0.0], duration_s=1.0, frame_rate_hz=30), channels=2)
"""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float, Float32

from openretina_jax.data.artificial_stimuli import Movie, check_channel, distance_along, drifting_grating
from openretina_jax.errors import UserError

Pattern = Float32[np.ndarray, "height width"]
Course = Float32[np.ndarray, " time"]
Position = Sequence[float] | Float[np.ndarray, "2"]

_SAMPLES = 4  # points along each side of a pixel, at which the covered share of the pixel is sampled


def disc(
    height: int, width: int, *, radius_um: float, pixel_size_um: float, centre_px: Position | None = None
) -> Pattern:
    """Spot of light: the share of every pixel that it covers.

    Args:
        height, width: size of the screen in pixels.
        radius_um: radius on the retina.
        pixel_size_um: side of a pixel on the retina.
        centre_px: its centre (None: the middle of the screen).
    """
    return annulus(height, width, inner_um=0.0, outer_um=radius_um, pixel_size_um=pixel_size_um, centre_px=centre_px)


def annulus(
    height: int,
    width: int,
    *,
    inner_um: float,
    outer_um: float,
    pixel_size_um: float,
    centre_px: Position | None = None,
) -> Pattern:
    """Ring: the share of every pixel that it covers.

    Args:
        height, width: size of the screen in pixels.
        inner_um, outer_um: radii on the retina.
        pixel_size_um: side of a pixel on the retina.
        centre_px: its centre (None: the middle of the screen).

    Raises:
        UserError: the radii are negative or in the wrong order.
    """
    if not 0 <= inner_um <= outer_um:
        raise UserError(f"radii are {inner_um} and {outer_um} µm; they must be 0 or more, the inner one the smaller")
    centre = _middle(height, width) if centre_px is None else centre_px
    within = (np.arange(_SAMPLES) + 0.5) / _SAMPLES - 0.5
    rows, columns = (
        (np.arange(size)[:, None] + within).ravel() - place for size, place in zip((height, width), centre, strict=True)
    )
    distance_um = np.hypot(rows[:, None], columns) * pixel_size_um
    covered = (inner_um <= distance_um) & (distance_um < outer_um)
    return covered.reshape(height, _SAMPLES, width, _SAMPLES).mean(axis=(1, 3), dtype=np.float32)


def centre_surround(
    height: int,
    width: int,
    *,
    centre: float,
    surround: float,
    radius_um: float,
    inner_um: float | None = None,
    outer_um: float = np.inf,
    pixel_size_um: float,
    centre_px: Position | None = None,
) -> Pattern:
    """Spot of one contrast in an annulus of another.

    Args:
        height, width: size of the screen in pixels.
        centre, surround: contrasts of spot and annulus.
        radius_um: radius of the spot.
        inner_um, outer_um: radii of the annulus (None: it begins where the spot ends).
        pixel_size_um: side of a pixel on the retina.
        centre_px: centre of both (None: the middle of the screen).
    """
    placed = {"pixel_size_um": pixel_size_um, "centre_px": centre_px}
    spot = disc(height, width, radius_um=radius_um, **placed)  # type: ignore[arg-type]
    begins = radius_um if inner_um is None else inner_um
    ring = annulus(height, width, inner_um=begins, outer_um=outer_um, **placed)  # type: ignore[arg-type]
    return (centre * spot + surround * ring).astype(np.float32)


def edge(height: int, width: int, *, direction_deg: float = 0.0, offset_px: float = 0.0) -> Pattern:
    """Straight edge: 1 ahead of it and -1 behind it; the pixels that it crosses lie between.

    Args:
        height, width: size of the screen in pixels.
        direction_deg: direction from the dark to the bright side.
        offset_px: distance of the edge from the middle of the screen in that direction.
    """
    ahead = distance_along(height, width, direction_deg) - offset_px
    return np.clip(2 * ahead, -1, 1).astype(np.float32)


def grating(
    height: int,
    width: int,
    *,
    orientation_deg: float = 0.0,
    period_um: float = 400.0,
    phase_deg: float = 0.0,
    pixel_size_um: float = 50.0,
) -> Pattern:
    """Sinusoidal grating.

    Args:
        height, width: size of the screen in pixels.
        orientation_deg: orientation of the stripes, 0 horizontal and 90 vertical.
        period_um: period on the retina.
        phase_deg: phase of the sine in the middle of the screen.
        pixel_size_um: side of a pixel on the retina.
    """
    across = distance_along(height, width, orientation_deg - 90) * pixel_size_um / period_um
    return np.sin(2 * np.pi * across + np.deg2rad(phase_deg)).astype(np.float32)


def gabor(
    height: int,
    width: int,
    *,
    orientation_deg: float = 0.0,
    period_um: float = 400.0,
    phase_deg: float = 90.0,
    sigma_um: float = 150.0,
    pixel_size_um: float = 50.0,
    centre_px: Position | None = None,
) -> Pattern:
    """Sinusoidal grating under a Gaussian.

    Args:
        height, width: size of the screen in pixels.
        orientation_deg: orientation of the stripes, 0 horizontal and 90 vertical.
        period_um: period of the stripes on the retina.
        phase_deg: phase of the sine in the centre of the Gaussian.
        sigma_um: standard deviation of the Gaussian.
        pixel_size_um: side of a pixel on the retina.
        centre_px: its centre (None: the middle of the screen).
    """
    centre = _middle(height, width) if centre_px is None else centre_px
    across = _distance_along(height, width, orientation_deg - 90, centre)
    waves = np.sin(2 * np.pi * across * pixel_size_um / period_um + np.deg2rad(phase_deg))
    distance_px = np.hypot(np.arange(height)[:, None] - centre[0], np.arange(width) - centre[1])
    return (waves * np.exp(-0.5 * (distance_px * pixel_size_um / sigma_um) ** 2)).astype(np.float32)


def steps(
    contrasts: Sequence[float] | Float[np.ndarray, " step"], *, duration_s: float, frame_rate_hz: float
) -> Course:
    """Time course of contrasts that are held one after the other.

    Args:
        contrasts: contrast of each step.
        duration_s: seconds of each.
        frame_rate_hz: frames per second.
    """
    return np.repeat(np.asarray(contrasts, np.float32), round(duration_s * frame_rate_hz))


def sinusoid(
    frequency_hz: float, *, duration_s: float, frame_rate_hz: float, contrast: float = 1.0, phase_deg: float = 0.0
) -> Course:
    """Sinusoidal time course, for flicker.

    Args:
        frequency_hz: cycles per second.
        duration_s: its length.
        frame_rate_hz: frames per second.
        contrast: amplitude, up to 1.
        phase_deg: phase of the sine in the first frame.

    Raises:
        UserError: two frames are too few for a cycle.
    """
    if not 0 < frequency_hz < frame_rate_hz / 2:
        raise UserError(
            f"flicker of {frequency_hz} Hz cannot be shown at {frame_rate_hz} frames per second; take less than "
            f"{frame_rate_hz / 2} Hz"
        )
    time_s = np.arange(round(duration_s * frame_rate_hz)) / frame_rate_hz
    return (contrast * np.sin(2 * np.pi * frequency_hz * time_s + np.deg2rad(phase_deg))).astype(np.float32)


def separable(pattern: Pattern, course: Course, channels: int = 2, *, channel: int | None = None) -> Movie:
    """Movie of a pattern whose contrast follows a time course.

    Args:
        pattern: share of the contrast that each pixel has.
        course: contrast in each frame.
        channels: channels of the movie.
        channel: channel that shows it, while others stay grey (None: all).

    Raises:
        UserError: there is no such channel.
    """
    check_channel(channel, channels)
    shown = np.ones(channels, np.float32) if channel is None else np.eye(channels, dtype=np.float32)[channel]
    return course[:, None, None, None] * pattern[:, :, None] * shown


def plaid(
    height: int,
    width: int,
    channels: int = 2,
    *,
    direction_deg: float = 0.0,
    angle_deg: float = 120.0,
    **options: float,
) -> Movie:
    """Sum of two drifting gratings of half the contrast each.

    Args:
        height, width, channels: size of the movie.
        direction_deg: direction in which the plaid moves.
        angle_deg: angle between the directions of its gratings.
        options: those of ``drifting_grating``.
    """
    movies = (
        drifting_grating(height, width, channels, direction_deg=direction_deg + side * angle_deg / 2, **options)
        for side in (-1, 1)
    )
    return np.stack(list(movies)).mean(axis=0)


def apparent_motion(
    height: int,
    width: int,
    channels: int = 2,
    *,
    frame_rate_hz: float = 30.0,
    pixel_size_um: float = 50.0,
    direction_deg: float = 0.0,
    bar_width_um: float = 100.0,
    distance_um: float = 100.0,
    delay_s: float = 0.1,
    shown_s: float = 0.1,
    duration_s: float = 1.0,
    contrast: float = 1.0,
    centre_px: Position | None = None,
) -> Movie:
    """Two bars that flash beside each other, one after the other.

    Args:
        height, width, channels: size of the movie.
        frame_rate_hz: frames per second.
        pixel_size_um: side of a pixel on the retina.
        direction_deg: direction from the first bar to the second; both are across it.
        bar_width_um: width of a bar along that direction.
        distance_um: distance between the centres of the bars.
        delay_s: time from the onset of the first to that of the second; 0: they flash together.
        shown_s: seconds that each is shown.
        duration_s: duration of the movie.
        contrast: contrast of the bars; where and when both are shown, that of one.
        centre_px: point between the bars (None: the middle of the screen).
    """
    along = _distance_along(height, width, direction_deg, _middle(height, width) if centre_px is None else centre_px)
    time_s = np.arange(round(duration_s * frame_rate_hz)) / frame_rate_hz
    light = np.zeros((len(time_s), height, width))
    for side, onset_s in ((-0.5, 0.0), (0.5, delay_s)):
        distance_px = np.abs(along - side * distance_um / pixel_size_um)
        covered = np.clip(bar_width_um / pixel_size_um / 2 + 0.5 - distance_px, 0, 1)
        on = (time_s >= onset_s - 1e-9) & (time_s < onset_s + shown_s - 1e-9)
        light = np.maximum(light, on[:, None, None] * covered)
    return np.repeat((contrast * light).astype(np.float32)[..., None], channels, axis=-1)


def _middle(height: int, width: int) -> tuple[float, float]:
    return (height - 1) / 2, (width - 1) / 2


def _distance_along(
    height: int, width: int, direction_deg: float, centre_px: Position
) -> Float[np.ndarray, "height width"]:
    """Distance of every pixel from a point along a direction, in pixels."""
    middle = _middle(height, width)
    angle = np.deg2rad(direction_deg)
    shift_px = np.cos(angle) * (centre_px[1] - middle[1]) - np.sin(angle) * (centre_px[0] - middle[0])
    return distance_along(height, width, direction_deg) - shift_px
