"""Distributions of settings, for spaces of searches and for populations."""

from typing import Any


def uniform(low: float, high: float) -> dict[str, tuple[float, ...]]:
    """A distribution for ``population.vary`` and for searches: all numbers from ``low`` to ``high`` alike."""
    return {"uniform": (low, high)}


def log_uniform(low: float, high: float) -> dict[str, tuple[float, ...]]:
    """A distribution for ``population.vary`` and for searches: all orders of magnitude in between alike."""
    return {"log_uniform": (low, high)}


def integers(low: int, high: int) -> dict[str, tuple[int, ...]]:
    """A distribution for searches: all integers from ``low`` to ``high`` alike, both included."""
    return {"integers": (low, high)}


def log_integers(low: int, high: int) -> dict[str, tuple[int, ...]]:
    """A distribution for searches: integers of all orders of magnitude in between alike."""
    return {"log_integers": (low, high)}


def one_of(*values: Any) -> dict[str, tuple[Any, ...]]:
    """A distribution for ``population.vary`` (of numbers) and for searches (of anything): these values alike."""
    return {"one_of": values}
