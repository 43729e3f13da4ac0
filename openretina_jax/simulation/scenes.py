"""Grey images and movies of any size, as shown in experiments with multielectrode arrays."""

import numpy as np
from jaxtyping import Float, Float32, Int64, UInt8

_FIXATION_S, _DRIFT_PX = 0.4, 1.0
_GREY, _CONTRAST = 60, 0.7


def gaze(
    rng: np.random.Generator,
    n_frames: int,
    frame_rate_hz: float,
    *,
    image_frames: int,
    n_images: int,
    columns: tuple[int, int],
    rows: tuple[int, int],
) -> Int64[np.ndarray, "time 3"]:
    """Draw a trace of gaze over one image after another: saccades, fixations of about 0.4 s, and drift.

    Args:
        rng: source of the random numbers.
        n_frames, frame_rate_hz: length and rate of the trace.
        image_frames: frames for which an image is shown.
        n_images: number of images, which are shown in random order.
        columns, rows: the first and the last that the eye looks at.

    Returns:
        For every frame the number of the image, from 1, and the column and row at which the eye looks.
    """
    new_image = np.arange(n_frames) % image_frames == 0
    saccade = new_image | (rng.random(n_frames) < 1 / (_FIXATION_S * frame_rate_hz))
    fixation = np.cumsum(saccade) - 1
    begins = np.flatnonzero(saccade)
    first, last = zip(columns, rows, strict=True)
    landing = rng.uniform(first, last, (len(begins), 2))
    walk = np.cumsum(rng.normal(0, _DRIFT_PX, (n_frames, 2)), axis=0)
    position = np.clip(landing[fixation] + walk - walk[begins][fixation], first, last)
    order = np.concatenate([rng.permutation(n_images) for _ in range(-(-n_frames // (image_frames * n_images)))])
    image = order[np.cumsum(new_image) - 1] + 1
    return np.column_stack([image, np.rint(position).astype(np.int64)])


def spatial_frequencies(height: int, width: int) -> Float[np.ndarray, "height half_width"]:
    """Compute the frequencies of ``rfft2`` in cycles per pixel; that of the mean is infinite, so that 1/f drops it."""
    frequencies = np.hypot(np.fft.fftfreq(height)[:, None], np.fft.rfftfreq(width)[None, :])
    frequencies[0, 0] = np.inf
    return frequencies


def textures(
    rng: np.random.Generator, count: int, height: int, width: int
) -> Float32[np.ndarray, "count height width"]:
    """Draw periodic textures of unit variance whose amplitude falls as 1/f in space, as in natural images."""
    frequency = spatial_frequencies(height, width)
    drawn = np.empty((count, height, width), np.float32)
    for image in drawn:
        spectrum = (rng.standard_normal(frequency.shape) + 1j * rng.standard_normal(frequency.shape)) / frequency
        image[...] = np.fft.irfft2(spectrum, s=(height, width))
        image /= image.std()
    return drawn


def natural_images(
    rng: np.random.Generator, count: int, height: int, width: int
) -> UInt8[np.ndarray, "image height width"]:
    """Draw textures in grey levels, skewed towards dark as in natural scenes."""
    return _grey_levels(textures(rng, count, height, width))


def jittered_scenes(
    rng: np.random.Generator, n_frames: int, side: int, *, frames_per_scene: int, hold: int
) -> UInt8[np.ndarray, "frame side side"]:
    """Draw natural images, a new one every ``frames_per_scene`` frames, that jitter a pixel every ``hold`` frames."""
    n_scenes = -(-n_frames // frames_per_scene)
    movie = np.empty((n_frames, side, side), np.uint8)
    for scene, texture in enumerate(textures(rng, n_scenes, 2 * side, 2 * side)):
        shown = movie[scene * frames_per_scene : (scene + 1) * frames_per_scene]
        steps = rng.integers(-1, 2, (-(-len(shown) // hold), 2))
        places = np.repeat(np.cumsum(steps, axis=0), hold, axis=0)[: len(shown)]
        grey = _grey_levels(texture)
        for frame, (down, right) in zip(shown, places, strict=True):
            frame[...] = np.roll(grey, (-down, -right), axis=(0, 1))[:side, :side]
    return movie


def checkerboards(
    rng: np.random.Generator, n_frames: int, side: int, *, hold: int
) -> UInt8[np.ndarray, "frame side side"]:
    """Draw black and white pixels anew every ``hold`` frames."""
    drawn = 255 * rng.integers(2, size=(-(-n_frames // hold), side, side), dtype=np.uint8)
    return np.repeat(drawn, hold, axis=0)[:n_frames]


def _grey_levels(texture: np.ndarray) -> np.ndarray:
    return np.clip(_GREY * np.exp(_CONTRAST * texture), 0, 255).astype(np.uint8)
