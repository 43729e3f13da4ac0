"""A movie: unique frames, stored once."""

import dataclasses
from collections.abc import Iterator

import numpy as np
from jaxtyping import Float16, Float32, Int, UInt8

from openretina_jax.errors import UserError

_AT_ONCE = 1000  # frames

Frames = (
    Float32[np.ndarray, "time height width channel"]
    | Float16[np.ndarray, "time height width channel"]
    | UInt8[np.ndarray, "time height width channel"]
)


def blocks(frames: np.ndarray) -> Iterator[np.ndarray]:
    """Frames in pieces, one after another: a movie that lies on disk is never whole in memory."""
    return (frames[start : start + _AT_ONCE] for start in range(0, len(frames), _AT_ONCE))


@dataclasses.dataclass(frozen=True, eq=False)
class Stimulus:
    """Frames of a movie, and how they are normalised.

    Attributes:
        name: what sessions refer to it by ("train", or the name of a test movie).
        frames: never reordered, mirrored or repeated; they may lie on disk (``np.memmap``).
        frame_rate_hz: frames per second.
        norm_mean: mean of the raw movie (None: not known).
        norm_std: standard deviation of the raw movie (None: not known).
        raw: whether the frames are raw pixels, which become ``(pixels - norm_mean) / norm_std`` on the device (an
            unknown mean is 0, an unknown deviation 1). Otherwise they are float32 and as the model sees them.

    Raises:
        UserError: the frames are empty or hold NaN or infinity, or ``norm_std`` is not above 0.
    """

    name: str
    frames: Frames
    frame_rate_hz: float
    norm_mean: float | None = None
    norm_std: float | None = None
    raw: bool = False

    def __post_init__(self) -> None:
        if min(self.frames.shape) == 0:
            raise UserError(f'stimulus "{self.name}" is empty: shape {self.frames.shape}')
        if self.norm_std is not None and not self.norm_std > 0:
            raise UserError(
                f'stimulus "{self.name}" has the standard deviation {self.norm_std}; it must be above 0: are all '
                "pixels equal?"
            )
        if self.frames.dtype == np.uint8:
            if not self.raw:
                raise UserError(f'stimulus "{self.name}" holds bytes; normalise them, or say that they are raw')
            return
        bad = sum(int((~np.isfinite(block)).any(axis=(1, 2, 3)).sum()) for block in blocks(self.frames))
        if bad:
            raise UserError(f'stimulus "{self.name}" holds NaN or infinity in {bad} of {len(self.frames)} frames')

    @property
    def shift_and_scale(self) -> tuple[float, float]:
        """What the device subtracts from the frames, and then divides them by."""
        if not self.raw:
            return 0.0, 1.0
        return (
            0.0 if self.norm_mean is None else self.norm_mean,
            1.0 if self.norm_std is None else self.norm_std,
        )

    def normalized(
        self, frames: slice | Int[np.ndarray, " time"] = slice(None)
    ) -> Float32[np.ndarray, "time height width channel"]:
        """Frames as the model sees them."""
        shift, scale = (np.float32(number) for number in self.shift_and_scale)
        return (self.frames[frames].astype(np.float32) - shift) / scale if self.raw else self.frames[frames]
