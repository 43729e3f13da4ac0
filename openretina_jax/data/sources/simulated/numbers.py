"""The rule for numbers of a simulation."""

import dataclasses
from typing import Any

from openretina_jax.errors import UserError


def check_numbers(config: Any, **least: int) -> None:
    """Whole numbers of a simulation are at least 1, or what ``least`` says by their names; a seed is at least 0.

    Raises:
        UserError: names the first that is smaller.
    """
    limits = {"seed": 0} | least
    for field in dataclasses.fields(config):
        value, limit = getattr(config, field.name), limits.get(field.name, 1)
        if isinstance(value, int) and value < limit:
            raise UserError(f"{field.name} is {value}; it must be at least {limit}")
