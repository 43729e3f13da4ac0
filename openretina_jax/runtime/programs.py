"""Compiled programs that are kept for all who need an equal one: a second run in a process need not compile anew."""

import functools
from collections.abc import Callable
from typing import Any, TypeVar

SIZE = 32  # programs; those used longest ago are dropped

Program = TypeVar("Program")


def kept(make: Callable[..., Program], *arguments: Any) -> Program:
    """``make(*arguments)``, or what came of equal arguments before.

    The result must depend on nothing else. Arguments without a hash cannot be found again, and are made anew.
    """
    return _kept(make, *arguments) if hashable(arguments) else make(*arguments)


def hashable(value: Any) -> bool:
    """Whether a value has a hash, so that what is made of it can be kept."""
    try:
        hash(value)
    except TypeError:
        return False
    return True


@functools.lru_cache(maxsize=SIZE)
def _kept(make: Callable[..., Any], *arguments: Any) -> Any:
    return make(*arguments)


forget = _kept.cache_clear
