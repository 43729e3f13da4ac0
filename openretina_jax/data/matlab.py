"""Files of MATLAB, of all versions, as plain arrays in MATLAB's orientation.

Versions up to 7 are read by scipy, version 7.3, which is HDF5 with all axes reversed, by h5py; both give the same.
"""

import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.exceptions import ComplexWarning

from openretina_jax.errors import UserError, nearest

_NUMBERS = {"double", "single", *(f"{sign}int{bits}" for sign in ("", "u") for bits in (8, 16, 32, 64))}


def read_matlab(file: str | Path, names: Sequence[str] | None = None) -> dict[str, Any]:
    """Read variables of a file of MATLAB, of version 7.3 too.

    Args:
        file: file ending in ``.mat``.
        names: variables to read (None: all).

    Returns:
        Values by name. Arrays have the type and the axes that MATLAB shows, at least two: ``(1, n)`` is a row. Cell
        arrays are lists of their cells (of rows, if there are several rows and columns), structs dictionaries, arrays
        of structs lists of them, logical arrays bool, and words words.

    Raises:
        UserError: the file is missing or not MATLAB's, has no variable of a name, or one holds what only MATLAB reads
            (tables, strings with double quotes, function handles and other objects) or complex numbers.
    """
    path = Path(file)
    if not path.is_file():
        raise UserError(f"{path}: there is no such file")
    try:
        found = _read_hdf5(path, names) if h5py.is_hdf5(path) else _read_old(path, names)
    # NotImplementedError: of scipy, for versions of the format that it does not know
    except (OSError, ValueError, NotImplementedError, TypeError) as error:
        raise UserError(f"{path}: is no file of MATLAB that can be read ({error}); save it again") from error
    return found


def _chosen(path: Path, known: Sequence[str], names: Sequence[str] | None) -> list[str]:
    for name in names or ():
        if name not in known:
            raise UserError(f'{path}: has no variable "{name}"; {nearest(name, sorted(known))}')
    return sorted(known) if names is None else list(names)


def _object(name: str) -> UserError:
    return UserError(
        f'"{name}" holds an object of MATLAB (a table, string, function handle, ...), which only MATLAB reads; save '
        "it as numbers, characters, cells or a struct, or give the names of the variables to read"
    )


def _complex(name: str) -> UserError:
    return UserError(
        f'"{name}" holds complex numbers, which are not read; save their parts, or give the names of the others'
    )


def _read_old(path: Path, names: Sequence[str] | None) -> dict[str, Any]:
    from scipy.io import loadmat, whosmat
    from scipy.io.matlab import MatReadError

    try:
        chosen = _chosen(path, [name for name, _, _ in whosmat(path)], names)
        with warnings.catch_warnings():
            warnings.simplefilter("error", ComplexWarning)  # scipy would drop the imaginary part
            stored = loadmat(path, variable_names=chosen, mat_dtype=True)
    except ComplexWarning as error:
        raise _complex(", ".join(chosen)) from error
    except MatReadError as error:
        raise ValueError(str(error)) from error
    for name in chosen:
        if name not in stored:  # scipy keeps objects under other names
            raise _object(name)
    return {name: _plain(name, stored[name]) for name in chosen}


def _plain(name: str, value: Any) -> Any:
    """What scipy read, as ``read_matlab`` gives it."""
    if hasattr(value, "toarray"):
        return value.toarray()
    if not isinstance(value, np.ndarray) or type(value).__name__ in ("MatlabFunction", "MatlabOpaque", "MatlabObject"):
        raise _object(name)
    if value.dtype.names is not None:
        structs = [{key: _plain(f"{name}.{key}", one[key]) for key in value.dtype.names} for one in value.ravel("F")]
        return structs[0] if value.size == 1 else structs
    if value.dtype == object:
        return _cells([[_plain(name, cell) for cell in row] for row in value.reshape(len(value), -1)])
    if value.dtype.kind == "U":
        return _words(value.ravel().tolist())
    return value


def _cells(rows: list[list[Any]]) -> list[Any]:
    if len(rows) <= 1:
        return rows[0] if rows else []
    return [row[0] for row in rows] if len(rows[0]) == 1 else rows


def _words(lines: list[str]) -> str | list[str]:
    return "" if not lines else lines[0] if len(lines) == 1 else lines


def _read_hdf5(path: Path, names: Sequence[str] | None) -> dict[str, Any]:
    with h5py.File(path) as file:
        chosen = _chosen(path, [name for name in file if not name.startswith("#")], names)
        return {name: _value(name, file[name]) for name in chosen}


def _value(name: str, item: h5py.Dataset | h5py.Group) -> Any:
    """What a dataset or group of version 7.3 stands for."""
    kind = item.attrs.get("MATLAB_class", b"")
    kind = kind.decode() if isinstance(kind, bytes) else str(kind)
    if "MATLAB_object_decode" in item.attrs or kind in ("function_handle", "string", "table"):
        raise _object(name)
    if isinstance(item, h5py.Group):
        return _sparse(item) if "MATLAB_sparse" in item.attrs else _struct(name, item)
    if item.attrs.get("MATLAB_empty", 0):
        return _empty(kind, tuple(int(size) for size in item[()]))
    values = item[()].T
    if kind == "cell":
        return _cells([[_value(name, item.file[cell]) for cell in row] for row in values])
    if kind == "char":
        return _words(["".join(map(chr, row)) for row in values])
    if kind == "logical":
        return values.astype(bool)
    if kind not in _NUMBERS:
        raise _object(name)
    if values.dtype.names:
        raise _complex(name)
    return values


def _empty(kind: str, shape: tuple[int, ...]) -> Any:
    if kind == "cell":
        return []
    if kind == "char":
        return ""
    types = {"double": np.float64, "single": np.float32, "logical": bool}
    return np.zeros(shape, types.get(kind, kind or np.float64))


def _struct(name: str, group: h5py.Group) -> Any:
    """A struct, or a list of those of an array of structs, whose fields are arrays of references."""
    arrays = [
        isinstance(item, h5py.Dataset) and item.dtype == h5py.ref_dtype and "MATLAB_class" not in item.attrs
        for item in group.values()
    ]
    if not arrays or not all(arrays):
        return {key: _value(f"{name}.{key}", item) for key, item in group.items()}
    fields = {key: [group.file[one] for one in item[()].ravel()] for key, item in group.items()}
    return [
        {key: _value(f"{name}.{key}", ones[number]) for key, ones in fields.items()}
        for number in range(len(next(iter(fields.values()))))
    ]


def _sparse(group: h5py.Group) -> np.ndarray:
    from scipy.sparse import csc_array

    starts = group["jc"][()]
    shape = (int(group.attrs["MATLAB_sparse"]), len(starts) - 1)
    if "data" not in group:
        return np.zeros(shape)
    return csc_array((group["data"][()], group["ir"][()], starts), shape=shape).toarray()
