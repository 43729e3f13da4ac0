"""HDF5 files of simulated recordings."""

from collections.abc import Mapping
from pathlib import Path

import h5py
import numpy as np

from openretina_jax.whole_file import whole_file


def write_hdf5(path: Path, arrays: Mapping[str, np.ndarray]) -> None:
    """Write arrays by their names in the file, which appears when it is whole.

    Raises:
        UserError: it cannot be written.
    """
    with whole_file(path) as stream, h5py.File(stream, "w") as file:
        for name, values in arrays.items():
            file[name] = values
