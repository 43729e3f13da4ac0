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
    try:
        hash(arguments)
    except TypeError:
        return make(*arguments)
    return _kept(make, *arguments)


@functools.lru_cache(maxsize=SIZE)
def _kept(make: Callable[..., Any], *arguments: Any) -> Any:
    return make(*arguments)


forget = _kept.cache_clear
