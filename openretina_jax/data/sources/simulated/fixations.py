"""Photographs without a camera, and eyes that look at them."""

import numpy as np
from jaxtyping import Int64, UInt8

_FIXATION_S, _DRIFT_PX = 0.4, 1.0


def photographs(rng: np.random.Generator, count: int, height: int, width: int) -> UInt8[np.ndarray, "image row column"]:
    """Grey images with amplitudes 1/f in space, and skewed towards dark as natural scenes are.

    Args:
        rng: where they come from.
        count: how many.
        height, width: of each, in pixels.
    """
    frequency = np.hypot(np.fft.fftfreq(height)[:, None], np.fft.rfftfreq(width)[None, :])
    frequency[0, 0] = np.inf
    images = np.empty((count, height, width), np.uint8)
    for image in images:
        spectrum = (rng.standard_normal(frequency.shape) + 1j * rng.standard_normal(frequency.shape)) / frequency
        texture = np.fft.irfft2(spectrum, s=(height, width))
        image[:] = np.clip(60 * np.exp(0.7 * texture / texture.std()), 0, 255)
    return images


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
    """What an eye looks at: one image after another, each with saccades, fixations of about 0.4 s, and drift.

    Args:
        rng: where it comes from.
        n_frames, frame_rate_hz: length and rate of the trace.
        image_frames: frames for which an image is shown.
        n_images: images, in random order.
        columns, rows: the first and the last that the eye looks at.

    Returns:
        Number of the image, from 1, column and row for every frame.
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
