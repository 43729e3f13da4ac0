"""Tuning to full-field light: flicker, contrast, colour, the chirp and flashes."""

import numpy as np

from openretina_jax.data import artificial_patterns as patterns
from openretina_jax.data import artificial_stimuli as stimuli
from openretina_jax.errors import UserError
from openretina_jax.insilico.presentation import (
    BRIGHT_AND_DARK,
    SETTLING_S,
    Screen,
    flicker,
    full_fields,
    respond,
)
from openretina_jax.insilico.tuning import curves
from openretina_jax.insilico.tuning.result import Tuning, Values
from openretina_jax.models.model import Model

CONTRASTS = (-1.0, -0.75, -0.5, -0.25, -0.1, 0.0, 0.1, 0.25, 0.5, 0.75, 1.0)


def temporal_frequency(
    model: Model,
    frequencies_hz: Values | None = None,
    *,
    contrast: float = 1.0,
    duration_s: float = 2.0,
    screen: Screen | None = None,
) -> Tuning:
    """Modulation by full-field sinusoidal flicker, by its frequency.

    Indices: ``preferred_hz``; ``cutoff_hz``, where the response last leaves half of its maximum; ``doubling``, response
    at twice the preferred frequency relative to that at the frequency itself, high in ON-OFF neurons.

    Args:
        model: any model.
        frequencies_hz: frequencies (None: those of 0.5, 1, 2, 3, 4, 6, 8, 10, 12, 15, 20 Hz that have three frames a
            cycle).
        contrast: amplitude of the flicker.
        duration_s: seconds that are measured, from the first frame after half a second; the last whole cycles count.
        screen: the model's screen (None: as the model knows it).

    Raises:
        UserError: a frequency is too high for the frame rate, or has no whole cycle in the time that is measured.
    """
    screen = screen or Screen.of(model)
    rate = screen.rate_hz
    if frequencies_hz is None:
        usual = (0.5, 1.0, 2.0, 3.0, 4.0, 6.0, 8.0, 10.0, 12.0, 15.0, 20.0)
        frequencies_hz = [frequency for frequency in usual if frequency <= rate / 3]
    values = np.sort(np.asarray(frequencies_hz, float))
    if values[0] * duration_s < 1:
        raise UserError(f"{duration_s:g} s hold no cycle of {values[0]:g} Hz; take a longer duration_s")
    courses = [contrast * flicker(screen, value, SETTLING_S + duration_s) for value in values.tolist()]
    traces, grey = respond(model, screen, full_fields(screen, courses))
    lengths = [curves.whole_cycles(value, screen.frames(duration_s), rate) for value in values.tolist()]
    measured = [traces[:, number, -length:] for number, length in enumerate(lengths)]
    curve = np.stack([curves.modulation(one) for one in measured], axis=1)
    first, second = (
        np.stack(
            [curves.amplitude(one, times * value, rate) for one, value in zip(measured, values, strict=True)], axis=1
        )
        for times in (1, 2)
    )
    rows, best = np.arange(len(grey)), curve.argmax(axis=1)
    return Tuning.of(
        "temporal_frequency", ("temporal frequency", "hz"), values, curve, grey,
        preferred_hz=values[best],
        cutoff_hz=curves.crossing(curve, values, last=True),
        doubling=second[rows, best] / np.maximum(first[rows, best], curves.TINY),
    )  # fmt: skip


def contrast(
    model: Model,
    contrasts: Values = CONTRASTS,
    *,
    duration_s: float = 0.5,
    screen: Screen | None = None,
) -> Tuning:
    """Response to full-field steps from grey to each contrast: the one farthest from that to grey, with its sign.

    Indices: ``on_off``, response to the highest contrast against that to the lowest (1: ON, -1: OFF);
    ``half_contrast``, size of the contrast, on the side of the higher response, at which half of the maximum is
    reached.

    Args:
        model: any model.
        contrasts: contrasts from -1 to 1.
        duration_s: seconds of a step.
        screen: the model's screen (None: as the model knows it).
    """
    screen = screen or Screen.of(model)
    values = np.sort(np.asarray(contrasts, float))
    courses = [np.full(screen.frames(duration_s), value, np.float32) for value in values]
    traces, grey = respond(model, screen, full_fields(screen, courses))
    curve = curves.extreme(traces)
    bright, dark = (np.concatenate([[0.0], sign * values[sign * values > 0][::sign]]) for sign in (1, -1))
    halves = [
        curves.crossing(np.pad(curve[:, sign * values > 0][:, ::sign], ((0, 0), (1, 0))), side)
        for sign, side in ((1, bright), (-1, dark))
    ]
    return Tuning.of(
        "contrast", ("contrast", ""), values, curve, grey,
        on_off=curves.contrast_of(curve[:, -1], curve[:, 0]),
        half_contrast=np.where(curve[:, -1] >= curve[:, 0], *halves),
    )  # fmt: skip


def colour(
    model: Model,
    *,
    contrasts: Values = BRIGHT_AND_DARK,
    duration_s: float = 0.5,
    screen: Screen | None = None,
) -> Tuning:
    """Peak response to full-field steps of one channel at a time, of the contrast to which a neuron responds most.

    Indices: ``preferred_channel``; ``contrast``, the preferred one; with two channels ``index``, the first against the
    second (from 1 to -1).

    Args:
        model: any model.
        contrasts: contrasts of the steps.
        duration_s: seconds of a step.
        screen: the model's screen (None: as the model knows it).
    """
    screen = screen or Screen.of(model)
    everywhere = np.ones((screen.height, screen.width), np.float32)
    movies = np.stack([
        patterns.separable(
            everywhere, np.full(screen.frames(duration_s), value, np.float32), screen.channels, channel=channel
        )
        for value in contrasts
        for channel in range(screen.channels)
    ])  # fmt: skip
    traces, grey = respond(model, screen, movies)
    peaks = traces.max(axis=2).reshape(len(grey), len(contrasts), -1)
    curve, chosen = curves.preferred_contrast(peaks, np.asarray(contrasts, float))
    indices = {"preferred_channel": curve.argmax(axis=1).astype(float), "contrast": chosen}
    if screen.channels == 2:
        indices["index"] = curves.contrast_of(curve[:, 0], curve[:, 1])
    return Tuning.of("colour", ("channel", ""), np.arange(screen.channels, dtype=float), curve, grey, **indices)


def chirp(model: Model, *, screen: Screen | None = None) -> Tuning:
    """Response to the full-field chirp of Baden et al. 2016 over time.

    Indices: ``on_off``, peak of the response to the bright step against that to the dark step after it (1: ON, -1:
    OFF), each less the response just before the step; ``transience`` of the higher of them, 1 less its mean in the
    step's last second relative to the peak; ``cutoff_hz``, frequency of the sweep at which the modulation last leaves
    half of its maximum; ``half_contrast``, contrast of the ramp at which the modulation first reaches half of its
    maximum.

    Args:
        model: any model.
        screen: the model's screen (None: as the model knows it).
    """
    screen = screen or Screen.of(model)
    movie = stimuli.chirp(*screen.size, frame_rate_hz=screen.rate_hz)
    traces, grey = respond(model, screen, movie[None])
    trace = traces[:, 0]
    second = screen.frames(1.0)

    def between(begin_s: float, end_s: float) -> np.ndarray:
        return trace[:, round(begin_s * screen.rate_hz) : round(end_s * screen.rate_hz)]

    # less the response before the step, which lasts into it
    on, off = (between(begin, begin + 3) - between(begin - 0.5, begin)[:, -1:] for begin in (2.0, 5.0))
    preferred = np.where((on.max(axis=1) >= off.max(axis=1))[:, None], on, off)
    sweep, ramp = (curves.envelope(between(begin, begin + 8), second) for begin in (10.0, 20.0))
    time_s = np.arange(sweep.shape[1]) / screen.rate_hz
    return Tuning.of(
        "chirp", ("time", "s"), np.arange(trace.shape[1]) / screen.rate_hz, trace, grey,
        on_off=curves.contrast_of(on.max(axis=1), off.max(axis=1)),
        transience=curves.transience(preferred, second),
        cutoff_hz=curves.crossing(sweep, time_s, last=True),  # the sweep has f Hz after f seconds
        half_contrast=curves.crossing(ramp, time_s / 8),
    )  # fmt: skip


def flashes(model: Model, *, duration_s: float = 1.0, contrast: float = 1.0, screen: Screen | None = None) -> Tuning:
    """Response to a full-field bright flash and to a dark one, each from grey and back, over time.

    The curve is the response to the bright flash followed by that to the dark one. Indices: ``on_off``, peak during the
    bright flash against that during the dark one; ``latency_s``, time from the onset of the flash of the higher peak
    until half of the peak (0: in the first frame); ``peak_s``, time until the peak; ``transience``, 1 less the mean in
    the last quarter of this flash relative to the peak.

    Args:
        model: any model.
        duration_s: seconds of a flash, and of the grey after it.
        contrast: size of the contrast of both.
        screen: the model's screen (None: as the model knows it).
    """
    screen = screen or Screen.of(model)
    courses = [
        patterns.steps([sign * contrast, 0.0], duration_s=duration_s, frame_rate_hz=screen.rate_hz)
        for sign in BRIGHT_AND_DARK
    ]
    traces, grey = respond(model, screen, full_fields(screen, courses))
    frames = screen.frames(duration_s)
    on, off = traces[:, 0, :frames], traces[:, 1, :frames]
    preferred = np.where((on.max(axis=1) >= off.max(axis=1))[:, None], on, off)
    time_s = np.arange(frames) / screen.rate_hz
    curve = traces.reshape(len(grey), -1)
    return Tuning.of(
        "flashes", ("time", "s"), np.arange(curve.shape[1]) / screen.rate_hz, curve, grey,
        on_off=curves.contrast_of(on.max(axis=1), off.max(axis=1)),
        latency_s=curves.crossing(preferred, time_s),
        peak_s=time_s[preferred.argmax(axis=1)],
        transience=curves.transience(preferred, max(frames // 4, 1)),
    )  # fmt: skip
