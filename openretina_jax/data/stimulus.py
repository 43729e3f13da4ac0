"""A movie: unique frames, stored once."""

import dataclasses

import numpy as np
from jaxtyping import Float32

from openretina_jax.errors import UserError


@dataclasses.dataclass(frozen=True, eq=False)
class Stimulus:
    """Frames of a movie as the model sees them, and how they were normalised.

    Attributes:
        name: what sessions refer to it by ("train", or the name of a test movie).
        frames: normalised movie, ``(pixels - norm_mean) / norm_std``; never reordered, mirrored or repeated.
        frame_rate_hz: frames per second.
        norm_mean: mean of the raw movie that was subtracted (None: not known).
        norm_std: standard deviation that the movie was divided by (None: not known).

    Raises:
        UserError: the frames are empty or hold NaN or infinity.
    """

    name: str
    frames: Float32[np.ndarray, "time height width channel"]
    frame_rate_hz: float
    norm_mean: float | None = None
    norm_std: float | None = None

    def __post_init__(self) -> None:
        if min(self.frames.shape) == 0:
            raise UserError(f'stimulus "{self.name}" is empty: shape {self.frames.shape}')
        if not np.isfinite(self.frames).all():
            bad = int((~np.isfinite(self.frames)).any(axis=(1, 2, 3)).sum())
            raise UserError(f'stimulus "{self.name}" holds NaN or infinity in {bad} of {len(self.frames)} frames')
