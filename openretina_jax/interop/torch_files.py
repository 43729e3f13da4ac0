"""Files that ``torch.save`` wrote, read without PyTorch and without running anything in them.

Such a file is a zip archive: a pickle, and the numbers of every tensor as plain bytes beside it. The pickle may name
tensors, numpy arrays and plain containers; an object of any other class becomes a ``Record``, which holds its content
and has none of its methods. Tensors are views of numbers that were read from the archive, and of nothing else.
"""

import dataclasses
import io
import math
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path, PurePosixPath
from typing import Any

import jax.numpy as jnp
import numpy as np

from openretina_jax.errors import UserError
from openretina_jax.runtime.pickled_values import PLAIN, ForbiddenError, Named, Record
from openretina_jax.runtime.pickles import PickleReader

NEWEST_FORMAT = 10  # torch writes 3, and promises to read up to 10
_MOST_VALUES = 1_000_000  # values of hyper-parameters


@dataclasses.dataclass(frozen=True, eq=False)
class LightningCheckpoint:
    """The parts of a checkpoint that describe the model.

    Attributes:
        state: parameters and buffers by name.
        hyper_parameters: arguments of the model's constructor as plain values; empty if the model did not save them.
            Objects of unknown classes are ``Record``.
    """

    state: Mapping[str, np.ndarray]
    hyper_parameters: Mapping[str, Any]


def read_lightning_checkpoint(path: str | Path) -> LightningCheckpoint:
    """Read a checkpoint that Lightning's ``ModelCheckpoint`` or ``Trainer.save_checkpoint`` wrote.

    Raises:
        UserError: the file is not such a checkpoint, or it is damaged.
    """
    content = read_torch_file(path)
    if not isinstance(content, dict) or not isinstance(content.get("state_dict"), dict):
        raise UserError(f"{path}: is a file of PyTorch but no checkpoint of Lightning, which has a state_dict inside")
    state = dict(content["state_dict"])
    others = [str(name) for name, value in state.items() if not isinstance(value, np.ndarray)]
    if others:
        raise UserError(f"{path}: its state_dict holds {', '.join(others)}, which are no tensors")
    _check_names(path, "state_dict", state)
    try:
        hyper_parameters = plain(content.get("hyper_parameters") or {})
    except Exception as error:  # objects of unknown classes may hold anything
        reason = " ".join(f"{type(error).__name__}: {error}".split())
        raise UserError(f"{path}: its hyper-parameters cannot be understood ({reason}); save them again") from error
    if not isinstance(hyper_parameters, dict):
        raise UserError(f"{path}: its hyper-parameters are {hyper_parameters!r}, but must be a dictionary")
    _check_names(path, "hyper_parameters", hyper_parameters)
    return LightningCheckpoint(state, hyper_parameters)


def _check_names(path: str | Path, what: str, entries: Mapping[Any, Any]) -> None:
    for name in entries:
        if not isinstance(name, str):
            raise UserError(f"{path}: {what} has the name {name!r}, but names must be text; save it again")


def read_torch_file(path: str | Path) -> Any:
    """Read the object that was given to ``torch.save``.

    Tensors become read-only numpy arrays, those of bfloat16 with the type of ``ml_dtypes``.

    Args:
        path: the file.

    Raises:
        UserError: the file is of another kind, truncated, from a big-endian machine or a newer PyTorch, or has tensors
            of an unknown type.
    """
    path = Path(path)
    try:
        with zipfile.ZipFile(path) as archive:
            return _Archive(path, archive).load()
    except UserError:
        raise
    except ForbiddenError as error:
        raise UserError(f"{path}: {error}, which no checkpoint of PyTorch does; nothing was run") from None
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror or error}); check the path") from error
    except Exception as error:  # the bytes of a foreign file can make zipfile and the unpickler raise anything
        reason = " ".join(f"{type(error).__name__}: {error}".split())
        raise UserError(f"{path}: is truncated or no checkpoint of PyTorch ({reason}); fetch it again") from error


def plain(value: Any) -> Any:
    """Turn configurations of OmegaConf, numpy scalars and containers into plain values.

    Interpolations such as ``${model.learning_rate}`` are followed as far as the whole configuration is in the file.
    Tensors and arrays stay, as do objects of other classes; a class or function becomes its name.

    Raises:
        Exception: of any kind, if the values are no such configuration, or hold each other.
    """
    left = _MOST_VALUES

    def of(value: Any) -> Any:
        nonlocal left
        left -= 1
        if left < 0:
            raise ValueError(f"they hold themselves, or more than {_MOST_VALUES} values")
        if isinstance(value, Named):
            return value.name
        if isinstance(value, Record) and value.origin.startswith("omegaconf."):
            # a container has _content, a leaf has _val
            content = value.state["_content"] if "_content" in value.state else value.state["_val"]
            if isinstance(content, str) and content.startswith("${") and content.endswith("}"):
                return of(_referenced(value, content[2:-1]))
            return of(content)
        if isinstance(value, Record) and value.origin.endswith(".AttributeDict"):
            return of(value.items)
        if isinstance(value, dict):
            return {of(key): of(entry) for key, entry in value.items()}
        if isinstance(value, list | tuple | set | frozenset):
            return type(value)(of(entry) for entry in value)
        return value.item() if isinstance(value, np.generic) else value

    return of(value)


def _referenced(node: Record, reference: str) -> Any:
    """The node that an interpolation names: by a path from the root, or with leading dots from a parent."""
    rest = reference.lstrip(".")
    upwards = len(reference) - len(rest)
    passed: list[Record] = []
    while node.state.get("_parent") is not None and upwards != 1:
        if node in passed:
            raise ValueError("a node is its own parent")
        passed.append(node)
        node, upwards = node.state["_parent"], upwards - 1
    if upwards == 1:
        node = node.state["_parent"]
    for key in rest.split("."):
        content = node.state["_content"]
        if not isinstance(content, dict) or key not in content:
            raise KeyError(f"${{{reference}}} leads nowhere")
        node = content[key]
    return node


class _Archive:
    """The members of a file of torch; all lie in one folder with an arbitrary name."""

    def __init__(self, path: Path, archive: zipfile.ZipFile):
        self._path, self._archive = path, archive
        self._storages: dict[str, bytes] = {}
        folders = [name.removesuffix("data.pkl") for name in archive.namelist() if name.endswith("/data.pkl")]
        if len(folders) != 1:
            raise UserError(f"{path}: is a zip archive but no checkpoint of PyTorch, which has one data.pkl inside")
        self._folder = folders[0]

    def load(self) -> Any:
        """Read the object in the pickle."""
        version, order = self._text("version", "3"), self._text("byteorder", "little")
        if not version.isdecimal() or int(version) > NEWEST_FORMAT or self._text(".format_version", "1") != "1":
            raise UserError(
                f"{self._path}: has the format {version} of PyTorch, formats up to {NEWEST_FORMAT} are known; save it "
                "again with an older PyTorch"
            )
        if order != "little":
            raise UserError(
                f"{self._path}: has {order}-endian numbers, only little-endian ones are read; load and save it again "
                "on the machine that you have now"
            )
        content = self._bytes("data.pkl")
        reader = PickleReader(
            io.BytesIO(content), len(content), {**PLAIN, **_FUNCTIONS}, records=True, persistent=self._storage
        )
        return reader.read()

    def _storage(self, reference: Any) -> "_Storage":
        """Read all numbers of a storage, which several tensors may share."""
        _, kind, key, _, count = reference
        dtype = _DTYPES[kind.name]
        if key not in self._storages:
            self._storages[key] = self._bytes(f"data/{key}")
        if not isinstance(count, int) or not 0 <= count * dtype.itemsize <= len(self._storages[key]):
            raise ValueError(f"a storage of {count} numbers has {len(self._storages[key])} bytes")
        numbers = np.frombuffer(self._storages[key], dtype, count) if count else np.empty(0, dtype)
        # other bytes than 0 and 1 are no booleans
        return _Storage(numbers.view(np.uint8).astype(bool) if dtype.kind == "b" else numbers)

    def _text(self, name: str, default: str) -> str:
        if self._folder + name not in self._archive.namelist():
            return default
        return self._bytes(name).decode().strip()

    def _bytes(self, name: str) -> bytes:
        member = self._archive.getinfo(self._folder + name)
        if member.compress_type != zipfile.ZIP_STORED:
            raise UserError(f"{self._path}: {member.filename} is compressed, which PyTorch does not do; fetch it again")
        return self._archive.read(member)


@dataclasses.dataclass(frozen=True, eq=False)
class _Storage:
    """Numbers of a file, of which tensors are views."""

    numbers: np.ndarray


def _tensor(storage: Any, offset: Any, size: Any, stride: Any, *_: Any) -> np.ndarray:
    """A view of a storage; torch counts offsets and strides in numbers, not in bytes."""
    if not isinstance(storage, _Storage):
        raise ValueError("a tensor is a view of no storage")
    numbers = storage.numbers
    if not all(isinstance(number, int) for number in (offset, *size, *stride)):
        raise ValueError("a tensor has a size or a stride that is no number")
    last = offset + sum((length - 1) * step for length, step in zip(size, stride, strict=True))
    if min((offset, *size, *stride)) < 0 or (0 not in size and last >= len(numbers)):
        raise ValueError(f"a tensor of {size} lies outside of its {len(numbers)} numbers")
    if math.prod(size) > max(len(numbers), _MOST_VALUES):  # one number, shown again and again
        raise ValueError(f"a tensor of {size} has only {len(numbers)} numbers")
    if 0 in size:
        return np.empty(size, numbers.dtype)
    steps = tuple(step * numbers.itemsize for step in stride)
    return np.lib.stride_tricks.as_strided(numbers[offset:], size, steps, writeable=False)


def _tensor_of_type(storage: Any, offset: Any, size: Any, stride: Any, _: Any, __: Any, kind: Any, *___: Any) -> Any:
    """A view of a storage of bytes as another type, which has no storage class of its own."""
    dtype = _DTYPES[kind.name]
    raw = storage.numbers.view(np.uint8)
    return _tensor(_Storage(raw[: len(raw) // dtype.itemsize * dtype.itemsize].view(dtype)), offset, size, stride)


def _dtypes() -> Mapping[str, "np.dtype[Any]"]:
    """Types of numbers, by the names of their storages and their own."""
    storages = {
        "Double": "float64",
        "Float": "float32",
        "Half": "float16",
        "BFloat16": "bfloat16",
        "Long": "int64",
        "Int": "int32",
        "Short": "int16",
        "Char": "int8",
        "Byte": "uint8",
        "Bool": "bool",
        "ComplexFloat": "complex64",
        "ComplexDouble": "complex128",
    }
    known = {f"torch.{storage}Storage": jnp.dtype(dtype) for storage, dtype in storages.items()}
    known |= {f"torch.{dtype}": jnp.dtype(dtype) for dtype in (*storages.values(), "uint16", "uint32", "uint64")}
    return known | {"torch.storage.UntypedStorage": np.dtype(np.uint8)}


def _functions() -> Mapping[str, Callable[..., Any]]:
    """Functions and classes that a pickle may name beside plain values; all others become records."""
    functions: dict[str, Callable[..., Any]] = {
        "torch._utils._rebuild_tensor": _tensor,
        "torch._utils._rebuild_tensor_v2": _tensor,
        "torch._utils._rebuild_tensor_v3": _tensor_of_type,
        # a parameter becomes its tensor
        "torch._utils._rebuild_parameter": lambda tensor, *_: tensor,
        "torch._utils._rebuild_parameter_with_state": lambda tensor, *_: tensor,
        "torch.Size": tuple,
        "torch.device": lambda *name: ":".join(map(str, name)),
        "collections.defaultdict": lambda *_: {},
    }
    for kind in ("PosixPath", "PurePosixPath", "WindowsPath", "PureWindowsPath"):
        for module in ("pathlib", "pathlib._local"):
            functions[f"{module}.{kind}"] = lambda *parts: str(PurePosixPath(*parts))
    return functions


_DTYPES, _FUNCTIONS = _dtypes(), _functions()
