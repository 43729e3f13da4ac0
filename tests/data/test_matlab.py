"""Files of MATLAB: version 5 as scipy writes it, and version 7.3 as MATLAB lays it out in HDF5, read alike."""

from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from scipy.io import savemat
from scipy.sparse import csc_matrix

from openretina_jax.data.matlab import read_matlab
from openretina_jax.data.spikes import count_spikes
from openretina_jax.errors import UserError

SPIKES = [np.array([[0.1], [0.5]]), np.array([[0.7]]), np.zeros((0, 1))]
VALUES: dict[str, Any] = {
    "movie": np.arange(24.0).reshape(2, 3, 4),
    "bytes": np.arange(6, dtype=np.uint8).reshape(2, 3),
    "row": np.arange(3.0)[None],
    "on": np.array([[True, False]]),
    "word": "left eye",
    "spikes": SPIKES,
    "info": {"rate": np.array([[30.0]]), "who": "me"},
    "cells": [{"id": np.array([[3.0]])}, {"id": np.array([[5.0]])}],
    "grid": [[np.array([[1.0]]), np.array([[2.0]])], [np.array([[3.0]]), np.array([[4.0]])]],
    "few": np.array([[0.0, 2.0], [0.0, 0.0], [1.0, 0.0]]),
}


def cell(values: list[Any], shape: tuple[int, ...]) -> np.ndarray:
    array = np.empty(len(values), object)
    array[:] = values
    return array.reshape(shape)


def version_5(file: Path) -> Path:
    grid = cell([one for row in VALUES["grid"] for one in row], (2, 2))
    structs = np.array([[(one["id"],) for one in VALUES["cells"]]], dtype=[("id", object)])
    own = {"spikes": cell(SPIKES, (1, 3)), "cells": structs, "grid": grid, "few": csc_matrix(VALUES["few"])}
    savemat(file, {**VALUES, **own})
    return file


def version_73(file: Path) -> Path:
    """The layout of MATLAB R2024b: axes reversed, cells and arrays of structs as references, words as numbers."""
    classes = {"float64": "double", "uint8": "uint8", "bool": "logical"}
    with h5py.File(file, "w", userblock_size=512) as stored:
        counter = iter(range(1000))

        def put(where: h5py.Group, name: str, value: Any) -> h5py.Dataset:
            if isinstance(value, str):
                item = where.create_dataset(name, data=np.array([[ord(c)] for c in value], np.uint16))
                item.attrs["MATLAB_class"] = np.bytes_("char")
            elif value.size == 0:
                item = where.create_dataset(name, data=np.array(value.shape, np.uint64))
                item.attrs["MATLAB_class"], item.attrs["MATLAB_empty"] = np.bytes_("double"), np.uint8(1)
            else:
                plain = value.astype(np.uint8) if value.dtype == bool else value
                item = where.create_dataset(name, data=plain.T)
                item.attrs["MATLAB_class"] = np.bytes_(classes[str(value.dtype)])
            return item

        def references(values: list[Any], shape: tuple[int, ...]) -> np.ndarray:
            made = [put(stored.require_group("#refs#"), f"a{next(counter)}", one).ref for one in values]
            return np.array(made, h5py.ref_dtype).reshape(shape)

        for name in ("movie", "bytes", "row", "on", "word"):
            put(stored, name, VALUES[name])
        grid = [row[column] for column in range(2) for row in VALUES["grid"]]
        for name, values, shape in (("spikes", SPIKES, (3, 1)), ("grid", grid, (2, 2))):
            stored.create_dataset(name, data=references(values, shape)).attrs["MATLAB_class"] = np.bytes_("cell")
        for key, value in VALUES["info"].items():
            put(stored.require_group("info"), key, value)
        stored["info"].attrs["MATLAB_class"] = np.bytes_("struct")
        stored.require_group("cells").attrs["MATLAB_class"] = np.bytes_("struct")
        stored["cells"].create_dataset("id", data=references([one["id"] for one in VALUES["cells"]], (2, 1)))
        sparse = csc_matrix(VALUES["few"])
        group = stored.create_group("few")
        group.attrs["MATLAB_class"], group.attrs["MATLAB_sparse"] = np.bytes_("double"), np.uint64(3)
        for key, part in (("data", sparse.data), ("ir", sparse.indices), ("jc", sparse.indptr)):
            group.create_dataset(key, data=part)
    return file


def check_equal(found: Any, expected: Any) -> None:
    if isinstance(expected, dict):
        assert found.keys() == expected.keys()
        for key in expected:
            check_equal(found[key], expected[key])
    elif isinstance(expected, list):
        assert len(found) == len(expected)
        for one, other in zip(found, expected, strict=True):
            check_equal(one, other)
    elif isinstance(expected, str):
        assert found == expected
    else:
        np.testing.assert_array_equal(found, expected, strict=True)


@pytest.mark.parametrize("write", [version_5, version_73])
def test_both_versions_give_what_matlab_shows(write, tmp_path):
    found = read_matlab(write(tmp_path / "data.mat"))
    check_equal(found, VALUES)
    counts = count_spikes(found["spikes"], np.arange(10) / 10)
    np.testing.assert_array_equal(counts.sum(axis=0), [2, 1, 0])


@pytest.mark.parametrize("write", [version_5, version_73])
def test_some_variables(write, tmp_path):
    file = write(tmp_path / "data.mat")
    assert list(read_matlab(file, ["row", "word"])) == ["row", "word"]
    with pytest.raises(UserError, match='has no variable "spike"; did you mean "spikes"'):
        read_matlab(file, ["spike"])


def test_what_cannot_be_read(tmp_path):
    with pytest.raises(UserError, match=r"gone\.mat: there is no such file"):
        read_matlab(tmp_path / "gone.mat")
    (tmp_path / "text.mat").write_text("no numbers at all, but long enough for a header" * 9)
    with pytest.raises(UserError, match=r"text\.mat: is no file of MATLAB that can be read"):
        read_matlab(tmp_path / "text.mat")
    with h5py.File(tmp_path / "table.mat", "w") as file:
        file.create_dataset("t", data=[1]).attrs["MATLAB_class"] = np.bytes_("table")
        file.create_dataset("n", data=[[1.0]]).attrs["MATLAB_class"] = np.bytes_("double")
    with pytest.raises(UserError, match='"t" holds an object of MATLAB'):
        read_matlab(tmp_path / "table.mat")
    assert read_matlab(tmp_path / "table.mat", ["n"])["n"] == 1


def test_complex_numbers_lose_no_part(tmp_path):
    savemat(tmp_path / "old.mat", {"wave": np.array([[1.0 + 2.0j]]), "n": 1.0})
    parts = np.array([[(1.0, 2.0)]], dtype=[("real", float), ("imag", float)])
    with h5py.File(tmp_path / "new.mat", "w") as file:
        file.create_dataset("wave", data=parts).attrs["MATLAB_class"] = np.bytes_("double")
        file.create_dataset("n", data=[[1.0]]).attrs["MATLAB_class"] = np.bytes_("double")
    for name in ("old.mat", "new.mat"):
        with pytest.raises(UserError, match='wave" holds complex numbers, which are not read'):
            read_matlab(tmp_path / name)
        assert read_matlab(tmp_path / name, ["n"])["n"] == 1
