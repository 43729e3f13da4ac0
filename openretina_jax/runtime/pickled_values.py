"""What a pickle may hold, and the functions that it may name: each takes plain values, and checks them."""

import math
import re
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

SCALARS = (int, float, complex, str, bytes, np.generic, type(None))  # bool is an int
_NUMBERS_AND_WORDS = re.compile(r"[<>|=]?(b1|[iu][1248]|f[248]|c8|c16|[SUa][1-9]\d{0,8})")
_LAST_CHARACTER = 0x10FFFF


class ForbiddenError(Exception):
    """A pickle asks for something, or holds something, that is not read; the message says what."""


class Named:
    """What a pickle names: a function or class, of which nothing but the name is here.

    Attributes:
        name: dotted name.
    """

    def __init__(self, name: str):
        self.name = name


class Record:
    """Object of a class that is not known here: what the pickle says of it.

    Attributes:
        origin: dotted name of the class.
        arguments: of its constructor.
        state: usually its attributes by name.
        items: its entries, if it is a mapping.
        elements: its entries, if it is a sequence or a set.
    """

    def __init__(self, origin: str, arguments: tuple[Any, ...] = (), state: Any = None):
        self.origin, self.arguments, self.state = origin, arguments, state
        self.items: dict[Any, Any] = {}
        self.elements: list[Any] = []


class Type:
    """Description of the numbers or words of an array, which becomes a dtype only when all is known.

    Attributes:
        dtype: that of an array made now.
    """

    def __init__(self, name: Any, *_: Any):
        if isinstance(name, str) and name[:1] in ("O", "V", "M", "m"):
            raise ForbiddenError(f"holds an array of type {name!r}")
        if not isinstance(name, str) or not _NUMBERS_AND_WORDS.fullmatch(name):
            raise ValueError(f"{name!r} is no type of numbers or words")
        self.dtype = np.dtype(name)

    def fill(self, state: Any) -> None:
        """Take the byte order from a state; it must say nothing else that the name does not."""
        _, order, subarray, names, fields, size, *_ = state
        if (subarray, names, fields) != (None, None, None) or size not in (-1, self.dtype.itemsize):
            raise ForbiddenError(f"changes the type {self.dtype.str!r}")
        if order not in ("<", ">", "|", "="):
            raise ValueError(f"{order!r} is no byte order")
        self.dtype = self.dtype if order == "|" else self.dtype.newbyteorder(order)


class Unfilled:
    """Place of an array whose description is still to come, and the numbers under which the pickle remembers it."""

    def __init__(self) -> None:
        self.places: list[int] = []


def key_of(value: Any) -> Any:
    """Check a key: hashing nested tuples takes the stack, or a time that doubles with each."""
    if isinstance(value, tuple | frozenset) and not all(isinstance(part, SCALARS) for part in value):
        raise ValueError("a key is nested")
    return value


def pairs_of(values: list[Any]) -> dict[Any, Any]:
    """Make a dictionary of keys and values in turn."""
    return {key_of(key): value for key, value in zip(values[::2], values[1::2], strict=True)}


def array_of(shape: Any, of: Any, column_major: Any, raw: Any) -> np.ndarray:
    """Make an array from its description; the bytes must be exactly those of its shape."""
    if isinstance(raw, list):
        raise ForbiddenError("holds an array of objects")
    if isinstance(raw, str):  # of Python 2
        raw = raw.encode("latin1")
    if not isinstance(of, Type) or not isinstance(raw, bytes | bytearray) or not isinstance(shape, tuple):
        raise ValueError("an array is described by other things than a shape, a type and bytes")
    dtype = of.dtype
    if not all(isinstance(length, int) and length >= 0 for length in shape):
        raise ValueError(f"an array has the shape {shape}")
    if math.prod(shape) * dtype.itemsize != len(raw):
        raise ValueError(f"an array of shape {shape} and type {dtype.str!r} has {len(raw)} bytes")
    values = (np.frombuffer(raw, dtype) if raw else np.empty(0, dtype)).astype(dtype.newbyteorder("="), copy=False)
    if dtype.kind == "b":  # other bytes than 0 and 1 are no booleans
        values = values.view(np.uint8).astype(bool)
    if dtype.kind == "U" and (values.view(np.uint32) > _LAST_CHARACTER).any():
        raise ValueError("an array of words holds what is no character")
    return values.reshape(shape, order="F" if column_major else "C")


def _reconstructed(kind: Any, *_: Any) -> Unfilled:
    if not isinstance(kind, Named) or kind.name != "numpy.ndarray":
        raise ForbiddenError("holds an array of an unknown class")
    return Unfilled()


def _scalar(of: Any, raw: Any = None) -> np.generic:
    value: np.generic = array_of((1,), of, False, raw)[0]
    return value


def _frombuffer(raw: Any, of: Any, shape: Any, order: Any = "C") -> np.ndarray:
    return array_of(shape, of, order == "F", raw)


def _encoded(text: Any, encoding: Any) -> bytes:
    """Encode text as bytes: protocols 0 to 2 write bytes as text."""
    if encoding not in ("latin1", "latin-1"):
        raise ForbiddenError(f"asks for the codec {encoding!r}")
    return str(text).encode("latin1")


def _bytes(content: Any = b"", encoding: Any = "latin1") -> bytes:
    if isinstance(content, str):
        return _encoded(content, encoding)
    if not isinstance(content, bytes | bytearray):
        raise ValueError(f"bytes of {type(content).__name__}")
    return bytes(content)


def _entries(entries: Any = ()) -> list[Any]:
    if not isinstance(entries, list | tuple | set | frozenset):
        raise ValueError(f"entries of {type(entries).__name__}")
    return list(entries)


def _forbidden_call(*_: Any) -> Any:
    raise ForbiddenError("makes an array over memory of its own")


PLAIN: Mapping[str, Callable[..., Any]] = {
    "numpy.ndarray": _forbidden_call,  # it may be named, as the class of an array
    "numpy.dtype": Type,
    "numpy._core.multiarray._reconstruct": _reconstructed,
    "numpy._core.multiarray.scalar": _scalar,
    "numpy._core.numeric._frombuffer": _frombuffer,
    "_codecs.encode": _encoded,
    "collections.OrderedDict": lambda pairs=(): pairs_of([part for pair in _entries(pairs) for part in _entries(pair)]),
    "builtins.bytes": _bytes,
    "builtins.bytearray": lambda *content: bytearray(_bytes(*content)),
    "builtins.complex": lambda real, imaginary: complex(float(real), float(imaginary)),
    "builtins.set": lambda *entries: set(map(key_of, _entries(*entries))),
    "builtins.frozenset": lambda *entries: frozenset(map(key_of, _entries(*entries))),
}
