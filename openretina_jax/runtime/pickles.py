"""Pickles read as plain values: numbers, words, containers and numpy arrays of numbers or words.

A pickle is a program: it names functions, calls them, and changes what they return. Python's own reader runs it, and so
do the constructors that it is allowed to call: ``numpy.ndarray`` takes any bytes for the addresses of objects. Here
nothing of Python or numpy is handed to the program. ``PickleReader`` follows its instructions; the few names that it
knows stand for functions of ``pickled_values``, which take plain values, check them, and return plain values.
"""

import io
import pickletools
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from openretina_jax.errors import UserError
from openretina_jax.runtime.pickled_values import (
    PLAIN,
    SCALARS,
    ForbiddenError,
    Named,
    Record,
    Type,
    Unfilled,
    array_of,
    key_of,
    pairs_of,
)

_CONTAINERS = (dict, list, tuple, set, frozenset)
_MOST_VALUES = 10_000_000  # of all containers together


def load_plain_pickle(file: str | Path, also: Mapping[str, Callable[..., Any]] | None = None) -> Any:
    """Read a pickle of numpy arrays, numpy scalars and plain containers, of any protocol and of numpy 1 or 2.

    Args:
        file: the pickle.
        also: what further names stand for when they are called, by dotted name; they must give plain values.

    Raises:
        UserError: the file names or holds anything else, is truncated, is not a pickle, or cannot be read.
    """
    file = Path(file)
    try:
        with file.open("rb") as stream:
            value = PickleReader(stream, file.stat().st_size, {**PLAIN, **(also or {})}).read()
        _check_plain(value)
    except ForbiddenError as error:
        raise UserError(
            f"{file}: {error}, but only numbers, words, plain containers and numpy arrays of numbers or words are read "
            "from a pickle; nothing was run; save it again as numpy arrays where it was made"
        ) from None
    except OSError as error:
        raise UserError(f"{file}: cannot be read ({error.strerror or error}); check the path") from error
    except Exception as error:  # arbitrary bytes can raise anything
        reason = " ".join(f"{type(error).__name__}: {error}".split())[:200]
        raise UserError(f"{file}: is truncated or not a pickle ({reason}); fetch it again") from error
    return value


class PickleReader:
    """Follows the instructions of a pickle.

    Args:
        stream: the pickle.
        size: of the stream in bytes; nothing longer is read at once.
        functions: what a name stands for when it is called, by dotted name.
        records: whether objects of other names become ``Record``; or else they are refused.
        persistent: gives what a pickle refers to outside itself (None: nothing).
    """

    def __init__(
        self,
        stream: io.BufferedIOBase,
        size: int,
        functions: Mapping[str, Callable[..., Any]],
        *,
        records: bool = False,
        persistent: Callable[[Any], Any] | None = None,
    ):
        self._stream = _Bounded(stream, size)
        self._functions, self._records, self._persistent = functions, records, persistent
        self._stack: list[Any] = []
        self._marks: list[int] = []  # lengths of the stack
        self._memo: dict[int, Any] = {}
        self._unfilled = 0

    def read(self) -> Any:
        """Read the value.

        Raises:
            ForbiddenError: it asks for something else than plain values.
            Exception: of any kind where the bytes are no whole pickle.
        """
        name = None
        while name != "STOP":
            code = _CODES[self._stream.read(1).decode("latin1")]
            name, form = code.name, code.arg
            if name == "BYTEARRAY8":  # as bytes, without a copy
                form = pickletools.bytes8
            argument = None if form is None else form.reader(self._stream)  # type: ignore[arg-type]
            if name in _PUSHED:
                self._stack.append(argument)
            elif name in _MADE:
                self._stack.append(_MADE[name]())
            elif name in _INSTRUCTIONS:
                _INSTRUCTIONS[name](self, argument)
            elif name not in _IGNORED:
                raise ForbiddenError(f"uses {name}")
        if self._unfilled:
            raise ValueError("an array has no content")
        return self._pop()

    def _pop(self) -> Any:
        if len(self._stack) <= (self._marks[-1] if self._marks else 0):
            raise ValueError("an instruction lacks its values")
        return self._stack.pop()

    def _top(self) -> Any:
        self._stack.append(top := self._pop())
        return top

    def _since_mark(self) -> list[Any]:
        start = self._marks.pop()
        values = self._stack[start:]
        del self._stack[start:]
        return values

    def _mark(self, _: Any) -> None:
        self._marks.append(len(self._stack))

    def _drop(self, _: Any) -> None:
        if self._marks and len(self._stack) == self._marks[-1]:
            self._marks.pop()
        else:
            self._pop()

    def _repeat(self, _: Any) -> None:
        self._stack.append(self._top())

    def _remember(self, number: int | None) -> None:
        number = len(self._memo) if number is None else number
        self._memo[number] = top = self._top()
        if isinstance(top, Unfilled):
            top.places.append(number)

    def _recall(self, number: int) -> None:
        self._stack.append(self._memo[number])

    def _tuple(self, count: int) -> None:
        self._stack.append(tuple(reversed([self._pop() for _ in range(count)])))

    def _append(self, values: Iterable[Any]) -> None:
        target = self._top()
        if isinstance(target, set):
            target.update(map(key_of, values))
        elif isinstance(target, list | Record):
            (target if isinstance(target, list) else target.elements).extend(values)
        else:
            raise ValueError(f"entries for {type(target).__name__}")

    def _set_items(self, values: list[Any]) -> None:
        target = self._top()
        if not isinstance(target, dict | Record):
            raise ValueError(f"entries for {type(target).__name__}")
        (target if isinstance(target, dict) else target.items).update(pairs_of(values))

    def _set_item(self) -> None:
        value, key = self._pop(), self._pop()
        self._set_items([key, value])

    def _name(self, module: Any, name: Any) -> None:
        if not isinstance(module, str) or not isinstance(name, str):
            raise ValueError("a name is no text")
        full = f"{module}.{name}".replace("__builtin__.", "builtins.").replace("numpy.core.", "numpy._core.")
        if full not in self._functions and not self._records:
            raise ForbiddenError(f"asks for {module}.{name}")
        self._stack.append(Named(full))

    def _named_by_stack(self, _: Any) -> None:
        name, module = self._pop(), self._pop()
        self._name(module, name)

    def _call(self, what: Any, arguments: Any, named: Any = ()) -> None:
        if not isinstance(what, Named) or not isinstance(arguments, tuple):
            raise ValueError(f"calls {type(what).__name__}")
        if what.name in self._functions:
            value = self._functions[what.name](*arguments)
        else:
            value = Record(what.name, (*arguments, *([named] if named else [])))
        self._unfilled += isinstance(value, Unfilled)
        self._stack.append(value)

    def _reduce(self, _: Any) -> None:
        arguments, what = self._pop(), self._pop()
        self._call(what, arguments)

    def _new_with_names(self, _: Any) -> None:
        named, arguments, what = self._pop(), self._pop(), self._pop()
        self._call(what, arguments, named)

    def _instance(self, names: str) -> None:
        arguments = self._since_mark()
        self._name(*names.split(" ", 1))
        self._call(self._pop(), tuple(arguments))

    def _object(self, _: Any) -> None:
        what, *arguments = self._since_mark()
        self._call(what, tuple(arguments))

    def _build(self, _: Any) -> None:
        state, target = self._pop(), self._top()
        if isinstance(target, Unfilled):
            self._unfilled -= 1
            self._stack[-1] = filled = array_of(*state[-4:])
            self._memo |= dict.fromkeys(target.places, filled)
        elif isinstance(target, Type):
            target.fill(state)
        elif isinstance(target, Record):
            target.state = state
        elif not isinstance(target, dict):  # torch adds an attribute to a dictionary
            raise ForbiddenError(f"changes {target.name if isinstance(target, Named) else type(target).__name__}")

    def _refer(self, reference: Any) -> None:
        if self._persistent is None:
            raise ForbiddenError("refers to something outside of it")
        self._stack.append(self._persistent(reference))


class _Bounded:
    """A stream that is asked for no more bytes than it has, whatever the pickle says."""

    def __init__(self, stream: io.BufferedIOBase, size: int):
        self.readline, self._read, self._size = stream.readline, stream.read, size

    def read(self, count: int) -> bytes:
        return self._read(min(count, self._size))


_CODES = {code.code: code for code in pickletools.opcodes}
# instructions whose argument is a value; that make one of nothing; and that say nothing about values
_PUSHED = frozenset(
    (
        *("INT", "BININT", "BININT1", "BININT2", "LONG", "LONG1", "LONG4", "FLOAT", "BINFLOAT"),
        *("STRING", "BINSTRING", "SHORT_BINSTRING", "UNICODE", "SHORT_BINUNICODE", "BINUNICODE", "BINUNICODE8"),
        *("BINBYTES", "SHORT_BINBYTES", "BINBYTES8", "BYTEARRAY8"),
    )
)
_MADE: dict[str, Callable[[], Any]] = {
    "NONE": lambda: None,
    "NEWTRUE": lambda: True,
    "NEWFALSE": lambda: False,
    "EMPTY_LIST": list,
    "EMPTY_TUPLE": tuple,
    "EMPTY_DICT": dict,
    "EMPTY_SET": set,
}
_IGNORED = frozenset(("PROTO", "FRAME", "STOP"))
_INSTRUCTIONS: dict[str, Callable[[PickleReader, Any], None]] = {
    "MARK": PickleReader._mark,
    "POP": PickleReader._drop,
    "POP_MARK": lambda self, _: self._since_mark().clear(),
    "DUP": PickleReader._repeat,
    **dict.fromkeys(("PUT", "BINPUT", "LONG_BINPUT", "MEMOIZE"), PickleReader._remember),
    **dict.fromkeys(("GET", "BINGET", "LONG_BINGET"), PickleReader._recall),
    "TUPLE1": lambda self, _: self._tuple(1),
    "TUPLE2": lambda self, _: self._tuple(2),
    "TUPLE3": lambda self, _: self._tuple(3),
    "TUPLE": lambda self, _: self._stack.append(tuple(self._since_mark())),
    "LIST": lambda self, _: self._stack.append(self._since_mark()),
    "DICT": lambda self, _: self._stack.append(pairs_of(self._since_mark())),
    "FROZENSET": lambda self, _: self._stack.append(frozenset(map(key_of, self._since_mark()))),
    "APPEND": lambda self, _: self._append([self._pop()]),
    "APPENDS": lambda self, _: self._append(self._since_mark()),
    "ADDITEMS": lambda self, _: self._append(self._since_mark()),
    "SETITEM": lambda self, _: self._set_item(),
    "SETITEMS": lambda self, _: self._set_items(self._since_mark()),
    "GLOBAL": lambda self, names: self._name(*names.split(" ", 1)),
    "STACK_GLOBAL": PickleReader._named_by_stack,
    "REDUCE": PickleReader._reduce,
    "NEWOBJ": PickleReader._reduce,
    "NEWOBJ_EX": PickleReader._new_with_names,
    "INST": PickleReader._instance,
    "OBJ": PickleReader._object,
    "BUILD": PickleReader._build,
    "PERSID": PickleReader._refer,
    "BINPERSID": lambda self, _: self._refer(self._pop()),
}


def _check_plain(value: Any) -> None:
    """Refuse what is not plain, and containers that hold each other more often than memory would hold copies."""
    left, count = [value], 0
    while left:
        one = left.pop()
        if isinstance(one, _CONTAINERS):
            left.extend(one)
            left.extend(one.values() if isinstance(one, dict) else ())
            count += len(one) + 1
        elif not isinstance(one, (*SCALARS, bytearray, np.ndarray)):
            raise ForbiddenError(f"holds {one.name if isinstance(one, Named) else type(one).__name__}")
        if count > _MOST_VALUES:
            raise ValueError(f"its containers hold themselves, or more than {_MOST_VALUES} values")
