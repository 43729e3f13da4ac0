"""What the members of a population differ in: the seed, and settings that are numbers of the compiled program."""

import dataclasses
import json
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from openretina_jax.errors import UserError
from openretina_jax.models.model import Model
from openretina_jax.training.trainer import Recipe

Values = Mapping[str, Any]  # of settings, by their dotted names: numbers, or arrays with an entry per member

# besides the weights of penalties ("gamma...") of core and readout
CONTINUOUS = (
    "optimizer.learning_rate",
    "optimizer.clip_norm",
    "optimizer.weight_decay",
    "optimizer.b1",
    "optimizer.b2",
    "optimizer.epsilon",
    "optimizer.momentum",
    "objective.loss.gamma",
    "stopping.threshold",
    "train.average_decay",
)
OF_PLATEAU = ("schedule.factor", "schedule.threshold")
OF_AUTOENCODER = ("autoencoder.sparsity",)


@dataclasses.dataclass(frozen=True)
class Members:
    """The members of a population.

    Attributes:
        models: what each starts from; they are built alike.
        values: the seed and the drawn settings, by their dotted names; an entry per member.
        recipe: how a member with these values is trained; values may be traced.
        chunk: members that are computed at once, see ``Population`` (None: it decides).

    Raises:
        UserError: the chunks would not be equal.
    """

    models: Sequence[Model]
    values: Mapping[str, Sequence[float | int]]
    recipe: Callable[[Values], Recipe]
    chunk: int | None = None

    def __post_init__(self) -> None:
        if self.chunk is not None and (self.chunk < 1 or len(self) % self.chunk):
            raise UserError(
                f"config.population.chunk is {self.chunk}, but must divide the population of {len(self)} members"
            )

    def __len__(self) -> int:
        return len(self.models)

    def arrays(self) -> dict[str, Array]:
        """The values on the device; numbers are float32, seeds int32."""
        return {name: jnp.asarray(values) for name, values in self.values.items()}

    def __iter__(self) -> Iterator[dict[str, float | int]]:
        """The values of each member."""
        for member in range(len(self)):
            yield {name: values[member] for name, values in self.values.items()}


def draw(vary: Mapping[str, Any], size: int, seed: int) -> dict[str, list[float]]:
    """Random values of settings for every member.

    A value depends on the seed, the setting's name and the member's number alone: more members or further settings
    leave it as it is. Values are rounded to float32, so that a single run can have the same.

    Args:
        vary: by setting ``{"uniform": (low, high)}``, ``{"log_uniform": (low, high)}`` or ``{"one_of": (a, b, ...)}``.
        size: number of members.
        seed: of the draws.

    Raises:
        UserError: there is no such distribution, or its numbers are wrong.
    """
    return {name: _draws(name, distribution, size, seed) for name, distribution in vary.items()}


def _draws(name: str, distribution: Any, size: int, seed: int) -> list[float]:
    uniform = np.random.default_rng((seed, zlib.crc32(name.encode()))).random(size)
    match distribution:
        case {"uniform": [int() | float() as low, int() | float() as high]} if low <= high < np.inf:
            values = low + (high - low) * uniform
        case {"log_uniform": [int() | float() as low, int() | float() as high]} if 0 < low <= high < np.inf:
            values = low * (high / low) ** uniform
        case {"one_of": [_, *_] as numbers} if all(isinstance(number, int | float) for number in numbers):
            values = np.asarray(numbers)[(uniform * len(numbers)).astype(int)]
        case _:
            raise UserError(
                f'config.population.vary: "{name}" is {json.dumps(distribution)}, but must be '
                '{"uniform": [low, high]}, {"log_uniform": [low, high]} with 0 < low <= high, '
                'or {"one_of": [a, b, ...]}'
            )
    return [float(np.float32(value)) for value in values]


def check_continuous(names: Sequence[str], settings: Mapping[str, Any]) -> None:
    """Refuse settings that cannot differ between the members of a population.

    Args:
        names: of the settings.
        settings: all settings by their dotted names, with the chosen kinds alone.

    Raises:
        UserError: lists the settings that can.
    """
    can = [name for name in settings if _continuous(name, settings)]
    for name in names:
        if name not in can:
            raise UserError(
                f'config.population.vary: "{name}" is no number of this configuration that may differ between members; '
                f"choose among {', '.join(can)}"
            )


def _continuous(name: str, settings: Mapping[str, Any]) -> bool:
    if name in OF_PLATEAU:
        return settings["schedule.kind"] == "plateau"
    if name in OF_AUTOENCODER:
        return settings["autoencoder.hidden"] is not None
    of_part = name.startswith(("model.core.", "model.readout."))
    return name in CONTINUOUS or (of_part and name.rpartition(".")[2].startswith("gamma"))


def with_values(settings: Mapping[str, Any], values: Values) -> dict[str, Any]:
    """Nested settings with other values of some, given by their dotted names."""
    result = dict(settings)
    for name, value in values.items():
        first, _, rest = name.partition(".")
        result[first] = with_values(result[first], {rest: value}) if rest else value
    return result
