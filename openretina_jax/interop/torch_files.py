"""Files that ``torch.save`` wrote, read without PyTorch and without running anything in them.

Such a file is a zip archive: a pickle, and the numbers of every tensor as plain bytes beside it. The pickle may name
tensors, numpy arrays and plain containers; an object of any other class becomes a ``Record``, which holds its content
and has none of its methods.
"""

import dataclasses
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
    """An object of a class that is not known here.

    Attributes:
        origin: dotted name of the class.
        arguments: of its constructor.
        state: usually its attributes by name.
        items: its entries, if it is a mapping.
        elements: its entries, if it is a sequence or a set.
    """

    origin = ""
    arguments: tuple[Any, ...]
    state: Any
    items: dict[Any, Any]
    elements: list[Any]

    def __new__(cls, *arguments: Any, **_: Any) -> "Record":
        """Keeps the arguments."""
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
        """Called by the unpickler for an entry of a list."""
        self.elements.append(value)

    add = append  # for an entry of a set

    def extend(self, values: Any) -> None:
        """Called by the unpickler for several entries of a list."""
        self.elements.extend(values)


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
    others = [str(name) for name, value in state.items() if not isinstance(value, np.ndarray) or value.dtype.hasobject]
    if others:
        raise UserError(f"{path}: its state_dict holds {', '.join(others)}, which are no tensors")
    try:
        hyper_parameters = plain(content.get("hyper_parameters") or {})
    except (KeyError, TypeError, RecursionError) as error:
        raise UserError(f"{path}: its hyper-parameters cannot be understood ({error})") from error
    if not isinstance(hyper_parameters, dict):
        raise UserError(f"{path}: its hyper-parameters are {hyper_parameters!r}, but must be a dictionary")
    return LightningCheckpoint(state, hyper_parameters)


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
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror or error}); check the path") from error
    except Exception as error:  # the bytes of a foreign file can make zipfile and the unpickler raise anything
        reason = " ".join(f"{type(error).__name__}: {error}".split())
        raise UserError(f"{path}: is truncated or no checkpoint of PyTorch ({reason}); fetch it again") from error


def plain(value: Any) -> Any:
    """Turn configurations of OmegaConf, numpy scalars and containers into plain values.

    Interpolations such as ``${model.learning_rate}`` are followed as far as the whole configuration is in the file.
    Tensors and arrays stay, as do objects of other classes; a class or function becomes its name.
    """
    if isinstance(value, type) and issubclass(value, Record):
        return value.origin
    if isinstance(value, Record) and value.origin.startswith("omegaconf."):
        # a container has _content, a leaf has _val
        content = value.state["_content"] if "_content" in value.state else value.state["_val"]
        if isinstance(content, str) and content.startswith("${") and content.endswith("}"):
            return plain(_referenced(value, content[2:-1]))
        return plain(content)
    if isinstance(value, Record) and value.origin.endswith(".AttributeDict"):
        return plain(value.items)
    if isinstance(value, dict):
        return {plain(key): plain(entry) for key, entry in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return type(value)(plain(entry) for entry in value)
    return value.item() if isinstance(value, np.generic) else value


def _referenced(node: Record, reference: str) -> Any:
    """The node that an interpolation names: by a path from the root, or with leading dots from a parent."""
    rest = reference.lstrip(".")
    upwards = len(reference) - len(rest)
    while node.state.get("_parent") is not None and upwards != 1:
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
        self._storages: dict[str, np.ndarray] = {}
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
        _check_memo(content)
        return _TorchUnpickler(io.BytesIO(content), self).load()

    def storage(self, dtype: "np.dtype[Any]", key: str) -> np.ndarray:
        """Read all numbers of a storage, which several tensors may share."""
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
    """Admits tensors too, and makes records of all other objects."""

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
    """Refuse a pickle that numbers its objects beyond its own length: Python would make a table of that length."""
    for code, argument, _ in pickletools.genops(content):
        if code.name.endswith("PUT") and int(str(argument)) > len(content):
            raise ValueError(f"an object has the number {argument}")


def _tensor(storage: np.ndarray, offset: int, size: tuple[int, ...], stride: tuple[int, ...], *_: Any) -> np.ndarray:
    """A view of a storage; torch counts offsets and strides in numbers, not in bytes."""
    if storage.ndim != 1 or not storage.flags.c_contiguous:  # a view of a view could leave the memory of the first
        raise ValueError("a tensor is a view of no storage")
    last = offset + sum((length - 1) * step for length, step in zip(size, stride, strict=True))
    if min((offset, *size, *stride)) < 0 or (0 not in size and last >= len(storage)):
        raise ValueError(f"a tensor of {size} lies outside of its {len(storage)} numbers")
    steps = tuple(step * storage.itemsize for step in stride)
    return np.lib.stride_tricks.as_strided(storage[offset:], size, steps, writeable=False)


def _known() -> Mapping[str, Any]:
    """The functions, types and classes that are understood; objects of all others become records."""
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
    known: dict[str, Any] = {f"torch.{storage}Storage": jnp.dtype(dtype) for storage, dtype in storages.items()}
    known |= {f"torch.{dtype}": jnp.dtype(dtype) for dtype in (*storages.values(), "uint16", "uint32", "uint64")}
    known["torch.storage.UntypedStorage"] = np.dtype(np.uint8)
    functions: dict[str, Callable[..., Any]] = {
        "torch._utils._rebuild_tensor": _tensor,
        "torch._utils._rebuild_tensor_v2": _tensor,
        # of a type without a storage class of its own
        "torch._utils._rebuild_tensor_v3": lambda storage, offset, size, stride, gradient, hooks, dtype, *_: _tensor(
            storage.view(dtype), offset, size, stride
        ),
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
    return known | functions


_KNOWN = _known()
