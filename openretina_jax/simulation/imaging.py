"""Simulated calcium imaging: sampling, noise, fluorescence, and the published fields of one stimulus."""

import dataclasses
from typing import Literal

import numpy as np
from jaxtyping import Float32, Float64

from openretina_jax.data.artificial_stimuli import CHIRP_SECOND_TRIGGER_S
from openretina_jax.sources.hoefling_2024.traces import CHIRP, MOVING_BAR, NATURAL

IMAGING_RATE_HZ = 7.8125
FIRST_TRIGGER_S = 1.5


@dataclasses.dataclass(frozen=True)
class Protocol:
    """Timing of a stimulus: clip after clip, with triggers at fixed times in every clip.

    Attributes:
        clip_s: seconds from the start of a clip to the start of the next.
        trigger_times_in_clip_s: times of the triggers, in seconds after the start of the clip.
    """

    clip_s: float
    trigger_times_in_clip_s: tuple[float, ...] = (0.0,)

    def trigger_times_s(self, n_shown: int) -> Float64[np.ndarray, " trigger"]:
        """Compute the times of all triggers while ``n_shown`` clips are imaged."""
        starts = FIRST_TRIGGER_S + self.clip_s * np.arange(n_shown)
        return (starts[:, None] + np.array(self.trigger_times_in_clip_s)).ravel()

    def trace_times_s(self, n_shown: int) -> Float64[np.ndarray, " sample"]:
        """Compute the times of the imaging frames, up to a second and a half after the last of ``n_shown`` clips."""
        duration_s = 2 * FIRST_TRIGGER_S + self.clip_s * n_shown
        return np.arange(int(duration_s * IMAGING_RATE_HZ)) / IMAGING_RATE_HZ


PROTOCOLS = {
    NATURAL.prefix: Protocol(NATURAL.shown_s),
    CHIRP.prefix: Protocol(CHIRP.shown_s, (0.0, CHIRP_SECOND_TRIGGER_S)),
    MOVING_BAR.prefix: Protocol(MOVING_BAR.shown_s),
}


@dataclasses.dataclass(frozen=True, eq=False)
class Imaging:
    """Imaging of one session while one stimulus was shown.

    Attributes:
        stimulus: prefix of the published fields.
        protocol: timing of the clips.
        n_shown: number of clips shown.
        line_delay_s: seconds from the start of an imaging frame until the scan reaches each neuron.
    """

    stimulus: str
    protocol: Protocol
    n_shown: int
    line_delay_s: Float64[np.ndarray, " neuron"]

    def inferred_spikes(
        self,
        rng: np.random.Generator,
        rates: Float32[np.ndarray, "frame neuron"],
        noise: Float32[np.ndarray, " neuron"],
    ) -> Float32[np.ndarray, "sample neuron"]:
        """Sample the rates with gamma-like noise; a sample has the mean ``rate`` and the variance ``noise * rate``."""
        return noise * _gamma_like(rng, self.expected_spikes(rates) / noise)

    def expected_spikes(self, rates: Float32[np.ndarray, "frame neuron"]) -> Float32[np.ndarray, "sample neuron"]:
        """Sample the rates when the scan reaches each neuron."""
        frame_s = self.protocol.clip_s * self.n_shown / len(rates)
        times_s = self.protocol.trace_times_s(self.n_shown)[:, None] + self.line_delay_s
        return np.maximum(_interpolated(rates, (times_s - FIRST_TRIGGER_S) / frame_s), np.float32(1e-3))

    def by_repeat(
        self, traces: Float32[np.ndarray, "sample neuron"], clips_per_repeat: int
    ) -> Float32[np.ndarray, "repeat time neuron"]:
        """Cut traces into the repeats of the stimulus, at the imaging rate."""
        repeat_s = self.protocol.clip_s * clips_per_repeat
        starts_s = FIRST_TRIGGER_S + repeat_s * np.arange(self.n_shown // clips_per_repeat)
        times_s = starts_s[:, None] + np.arange(int(repeat_s * IMAGING_RATE_HZ)) / IMAGING_RATE_HZ
        positions = (times_s.reshape(-1, 1) - self.line_delay_s) * IMAGING_RATE_HZ
        return _interpolated(traces, positions).reshape(*times_s.shape, -1)

    def fields(
        self, rng: np.random.Generator, spikes: Float32[np.ndarray, "sample neuron"], names: Literal["old", "new"]
    ) -> dict[str, np.ndarray]:
        """Make the published fields of this stimulus: arrays whose first axis is the neuron."""
        from scipy.ndimage import uniform_filter1d  # takes a second, and configurations read our options

        times_s = self.protocol.trace_times_s(self.n_shown)
        raw = _fluorescence(rng, spikes)
        smoothed = uniform_filter1d(raw, size=round(60 * IMAGING_RATE_HZ), axis=0, mode="nearest")
        triggers_s = self.protocol.trigger_times_s(self.n_shown)
        fields = {
            "raw_traces": raw.T,
            "smoothed_traces": smoothed.T,
            "preprocessed_traces": ((raw - smoothed) / (raw - smoothed).std(axis=0)).T,
            "trigger_times": np.tile(triggers_s, (len(self.line_delay_s), 1)),
        }
        if names == "old":
            fields["inferred_spikes"] = spikes.T
            fields["traces_times"] = self.line_delay_s[:, None] + times_s
        else:
            fields["spikes"] = spikes.T
            fields["traces_t0"] = self.line_delay_s
            fields["traces_dt"] = np.full(len(self.line_delay_s), 1 / IMAGING_RATE_HZ)
        return {f"{self.stimulus}_{name}": values for name, values in fields.items()}


def quality_index(
    responses: Float32[np.ndarray, "repeat time neuron"],
) -> Float32[np.ndarray, " neuron"]:
    """Compute the quality index of Baden et al. 2016.

    It is the variance over time of the mean response, divided by the mean variance over time of single responses: 1
    without noise, about 1 / repeats for noise alone.

    Args:
        responses: responses to repeats of one stimulus.
    """
    return responses.mean(axis=0).var(axis=0) / responses.var(axis=1).mean(axis=0)


def _gamma_like(rng: np.random.Generator, shape: np.ndarray) -> np.ndarray:
    """Nearly gamma variables of the given shapes: the proposals of Marsaglia and Tsang 2000, none rejected."""
    # with rejections a rounding error in one shape could change all later draws, so that a seed gives other data
    scale = shape + 2 / 3
    normal = rng.standard_normal(shape.shape, dtype=np.float32)
    uniform = rng.random(shape.shape, dtype=np.float32)
    return scale * np.maximum(1 + normal / np.sqrt(9 * scale), 0) ** 3 * uniform ** (1 / shape)


def _fluorescence(rng: np.random.Generator, spikes: np.ndarray) -> np.ndarray:
    """Raw traces: spikes filtered by the decay of the indicator, on a bleaching baseline, with detector noise."""
    from scipy.signal import lfilter  # takes a second, and configurations read our options

    decay = np.float32(np.exp(-1 / (0.5 * IMAGING_RATE_HZ)))
    calcium = lfilter(np.ones(1, np.float32), np.array([1, -decay], np.float32), spikes, axis=0)
    deviation = calcium.std(axis=0)
    baseline = rng.uniform(5, 20, spikes.shape[1]) * deviation
    bleaching = np.exp(-np.arange(len(spikes)) / (900 * IMAGING_RATE_HZ))[:, None]
    detector_noise = 0.1 * deviation * rng.standard_normal(spikes.shape, dtype=np.float32)
    return (baseline * bleaching + calcium + detector_noise).astype(np.float32)


def _interpolated(values: np.ndarray, position: np.ndarray) -> np.ndarray:
    """Linear interpolation of values (time, neuron) at positions (sample, neuron); constant beyond the ends."""
    position = np.clip(position, 0, len(values) - 1)
    before = np.minimum(position.astype(np.int64), len(values) - 2)
    part = (position - before).astype(np.float32)
    left, right = (np.take_along_axis(values, before + step, axis=0) for step in (0, 1))
    return left + part * (right - left)
