"""Tuning to motion and to gratings: direction, orientation, speed and spatial frequency."""

import numpy as np

from openretina_jax.data import artificial_patterns as patterns
from openretina_jax.data import artificial_stimuli as stimuli
from openretina_jax.errors import UserError
from openretina_jax.insilico.presentation import BRIGHT_AND_DARK, SETTLING_S, Movies, Screen, flicker, respond
from openretina_jax.insilico.tuning import curves
from openretina_jax.insilico.tuning.result import Tuning, Values
from openretina_jax.models.model import Model

DIRECTIONS_DEG = tuple(float(angle) for angle in np.arange(8) * 45.0)
ORIENTATIONS_DEG = tuple(float(angle) for angle in np.arange(8) * 22.5)


def direction(
    model: Model,
    directions_deg: Values = DIRECTIONS_DEG,
    *,
    speed_um_per_s: float = 1000.0,
    bar_width_um: float = 300.0,
    contrasts: Values = BRIGHT_AND_DARK,
    permutations: int = 1000,
    screen: Screen | None = None,
) -> Tuning:
    """Peak response to bars that cross the grey screen, mean over bright and dark bars.

    Indices: ``selectivity``, the length of ``curves.vector``; ``preferred_deg``, its angle; ``opposite``, the preferred
    direction against the opposite one (``curves.opposite``, for equally spaced directions); ``p`` of
    ``curves.permutation_p``, whose repeats are the contrasts.

    A neuron is directional where the selectivity is high and ``p`` low. Curves of other neurons vary by a few per cent,
    for instance because a bar falls on other pixels in each direction; their shape is not worth comparing.

    Args:
        model: any model.
        directions_deg: directions of motion.
        speed_um_per_s, bar_width_um: speed and width of the bars on the retina.
        contrasts: contrasts of the bars.
        permutations: random orders of the directions.
        screen: the model's screen (None: as the model knows it).
    """
    screen = screen or Screen.of(model)
    angles = np.asarray(directions_deg, float)
    traces, grey = respond(model, screen, _bars(screen, angles, [speed_um_per_s], bar_width_um, contrasts))
    peaks = traces.max(axis=2).reshape(len(grey), -1, len(angles))
    curve, sums = peaks.mean(axis=1), curves.vector(peaks, angles)
    return Tuning.of(
        "direction", ("direction", "deg"), angles, curve, grey,
        selectivity=np.abs(sums),
        preferred_deg=np.rad2deg(np.angle(sums)) % 360,
        opposite=curves.opposite(curve),
        p=curves.permutation_p(peaks, angles, permutations=permutations),
    )  # fmt: skip


def orientation(
    model: Model,
    orientations_deg: Values = ORIENTATIONS_DEG,
    *,
    period_um: float = 400.0,
    temporal_frequency_hz: float = 2.0,
    phases_deg: Values = (0.0, 45.0, 90.0, 135.0),
    cycles: int = 2,
    permutations: int = 1000,
    screen: Screen | None = None,
) -> Tuning:
    """Modulation by standing gratings that reverse their contrast, mean over spatial phases.

    Indices: ``selectivity``, the length of ``curves.vector`` of the doubled angle; ``preferred_deg``, orientation of
    the stripes, 0 horizontal and 90 vertical; ``p`` of ``curves.permutation_p``, whose repeats are the phases.

    Args:
        model: any model.
        orientations_deg: orientations of the stripes.
        period_um: spatial period on the retina.
        temporal_frequency_hz: reversals follow a sinusoid of this frequency.
        phases_deg: spatial phases.
        cycles: cycles that are measured.
        permutations: random orders of the orientations.
        screen: the model's screen (None: as the model knows it).
    """
    screen = screen or Screen.of(model)
    angles = np.asarray(orientations_deg, float)
    course = flicker(screen, temporal_frequency_hz, SETTLING_S + cycles / temporal_frequency_hz)
    gratings = (
        patterns.grating(
            screen.height, screen.width, orientation_deg=angle, period_um=period_um, phase_deg=phase,
            pixel_size_um=screen.pixel_um,
        )
        for phase in phases_deg
        for angle in angles.tolist()
    )  # fmt: skip
    movies = np.stack([patterns.separable(one, course, screen.channels) for one in gratings])
    traces, grey = respond(model, screen, movies)
    measured = curves.modulation(traces[:, :, -screen.frames(cycles / temporal_frequency_hz) :])
    by_phase = measured.reshape(len(grey), -1, len(angles))
    sums = curves.vector(by_phase, angles, fold=2)
    return Tuning.of(
        "orientation", ("orientation", "deg"), angles, by_phase.mean(axis=1), grey,
        selectivity=np.abs(sums),
        preferred_deg=np.rad2deg(np.angle(sums)) / 2 % 180,
        p=curves.permutation_p(by_phase, angles, fold=2, permutations=permutations),
    )  # fmt: skip


def speed(
    model: Model,
    speeds_um_per_s: Values = (250.0, 500.0, 1000.0, 2000.0, 4000.0),
    *,
    directions_deg: Values = (0.0, 90.0, 180.0, 270.0),
    bar_width_um: float = 300.0,
    contrasts: Values = BRIGHT_AND_DARK,
    screen: Screen | None = None,
) -> Tuning:
    """Peak response to moving bars in the best direction, mean over bright and dark bars.

    Index: ``preferred_um_per_s``, the speed of the highest response.

    Args:
        model: any model.
        speeds_um_per_s: speeds on the retina.
        directions_deg: directions of motion.
        bar_width_um: width of the bars on the retina.
        contrasts: contrasts of the bars.
        screen: the model's screen (None: as the model knows it).
    """
    screen = screen or Screen.of(model)
    values = np.asarray(speeds_um_per_s, float)
    traces, grey = respond(model, screen, _bars(screen, directions_deg, values, bar_width_um, contrasts))
    peaks = traces.max(axis=2).reshape(len(grey), len(contrasts), len(values), -1)
    curve = peaks.mean(axis=1).max(axis=2)
    return Tuning.of(
        "speed", ("speed", "um_per_s"), values, curve, grey, preferred_um_per_s=values[curve.argmax(axis=1)]
    )


def spatial_frequency(
    model: Model,
    periods_um: Values | None = None,
    *,
    directions_deg: Values = (0.0, 90.0),
    temporal_frequency_hz: float = 2.0,
    cycles: int = 2,
    screen: Screen | None = None,
) -> Tuning:
    """Modulation by drifting gratings, in the best direction, by their spatial frequency.

    Indices: ``preferred_cycles_per_mm``; ``cutoff_cycles_per_mm``, where the response last leaves half of its maximum;
    ``low_frequency``, response to the lowest frequency relative to the maximum.

    Args:
        model: any model.
        periods_um: spatial periods on the retina (None: 7 from 3 pixels to twice the longer side of the screen).
        directions_deg: directions of motion.
        temporal_frequency_hz: cycles per second at each pixel.
        cycles: cycles that are measured.
        screen: the model's screen (None: as the model knows it).

    Raises:
        UserError: a period is shorter than two pixels.
    """
    screen = screen or Screen.of(model)
    if periods_um is None:
        periods_um = np.geomspace(3 * screen.pixel_um, 2 * max(screen.height, screen.width) * screen.pixel_um, 7)
    periods = np.sort(np.asarray(periods_um, float))[::-1]
    if periods[-1] < 2 * screen.pixel_um:
        raise UserError(
            f"a period of {periods[-1]:g} µm is shorter than two pixels of {screen.pixel_um:g} µm; take longer ones"
        )
    duration_s = SETTLING_S + cycles / temporal_frequency_hz
    movies = np.stack([
        stimuli.drifting_grating(
            *screen.size, frame_rate_hz=screen.rate_hz, pixel_size_um=screen.pixel_um, direction_deg=angle,
            period_um=period, temporal_frequency_hz=temporal_frequency_hz, duration_s=duration_s,
        )
        for angle in np.asarray(directions_deg, float).tolist()
        for period in periods.tolist()
    ])  # fmt: skip
    traces, grey = respond(model, screen, movies)
    measured = curves.modulation(traces[:, :, -screen.frames(cycles / temporal_frequency_hz) :])
    curve = measured.reshape(len(grey), -1, len(periods)).max(axis=1)
    frequencies = 1000 / periods
    return Tuning.of(
        "spatial_frequency", ("spatial frequency", "cycles_per_mm"), frequencies, curve, grey,
        preferred_cycles_per_mm=frequencies[curve.argmax(axis=1)],
        cutoff_cycles_per_mm=curves.crossing(curve, frequencies, last=True),
        low_frequency=curve[:, 0] / np.maximum(curve.max(axis=1), curves.TINY),
    )  # fmt: skip


def _bars(screen: Screen, directions_deg: Values, speeds: Values, width_um: float, contrasts: Values) -> Movies:
    """Bars on grey by contrast, speed and direction, as long as the slowest needs to cross the screen."""
    duration_s = (screen.diagonal_um + width_um) / min(speeds)
    angles = [float(angle) for angle in directions_deg]
    return np.concatenate([
        stimuli.moving_bars(
            *screen.size, frame_rate_hz=screen.rate_hz, pixel_size_um=screen.pixel_um, directions_deg=angles,
            bar_width_um=width_um, speed_um_per_s=float(one), duration_s=duration_s, contrast=float(value),
            background=0.0,
        )
        for value in contrasts
        for one in speeds
    ])  # fmt: skip
