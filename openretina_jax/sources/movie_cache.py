"""Movies that are computed once, kept on the disk, and never whole in memory."""

import hashlib
import io
import json
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float16, Float32, UInt8

from openretina_jax.runtime.download import CACHE_REMEDY
from openretina_jax.runtime.fetch import cache_folder, file_sha256
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
    """Return a movie that lies on disk; unless one of the same recipe is there, it is computed block by block.

    The file is an uncompressed ``.npy`` in ``cache_folder()/movies``, mapped into memory. It appears under its name
    only when it is whole; one that is no longer what its hash says is computed again.

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
    if not _is_whole(file):
        _write(file, shape, np.dtype(dtype), compute)
    return np.load(file, mmap_mode="r", allow_pickle=False)


def _hash_of(file: Path) -> Path:
    """The file beside a movie that holds its hash."""
    return file.with_suffix(".sha256")


def _is_whole(file: Path) -> bool:
    try:
        return file.is_file() and _hash_of(file).read_text(encoding="ascii") == file_sha256(file)
    except (OSError, UnicodeDecodeError):
        return False


def _write(file: Path, shape: tuple[int, ...], dtype: "np.dtype[Any]", compute: Callable[[], Iterable[Movie]]) -> None:
    header = io.BytesIO()
    descr = {"descr": np.lib.format.dtype_to_descr(dtype), "fortran_order": False, "shape": shape}
    np.lib.format.write_array_header_1_0(header, descr)
    sha256 = hashlib.sha256(header.getvalue())
    with whole_file(file, int(np.prod(shape)) * dtype.itemsize, remedy=CACHE_REMEDY) as stream:
        stream.write(header.getvalue())
        written = 0
        for block in compute():
            pixels = np.ascontiguousarray(block, dtype).data
            stream.write(pixels)
            sha256.update(pixels)
            written += len(block)
        if written != shape[0]:
            raise ValueError(f"{written} frames were computed for a movie of {shape[0]}")
    with whole_file(_hash_of(file), remedy=CACHE_REMEDY) as stream:
        stream.write(sha256.hexdigest().encode())
