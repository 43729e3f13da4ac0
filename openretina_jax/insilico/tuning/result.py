"""Result of a tuning experiment."""

import dataclasses
from collections.abc import Sequence

import numpy as np
from jaxtyping import Float, Float32

Values = Sequence[float] | Float[np.ndarray, " value"]


@dataclasses.dataclass(frozen=True, eq=False)
class Tuning:
    """Responses of all neurons as a function of one parameter of a stimulus.

    Attributes:
        name: name of the experiment.
        parameter, unit: parameter that varies, and its unit.
        values: values of the parameter.
        curve: response of every neuron to each value, less that to grey.
        grey: response to grey.
        indices: numbers that sum up the curve of every neuron, by name; the experiment says what they are.
    """

    name: str
    parameter: str
    unit: str
    values: Float[np.ndarray, " value"]
    curve: Float32[np.ndarray, "neuron value"]
    grey: Float32[np.ndarray, " neuron"]
    indices: dict[str, Float[np.ndarray, " neuron"]]

    def of_neurons(self, rows: Sequence[int]) -> "Tuning":
        """Choose some neurons."""
        indices = {name: values[rows] for name, values in self.indices.items()}
        return dataclasses.replace(self, curve=self.curve[rows], grey=self.grey[rows], indices=indices)

    @classmethod
    def of(
        cls,
        name: str,
        parameter: tuple[str, str],
        values: Values,
        curve: np.ndarray,
        grey: np.ndarray,
        **indices: np.ndarray,
    ) -> "Tuning":
        """Make it from a parameter's name and unit, with the types of the attributes."""
        return cls(name, *parameter, np.asarray(values, float), curve.astype(np.float32), grey, indices)
