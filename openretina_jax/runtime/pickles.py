"""Pickles read safely: numpy arrays and plain containers only.

A pickle is a program that names functions and calls them. Here it may name only those that make numpy arrays and plain
containers, under every name that any version of numpy gave them.
"""

import pickle
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from openretina_jax.errors import UserError


def load_plain_pickle(file: str | Path) -> Any:
    """Read a pickle of numpy arrays, numpy scalars and plain containers, of any protocol and of numpy 1 or 2.

    Raises:
        UserError: the file names anything else, is truncated, is not a pickle, or cannot be read.
    """
    file = Path(file)
    try:
        with file.open("rb") as stream:
            return PlainUnpickler(stream).load()
    except ForbiddenGlobalError as error:
        raise UserError(
            f"{file}: asks for {error}, but only numpy arrays and plain containers are read from a pickle; "
            "nothing was run; save it again as numpy arrays where it was made"
        ) from None
    except OSError as error:
        raise UserError(f"{file}: cannot be read ({error.strerror or error}); check the path") from error
    except Exception as error:  # arbitrary bytes can make the unpickler raise anything
        raise UserError(f"{file}: is truncated or not a pickle ({type(error).__name__}); fetch it again") from error


class ForbiddenGlobalError(Exception):
    """A pickle names something that is not allowed; the message is its full name."""


class PlainUnpickler(pickle.Unpickler):
    """Unpickler that finds only the globals of the table below, and raises ``ForbiddenGlobalError`` for others."""

    def find_class(self, module: str, name: str) -> Any:
        """Look up what a pickle names."""
        try:
            return _GLOBALS[module, name]
        except KeyError:
            raise ForbiddenGlobalError(f"{module}.{name}") from None


def _latin1(text: str, encoding: str) -> bytes:
    """Encode text as bytes: protocols 0 to 2 write bytes as text."""
    if encoding not in ("latin1", "latin-1"):
        raise ForbiddenGlobalError(f"the codec {encoding!r}")
    return text.encode("latin1")


def _dtype(name: str, align: int | bool = False, copy: int | bool = False) -> "np.dtype[Any]":
    """Make a dtype; old versions of numpy pickled 0 and 1 for booleans, and new ones warn about that."""
    return np.dtype(name, align=bool(align), copy=bool(copy))


def _globals() -> dict[tuple[str, str], Callable[..., Any]]:
    # numpy's private functions, found by public means: how it pickles arrays and scalars
    reconstruct = np.empty(0).__reduce__()[0]
    scalar = np.float64(0).__reduce__()[0]
    from_buffer = np.zeros(1).__reduce_ex__(5)[0]
    table: dict[tuple[str, str], Any] = {
        ("numpy", "ndarray"): np.ndarray,
        ("numpy", "dtype"): _dtype,
        ("_codecs", "encode"): _latin1,
        ("collections", "OrderedDict"): OrderedDict,
    }
    for core in ("numpy.core", "numpy._core"):
        table[f"{core}.multiarray", "_reconstruct"] = reconstruct
        table[f"{core}.multiarray", "scalar"] = scalar
        table[f"{core}.numeric", "_frombuffer"] = from_buffer
    for plain in (bytes, bytearray, complex, frozenset, set):
        for builtins in ("builtins", "__builtin__"):
            table[builtins, plain.__name__] = plain
    return table


_GLOBALS = _globals()
