"""The space of a search: settings of a configuration, with a distribution for each."""

import json
from collections.abc import Mapping
from typing import Any

from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
)

from openretina_jax.errors import UserError, nearest
from openretina_jax.runtime.settings import Entries, without_effect

Space = Mapping[str, BaseDistribution]


def make_space(distributions: Mapping[str, Any], entries: Entries, given: Mapping[str, Any]) -> Space:
    """Make the space of a search.

    Args:
        distributions: by setting, ``{"uniform": (low, high)}``, "log_uniform", "integers" or "log_integers", or
            ``{"one_of": (a, b, ...)}``.
        entries: entries of the configuration.
        given: settings that the user has fixed.

    Raises:
        UserError: a setting is unknown, fixed, or without effect; or its distribution is wrong, or of another type.
    """
    if not distributions:
        raise UserError("the space is empty; name at least one setting and its distribution")
    for name in distributions:
        if name not in entries:
            raise UserError(f'the space names "{name}", but the configuration has none; {nearest(name, entries)}')
        if name in given:
            raise UserError(f"config.{name} is in the space and given as {given[name]!r}; take one of them")
        if reason := without_effect(name, entries, distributions):
            raise UserError(
                f'the space names "{name}", which has no effect while {reason}; change that, or add it to the space'
            )
    return {name: _distribution(name, value, entries[name][0]) for name, value in distributions.items()}


def as_flag(value: Any) -> str:
    """Format a value for ``--config.name=``; choices have this form in the storage too."""
    return value if isinstance(value, str) else repr(value)


def as_flags(values: Mapping[str, Any], entries: Entries) -> list[str]:
    """Make flags of the training script from values; settings without effect beside the others are left out."""
    together = {**entries, **{name: (object, value) for name, value in values.items()}}
    return [
        f"--config.{name}={as_flag(value)}" for name, value in values.items() if without_effect(name, together) is None
    ]


def _distribution(name: str, distribution: Any, kind: type) -> BaseDistribution:
    result: BaseDistribution
    match distribution:
        case {"uniform": [int() | float() as low, int() | float() as high]} if low <= high < float("inf"):
            values, result = [float(low)], FloatDistribution(low, high)
        case {"log_uniform": [int() | float() as low, int() | float() as high]} if 0 < low <= high < float("inf"):
            values, result = [float(low)], FloatDistribution(low, high, log=True)
        case {"integers": [int() as low, int() as high]} if low <= high:
            values, result = [low], IntDistribution(low, high)
        case {"log_integers": [int() as low, int() as high]} if 0 < low <= high:
            values, result = [low], IntDistribution(low, high, log=True)
        case {"one_of": [_, *_] as values}:
            result = CategoricalDistribution(list(dict.fromkeys(as_flag(value) for value in values)))
        case _:
            raise UserError(
                f'the space: "{name}" is {json.dumps(distribution, default=str)}, but must be '
                '{"uniform": [low, high]} or "integers", "log_uniform" or "log_integers" with 0 < low <= high, '
                'or {"one_of": [a, b, ...]}'
            )
    for value in values:
        if not _fits(value, kind):
            raise UserError(
                f'the space: "{name}" would be {value!r}, but config.{name} is of type {kind.__name__}; '
                "take a distribution of such values"
            )
    return result


def _fits(value: Any, kind: type) -> bool:
    if isinstance(value, bool) or kind is bool:
        return isinstance(value, kind)
    return isinstance(value, (float, int) if kind is float else (tuple, list) if kind is tuple else kind)
