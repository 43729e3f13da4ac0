"""Files that ``torch.save`` wrote, read without PyTorch and without running what they say.

Such a file is a zip archive: a pickle, and the numbers of every tensor as plain bytes beside it. The pickle may name
tensors, numpy arrays and plain containers; an object of any other class becomes a ``Record`` of what is said of it.
"""

import io
import pickletools
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path, PurePosixPath
from typing import Any

import jax.numpy as jnp
import numpy as np

from openretina_jax.errors import UserError
from openretina_jax.runtime.pickles import ForbiddenGlobalError, PlainUnpickler

NEWEST_FORMAT = 10  # torch writes 3, and promises to read up to 10


class Record:
    """An object of a class that is not known here: what the pickle says of it, and nothing of what the class does.

    Attributes:
        origin: dotted name of the class.
        arguments: of its constructor.
        state: what it was filled with, usually its attributes by name.
        items: its entries, if it is a mapping.
        elements: its entries, if it is a sequence or a set.
    """

    origin = ""
    arguments: tuple[Any, ...]
    state: Any
    items: dict[Any, Any]
    elements: list[Any]

    def __new__(cls, *arguments: Any, **_: Any) -> "Record":
        """Remembers the arguments."""
        record = object.__new__(cls)
        record.arguments, record.state, record.items, record.elements = arguments, None, {}, []
        return record

    def __init__(self, *arguments: Any, **_: Any):
        del arguments

    def __setstate__(self, state: Any) -> None:
        self.state = state

    def __setitem__(self, key: Any, value: Any) -> None:
        self.items[key] = value

    def append(self, value: Any) -> None:
        """Called for the entries of a list."""
        self.elements.append(value)

    add = append  # for those of a set

    def extend(self, values: Any) -> None:
        """Called for several entries of a list."""
        self.elements.extend(values)


def read_torch_file(path: str | Path) -> Any:
    """What ``torch.save`` was given; tensors are read-only numpy arrays (bfloat16 is that of ``ml_dtypes``).

    Args:
        path: the file.

    Raises:
        UserError: it is no such file, truncated, written on another kind of machine or by a newer version, or its
            tensors are of a kind that models do not have; nothing was run.
    """
    path = Path(path)
    try:
        with zipfile.ZipFile(path) as archive:
            return _Archive(path, archive).load()
    except UserError:
        raise
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror or error}); check the path") from error
    except Exception as error:  # the bytes of a foreign file can make zipfile and the unpickler raise anything
        reason = " ".join(f"{type(error).__name__}: {error}".split())
        raise UserError(f"{path}: is truncated or no checkpoint of PyTorch ({reason}); fetch it again") from error


class _Archive:
    """The members of a file of torch; all lie in one folder, whose name is arbitrary."""

    def __init__(self, path: Path, archive: zipfile.ZipFile):
        self._path, self._archive = path, archive
        self._storages: dict[str, np.ndarray] = {}
        folders = [name.removesuffix("data.pkl") for name in archive.namelist() if name.endswith("/data.pkl")]
        if len(folders) != 1:
            raise UserError(f"{path}: is a zip archive but no checkpoint of PyTorch, which has one data.pkl inside")
        self._folder = folders[0]

    def load(self) -> Any:
        """The object of the pickle."""
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
        _check_memo(content)
        return _TorchUnpickler(io.BytesIO(content), self).load()

    def storage(self, dtype: "np.dtype[Any]", key: str) -> np.ndarray:
        """All numbers that some tensors share."""
        if key not in self._storages:
            content = self._bytes(f"data/{key}")
            self._storages[key] = np.frombuffer(content[: len(content) // dtype.itemsize * dtype.itemsize], dtype)
        return self._storages[key].view(dtype)

    def _text(self, name: str, default: str) -> str:
        if self._folder + name not in self._archive.namelist():
            return default
        return self._bytes(name).decode().strip()

    def _bytes(self, name: str) -> bytes:
        member = self._archive.getinfo(self._folder + name)
        if member.compress_type != zipfile.ZIP_STORED:
            raise UserError(f"{self._path}: {member.filename} is compressed, which PyTorch does not do; fetch it again")
        return self._archive.read(member)


class _TorchUnpickler(PlainUnpickler):
    """Admits tensors as well; what is not known becomes a record."""

    def __init__(self, stream: io.BytesIO, archive: _Archive):
        super().__init__(stream)
        self._archive = archive

    def find_class(self, module: str, name: str) -> Any:
        try:
            return super().find_class(module, name)
        except ForbiddenGlobalError:
            origin = f"{module}.{name}".replace("__builtin__.", "builtins.")
            known = _KNOWN.get(origin)
            return known if known is not None else type(name, (Record,), {"origin": origin})

    def persistent_load(self, pid: Any) -> np.ndarray:
        _, dtype, key, _, count = pid
        return self._archive.storage(np.dtype(dtype), key)[:count]


def _check_memo(content: bytes) -> None:
    """Refuse a pickle that numbers its objects beyond its own length: Python would make a table as long as that.

    Raises:
        ValueError: it does, or it is no pickle.
    """
    for code, argument, _ in pickletools.genops(content):
        if code.name.endswith("PUT") and int(str(argument)) > len(content):
            raise ValueError(f"an object has the number {argument}")


def _tensor(storage: np.ndarray, offset: int, size: tuple[int, ...], stride: tuple[int, ...], *more: Any) -> np.ndarray:
    """A view of a storage; torch counts strides in numbers."""
    del more  # whether it has a gradient
    last = offset + sum((length - 1) * step for length, step in zip(size, stride, strict=True))
    if min((offset, *size, *stride)) < 0 or (0 not in size and last >= len(storage)):
        raise ValueError(f"a tensor of {size} lies outside of its {len(storage)} numbers")
    steps = tuple(step * storage.itemsize for step in stride)
    return np.lib.stride_tricks.as_strided(storage[offset:], size, steps, writeable=False)


def _typed_tensor(
    storage: np.ndarray,
    offset: int,
    size: tuple[int, ...],
    stride: tuple[int, ...],
    requires_grad: bool,
    hooks: Any,
    dtype: "np.dtype[Any]",
    *more: Any,
) -> np.ndarray:
    """A tensor of a type that has no storage of its own."""
    return _tensor(storage.view(dtype), offset, size, stride)


def _first(value: Any, *more: Any) -> Any:
    """A parameter is its tensor."""
    return value


def _known() -> Mapping[str, Any]:
    of_torch = {
        "float64": ("Double", np.float64),
        "float32": ("Float", np.float32),
        "float16": ("Half", np.float16),
        "bfloat16": ("BFloat16", jnp.bfloat16),
        "int64": ("Long", np.int64),
        "int32": ("Int", np.int32),
        "int16": ("Short", np.int16),
        "int8": ("Char", np.int8),
        "uint8": ("Byte", np.uint8),
        "bool": ("Bool", np.bool_),
        "complex64": ("ComplexFloat", np.complex64),
        "complex128": ("ComplexDouble", np.complex128),
    }
    known: dict[str, Any] = {f"torch.{name}Storage": np.dtype(dtype) for name, dtype in of_torch.values()}
    known |= {f"torch.{name}": np.dtype(dtype) for name, (_, dtype) in of_torch.items()}
    known |= {f"torch.{name}": np.dtype(name) for name in ("uint16", "uint32", "uint64")}
    known["torch.storage.UntypedStorage"] = np.dtype(np.uint8)
    functions: dict[str, Callable[..., Any]] = {
        "torch._utils._rebuild_tensor": _tensor,
        "torch._utils._rebuild_tensor_v2": _tensor,
        "torch._utils._rebuild_tensor_v3": _typed_tensor,
        "torch._utils._rebuild_parameter": _first,
        "torch._utils._rebuild_parameter_with_state": _first,
        "torch.Size": tuple,
        "torch.device": lambda *name: ":".join(map(str, name)),
        "collections.defaultdict": lambda *factory: {},
    }
    for kind in ("PosixPath", "PurePosixPath", "WindowsPath", "PureWindowsPath"):
        for module in ("pathlib", "pathlib._local"):
            functions[f"{module}.{kind}"] = lambda *parts: str(PurePosixPath(*parts))
    return known | functions


_KNOWN = _known()
