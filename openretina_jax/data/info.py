"""Facts about its training data that a model keeps."""

import dataclasses
import json
import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from jaxtyping import Int32

from openretina_jax.data import roi_masks
from openretina_jax.errors import UserError
from openretina_jax.runtime.described import Described, counted, listed


@dataclasses.dataclass(frozen=True, repr=False)
class DataInfo(Described):
    """Facts about its data that a model keeps: plain values, saved as JSON in every checkpoint.

    Attributes:
        sessions: number of neurons by session name, in the order of the readout's rows.
        mean_activity: mean training response of every neuron, by session name.
        input_shape: ``(height, width, channel)`` of a frame.
        frame_rate_hz: frames, and responses, per second (None: not known).
        pixel_size_um: side of a stimulus pixel on the retina (None: not known).
        norm_mean, norm_std: normalisation of the stimulus (None: not known, or not the same for all sessions).
        neurons: metadata of the neurons, by session name and column name.
        source: where the data came from (paths, revision, hashes, filters).
        conditions: numbers that describe each session, by session name; empty if there are none.
        pixel_low, pixel_high: range of every channel of the normalised training movies (None: not known).
        frame_norm: root mean square over the frames of these movies of the norm of a frame; ``n`` frames have about
            the norm ``frame_norm * sqrt(n)`` (None: not known).
        channels: names of the channels of a frame, such as green and UV (None: not known).
        packed_roi_masks: ``Session.roi_mask`` as text, by session name, without sessions that have none.
        response_unit: unit of the responses, such as "spikes/s" (None: not known).
        single_images: whether frames are unrelated images, so that responses are no time course.
        behaviour: "mean" and standard "deviation" of every channel of behaviour in training, by session name; empty if
            there is none.
    """

    sessions: Mapping[str, int]
    mean_activity: Mapping[str, list[float]]
    input_shape: tuple[int, int, int]
    frame_rate_hz: float | None
    pixel_size_um: float | None
    norm_mean: float | None
    norm_std: float | None
    neurons: Mapping[str, Mapping[str, list[Any]]]
    source: Mapping[str, Any]
    conditions: Mapping[str, list[float]] = dataclasses.field(default_factory=dict)
    pixel_low: list[float] | None = None
    pixel_high: list[float] | None = None
    frame_norm: float | None = None
    channels: list[str] | None = None
    packed_roi_masks: Mapping[str, str] = dataclasses.field(default_factory=dict)
    response_unit: str | None = None
    single_images: bool = False
    behaviour: Mapping[str, Mapping[str, list[float]]] = dataclasses.field(default_factory=dict)

    def __post_init__(self) -> None:
        for name in ("norm_mean", "norm_std", "frame_norm"):  # published files have NaN where nothing is known
            value = getattr(self, name)
            if value is not None and not math.isfinite(value):
                object.__setattr__(self, name, None)

    @property
    def n_neurons(self) -> int:
        """Number of neurons of all sessions."""
        return sum(self.sessions.values())

    def _facts(self) -> dict[str, str]:
        return {
            "neurons": in_sessions(self.n_neurons, len(self.sessions)),
            "frames": frame_text(self.input_shape, self.frame_rate_hz, self.channels),
            "metadata of neurons": listed(sorted({name for columns in self.neurons.values() for name in columns})),
        }

    def neuron_column(self, name: str) -> list[Any] | None:
        """A column of the neurons' metadata in the order of the readout's rows; None if a session lacks it."""
        columns = [self.neurons.get(session, {}).get(name) for session in self.sessions]
        if any(column is None for column in columns):
            return None
        return [value for column in columns for value in column]  # type: ignore[union-attr]

    def roi_mask(self, session: str) -> Int32[np.ndarray, "row column"]:
        """Mask of the neurons of a session, see ``Session``.

        Raises:
            UserError: it is not known.
        """
        if session not in self.packed_roi_masks:
            known = ", ".join(self.packed_roi_masks) or "none"
            raise UserError(f'the ROI mask of session "{session}" is not known; known are those of: {known}')
        return roi_masks.unpack(self.packed_roi_masks[session])

    def __hash__(self) -> int:
        # JAX hashes the static parts of a model to find its compiled functions; dicts have no hash of their own
        return hash((tuple(self.sessions.items()), self.input_shape))

    def to_json(self) -> str:
        """All fields as JSON text."""
        return json.dumps(dataclasses.asdict(self), indent=1)

    @classmethod
    def from_json(cls, text: str) -> "DataInfo":
        """Read what ``to_json`` wrote."""
        values = json.loads(text)
        values["input_shape"] = tuple(values["input_shape"])
        return cls(**values)


def in_sessions(neurons: int, sessions: int) -> str:
    """Numbers of neurons and sessions, in words."""
    return f"{neurons:,} in {counted(sessions, 'session')}"


def divided_unit(unit: str, divisor: float) -> str:
    """Unit of numbers in ``unit`` that were divided by a number."""
    return unit if divisor == 1 else f"{divisor:g} {unit}"


def frame_text(shape: tuple[int, ...], rate_hz: float | None, channels: Sequence[str] | None) -> str:
    """Size, channels and rate of frames, in words."""
    height, width, count = shape
    colours = f" ({', '.join(channels)})" if channels else ""
    rate = "" if rate_hz is None else f" at {rate_hz:g} Hz"
    return f"{height} x {width} pixels, {counted(count, 'channel')}{colours}{rate}"
