"""Spike-triggered averages, and the filters that the spatial contrast model takes from them.

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
from jaxtyping import Bool, Float, Float32

from openretina_jax.errors import UserError, nearest
from openretina_jax.runtime.files import read_npy

_log = logging.getLogger(__name__)

# what may stand in braces in a file pattern: our names, and those of openretina for the same
PLACEHOLDERS = ("session", "cell", "retina_index", "cell_index")
MOST_EVALUATIONS = 5000  # of the Gaussian in one fit
SMALLEST_SIGMA = 0.5
_REMEDY = "check the folder and the pattern of the names, and save one STA per file with numpy.save"


@dataclasses.dataclass(frozen=True, eq=False)
class GaussianFit:
    """A two-dimensional Gaussian and how it was found.

    An ellipse has many names: axes may be swapped, angles turned by pi. Which of them a search ends at hangs on the
    last bit of its arithmetic, so that fits are kept in one form: the long axis first, its angle in [0, pi).

    Attributes:
        centre: row and column (y, x).
        sigma: standard deviations along the long and the short axis.
        theta: angle from x to the long axis, towards y, in [0, pi); 0 if the Gaussian is round.
        amplitude: height of the peak; of ``StaFilters`` always positive.
        success: whether the fit converged; if not, the values are the guess that it began with.
        covariance: of (x, y, long sigma, short sigma, theta, amplitude); None without success.
    """

    centre: tuple[float, float]
    sigma: tuple[float, float]
    theta: float
    amplitude: float
    success: bool
    covariance: Float[np.ndarray, "6 6"] | None


@dataclasses.dataclass(frozen=True, eq=False)
class StaFilters:
    """Filters of one neuron, each of norm 1 (or 0 throughout).

    Attributes:
        spatial: never negative, whatever the polarity of the neuron.
        temporal: carries the sign of the polarity.
        fit: the Gaussian behind ``spatial``.
    """

    spatial: Float32[np.ndarray, "height width"]
    temporal: Float32[np.ndarray, " frame"]
    fit: GaussianFit


@dataclasses.dataclass(frozen=True, eq=False)
class SessionFilters:
    """``StaFilters`` of many neurons, one after the other."""

    spatial: Float32[np.ndarray, "neuron height width"]
    temporal: Float32[np.ndarray, "neuron frame"]
    fits: tuple[GaussianFit, ...]


def gaussian_2d(
    shape: tuple[int, int], centre: tuple[float, float], sigma: tuple[float, float], theta: float, amplitude: float
) -> Float[np.ndarray, "height width"]:
    """A rotated Gaussian on the pixels of an image; arguments as in ``GaussianFit``."""
    # A fit begins with a round Gaussian, whose angle means nothing: rounding decides where the search goes from there.
    # So this is the reference's order of operations, and not the square of a distance.
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
    """The pixels of an image within ``sigma_contour`` standard deviations of a Gaussian's centre."""
    y, x = _offsets(shape, centre)
    first = np.cos(theta) * x + np.sin(theta) * y
    second = np.cos(theta) * y - np.sin(theta) * x
    return np.sqrt((first / sigma[0]) ** 2 + (second / sigma[1]) ** 2) <= sigma_contour


def fit_gaussian(
    frame: Float[np.ndarray, "height width"], initial_centre: tuple[int, int] | None = None
) -> GaussianFit:
    """The Gaussian with the least squared difference from a frame.

    Args:
        frame: finite values; the Gaussian may be a peak or a trough.
        initial_centre: row and column where the search begins (None: the largest absolute value).
    """
    from scipy.optimize import OptimizeWarning, curve_fit  # most runs fit no Gaussian

    height, width = frame.shape
    if initial_centre is None:
        y, x = (int(index) for index in np.unravel_index(np.argmax(np.abs(frame)), frame.shape))
    else:
        y, x = initial_centre
    guess = (x, y, min(height, width) / 6, min(height, width) / 6, 0.0, float(frame[y, x]))
    lowest = (0, 0, SMALLEST_SIGMA, SMALLEST_SIGMA, -np.pi, -np.inf)
    highest = (width - 1, height - 1, width, height, np.pi, np.inf)

    def pixels(_: None, x: float, y: float, first: float, second: float, theta: float, amplitude: float) -> np.ndarray:
        return gaussian_2d((height, width), (y, x), (first, second), theta, amplitude).ravel()

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", OptimizeWarning)  # an unknown covariance, which is then infinite
            found, covariance = curve_fit(
                pixels, None, frame.ravel(), p0=guess, bounds=(lowest, highest), maxfev=MOST_EVALUATIONS
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

    An STA that is not finite gives filters of zeros, so that its neuron has a constant response and harms no other.

    Args:
        sta: the average.
        temporal_frames: keep this many of the most recent frames of the temporal filter; None, or more than there are:
            all.
        sigma_contour: standard deviations beyond which the spatial filter is zero.
        name: of the STA, for warnings.

    Raises:
        UserError: an option out of its range.
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
    """The STA of a ``.npy`` file, on the pixels of the stimulus.

    Args:
        file: numbers of shape (frame, height, width); pickled objects are refused.
        flip: mirror left to right (for a stimulus that was shown mirrored).
        shape: height and width of the stimulus; what the STA has more is cut off evenly on both sides, the odd pixel at
            the bottom and on the right, after the flip. None: keep all.

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
    """The filters of the neurons of one session, from one file each.

    Args:
        folder: where the files are.
        pattern: their names, with ``{cell}`` and perhaps ``{session}`` (or openretina's ``{cell_index}`` and
            ``{retina_index}``): ``cell_data_{session}_WN_stas_cell_{cell}.npy``.
        session: name of the session, as in the names of the files.
        cells: numbers or names of the neurons, as in the names of the files.
        flip: see ``load_sta``.
        shape: see ``load_sta``.
        temporal_frames: see ``filters_of_sta``.
        sigma_contour: see ``filters_of_sta``.

    Raises:
        UserError: no neuron, a wrong pattern, a wrong file, or STAs of different sizes.
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
    """Rows and columns of an image, counted from the centre."""
    rows, columns = (np.arange(size) - at for size, at in zip(shape, centre, strict=True))
    return rows[:, None], columns


def _gaussian_fit(values: Float[np.ndarray, "6"], covariance: Float[np.ndarray, "6 6"] | None) -> GaussianFit:
    """The fit with the long axis first and its angle in [0, pi)."""
    x, y, first, second, theta, amplitude = (float(value) for value in values)
    if first < second:
        first, second, theta = second, first, theta + np.pi / 2
        if covariance is not None:
            swapped = [0, 1, 3, 2, 4, 5]
            covariance = covariance[np.ix_(swapped, swapped)]
    # a tiny negative angle would round to pi itself
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
    """The pattern filled in for every cell."""
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
