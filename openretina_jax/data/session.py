"""One recording: what its neurons answered, and which frame was on the screen at every time."""

import dataclasses
import functools
from collections.abc import Mapping

import numpy as np
from jaxtyping import Float32, Int32

from openretina_jax.errors import UserError


@dataclasses.dataclass(frozen=True, eq=False)
class Session:
    """Responses of simultaneously recorded neurons, in the order in which the stimulus was shown.

    Attributes:
        name: unique among the sessions of a data set.
        stimulus: name of the stimulus that ``frame_index`` points into.
        responses: training and validation responses at the frame rate; NaN where there is none.
        frame_index: frame of the stimulus that was shown at each time; clip order and reuse are expressed here.
        repeats: responses to each test stimulus, trial by trial, by the name of the test.
        mirrored: whether the animal saw the frames mirrored left to right (recordings of left eyes).
        neurons: per-neuron metadata by column name; the first axis of every array is the neuron.
        metadata: what else is known of the recording (eye, date, ...), as plain values.
        condition: numbers that describe the recording (light level, age, ...) for a core that takes them, or None.
        test_stimuli: name of the stimulus shown in a test, for tests whose stimulus has another name than the test.

    Raises:
        UserError: arrays of one session that do not fit each other.
    """

    name: str
    stimulus: str
    responses: Float32[np.ndarray, "time neuron"]
    frame_index: Int32[np.ndarray, " time"]
    repeats: Mapping[str, Float32[np.ndarray, "trial test_time neuron"]]
    mirrored: bool = False
    neurons: Mapping[str, np.ndarray] = dataclasses.field(default_factory=dict)
    metadata: Mapping[str, str | int | float | bool] = dataclasses.field(default_factory=dict)
    condition: tuple[float, ...] | None = None
    test_stimuli: Mapping[str, str] = dataclasses.field(default_factory=dict)

    def __post_init__(self) -> None:
        time, count = self.responses.shape
        if count == 0:
            raise UserError(f"{self.name}: has no neurons")
        if len(self.frame_index) != time:
            raise UserError(
                f"{self.name}: responses have {time} frames, but {len(self.frame_index)} were shown to the neurons"
            )
        for test, repeats in self.repeats.items():
            if repeats.shape[2] != count:
                raise UserError(
                    f'{self.name}: responses to "{test}" have {repeats.shape[2]} neurons, the others {count}'
                )
        unknown = sorted(self.test_stimuli.keys() - self.repeats.keys())
        if unknown:
            raise UserError(f"{self.name}: has stimuli for the tests {unknown}, but no responses to them")
        for column, values in self.neurons.items():
            if len(values) != count:
                raise UserError(f'{self.name}: "{column}" has {len(values)} entries for {count} neurons')

    def test_stimulus(self, test: str) -> str:
        """Name of the stimulus that was shown in a test."""
        return self.test_stimuli.get(test, test)

    @functools.cached_property
    def sees_frames_once(self) -> bool:
        """Whether no frame of the stimulus was shown twice."""
        return len(np.unique(self.frame_index)) == len(self.frame_index)

    @property
    def n_neurons(self) -> int:
        """Number of neurons."""
        return self.responses.shape[1]
