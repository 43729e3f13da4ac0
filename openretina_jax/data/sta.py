"""Spatial and temporal filters from spike-triggered averages, for the spatial contrast model.

A spike-triggered average (STA) is the mean movie before a spike of one neuron: ``(frame, height, width)``, the last
frame being the most recent. Its spatial filter is a Gaussian fitted to the frame of largest variance, cut off at a
contour; its temporal filter is the time course of the pixel at the Gaussian's centre (Sridhar et al. 2025). Positions
and standard deviations are in pixels, angles in radians.
"""

import dataclasses
import logging
import string
import warnings
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from jaxtyping import Bool, Float, Float32, Int

from openretina_jax.errors import UserError, nearest
from openretina_jax.runtime.files import read_npy

_log = logging.getLogger(__name__)

# placeholders of a file pattern: ours, and openretina's names for the same
PLACEHOLDERS = ("session", "cell", "retina_index", "cell_index")
MAX_EVALUATIONS = 5000  # evaluations of the Gaussian in one fit
MIN_SIGMA = 0.5
_REMEDY = "check the folder and the pattern of the names, and save one STA per file with numpy.save"


@dataclasses.dataclass(frozen=True, eq=False)
class GaussianFit:
    """A fitted two-dimensional Gaussian.

    Swapping the axes, or turning them by pi, gives the same ellipse, and rounding decides which form a fit ends at.
    Fits are therefore kept in one form: the long axis first, its angle in [0, pi).

    Attributes:
        centre: row and column (y, x).
        sigma: standard deviations along the long and the short axis.
        theta: angle from x to the long axis, towards y, in [0, pi); 0 if the Gaussian is round.
        amplitude: height of the peak; always positive in ``StaFilters``.
        success: whether the fit converged; if not, the values are the initial guess.
        covariance: covariance of (x, y, long sigma, short sigma, theta, amplitude); None if the fit did not converge.
    """

    centre: tuple[float, float]
    sigma: tuple[float, float]
    theta: float
    amplitude: float
    success: bool
    covariance: Float[np.ndarray, "6 6"] | None


@dataclasses.dataclass(frozen=True, eq=False)
class StaFilters:
    """Filters of one neuron, each of norm 1, or all zeros.

    Attributes:
        spatial: spatial filter, never negative.
        temporal: temporal filter; its sign is the polarity of the neuron (ON or OFF).
        fit: the Gaussian behind ``spatial``.
    """

    spatial: Float32[np.ndarray, "height width"]
    temporal: Float32[np.ndarray, " frame"]
    fit: GaussianFit


@dataclasses.dataclass(frozen=True, eq=False)
class SessionFilters:
    """Filters of all neurons of a session; see ``StaFilters``."""

    spatial: Float32[np.ndarray, "neuron height width"]
    temporal: Float32[np.ndarray, "neuron frame"]
    fits: tuple[GaussianFit, ...]


@dataclasses.dataclass(frozen=True, eq=False)
class LinearFilters:
    """Linear filters of all neurons of a data set, in the order of a readout's rows, see ``linear_filters``.

    They are those of the movies as the sessions saw them.

    Attributes:
        significant: which neurons have an STA that chance does not explain; filters of others are noise.
        centre: row and column of the pixel where the STA is largest.
        spatial: weights of normalised pixels, of norm 1; their sum is not negative.
        temporal: weights of frames, of norm 1; the last one is that of the response.
        slope: change of a response with the filtered movie.
    """

    significant: Bool[np.ndarray, " neuron"]
    centre: Float32[np.ndarray, "neuron 2"]
    spatial: Float32[np.ndarray, "neuron channel height width"]
    temporal: Float32[np.ndarray, "neuron frame"]
    slope: Float32[np.ndarray, " neuron"]

    def of(self, neurons: Int[np.ndarray, " chosen"]) -> "LinearFilters":
        """Those of some neurons."""
        return LinearFilters(*(getattr(self, field.name)[neurons] for field in dataclasses.fields(self)))


def gaussian_2d(
    shape: tuple[int, int], centre: tuple[float, float], sigma: tuple[float, float], theta: float, amplitude: float
) -> Float[np.ndarray, "height width"]:
    """Evaluate a rotated Gaussian on the pixels of an image; arguments as in ``GaussianFit``."""
    # A fit starts from a round Gaussian, whose angle is undefined, so that rounding decides where the search goes.
    # Hence the reference's order of operations, rather than the square of a distance.
    y, x = _offsets(shape, centre)
    first, second = (2 * width**2 for width in sigma)
    xx = np.cos(theta) ** 2 / first + np.sin(theta) ** 2 / second
    xy = np.sin(2 * theta) / (2 * first) - np.sin(2 * theta) / (2 * second)
    yy = np.sin(theta) ** 2 / first + np.cos(theta) ** 2 / second
    return amplitude * np.exp(-(xx * x**2 + 2 * xy * x * y + yy * y**2))


def contour_mask(
    shape: tuple[int, int],
    centre: tuple[float, float],
    sigma: tuple[float, float],
    theta: float,
    sigma_contour: float = 3.0,
) -> Bool[np.ndarray, "height width"]:
    """Mask of the pixels within ``sigma_contour`` standard deviations of a Gaussian's centre."""
    y, x = _offsets(shape, centre)
    first = np.cos(theta) * x + np.sin(theta) * y
    second = np.cos(theta) * y - np.sin(theta) * x
    return np.sqrt((first / sigma[0]) ** 2 + (second / sigma[1]) ** 2) <= sigma_contour


def fit_gaussian(
    frame: Float[np.ndarray, "height width"], initial_centre: tuple[int, int] | None = None
) -> GaussianFit:
    """Fit a Gaussian to a frame by least squares.

    Args:
        frame: finite values; the Gaussian may be a peak or a trough.
        initial_centre: row and column where the search starts (None: the largest absolute value).
    """
    from scipy.optimize import OptimizeWarning, curve_fit  # most runs fit no Gaussian

    height, width = frame.shape
    if initial_centre is None:
        y, x = (int(index) for index in np.unravel_index(np.argmax(np.abs(frame)), frame.shape))
    else:
        y, x = initial_centre
    guess = (x, y, min(height, width) / 6, min(height, width) / 6, 0.0, float(frame[y, x]))
    lowest = (0, 0, MIN_SIGMA, MIN_SIGMA, -np.pi, -np.inf)
    highest = (width - 1, height - 1, width, height, np.pi, np.inf)

    def pixels(_: None, x: float, y: float, first: float, second: float, theta: float, amplitude: float) -> np.ndarray:
        return gaussian_2d((height, width), (y, x), (first, second), theta, amplitude).ravel()

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", OptimizeWarning)  # an unknown covariance is infinite
            found, covariance = curve_fit(
                pixels, None, frame.ravel(), p0=guess, bounds=(lowest, highest), maxfev=MAX_EVALUATIONS
            )
    except (RuntimeError, ValueError):  # it did not converge, or the image has no room for the first guess
        return _gaussian_fit(np.array(guess), None)
    return _gaussian_fit(found, covariance)


def filters_of_sta(
    sta: Float[np.ndarray, "frame height width"],
    temporal_frames: int | None = None,
    sigma_contour: float = 3.0,
    name: str = "an STA",
) -> StaFilters:
    """Spatial and temporal filter of one neuron.

    An STA that is not finite gives filters of zeros: its neuron has a constant response, and others are not affected.

    Args:
        sta: spike-triggered average.
        temporal_frames: number of the most recent frames to keep in the temporal filter; None, or more than there are:
            all.
        sigma_contour: number of standard deviations beyond which the spatial filter is zero.
        name: name of the STA in warnings.

    Raises:
        UserError: an option is out of its range.
    """
    if temporal_frames is not None and temporal_frames < 1:
        raise UserError(f"temporal_frames is {temporal_frames}, but must be at least 1, or None for all frames")
    if not sigma_contour > 0:
        raise UserError(f"sigma_contour is {sigma_contour}, but must be above 0 standard deviations")
    recent = sta[-temporal_frames:] if temporal_frames else sta
    if not np.isfinite(sta).all():
        _log.warning("%s: has values that are not finite; its filters are zero", name)
        return _no_filters(recent)
    frame = sta[sta.var(axis=(1, 2)).argmax()]
    fit = fit_gaussian(frame)
    if not fit.success:
        _log.warning("%s: no Gaussian fits; its spatial filter is a round one at the largest value", name)
    fit = dataclasses.replace(fit, amplitude=abs(fit.amplitude))
    place = (frame.shape, fit.centre, fit.sigma, fit.theta)
    spatial = gaussian_2d(*place, fit.amplitude) * contour_mask(*place, sigma_contour)
    y, x = (min(max(round(at), 0), size - 1) for at, size in zip(fit.centre, frame.shape, strict=True))
    return StaFilters(_normalized(spatial), _normalized(recent[:, y, x]), fit)


def load_sta(
    file: str | Path, flip: bool = False, shape: tuple[int, int] | None = None
) -> Float[np.ndarray, "frame height width"]:
    """Load an STA from a ``.npy`` file, and crop it to the pixels of the stimulus.

    Args:
        file: file of an array (frame, height, width).
        flip: whether to mirror it left to right (for a stimulus that was shown mirrored).
        shape: height and width of the stimulus; after the flip a larger STA is cropped evenly on both sides, by the odd
            pixel at the bottom and on the right (None: it is kept whole).

    Raises:
        UserError: the file is missing or holds anything else, or the STA is smaller than the stimulus.
    """
    stored = read_npy(Path(file), "frame height width", remedy=_REMEDY)
    sta = np.array(stored, np.result_type(stored.dtype, np.float32))
    if flip:
        sta = sta[:, :, ::-1]
    if shape is None:
        return sta
    spare = [size - wanted for size, wanted in zip(sta.shape[1:], shape, strict=True)]
    if min(spare) < 0:
        raise UserError(
            f"{file}: has {_by(sta.shape[1:])} pixels, but the stimulus has {_by(shape)}, and an STA must not be "
            "smaller; crop the stimulus, or take the STA of the whole image"
        )
    top, left = (rest // 2 for rest in spare)
    return sta[:, top : top + shape[0], left : left + shape[1]]


def load_session_filters(
    folder: str | Path,
    pattern: str,
    session: str,
    cells: Sequence[int | str],
    *,
    flip: bool = False,
    shape: tuple[int, int] | None = None,
    temporal_frames: int | None = None,
    sigma_contour: float = 3.0,
) -> SessionFilters:
    """Load the STAs of a session, one file per neuron, and compute their filters.

    Args:
        folder: folder of the files.
        pattern: pattern of their names, with ``{cell}`` and perhaps ``{session}`` (or openretina's ``{cell_index}`` and
            ``{retina_index}``), such as ``cell_data_{session}_WN_stas_cell_{cell}.npy``.
        session: name of the session in the names of the files.
        cells: numbers or names of the neurons in the names of the files.
        flip: see ``load_sta``.
        shape: see ``load_sta``.
        temporal_frames: see ``filters_of_sta``.
        sigma_contour: see ``filters_of_sta``.

    Raises:
        UserError: there is no neuron, the pattern or a file is wrong, or STAs have different sizes.
    """
    if not cells:
        raise UserError(f"{session}: has no neurons to load STAs of; name at least one")
    files = [Path(folder) / name for name in _file_names(pattern, session, cells)]
    filters: list[StaFilters] = []
    for file in files:
        found = filters_of_sta(load_sta(file, flip, shape), temporal_frames, sigma_contour, name=str(file))
        filters.append(found)
        if _sizes(found) != _sizes(filters[0]):
            raise UserError(
                f"{file}: its filters have {_sizes(found)}, those of {files[0].name} {_sizes(filters[0])}; "
                "all neurons of a session need the same; set the shape and temporal_frames, or compute the STA again"
            )
    return SessionFilters(
        spatial=np.stack([found.spatial for found in filters]),
        temporal=np.stack([found.temporal for found in filters]),
        fits=tuple(found.fit for found in filters),
    )


def _offsets(
    shape: tuple[int, int], centre: tuple[float, float]
) -> tuple[Float[np.ndarray, "height 1"], Float[np.ndarray, " width"]]:
    """Rows and columns of an image relative to a centre."""
    rows, columns = (np.arange(size) - at for size, at in zip(shape, centre, strict=True))
    return rows[:, None], columns


def _gaussian_fit(values: Float[np.ndarray, "6"], covariance: Float[np.ndarray, "6 6"] | None) -> GaussianFit:
    """Bring a fit into the form with the long axis first and its angle in [0, pi)."""
    x, y, first, second, theta, amplitude = (float(value) for value in values)
    if first < second:
        first, second, theta = second, first, theta + np.pi / 2
        if covariance is not None:
            swapped = [0, 1, 3, 2, 4, 5]
            covariance = covariance[np.ix_(swapped, swapped)]
    # a tiny negative angle modulo pi rounds to pi itself
    theta = 0.0 if first == second or theta % np.pi == np.pi else theta % np.pi
    return GaussianFit((y, x), (first, second), theta, amplitude, covariance is not None, covariance)


def _no_filters(recent: Float[np.ndarray, "frame height width"]) -> StaFilters:
    frames, height, width = recent.shape
    fit = GaussianFit((height / 2, width / 2), (1.0, 1.0), 0.0, 0.0, False, None)
    return StaFilters(np.zeros((height, width), np.float32), np.zeros(frames, np.float32), fit)


def _normalized(values: Float[np.ndarray, "*shape"]) -> Float32[np.ndarray, "*shape"]:
    norm = np.linalg.norm(values)
    return (values / norm if norm > 0 else values).astype(np.float32)


def _file_names(pattern: str, session: str, cells: Sequence[int | str]) -> list[str]:
    """Fill in the pattern for every cell."""
    what = f'the file pattern "{pattern}"'
    try:
        names = {name for _, name, _, _ in string.Formatter().parse(pattern) if name is not None}
        for name in names - set(PLACEHOLDERS):
            raise UserError(f"{what} has the placeholder {{{name}}}; {nearest(name, PLACEHOLDERS)}")
        if not names & {"cell", "cell_index"}:
            raise UserError(f"{what} needs {{cell}}: the neurons of a session are in different files")
        return [pattern.format(session=session, retina_index=session, cell=cell, cell_index=cell) for cell in cells]
    except ValueError as error:  # unbalanced braces, or a format that does not suit the value
        raise UserError(f"{what} cannot be filled in ({error}); write it like sta_{{session}}_{{cell}}.npy") from None


def _sizes(filters: StaFilters) -> str:
    return f"{_by(filters.spatial.shape)} pixels and {len(filters.temporal)} frames"


def _by(shape: Sequence[int]) -> str:
    return "x".join(str(size) for size in shape)
