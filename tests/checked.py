"""The type checker of the tests, which ``pyproject.toml`` names to jaxtyping."""

from collections.abc import Callable
from typing import TypeVar

from beartype import beartype

_Function = TypeVar("_Function", bound=Callable[..., object])


def checked(function: _Function) -> _Function:
    """Check the types and shapes of a function's arguments and result whenever it is called.

    Functions inside others are not: they are made anew with every call of the outer one, and preparing the check takes
    longer than most of them, together a twentieth of the tests.
    """
    return function if "<locals>" in function.__qualname__ else beartype(function)
