"""Helpers of all simulators: reports of progress, checks of their numbers, and HDF5 files."""

import dataclasses
import math
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from jaxtyping import Num

from openretina_jax.errors import UserError
from openretina_jax.runtime.files import whole_file

Progress = Callable[[str, int, int], None]  # called with what is simulated, the number done, the number in all


def check_numbers(config: Any, least: Mapping[str, int] = {}, most: Mapping[str, int] = {}) -> None:
    """Refuse whole numbers of a simulation below 1, a seed below 0, and noise that is neither 0 nor 1.

    Args:
        config: data class that holds the numbers.
        least, most: other limits, by name.

    Raises:
        UserError: a number is out of range.
    """
    least, most = {"seed": 0, "noise": 0, **least}, {"noise": 1, **most}
    for field in dataclasses.fields(config):
        value, low, high = getattr(config, field.name), least.get(field.name, 1), most.get(field.name, math.inf)
        if isinstance(value, int) and not low <= value <= high:
            limit = f"at least {low}" if value < low else f"at most {high}"
            raise UserError(f"{field.name} is {value}; it must be {limit}")


def write_hdf5(path: Path, arrays: Mapping[str, np.ndarray]) -> None:
    """Write named arrays into a file, which appears when it is whole.

    Raises:
        UserError: it cannot be written.
    """
    with whole_file(path) as stream, h5py.File(stream, "w") as file:
        for name, values in arrays.items():
            file[name] = values


def repeats_by_cell(repeats: Num[np.ndarray, "repeat time neuron"]) -> dict[str, Num[np.ndarray, "repeat time"]]:
    """Name the repeats of every cell as the published files do: "test/repeats/cell01" and so on."""
    return {f"test/repeats/cell{cell + 1:02d}": repeats[:, :, cell] for cell in range(repeats.shape[2])}
