"""Frozen numbers of the reference: what went in, what came out, and how closely we must agree.

The directory is ``tests/goldens``, or the one that the environment variable ``GOLDENS_DIR`` names: any
directory of the same form, with other shapes and seeds. ``index.json`` describes every case in words.
"""

import dataclasses
import functools
import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

RTOL = 1e-5
QUICK_CASES = 1  # of a test, in the fast suite
DEFAULT_ATOL = 1e-6  # of arrays that were computed once only, so that their rounding is not known


@dataclasses.dataclass(frozen=True, eq=False)
class Case:
    """One call of the reference.

    Attributes:
        directory: where the arrays lie.
        entry: all that ``index.json`` says of the case.
    """

    directory: Path
    entry: Mapping[str, Any]

    @property
    def name(self) -> str:
        """Name of the case, unique in its group."""
        return self.entry["name"]

    @property
    def group(self) -> str:
        """Group of the case: "conv", "data", ..."""
        return self.entry["group"]

    @functools.cached_property
    def kwargs(self) -> dict[str, Any]:
        """Arguments of the reference's constructor or function; small arrays are decoded."""
        return _decoded(self.entry.get("kwargs", {}))

    @functools.cached_property
    def names(self) -> tuple[str, ...]:
        """Names of the arrays, in the order of the index."""
        return tuple(self.entry["arrays"])

    def under(self, prefix: str) -> dict[str, np.ndarray]:
        """The arrays whose names begin with ``prefix/``, by the rest of their names."""
        start = prefix + "/"
        return {name.removeprefix(start): self.array(name) for name in self.names if name.startswith(start)}

    def array(self, name: str) -> np.ndarray:
        """The array of that name; a case that shares parameters with others finds them as well."""
        for file in (self.entry["file"], self.entry.get("param_file")):
            if file is not None and name in (arrays := _arrays(self.directory / file)):
                return arrays[name]
        raise KeyError(f"{self.group}/{self.name} has no array {name!r}; it has {', '.join(self.names)}")

    def check(self, name: str, value: Any, *, exact: bool = False) -> None:
        """Fails unless ``value`` is the array ``name`` within the tolerance of the index.

        Integers and booleans must be equal, as must everything if ``exact``; NaN stands in the same places.
        """
        reference, value = self.array(name), np.asarray(value)
        label = f"{self.group}/{self.name}: {name}"
        assert value.shape == reference.shape, f"{label} has shape {value.shape}, not {reference.shape}"
        if exact or reference.dtype.kind in "biu":
            np.testing.assert_array_equal(value, reference, err_msg=label)
        else:
            atol = self.entry["arrays"][name].get("atol", DEFAULT_ATOL)
            np.testing.assert_allclose(
                value.astype(np.float64), reference.astype(np.float64), rtol=RTOL, atol=atol, err_msg=label
            )


def goldens_dir() -> Path:
    """The directory of the frozen numbers."""
    return Path(os.environ.get("GOLDENS_DIR", Path(__file__).parent / "goldens"))


def cases(group: str) -> list[Case]:
    """All cases of a group in the order of the index; no case at all is an error, not an empty test."""
    directory = goldens_dir()
    found = [Case(directory, entry) for entry in _index(directory)["cases"] if entry["group"] == group]
    if not found:
        raise LookupError(f"{directory / 'index.json'} has no case of group {group!r}")
    return found


def every_case(cases: Sequence[Case]) -> pytest.MarkDecorator:
    """A test of every case; those after the first ``QUICK_CASES`` are slow: each compiles programs of its own."""
    slow = pytest.mark.slow
    params = [pytest.param(case, id=case.name, marks=slow if n >= QUICK_CASES else ()) for n, case in enumerate(cases)]
    return pytest.mark.parametrize("case", params)


def case(group: str, name: str) -> Case:
    """The case of that name."""
    for found in cases(group):
        if found.name == name:
            return found
    raise LookupError(f"{goldens_dir() / 'index.json'} has no case {name!r} in group {group!r}")


@functools.cache
def _index(directory: Path) -> dict[str, Any]:
    return json.loads((directory / "index.json").read_text())


@functools.lru_cache(maxsize=8)
def _arrays(file: Path) -> dict[str, np.ndarray]:
    with np.load(file, allow_pickle=False) as arrays:
        return {name: arrays[name] for name in arrays.files}


def _decoded(value: Any) -> Any:
    if isinstance(value, dict):
        for key, dtype in (("array", None), ("tensor", np.float32)):
            if set(value) == {key}:
                return np.asarray(value[key], dtype)
        return {key: _decoded(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_decoded(item) for item in value]
    return value
