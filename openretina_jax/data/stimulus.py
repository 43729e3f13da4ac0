"""Movies, their normalisation and statistics."""

import dataclasses
import functools
import math
from collections.abc import Iterator

import numpy as np
from jaxtyping import Float16, Float32, Int, Int8, UInt8

from openretina_jax.errors import UserError

_BLOCK_FRAMES = 1000
_SAMPLED_PIXELS = 2**28

Frames = (
    Float32[np.ndarray, "time height width channel"]
    | Float16[np.ndarray, "time height width channel"]
    | UInt8[np.ndarray, "time height width channel"]
    | Int8[np.ndarray, "time height width channel"]
)


def blocks(frames: np.ndarray) -> Iterator[np.ndarray]:
    """Iterate over a movie block by block, so that one that lies on disk is never whole in memory."""
    return (frames[start : start + _BLOCK_FRAMES] for start in range(0, len(frames), _BLOCK_FRAMES))


def sample_slices(frames: np.ndarray) -> Iterator[slice]:
    """Iterate over a movie as ``blocks`` does, in slices; of a long one (over 2**28 pixels) they skip frames evenly."""
    stride = max(1, math.ceil(frames.size / _SAMPLED_PIXELS))
    block = _BLOCK_FRAMES * stride
    return (slice(start, start + block, stride) for start in range(0, len(frames), block))


@dataclasses.dataclass(frozen=True, eq=False)
class Stimulus:
    """A movie and its normalisation.

    Attributes:
        name: name by which sessions refer to it ("train", or the name of a test movie).
        frames: unique frames, never reordered, mirrored or repeated; they may lie on disk (``np.memmap``).
        frame_rate_hz: frames per second.
        norm_mean: mean of the raw movie (None: not known).
        norm_std: standard deviation of the raw movie (None: not known).
        raw: whether the frames are raw pixels, which the device normalises to ``(pixels - norm_mean) / norm_std``
            (an unknown mean counts as 0, an unknown deviation as 1). Otherwise they are float32, normalised already.

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
        if self.frames.dtype in (np.uint8, np.int8):
            if not self.raw:
                raise UserError(f'stimulus "{self.name}" holds bytes; normalise them, or say that they are raw')
        elif bad := sum(int((~np.isfinite(block)).any(axis=(1, 2, 3)).sum()) for block in blocks(self.frames)):
            raise UserError(f'stimulus "{self.name}" holds NaN or infinity in {bad} of {len(self.frames)} frames')
        if self.norm_std is not None and not 0 < self.norm_std < math.inf:
            raise UserError(
                f'stimulus "{self.name}" has the standard deviation {self.norm_std}; it must be above 0: are all '
                "pixels equal?"
            )

    @property
    def shift_and_scale(self) -> tuple[float, float]:
        """Numbers with which the device normalises: ``(frames - shift) / scale``."""
        if not self.raw:
            return 0.0, 1.0
        return (
            0.0 if self.norm_mean is None else self.norm_mean,
            1.0 if self.norm_std is None else self.norm_std,
        )

    def normalized(
        self, frames: slice | Int[np.ndarray, " time"] = slice(None)
    ) -> Float32[np.ndarray, "time height width channel"]:
        """Frames as the model sees them, all or some."""
        shift, scale = (np.float32(number) for number in self.shift_and_scale)
        return (self.frames[frames].astype(np.float32) - shift) / scale if self.raw else self.frames[frames]

    @functools.cached_property
    def pixel_statistics(self) -> "PixelStatistics":
        """Statistics of the frames as the model sees them; of a long movie, of a sample of its frames."""
        lows, highs, powers, count = [], [], [], 0
        for part in sample_slices(self.frames):
            pixels = self.normalized(part)
            lows.append(pixels.min(axis=(0, 1, 2)))
            highs.append(pixels.max(axis=(0, 1, 2)))
            powers.append(np.square(pixels, dtype=np.float64).sum())
            count += len(pixels)
        return PixelStatistics(
            low=np.min(lows, axis=0), high=np.max(highs, axis=0), frame_power=float(np.sum(powers) / count)
        )


@dataclasses.dataclass(frozen=True, eq=False)
class PixelStatistics:
    """Range and power of a movie, in the units of a model.

    Attributes:
        low, high: least and largest value of every channel.
        frame_power: mean over frames of the sum of all squared pixels.
    """

    low: Float32[np.ndarray, " channel"]
    high: Float32[np.ndarray, " channel"]
    frame_power: float
