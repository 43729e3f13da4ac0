"""Fixation movies of Karamanlis et al. 2024: photographs that move over the screen as eyes move over them.

The files hold photographs and, for every frame, which of them was shown and where the eye was. Movies are made from
these, and made smaller, frame by frame; the full-size movie is never there.
"""

import hashlib
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from jaxtyping import Float32, Integer

from openretina_jax.errors import UserError
from openretina_jax.sources.movie_cache import Movie, cached_movie

SCREEN = (600, 800)  # height and width in pixels
_FRAMES_AT_ONCE = 500
_PIXELS = (np.uint8, np.float16, np.float32, np.float64)


def fixation_movie(
    images: h5py.Dataset, fixations: Integer[np.ndarray, "time 3"], size: tuple[int, int]
) -> Float32[np.ndarray, "time height width 1"]:
    """Return a fixation movie that lies on disk; it is rendered first if it is not there.

    A pixel is a mean over many grey levels and so not a whole number. Pixels are kept in single precision, where they
    equal openretina's up to rounding.

    Args:
        images: photographs ``(image, width, height)``, as MATLAB stores them.
        fixations: for every frame the number of the image, from 1, and the column and row of the image at the centre
            of the screen.
        size: height and width of the movie in pixels.
    """
    recipe = {
        "movie": "fixations",
        "version": 1,
        "images": _digest(images),
        "fixations": hashlib.sha256(np.ascontiguousarray(fixations, np.int64).data).hexdigest(),
    }
    return cached_movie(recipe, (len(fixations), *size, 1), lambda: render(images, fixations, size))


def render(
    images: h5py.Dataset | Integer[np.ndarray, "image width height"],
    fixations: Integer[np.ndarray, "time 3"],
    size: tuple[int, int],
) -> Iterator[Float32[np.ndarray, "_ height width 1"]]:
    """Render successive frames of a fixation movie; what an image does not cover is black (0).

    A frame is ``rows @ screen @ columns``, where sparse matrices resize the two axes. Equal frames are rendered once.

    Args:
        images, fixations, size: as in ``fixation_movie``.
    """
    from scipy.sparse import csr_array  # most runs find their movies on the disk

    rows, columns = (csr_array(resizing_matrix(full, small)) for full, small in zip(SCREEN, size, strict=True))
    for start in range(0, len(fixations), _FRAMES_AT_ONCE):
        shown, which = np.unique(fixations[start : start + _FRAMES_AT_ONCE], axis=0, return_inverse=True)
        frames = np.empty((len(shown), *size), np.float32)
        for number in np.unique(shown[:, 0]):
            image = images[number - 1]
            for place in np.flatnonzero(shown[:, 0] == number):
                frames[place] = rows @ (columns @ _on_screen(image, *map(int, shown[place, 1:]))).T
        yield frames[which.reshape(-1), ..., None]


def resizing_matrix(n_pixels: int, n_smaller: int) -> Float32[np.ndarray, "n_smaller n_pixels"]:
    """Compute the weights of ``torchvision.transforms.Resize``: linear interpolation with antialiasing, along one axis.

    A new pixel is a mean of the old ones around its centre. Their weights fall off linearly to 0 at the distance of one
    new pixel, and add up to 1 at the border too.
    """
    scale = max(n_pixels / n_smaller, 1.0)
    centres = (np.arange(n_smaller)[:, None] + 0.5) * (n_pixels / n_smaller)
    weights = np.maximum(1 - np.abs(np.arange(n_pixels) + 0.5 - centres) / scale, 0)
    return (weights / weights.sum(axis=1, keepdims=True)).astype(np.float32)


def unpacked_movie(archive: Path, name: str, size: tuple[int, int]) -> Movie:
    """Unpack a movie from an archive ``.npz`` of openretina, ``(1, time, height, width)``, to the disk.

    Raises:
        UserError: the movie is missing, damaged or of another size.
    """
    try:
        with zipfile.ZipFile(archive) as members:
            about = members.getinfo(f"{name}.npy")
            with members.open(about) as stream:
                version = np.lib.format.read_magic(stream)
                read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
                shape, columns_first, dtype = read(stream)
            if len(shape) != 4 or shape[0] != 1 or shape[2:] != size or columns_first or dtype not in _PIXELS:
                raise UserError(
                    f'{archive.name}: "{name}" must be bytes or floating-point numbers (1, time, {size[0]}, {size[1]})'
                    f", but is {shape} ({dtype})"
                )
            recipe = {"movie": "archive", "crc": about.CRC, "bytes": about.file_size}
            kind = np.uint8 if dtype == np.uint8 else np.float32
            return cached_movie(recipe, (*shape[1:], 1), lambda: _blocks(members, about, shape, dtype), dtype=kind)
    except KeyError as error:
        raise UserError(f'{archive.name}: has no "{name}"; it must hold "train_data" and "test_data"') from error
    except (zipfile.BadZipFile, zlib.error, EOFError, ValueError) as error:
        raise UserError(f"{archive.name}: is damaged ({error}); delete it, so that the movie is made again") from error


def _blocks(
    archive: zipfile.ZipFile, member: zipfile.ZipInfo, shape: tuple[int, ...], dtype: "np.dtype[Any]"
) -> Iterator[np.ndarray]:
    """Successive frames of a movie in an archive."""
    pixels = shape[2] * shape[3] * dtype.itemsize
    with archive.open(member) as stream:
        stream.seek(member.file_size - shape[1] * pixels)
        for start in range(0, shape[1], _FRAMES_AT_ONCE):
            n_frames = min(_FRAMES_AT_ONCE, shape[1] - start)
            yield np.frombuffer(stream.read(n_frames * pixels), dtype).reshape(n_frames, *shape[2:], 1)


def _on_screen(image: np.ndarray, x: int, y: int) -> Float32[np.ndarray, "width height"]:
    """Pixels of the screen when column ``x`` and row ``y`` of an image ``(width, height)`` are at its centre."""
    height, width = SCREEN
    screen = np.zeros((width, height), np.float32)
    left, top = x - width // 2, y - height // 2  # pixel of the image at the first pixel of the screen
    part = image[max(left, 0) : max(left + width, 0), max(top, 0) : max(top + height, 0)]
    if part.size:
        screen[max(-left, 0) :, max(-top, 0) :][: part.shape[0], : part.shape[1]] = part
    return screen


def _digest(images: h5py.Dataset) -> str:
    digest = hashlib.sha256(repr((images.shape, images.dtype.str)).encode())
    for image in images:
        digest.update(np.ascontiguousarray(image).data)
    return digest.hexdigest()
