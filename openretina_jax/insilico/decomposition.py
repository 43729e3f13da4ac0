"""Space and time of receptive fields, gradients and stimuli: movies as an image times a time course.

The last frame of a receptive field or gradient is the one of the response. Positions and sizes are in pixels, angles in
radians.
"""

import dataclasses
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import pandas as pd
from jaxtyping import Float, Float32

from openretina_jax.errors import UserError

CORE = 0.4  # share of the peak above which pixels make up the centre of a receptive field
LOBE = 0.5  # share of the largest value that a lobe of a time course must exceed to count
LOW_PASS_HZ = 10.0
LOW_PASS_ORDER = 5


class SpaceTime(NamedTuple):
    """Movies, each as the nearest product of an image and a time course of every channel.

    Attributes:
        spatial: images, whose largest absolute value is 1 and positive. All 0 for a movie that is.
        temporal: time courses, in the units of the movie.
        share: share of the sum of squares that the product holds; NaN for a movie of zeros.
    """

    spatial: Float32[np.ndarray, "*movies height width"]
    temporal: Float32[np.ndarray, "*movies frame channel"]
    share: Float32[np.ndarray, " *movies"]


def space_time(movies: Float[np.ndarray, "*movies frame height width channel"]) -> SpaceTime:
    """Decompose movies by the first pair of their singular vectors.

    Memory beyond the result is that of one movie in double precision.
    """
    *batch, frames, height, width, channels = movies.shape
    rows = movies.reshape(-1, frames, height * width, channels)
    spatial = np.zeros((len(rows), height * width), np.float32)
    temporal = np.zeros((len(rows), frames * channels), np.float32)
    share = np.full(len(rows), np.nan, np.float32)
    for number, movie in enumerate(rows):
        matrix = movie.transpose(0, 2, 1).reshape(frames * channels, -1).astype(np.float64)
        if matrix.any():
            left, value, right = _first_singular(matrix)
            peak = right[np.abs(right).argmax()]
            spatial[number], temporal[number] = right / peak, left * (value * peak)
            share[number] = value**2 / np.square(matrix).sum()
    return SpaceTime(
        spatial.reshape(*batch, height, width), temporal.reshape(*batch, frames, channels), share.reshape(batch)
    )


def _first_singular(matrix: Float[np.ndarray, "row column"]) -> tuple[np.ndarray, float, np.ndarray]:
    """First left vector, value, and right vector, from the products of the shorter side only."""
    if matrix.shape[0] > matrix.shape[1]:
        right, value, left = _first_singular(matrix.T)
        return left, value, right
    from scipy.linalg import eigh  # computes one eigenvector rather than all

    last = len(matrix) - 1
    left = eigh(matrix @ matrix.T, subset_by_index=(last, last))[1][:, 0]
    right = left @ matrix
    value = float(np.linalg.norm(right))
    return left, value, right / value


@dataclasses.dataclass(frozen=True, eq=False)
class ReceptiveFields:
    """Receptive fields of neurons and what they are like, one entry per neuron; NaN where a field is all 0.

    Attributes:
        names: names of the neurons.
        spatial: spatial maps, with a peak of 1 in their centre.
        temporal: time courses, with their sign.
        rank_one_share: share of the sum of squares that these two hold.
        centre_px: row and column of the centre, the centroid of what exceeds ``CORE`` of the peak.
        sigma_px: standard deviations along the long and the short axis; 0 where a centre is one pixel wide.
        theta: angle from x (columns) to the long axis, towards y, in [0, pi).
        polarity: 1 for ON, -1 for OFF: sign of the last lobe of the time course.
        colour: (first - second) / (first + second) of the largest absolute values of both channels' time courses; NaN
            unless there are two channels.
        peak_s: time from the peak of the last lobe to the response, in seconds; NaN if the frame rate is not known.
        biphasic: largest value of the opposite sign relative to the peak of the last lobe; 0 without such.
    """

    names: tuple[str, ...]
    spatial: Float32[np.ndarray, "neuron height width"]
    temporal: Float32[np.ndarray, "neuron frame channel"]
    rank_one_share: Float32[np.ndarray, " neuron"]
    centre_px: Float32[np.ndarray, "neuron 2"]
    sigma_px: Float32[np.ndarray, "neuron 2"]
    theta: Float32[np.ndarray, " neuron"]
    polarity: Float32[np.ndarray, " neuron"]
    colour: Float32[np.ndarray, " neuron"]
    peak_s: Float32[np.ndarray, " neuron"]
    biphasic: Float32[np.ndarray, " neuron"]

    @classmethod
    def of(
        cls,
        kernels: Float[np.ndarray, "neuron frame height width channel"],
        names: Sequence[str],
        frame_rate_hz: float | None = None,
    ) -> "ReceptiveFields":
        """Describe receptive fields, such as spike-triggered averages or mean gradients."""
        spatial, temporal, share = space_time(kernels)
        centre, sigma, theta = centres(spatial)
        lobes = [last_lobe(course) for course in common_course(temporal)]
        peak = np.array([lobe.peak for lobe in lobes])
        return cls(
            names=tuple(names),
            spatial=spatial,
            temporal=temporal,
            rank_one_share=share,
            centre_px=centre,
            sigma_px=sigma,
            theta=theta,
            polarity=np.array([lobe.sign for lobe in lobes], np.float32),
            colour=colour_index(temporal),
            peak_s=((kernels.shape[1] - 1 - peak) / (frame_rate_hz or np.nan)).astype(np.float32),
            biphasic=np.array([lobe.opposite for lobe in lobes], np.float32),
        )

    def table(self) -> pd.DataFrame:
        """One row per neuron, with all numbers of it."""
        return pd.DataFrame(
            {
                "neuron": self.names,
                "centre_y_px": self.centre_px[:, 0],
                "centre_x_px": self.centre_px[:, 1],
                "sigma_long_px": self.sigma_px[:, 0],
                "sigma_short_px": self.sigma_px[:, 1],
                "theta": self.theta,
                "polarity": self.polarity,
                "colour": self.colour,
                "peak_s": self.peak_s,
                "biphasic": self.biphasic,
                "rank_one_share": self.rank_one_share,
            }
        )


def centres(
    spatial: Float32[np.ndarray, "neuron height width"],
) -> tuple[Float32[np.ndarray, "neuron 2"], Float32[np.ndarray, "neuron 2"], Float32[np.ndarray, " neuron"]]:
    """Centroid, standard deviations along the axes, and angle of spatial maps with a peak of 1.

    Second moments of what exceeds ``CORE`` are too small by a factor that is known for a Gaussian, by which they are
    divided.
    """
    weights = np.where(spatial > CORE, spatial, 0).astype(np.float64)
    total = weights.sum(axis=(1, 2))
    weights /= np.where(total > 0, total, np.nan)[:, None, None]
    places = np.argwhere(np.ones(spatial.shape[1:], bool)).astype(np.float64)
    weights = weights.reshape(len(weights), -1)
    centre = weights @ places
    offsets = places - centre[:, None]
    moments = np.einsum("np,npi,npj->nij", weights, offsets, offsets) / truncation(CORE)
    (yy, xx), xy = (moments[:, axis, axis] for axis in (0, 1)), moments[:, 0, 1]
    mean, half = (yy + xx) / 2, np.hypot((xx - yy) / 2, xy)
    sigma = np.sqrt(np.maximum(np.stack([mean + half, mean - half], 1), 0))
    theta = np.arctan2(2 * xy, xx - yy) / 2 % np.pi
    return centre.astype(np.float32), sigma.astype(np.float32), theta.astype(np.float32)


def truncation(level: float) -> float:
    """Variance of a two-dimensional Gaussian, cut off where it falls below ``level`` of its peak, relative to it all.

    With s = r² / 2σ² the mean of s over [0, -ln(level)] under exp(-s).
    """
    return 1 + level * np.log(level) / (1 - level)


def common_course(temporal: Float32[np.ndarray, "*neurons frame channel"]) -> Float32[np.ndarray, "*neurons frame"]:
    """Time course that the channels have most in common, in the sign and size of the strongest channel."""
    left, values, right = np.linalg.svd(temporal, full_matrices=False)
    strongest = np.take_along_axis(right[..., 0, :], np.abs(right[..., 0, :]).argmax(-1)[..., None], -1)
    return left[..., 0] * (values[..., :1] * strongest)


class Lobe(NamedTuple):
    """Last lobe of a time course.

    Attributes:
        sign: sign of the lobe.
        peak: frame of its peak, between frames by the parabola through three of them.
        opposite: largest value of the opposite sign relative to that of the lobe.
    """

    sign: float
    peak: float
    opposite: float


def last_lobe(course: Float[np.ndarray, " frame"]) -> Lobe:
    """Find the last lobe that exceeds ``LOBE`` of the largest absolute value; NaN in a course of zeros."""
    large = np.flatnonzero(np.abs(course) > LOBE * np.abs(course).max())
    if len(large) == 0:
        return Lobe(np.nan, np.nan, np.nan)
    end = large[-1]
    sign = np.sign(course[end])
    signed = sign * course.astype(np.float64)
    other = np.flatnonzero(signed[: end + 1] <= 0)
    begin = other[-1] + 1 if len(other) else 0
    top = begin + int(signed[begin : end + 1].argmax())
    peak = float(top)
    if 0 < top < len(course) - 1:
        before, at, after = signed[top - 1 : top + 2]
        peak += 0.5 * (before - after) / (before - 2 * at + after) if before + after < 2 * at else 0.0
    return Lobe(float(sign), peak, float(max(-signed.min(), 0) / signed[top]))


def colour_index(temporal: Float32[np.ndarray, "neuron frame channel"]) -> Float32[np.ndarray, " neuron"]:
    """Contrast of both channels' largest absolute values, 1 if only the first counts; see ``ReceptiveFields``."""
    if temporal.shape[-1] != 2:
        return np.full(len(temporal), np.nan, np.float32)
    first, second = np.abs(temporal).max(axis=1).T
    total = first + second
    return np.divide(first - second, total, out=np.full_like(total, np.nan), where=total > 0)


def low_pass(
    courses: Float[np.ndarray, "*courses time"],
    frame_rate_hz: float,
    cutoff_hz: float = LOW_PASS_HZ,
    order: int = LOW_PASS_ORDER,
) -> Float[np.ndarray, "*courses time"]:
    """Filter time courses by a Butterworth filter, forwards and backwards, so that nothing is delayed.

    A cut-off above the highest frequency that frames can hold changes nothing.

    Raises:
        UserError: a frequency is not above 0.
    """
    if not (frame_rate_hz > 0 and cutoff_hz > 0):
        raise UserError(f"frame rate and cut-off must be above 0 Hz, but are {frame_rate_hz} and {cutoff_hz}")
    if cutoff_hz >= frame_rate_hz / 2:
        return courses
    from scipy.signal import butter, filtfilt

    numerator, denominator = butter(order, Wn=cutoff_hz, fs=frame_rate_hz)
    padding = min(3 * len(numerator), courses.shape[-1] - 1)  # short courses have no room for scipy's own choice
    return filtfilt(numerator, denominator, courses, padlen=padding)


def spectrum(
    courses: Float[np.ndarray, "*courses time"], frame_rate_hz: float, cutoff_hz: float = LOW_PASS_HZ
) -> tuple[Float[np.ndarray, " frequency"], Float[np.ndarray, "*courses frequency"]]:
    """Frequencies in Hz, and amplitudes of low-passed time courses at these (absolute values of the FFT)."""
    time = courses.shape[-1]
    amplitudes = np.abs(np.fft.rfft(low_pass(courses, frame_rate_hz, cutoff_hz)))
    frequencies = np.fft.rfftfreq(time, 1 / frame_rate_hz)
    return frequencies[: time // 2], amplitudes[..., : time // 2]


def main_frequency(
    frequencies: Float[np.ndarray, " frequency"], amplitudes: Float[np.ndarray, "*courses frequency"]
) -> Float[np.ndarray, " *courses"]:
    """Mean frequency, weighted by the amplitudes; NaN where all of them are 0."""
    total = amplitudes.sum(-1)
    return np.asarray((amplitudes @ frequencies) / np.where(total > 0, total, np.nan))


@dataclasses.dataclass(frozen=True, eq=False)
class Composition:
    """Space, time and frequencies of every channel of a stimulus.

    Attributes:
        spatial: images, see ``SpaceTime``.
        temporal: time courses.
        share: share of the channel's sum of squares that these two hold.
        time_s: seconds of the frames before the end of the stimulus, up to 0.
        frequencies_hz, amplitudes: spectrum of the time courses.
        main_frequency_hz: mean of the frequencies, weighted by the amplitudes.
    """

    spatial: Float32[np.ndarray, "channel height width"]
    temporal: Float32[np.ndarray, "channel time"]
    share: Float32[np.ndarray, " channel"]
    time_s: Float[np.ndarray, " time"]
    frequencies_hz: Float[np.ndarray, " frequency"]
    amplitudes: Float[np.ndarray, "channel frequency"]
    main_frequency_hz: Float[np.ndarray, " channel"]


def composition(movie: Float[np.ndarray, "time height width channel"], frame_rate_hz: float) -> Composition:
    """Decompose every channel of a stimulus by itself."""
    spatial, temporal, share = space_time(np.moveaxis(movie, -1, 0)[..., None])
    courses = temporal[..., 0]
    frequencies, amplitudes = spectrum(courses, frame_rate_hz)
    return Composition(
        spatial=spatial,
        temporal=courses,
        share=share,
        time_s=np.arange(1 - len(movie), 1) / frame_rate_hz,
        frequencies_hz=frequencies,
        amplitudes=amplitudes,
        main_frequency_hz=main_frequency(frequencies, amplitudes),
    )
