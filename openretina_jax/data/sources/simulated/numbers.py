"""The rule for numbers of a simulation."""

import dataclasses
import math
from collections.abc import Mapping
from typing import Any

from openretina_jax.errors import UserError


def check_numbers(config: Any, least: Mapping[str, int] = {}, most: Mapping[str, int] = {}) -> None:
    """Whole numbers of a simulation are at least 1, a seed at least 0.

    Args:
        config: a data class.
        least, most: other limits, by the names of the numbers.

    Raises:
        UserError: names the first that is out of range.
    """
    least = {"seed": 0, **least}
    for field in dataclasses.fields(config):
        value, low, high = getattr(config, field.name), least.get(field.name, 1), most.get(field.name, math.inf)
        if isinstance(value, int) and not low <= value <= high:
            limit = f"at least {low}" if value < low else f"at most {high}"
            raise UserError(f"{field.name} is {value}; it must be {limit}")
