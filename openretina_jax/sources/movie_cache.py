"""Movies that are computed once, kept on the disk, and never whole in memory."""

import hashlib
import json
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float16, Float32, UInt8

from openretina_jax.runtime.fetch import CACHE_REMEDY, cache_folder
from openretina_jax.runtime.files import whole_file

Movie = (
    Float32[np.ndarray, "time height width channel"]
    | Float16[np.ndarray, "time height width channel"]
    | UInt8[np.ndarray, "time height width channel"]
)


def cached_movie(
    recipe: Mapping[str, Any],
    shape: tuple[int, int, int, int],
    compute: Callable[[], Iterable[Movie]],
    *,
    dtype: type[np.float32] | type[np.float16] | type[np.uint8] = np.float32,
) -> Movie:
    """Give a movie on the disk; unless one of the same recipe is there, it is computed block by block.

    The file is an uncompressed ``.npy`` in ``cache_folder()/movies``, mapped into memory. It appears under its name
    only when it is whole.

    Args:
        recipe: all that the movie depends on, as plain values: digests of its ingredients, sizes, versions.
        shape: ``(time, height, width, channel)``.
        compute: yields blocks of successive frames.
        dtype: type of the pixels.

    Raises:
        UserError: the disk is full or cannot be written to.
    """
    digest = hashlib.sha256(json.dumps([recipe, shape, np.dtype(dtype).name], sort_keys=True).encode()).hexdigest()[:32]
    file = cache_folder() / "movies" / f"{digest}.npy"
    if not file.exists():
        _write(file, shape, np.dtype(dtype), compute)
    return np.load(file, mmap_mode="r")


def _write(file: Path, shape: tuple[int, ...], dtype: "np.dtype[Any]", compute: Callable[[], Iterable[Movie]]) -> None:
    with whole_file(file, int(np.prod(shape)) * dtype.itemsize, remedy=CACHE_REMEDY) as stream:
        header = {"descr": np.lib.format.dtype_to_descr(dtype), "fortran_order": False, "shape": shape}
        np.lib.format.write_array_header_1_0(stream, header)
        written = 0
        for block in compute():
            stream.write(np.ascontiguousarray(block, dtype).data)
            written += len(block)
        if written != shape[0]:
            raise ValueError(f"{written} frames were computed for a movie of {shape[0]}")
