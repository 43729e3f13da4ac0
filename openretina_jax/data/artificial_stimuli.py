"""Artificial stimuli: chirp, moving bars, flashes, gratings and noise, of any size and frame rate.

Movies are ``(time, height, width, channel)`` with the contrast of every pixel, from -1 (dark) to 1 (bright), equal in
all channels. ``as_seen`` converts them to the units of a model. Directions are in degrees, 0 rightwards and 90 upwards.
Spots, annuli, still gratings and flicker are in ``artificial_patterns``.

    info = model.data_info
    movie = chirp(*info.input_shape, frame_rate_hz=info.frame_rate_hz)
    rates = model(as_seen(movie, info.norm_mean, info.norm_std)[None], session="...")
"""

import itertools
from collections.abc import Sequence

import numpy as np
from jaxtyping import Float, Float32

from openretina_jax.errors import UserError

Movie = Float32[np.ndarray, "time height width channel"]

# from Baden et al. 2016, https://doi.org/10.1038/nature16468
CHIRP_SECOND_TRIGGER_S = 5.0
BAR_DIRECTIONS_DEG = (0.0, 180.0, 45.0, 225.0, 90.0, 270.0, 135.0, 315.0)


def as_seen(
    movie: Float32[np.ndarray, "*shape"],
    norm_mean: float | None = None,
    norm_std: float | None = None,
    *,
    mid_grey: float = 128.0,
) -> Float32[np.ndarray, "*shape"]:
    """Convert contrasts to grey levels, and normalise these like the training movie of a model.

    Args:
        movie: contrasts; -1 is grey level 0, 0 is ``mid_grey``, 1 is twice ``mid_grey``.
        norm_mean, norm_std: mean and standard deviation of the training movie in grey levels (None: contrasts are
            returned as they are).
        mid_grey: grey level of contrast 0.
    """
    if norm_mean is None or norm_std is None:
        return movie
    return ((mid_grey * (1 + movie) - norm_mean) / norm_std).astype(np.float32)


def contrast(grey_levels: Float[np.ndarray, "*shape"], *, mid_grey: float = 128.0) -> Float32[np.ndarray, "*shape"]:
    """Convert grey levels to contrasts."""
    return ((grey_levels - mid_grey) / mid_grey).astype(np.float32)


def chirp(height: int, width: int, channels: int = 2, *, frame_rate_hz: float = 30.0) -> Movie:
    """Full-field chirp of Baden et al. 2016, 33 s: a step, a frequency sweep to 8 Hz and a contrast ramp at 2 Hz.

    Its triggers are at 0 s and ``CHIRP_SECOND_TRIGGER_S``.
    """
    time_s = np.arange(round(8 * frame_rate_hz)) / frame_rate_hz
    sweep, ramp = np.sin(np.pi * time_s**2), time_s / 8 * np.sin(4 * np.pi * time_s)

    def held(value: float, duration_s: int) -> np.ndarray:
        return np.full(round(duration_s * frame_rate_hz), value)

    parts = [
        held(-1.0, 2),
        held(1.0, 3),
        held(-1.0, 3),
        held(0.0, 2),
        sweep,
        held(0.0, 2),
        ramp,
        held(0.0, 2),
        held(-1.0, 3),
    ]
    return full_field(np.concatenate(parts), height, width, channels)


def full_field(contrasts: Float[np.ndarray, " time"], height: int, width: int, channels: int = 2) -> Movie:
    """Movie whose frames each have one contrast everywhere."""
    return np.broadcast_to(
        contrasts.astype(np.float32)[:, None, None, None], (len(contrasts), height, width, channels)
    ).copy()


def flashes(
    height: int,
    width: int,
    channels: int = 2,
    *,
    frame_rate_hz: float = 30.0,
    on_s: float = 1.0,
    off_s: float = 1.0,
    count: int = 5,
    channel: int | None = None,
) -> Movie:
    """Bright full-field flashes, each after a dark interval.

    Args:
        height, width, channels: size of the movie.
        frame_rate_hz: frames per second.
        on_s, off_s: seconds of a flash, and of the dark interval before it.
        count: number of flashes.
        channel: channel that flashes while others stay dark (None: all).

    Raises:
        UserError: there is no such channel.
    """
    check_channel(channel, channels)
    once = np.r_[np.full(round(off_s * frame_rate_hz), -1.0), np.full(round(on_s * frame_rate_hz), 1.0)]
    movie = full_field(np.tile(once, count), height, width, channels)
    if channel is not None:
        movie[..., np.arange(channels) != channel] = -1
    return movie


def colored_pulse(
    height: int, width: int, channels: int, channel: int, *, n_frames: int, before: int = 0, after: int = 0
) -> Movie:
    """Pulse of one channel at 1 in the units of a model; everything else is 0.

    Args:
        height, width, channels: size of the movie.
        channel: channel of the pulse.
        n_frames: frames of the pulse.
        before, after: frames of zeros before and after it.

    Raises:
        UserError: there is no such channel.
    """
    check_channel(channel, channels)
    movie = np.zeros((before + n_frames + after, height, width, channels), np.float32)
    movie[before : before + n_frames, ..., channel] = 1
    return movie


def moving_bars(
    height: int,
    width: int,
    channels: int = 2,
    *,
    frame_rate_hz: float = 30.0,
    pixel_size_um: float = 50.0,
    directions_deg: Sequence[float] = BAR_DIRECTIONS_DEG,
    bar_width_um: float = 300.0,
    speed_um_per_s: float = 1000.0,
    duration_s: float = 4.1,
    contrast: float = 1.0,
    background: float = -1.0,
) -> Float32[np.ndarray, "direction time height width channel"]:
    """Bar that crosses the screen and is centred at half time; the defaults are those of Baden et al. 2016.

    Args:
        height, width, channels: size of the movies.
        frame_rate_hz: frames per second.
        pixel_size_um: side of a pixel on the retina.
        directions_deg: directions of motion, one movie for each.
        bar_width_um: width along the direction of motion; the bar is longer than the screen.
        speed_um_per_s: speed on the retina.
        duration_s: duration of each movie.
        contrast, background: contrasts of the bar and of the screen.
    """
    time_s = np.arange(round(duration_s * frame_rate_hz)) / frame_rate_hz
    centre_px = speed_um_per_s / pixel_size_um * (time_s - duration_s / 2)
    half_px = bar_width_um / pixel_size_um / 2
    movies = []
    for direction in directions_deg:
        distance = np.abs(distance_along(height, width, direction) - centre_px[:, None, None])
        covered = np.clip(half_px + 0.5 - distance, 0, 1)  # share of each pixel, which smooths the edges
        movies.append(np.repeat(background + (contrast - background) * covered[..., None], channels, axis=-1))
    return np.stack(movies).astype(np.float32)


def drifting_grating(
    height: int,
    width: int,
    channels: int = 2,
    *,
    frame_rate_hz: float = 30.0,
    pixel_size_um: float = 50.0,
    direction_deg: float = 0.0,
    period_um: float = 400.0,
    temporal_frequency_hz: float = 2.0,
    duration_s: float = 2.0,
    contrast: float = 1.0,
) -> Movie:
    """Drifting sinusoidal grating.

    Args:
        height, width, channels: size of the movie.
        frame_rate_hz: frames per second.
        pixel_size_um: side of a pixel on the retina.
        direction_deg: direction of motion, across the stripes.
        period_um: spatial period on the retina.
        temporal_frequency_hz: cycles per second at each pixel.
        duration_s: duration of the movie.
        contrast: amplitude, up to 1.
    """
    time_s = np.arange(round(duration_s * frame_rate_hz)) / frame_rate_hz
    cycles = distance_along(height, width, direction_deg) * pixel_size_um / period_um
    waves = np.sin(2 * np.pi * (cycles - temporal_frequency_hz * time_s[:, None, None]))
    return np.repeat((contrast * waves).astype(np.float32)[..., None], channels, axis=-1)


def checkerboard_noise(
    height: int,
    width: int,
    channels: int = 2,
    *,
    n_frames: int,
    check_px: int = 1,
    frames_per_pattern: int = 1,
    seed: int = 0,
    independent_channels: bool = False,
) -> Movie:
    """White noise: checks that are dark or bright at random.

    Args:
        height, width, channels: size of the movie.
        n_frames: length of the movie.
        check_px: side of a check in pixels; checks at the border may be cut off.
        frames_per_pattern: frames for which each pattern is shown.
        seed: seed of the patterns.
        independent_channels: whether each channel has patterns of its own.

    Raises:
        UserError: a check or a pattern is smaller than a pixel or a frame.
    """
    if check_px < 1 or frames_per_pattern < 1:
        raise UserError(f"check_px is {check_px} and frames_per_pattern {frames_per_pattern}; both must be at least 1")
    shape = -(-n_frames // frames_per_pattern), -(-height // check_px), -(-width // check_px)
    drawn = np.random.default_rng(seed).integers(2, size=(*shape, channels if independent_channels else 1))
    for axis, times in enumerate((frames_per_pattern, check_px, check_px)):
        drawn = drawn.repeat(times, axis=axis)
    movie = 2 * drawn[:n_frames, :height, :width].astype(np.float32) - 1
    return np.ascontiguousarray(np.broadcast_to(movie, (n_frames, height, width, channels)))


def at_triggers(
    movie: Movie, trigger_times_s: Sequence[float], *, frame_rate_hz: float, between: float = 0.0
) -> Float32[np.ndarray, "shown height width channel"]:
    """Repeat a movie from every trigger on, up to the end of the last repeat.

    Args:
        movie: movie to repeat; it is cut off where the next trigger comes before its end.
        trigger_times_s: ascending times at which it begins.
        frame_rate_hz: frames per second.
        between: value of all pixels between repeats.

    Raises:
        UserError: triggers do not follow each other.
    """
    starts = [int(time * frame_rate_hz) for time in trigger_times_s]
    if not starts or starts[0] < 0 or any(later <= start for start, later in itertools.pairwise(starts)):
        raise UserError(
            f"triggers must be times from 0 on that rise by a frame or more, but are {list(trigger_times_s)}"
        )
    shown = np.full((starts[-1] + len(movie), *movie.shape[1:]), between, np.float32)
    for start, end in zip(starts, [*starts[1:], len(shown)], strict=True):
        shown[start:end][: len(movie)] = movie[: end - start]
    return shown


def distance_along(height: int, width: int, direction_deg: float) -> Float[np.ndarray, "height width"]:
    """Distance of every pixel from the middle of the screen along a direction, in pixels."""
    rows, columns = np.arange(height) - (height - 1) / 2, np.arange(width) - (width - 1) / 2
    angle = np.deg2rad(direction_deg)
    return np.cos(angle) * columns[None, :] - np.sin(angle) * rows[:, None]


def check_channel(channel: int | None, channels: int) -> None:
    """Check that a movie has a channel; None stands for all.

    Raises:
        UserError: there is no such channel.
    """
    if channel is not None and not 0 <= channel < channels:
        raise UserError(f"channel is {channel}, but the movie has channels 0 to {channels - 1}")
