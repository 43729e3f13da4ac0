"""Movies for the simulated retina: natural-looking clips, the chirp and the moving bar.

A movie is a stack of clips on the 18 x 16 grid of 50 µm pixels of Höfling et al. 2024, with the channels green and UV,
at 30 frames per second.
"""

import numpy as np
from jaxtyping import Float32
from scipy.signal import lfilter
from scipy.special import expit

HEIGHT, WIDTH = 18, 16
FRAME_RATE_HZ = 30
CLIP_FRAMES = 150
BAR_DIRECTIONS_DEG = (0, 180, 45, 225, 90, 270, 135, 315)
CHIRP_SECOND_TRIGGER_S = 5.0

_CANVAS = 48
_COLOUR_CORRELATION = 0.8
_OBJECT_ROOM = 28  # side of the periodic room, in pixels, in which objects move; the screen lies in its corner


def natural_clips(rng: np.random.Generator, n_clips: int) -> Float32[np.ndarray, "clip frame channel height width"]:
    """Clips of a textured scene under a moving camera, with a textured object that moves on its own.

    Textures have 1/f amplitude in space. Their speeds vary widely between clips and slowly within them, so that
    power falls with temporal frequency too. Clips are independent: a change of clip is a hard cut.

    Args:
        rng: source of randomness.
        n_clips: how many clips of 150 frames.

    Returns:
        intensities from 0 to 255, skewed towards dark as in natural scenes.
    """
    scene = _shown_texture(_textures(rng, n_clips), _trajectories(rng, n_clips, typical_speed=9.0))
    objects = _shown_texture(_textures(rng, n_clips), _trajectories(rng, n_clips, typical_speed=5.0))
    coverage = _object_coverage(rng, n_clips)[:, :, None]
    contrast = rng.uniform(0.8, 1.1, (n_clips, 1, 1, 1, 1)).astype(np.float32)
    object_luminance = rng.normal(0, 0.8, (n_clips, 1, 1, 1, 1)).astype(np.float32)
    luminance = rng.normal(0, 0.15, (n_clips, 1, 1, 1, 1)).astype(np.float32)
    log_intensity = contrast * (scene + coverage * (objects + object_luminance - scene)) + luminance
    return np.ascontiguousarray(np.clip(28 * np.exp(0.75 * log_intensity), 0, 255))


def chirp_clip() -> Float32[np.ndarray, "clip frame channel height width"]:
    """The full-field chirp of Baden et al. 2016: a step, a frequency sweep to 8 Hz and a contrast ramp at 2 Hz.

    Returns:
        one clip of 33 s with values from -1 (dark) to 1 (bright).
    """
    sweep_s = np.arange(8 * FRAME_RATE_HZ) / FRAME_RATE_HZ
    frequency_sweep = np.sin(np.pi * sweep_s**2)
    contrast_ramp = sweep_s / 8 * np.sin(4 * np.pi * sweep_s)
    parts = [_hold(-1.0, 2), _hold(1.0, 3), _hold(-1.0, 3), _hold(0.0, 2), frequency_sweep]
    parts += [_hold(0.0, 2), contrast_ramp, _hold(0.0, 2), _hold(-1.0, 3)]
    intensity = np.concatenate(parts).astype(np.float32)
    return np.broadcast_to(intensity[None, :, None, None, None], (1, len(intensity), 2, HEIGHT, WIDTH)).copy()


def moving_bar_clips() -> Float32[np.ndarray, "clip frame channel height width"]:
    """A bright bar, 300 µm wide, that crosses the dark screen at 1 mm/s in eight directions.

    Returns:
        one clip of 4.1 s for each of ``BAR_DIRECTIONS_DEG``, with values -1 (dark) to 1 (bright).
    """
    n_frames = round(4.1 * FRAME_RATE_HZ)
    rows, columns = np.arange(HEIGHT) - (HEIGHT - 1) / 2, np.arange(WIDTH) - (WIDTH - 1) / 2
    bar_position = 20 * (np.arange(n_frames) / FRAME_RATE_HZ - 2.05)
    clips = []
    for direction in np.deg2rad(BAR_DIRECTIONS_DEG):
        along = np.cos(direction) * columns[None, :] - np.sin(direction) * rows[:, None]
        covered = np.clip(3.5 - np.abs(along - bar_position[:, None, None]), 0, 1)
        clips.append(np.repeat(2 * covered[:, None] - 1, 2, axis=1))
    return np.stack(clips).astype(np.float32)


def _hold(value: float, duration_s: int) -> np.ndarray:
    """A constant intensity."""
    return np.full(duration_s * FRAME_RATE_HZ, value)


def _textures(rng: np.random.Generator, n_clips: int) -> np.ndarray:
    """Periodic textures (clip, row, column, channel) with 1/f amplitude, unit variance and correlated channels."""
    frequency = np.hypot(np.fft.fftfreq(_CANVAS)[:, None], np.fft.rfftfreq(_CANVAS)[None, :])
    frequency[0, 0] = np.inf
    shape = (n_clips, 3, *frequency.shape)
    spectrum = (rng.standard_normal(shape) + 1j * rng.standard_normal(shape)) / frequency
    common, *own = np.moveaxis(np.fft.irfft2(spectrum, s=(_CANVAS, _CANVAS)), 1, 0)
    share = np.sqrt([_COLOUR_CORRELATION, 1 - _COLOUR_CORRELATION])
    channels = np.stack([share[0] * common + share[1] * part for part in own], axis=-1)
    return (channels / channels.std(axis=(1, 2), keepdims=True)).astype(np.float32)


def _trajectories(rng: np.random.Generator, n_clips: int, typical_speed: float) -> np.ndarray:
    """Positions in pixels (clip, frame, 2): the integral of a velocity that wanders over about half a second."""
    speed = typical_speed * np.exp(rng.normal(0, 0.5, (n_clips, 1, 1)))
    memory = np.exp(-1 / (0.5 * FRAME_RATE_HZ))
    drive = rng.standard_normal((n_clips, CLIP_FRAMES, 2)) * np.sqrt(1 - memory**2)
    drive[:, 0] = rng.standard_normal((n_clips, 2))
    velocity = speed * lfilter([1.0], [1.0, -memory], drive, axis=1)
    start = rng.uniform(0, _CANVAS, (n_clips, 1, 2))
    return start + np.cumsum(velocity, axis=1) / FRAME_RATE_HZ


def _shown_texture(textures: np.ndarray, positions: np.ndarray) -> np.ndarray:
    """The part of each texture under the screen (clip, frame, channel, height, width), bilinearly interpolated."""
    corner = np.floor(positions).astype(np.int64)
    part = (positions - corner).astype(np.float32)[..., None, None]
    rows = (corner[:, :, 0, None] + np.arange(HEIGHT + 1)) % _CANVAS
    columns = (corner[:, :, 1, None] + np.arange(WIDTH + 1)) % _CANVAS
    clip = np.arange(len(textures))[:, None, None, None]
    window = textures[clip, rows[..., :, None], columns[..., None, :]]
    down, right = part[:, :, 0, :, :, None], part[:, :, 1, :, :, None]
    window = window[:, :, :-1] + down * (window[:, :, 1:] - window[:, :, :-1])
    window = window[:, :, :, :-1] + right * (window[:, :, :, 1:] - window[:, :, :, :-1])
    return np.moveaxis(window, -1, 2)


def _object_coverage(rng: np.random.Generator, n_clips: int) -> np.ndarray:
    """How much of every pixel (clip, frame, height, width) the moving object covers; its edge is soft."""
    radius = rng.uniform(1.5, 5.0, (n_clips, 1, 1, 1))
    centre = np.mod(_trajectories(rng, n_clips, typical_speed=12.0), _OBJECT_ROOM) - (_OBJECT_ROOM - HEIGHT) / 2
    rows = np.arange(HEIGHT)[:, None] - centre[:, :, 0, None, None]
    columns = np.arange(WIDTH)[None, :] - centre[:, :, 1, None, None]
    return expit(4 * (radius - np.hypot(rows, columns))).astype(np.float32)
