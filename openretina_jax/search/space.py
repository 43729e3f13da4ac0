"""What a search may choose: settings of a configuration, and a distribution for each."""

import json
from collections.abc import Container, Mapping
from typing import Any

from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
)

from openretina_jax.errors import UserError, nearest

Space = Mapping[str, BaseDistribution]
Entries = Mapping[str, tuple[type, Any]]  # type and value of every setting of a configuration, by dotted names


def make_space(distributions: Mapping[str, Any], entries: Entries, given: Mapping[str, Any]) -> Space:
    """The space of a search.

    Args:
        distributions: by setting ``{"uniform": (low, high)}``, "log_uniform", "integers" or "log_integers", or
            ``{"one_of": (a, b, ...)}``.
        entries: of the configuration.
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
        _check_effect(name, entries, distributions)
    return {name: _distribution(name, value, entries[name][0]) for name, value in distributions.items()}


def as_flag(value: Any) -> str:
    """A value as it stands behind ``--config.name=``; choices are kept like that in the storage too."""
    return value if isinstance(value, str) else repr(value)


def _check_effect(name: str, entries: Entries, searched: Container[str]) -> None:
    """An option of a kind that is not chosen would change nothing."""
    parts = name.split(".")
    for length in range(1, len(parts) - 1):
        part = ".".join(parts[:length])
        _, chosen = entries.get(f"{part}.kind", (str, parts[length]))
        if chosen != parts[length] and f"{part}.kind" not in searched:
            raise UserError(
                f'the space names "{name}", which has no effect: config.{part}.kind is "{chosen}"; '
                f"choose that kind, or add {part}.kind to the space"
            )


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
