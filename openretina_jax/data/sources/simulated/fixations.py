"""Eyes that look at images."""

import numpy as np
from jaxtyping import Int64

_FIXATION_S, _DRIFT_PX = 0.4, 1.0


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
