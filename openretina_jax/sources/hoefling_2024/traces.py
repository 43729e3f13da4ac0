"""Conversion of calcium traces to responses at the frame rate of the stimulus, as in Höfling et al. 2024."""

import dataclasses
import logging

import numpy as np
from jaxtyping import Bool, Float, Float32

from openretina_jax.errors import UserError
from openretina_jax.sources.hoefling_2024.selection import SessionGroup

FRAME_RATE_HZ = 30.0
TRACE_TYPES = ("spikes", "raw", "preprocessed", "detrended")

_log = logging.getLogger(__name__)


@dataclasses.dataclass(frozen=True)
class Presentation:
    """Timing of a stimulus, which was shown piece by piece.

    Attributes:
        prefix: beginning of the names of its arrays in the file.
        shown_s: measured time from the first to the last frame of a piece, in seconds.
        nominal_s: intended duration of a piece in seconds, which sets its number of frames.
        triggers: trigger signals per piece; the first one marks its start.
        pieces: pieces of which one presentation consists.
        once: whether it was presented a single time.
    """

    prefix: str
    shown_s: float
    nominal_s: float
    triggers: int
    pieces: int
    once: bool


# Three repeats of 5 test clips, and 108 training clips between them.
NATURAL = Presentation("natural", 4.9666667, 5.0, triggers=1, pieces=123, once=True)
CHIRP = Presentation("chirp", 32.98999999, 33.0, triggers=2, pieces=1, once=False)
# Eight directions. A trigger lasts three frames at 60 Hz, so that a piece takes longer than its 4 s.
MOVING_BAR = Presentation("mb", 4.054001, 4.1, triggers=1, pieces=8, once=False)


@dataclasses.dataclass(frozen=True)
class TraceConversion:
    """Choice of the signal that is taken for the response of a neuron.

    Attributes:
        trace_type: "spikes" (inferred from the calcium signal), or the calcium signal itself: "raw",
            "preprocessed", or "detrended" (raw minus its slow part).
        norm_by_std: whether the responses of a neuron are divided by their standard deviation.
        scale_traces: factor by which responses are multiplied last.

    Raises:
        UserError: an unknown trace type, or a scale that is not a positive number.
    """

    trace_type: str = "spikes"
    norm_by_std: bool = True
    scale_traces: float = 1.0

    def __post_init__(self) -> None:
        if self.trace_type not in TRACE_TYPES:
            raise UserError(f"trace_type is {self.trace_type!r}; it must be one of {', '.join(TRACE_TYPES)}")
        if not 0 < self.scale_traces < float("inf"):
            raise UserError(f"scale_traces is {self.scale_traces}; it must be a positive number")


def upsampled_responses(
    group: SessionGroup,
    presentation: Presentation,
    kept: Bool[np.ndarray, " neuron"],
    conversion: TraceConversion,
) -> Float32[np.ndarray, "time kept"]:
    """Compute the responses of the kept neurons to all presentations of a stimulus, at ``FRAME_RATE_HZ``.

    Responses are NaN where the traces are, and throughout for a constant trace that is to be normalised. A line is
    logged if there are any.

    Raises:
        UserError: arrays are missing or do not fit each other, triggers do not increase or are not as many as the
            presentation has, or traces are infinite, or NaN for all neurons.
    """
    traces = _read_traces(group, presentation, kept, conversion.trace_type)
    times = _read_trace_times(group, presentation, kept, traces.shape[1])
    triggers = _read_triggers(group, presentation, kept)
    if np.isinf(traces).any():
        raise group.error(f'{conversion.trace_type} traces of "{presentation.prefix}" hold infinity')
    if triggers[-1] > times[:, -1].min() or triggers[0] < times[:, 0].max():
        _log.warning(
            "%s: triggers of %s lie between %.1f and %.1f s, but the traces cover only %.1f to %.1f s; their "
            "border values are used outside",
            *(group.name, presentation.prefix, triggers[0], triggers[-1], times[:, 0].max(), times[:, -1].min()),
        )
    responses = upsample(traces, times, triggers, presentation, norm_by_std=conversion.norm_by_std)
    responses *= np.float32(conversion.scale_traces)
    _report_missing(group, responses)
    return responses


def upsample(
    traces: Float[np.ndarray, "neuron sample"],
    trace_times: Float[np.ndarray, "neuron sample"],
    trigger_times: Float[np.ndarray, " trigger"],
    presentation: Presentation,
    *,
    frame_rate_hz: float = FRAME_RATE_HZ,
    norm_by_std: bool = True,
) -> Float32[np.ndarray, "time neuron"]:
    """Interpolate traces linearly at the times of the frames.

    The frames of a piece lie evenly between its trigger and ``shown_s`` later, both included. Before its first and
    after its last sample a trace has the value of that sample.

    Args:
        traces: signals.
        trace_times: times of the samples in seconds.
        trigger_times: times of the triggers in seconds.
        presentation: timing of the stimulus, which says where its pieces begin.
        frame_rate_hz: frames of the stimulus per second.
        norm_by_std: whether a response is divided by its standard deviation over all frames where it is not NaN. A
            constant response becomes NaN.
    """
    starts = trigger_times[:: presentation.triggers]
    n_frames = round(presentation.nominal_s * frame_rate_hz)
    frame_times = np.linspace(starts, starts + presentation.shown_s, n_frames, axis=1).ravel()
    responses = np.empty((len(traces), len(frame_times)), np.float32)
    for neuron, (trace, times) in enumerate(zip(traces, trace_times, strict=True)):
        response = np.interp(frame_times, times, trace)
        responses[neuron] = response / _spread(response) if norm_by_std else response
    return np.ascontiguousarray(responses.T)


def _spread(response: Float[np.ndarray, " time"]) -> float:
    """Standard deviation over the values that are not NaN; NaN if these are constant."""
    missing = np.isnan(response)
    recorded = response[~missing] if missing.any() else response
    if recorded.size == 0 or recorded.min() == recorded.max():
        return float("nan")
    return float(recorded.std())


def _read_traces(group: SessionGroup, presentation: Presentation, kept: np.ndarray, trace_type: str) -> np.ndarray:
    prefix = presentation.prefix
    if trace_type == "detrended":
        raw = group.per_neuron(f"{prefix}_raw_traces", "neuron sample")
        smoothed = group.per_neuron(f"{prefix}_smoothed_traces", "neuron sample")
        if raw.shape != smoothed.shape:
            raise group.error(
                f'"{prefix}_raw_traces" has shape {raw.shape}, "{prefix}_smoothed_traces" {smoothed.shape}'
            )
        traces = raw - smoothed
    elif trace_type == "spikes":
        older = f"{prefix}_inferred_spikes"
        traces = group.per_neuron(older if older in group else f"{prefix}_spikes", "neuron sample")
    else:
        traces = group.per_neuron(f"{prefix}_{trace_type}_traces", "neuron sample")
    if traces.shape[1] == 0:
        raise group.error(f'{trace_type} traces of "{prefix}" have no samples')
    return traces[kept].astype(np.float64, copy=False)


def _read_trace_times(group: SessionGroup, presentation: Presentation, kept: np.ndarray, n_samples: int) -> np.ndarray:
    """Times of the samples: older files hold each of them, newer ones the first and the interval."""
    prefix = presentation.prefix
    if f"{prefix}_traces_times" in group:
        key = f"{prefix}_traces_times"
        times = group.per_neuron(key, "neuron sample")[kept].astype(np.float64, copy=False)
    else:
        key = f"{prefix}_traces_dt"
        start, interval = (_per_neuron_or_common(group, f"{prefix}_traces_{name}")[kept] for name in ("t0", "dt"))
        times = start[:, None] + interval[:, None] * np.arange(n_samples)
    if times.shape[1] != n_samples:
        raise group.error(f'"{key}" has {times.shape[1]} samples per neuron, the traces {n_samples}')
    if not np.isfinite(times).all() or (np.diff(times, axis=1) < 0).any():
        raise group.error(f'times of "{key}" do not increase')
    return times


def _per_neuron_or_common(group: SessionGroup, key: str) -> np.ndarray:
    values = group.numbers(key).ravel().astype(np.float64)
    if values.size not in (1, group.n_neurons):
        raise group.error(f'"{key}" has {values.size} values for {group.n_neurons} neurons')
    return np.broadcast_to(values, group.n_neurons)


def _read_triggers(group: SessionGroup, presentation: Presentation, kept: np.ndarray) -> np.ndarray:
    """Triggers of the session, which the file holds once or once per neuron."""
    key = f"{presentation.prefix}_trigger_times"
    rows = group.numbers(key, "neuron trigger")
    if len(rows) not in (1, group.n_neurons):
        raise group.error(f'"{key}" has shape {rows.shape}, not one row or one for each of the neurons')
    triggers = rows[kept if len(rows) == group.n_neurons else slice(1)][0].astype(np.float64)
    presented, rest = divmod(len(triggers), presentation.triggers * presentation.pieces)
    if rest or presented < 1 or (presentation.once and presented > 1):
        expected = f"{'' if presentation.once else 'a multiple of '}{presentation.triggers * presentation.pieces}"
        raise group.error(f'"{key}" has {len(triggers)} triggers, not {expected}; the recording was cut')
    if not np.isfinite(triggers).all() or (np.diff(triggers) <= 0).any():
        raise group.error(f'"{key}" does not increase from trigger to trigger')
    return triggers


def _report_missing(group: SessionGroup, responses: Float32[np.ndarray, "time neuron"]) -> None:
    missing = np.isnan(responses)
    if missing.all():
        raise group.error("all responses are NaN or constant; leave the session out of the file")
    if missing.any():
        never, sometimes = missing.all(axis=0), missing.any(axis=0)
        _log.info(
            "%s: %d of %d neurons lack a response at some frames (%.2f%% of all values), %d of them at all frames",
            *(group.name, sometimes.sum(), len(sometimes), 100 * missing.mean(), never.sum()),
        )
