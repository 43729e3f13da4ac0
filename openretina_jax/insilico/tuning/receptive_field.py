"""Tuning to stimuli on the receptive field: area summation, annuli, and the nonlinearity along a filter."""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float

from openretina_jax.data import artificial_patterns as patterns
from openretina_jax.data.artificial_stimuli import checkerboard_noise
from openretina_jax.data.masked import correlation
from openretina_jax.errors import UserError
from openretina_jax.insilico.presentation import BRIGHT_AND_DARK, Movies, Screen, respond, respond_each
from openretina_jax.insilico.tuning import curves
from openretina_jax.insilico.tuning.result import Tuning, Values
from openretina_jax.models.model import Model

Centres = Float[np.ndarray, "neuron 2"]


def area(
    model: Model,
    centres_px: Centres,
    radii_um: Values | None = None,
    *,
    contrasts: Values = BRIGHT_AND_DARK,
    duration_s: float = 0.5,
    screen: Screen | None = None,
) -> Tuning:
    """Peak response to spots of growing radius on the receptive field, of the contrast to which a neuron responds most.

    Indices: ``preferred_um``, radius of the highest response; ``surround``, 1 less the response to the largest spot
    relative to the highest; ``contrast``, the preferred one.

    Args:
        model: any model.
        centres_px: row and column of the centre of every neuron's receptive field, in pixel indices.
        radii_um: radii on the retina (None: 8 from half a pixel to half the diagonal of the screen).
        contrasts: contrasts of the spots.
        duration_s: seconds that a spot is shown.
        screen: the model's screen (None: as the model knows it).

    Raises:
        UserError: there is not one centre for each neuron.
    """
    screen = screen or Screen.of(model)
    _check_centres(model, centres_px)
    if radii_um is None:
        radii_um = np.geomspace(screen.pixel_um / 2, screen.diagonal_um / 2, 8)
    radii = np.sort(np.asarray(radii_um, float))

    def spot(row: int, radius: float) -> patterns.Pattern:
        return patterns.disc(
            screen.height, screen.width, radius_um=radius, pixel_size_um=screen.pixel_um, centre_px=centres_px[row]
        )

    def movies_of(row: int) -> Movies:
        return _shown(screen, [spot(row, radius) for radius in radii.tolist()], contrasts, duration_s)

    traces, grey = respond_each(model, screen, movies_of)
    peaks = traces.max(axis=2).reshape(len(grey), len(contrasts), -1)
    curve, chosen = curves.preferred_contrast(peaks, np.asarray(contrasts, float))
    return Tuning.of(
        "area", ("radius", "um"), radii, curve, grey,
        preferred_um=radii[curve.argmax(axis=1)],
        surround=1 - curve[:, -1] / np.maximum(curve.max(axis=1), curves.TINY),
        contrast=chosen,
    )  # fmt: skip


def annuli(
    model: Model,
    centres_px: Centres,
    inner_um: Values | None = None,
    *,
    spot_um: float = 100.0,
    surround: float = 1.0,
    contrasts: Values = BRIGHT_AND_DARK,
    duration_s: float = 0.5,
    screen: Screen | None = None,
) -> Tuning:
    """Peak response to a spot with an annulus around it that fills the screen from an inner radius on.

    Indices: ``suppression``, 1 less the lowest response relative to that to the spot alone (below 0: every annulus
    excites); ``strongest_um``, inner radius of that lowest response; ``alone``, response to the spot alone;
    ``contrast``, contrast of the spot to which the neuron responds most when it is alone.

    Args:
        model: any model.
        centres_px: row and column of the centre of every neuron's receptive field, in pixel indices.
        inner_um: inner radii (None: 6 from that of the spot to half the diagonal of the screen).
        spot_um: radius of the spot.
        surround: contrast of the annulus relative to that of the spot; -1 is the opposite contrast.
        contrasts: contrasts of the spot.
        duration_s: seconds that both are shown.
        screen: the model's screen (None: as the model knows it).

    Raises:
        UserError: there is not one centre for each neuron, or an annulus overlaps the spot.
    """
    screen = screen or Screen.of(model)
    _check_centres(model, centres_px)
    if inner_um is None:
        inner_um = np.geomspace(spot_um, max(spot_um, screen.diagonal_um / 2), 6)
    radii = np.sort(np.asarray(inner_um, float))
    if radii[0] < spot_um:
        raise UserError(f"an annulus begins at {radii[0]:g} µm, within the spot of {spot_um:g} µm; begin outside")

    def pattern(row: int, inner: float) -> patterns.Pattern:
        return patterns.centre_surround(
            screen.height, screen.width, centre=1.0, surround=surround, radius_um=spot_um, inner_um=inner,
            pixel_size_um=screen.pixel_um, centre_px=centres_px[row],
        )  # fmt: skip

    def movies_of(row: int) -> Movies:
        return _shown(screen, [pattern(row, inner) for inner in [*radii.tolist(), np.inf]], contrasts, duration_s)

    traces, grey = respond_each(model, screen, movies_of)
    peaks = traces.max(axis=2).reshape(len(grey), len(contrasts), -1)
    rows, chosen = np.arange(len(grey)), peaks[:, :, -1].argmax(axis=1)
    curve, alone = peaks[rows, chosen, :-1], peaks[rows, chosen, -1]
    return Tuning.of(
        "annuli", ("inner radius", "um"), radii, curve, grey,
        suppression=1 - curve.min(axis=1) / np.maximum(alone, curves.TINY),
        strongest_um=radii[curve.argmin(axis=1)],
        alone=alone,
        contrast=np.asarray(contrasts, float)[chosen],
    )  # fmt: skip


def nonlinearity(
    model: Model,
    filters: Float[np.ndarray, "neuron frame height width channel"],
    movie: Float[np.ndarray, "time height width channel"] | None = None,
    *,
    bins: int = 12,
    limit: float = 2.5,
    screen: Screen | None = None,
) -> Tuning:
    """Mean response as a function of the drive along a filter of every neuron.

    The drive is the product of the filter with the frames before each response, in its own standard deviations. NaN
    where a bin has no drive. Indices: ``explained``, share of the response's variance that the curve explains
    (1: the model is linear-nonlinear along this filter); ``correlation`` of response and drive.

    Args:
        model: any model.
        filters: receptive fields, or most exciting stimuli; the last frame is that of the response.
        movie: movie in the units of the model (None: 1,200 frames of white noise of contrast 1).
        bins: bins of equal width.
        limit: standard deviations of the drive at which the outer bins end.
        screen: the model's screen (None: as the model knows it).

    Raises:
        UserError: there is not one filter of the model's pixels for each neuron, or the movie is too short.
    """
    screen = screen or Screen.of(model)
    if len(filters) != model.data_info.n_neurons or filters.shape[2:] != screen.size:
        raise UserError(
            f"filters have the shape {filters.shape}; one is needed for each of {model.data_info.n_neurons} neurons, "
            f"of (height, width, channel) {screen.size}"
        )
    if movie is None:
        movie = screen.seen(checkerboard_noise(*screen.size, n_frames=1200, independent_channels=True))
    frames = filters.shape[1]
    if len(movie) < 2 * frames:
        raise UserError(f"the movie has {len(movie)} frames, too few for filters of {frames}; take twice as many")
    traces, grey = respond(model, Screen.in_model_units(model), movie[None].astype(np.float32))
    responses, flat = traces[:, 0, frames - 1 :], movie.reshape(len(movie), -1)
    count = responses.shape[1]
    drive = sum(filters[:, lag].reshape(len(filters), -1) @ flat[lag : lag + count].T for lag in range(frames))
    spread = np.maximum(drive.std(axis=1, keepdims=True), curves.TINY)
    scaled = (drive - drive.mean(axis=1, keepdims=True)) / spread
    edges = np.linspace(-limit, limit, bins + 1)
    curve, explained = curves.binned(scaled, responses, edges)
    return Tuning.of(
        "nonlinearity", ("drive", "standard deviations"), (edges[1:] + edges[:-1]) / 2, curve, grey,
        explained=explained,
        correlation=correlation(scaled, responses, axis=1, epsilon=0.0),
    )  # fmt: skip


def _shown(screen: Screen, images: Sequence[patterns.Pattern], contrasts: Values, duration_s: float) -> Movies:
    """Movies of still images of each contrast."""
    courses = [np.full(screen.frames(duration_s), value, np.float32) for value in contrasts]
    return np.stack([patterns.separable(image, course, screen.channels) for course in courses for image in images])


def _check_centres(model: Model, centres_px: Centres) -> None:
    if len(centres_px) != model.data_info.n_neurons:
        raise UserError(
            f"{len(centres_px)} centres are given for {model.data_info.n_neurons} neurons; give the row and column of "
            "each"
        )
