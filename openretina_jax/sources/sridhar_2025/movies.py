"""The movies of Sridhar et al. 2025, rendered once and kept on the disk.

A frame of the natural movie is the part of an image around a fixation, perhaps mirrored. Images are stored with the
horizontal axis first and are larger than the screen by a border. White noise is stored trial by trial, with the time
axis last.
"""

import dataclasses
import functools
import hashlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Bool, Float16, Int64, Shaped

from openretina_jax.errors import UserError
from openretina_jax.runtime.files import read_npy
from openretina_jax.sources.movie_cache import Movie, cached_movie

_VERSION = 1  # version of the rendering; movies of other versions in the cache are not used
_FRAMES_AT_ONCE = 1000
_REMEDY = "fetch the folder again"


@dataclasses.dataclass(frozen=True)
class Crop:
    """The part of the screen that a model sees.

    Attributes:
        top, bottom, left, right: pixels that are cut off there.
        every: step between the rows, and the columns, that are kept.

    Raises:
        UserError: a number is out of range.
    """

    top: int = 0
    bottom: int = 0
    left: int = 0
    right: int = 0
    every: int = 1

    def __post_init__(self) -> None:
        if min(self.top, self.bottom, self.left, self.right) < 0 or self.every < 1:
            raise UserError(f"a crop is {self}; pixels that it cuts off must be at least 0, and every at least 1")

    def slices(self, height: int, width: int) -> tuple[slice, slice]:
        """Slice the rows and the columns of a screen.

        Raises:
            UserError: nothing is left.
        """
        if self.top + self.bottom >= height or self.left + self.right >= width:
            raise UserError(
                f"a crop of {self.top}, {self.bottom}, {self.left}, {self.right} pixels (top, bottom, left, right) "
                f"leaves nothing of frames of {height} x {width} pixels; are axes swapped?"
            )
        return slice(self.top, height - self.bottom, self.every), slice(self.left, width - self.right, self.every)

    def size(self, height: int, width: int) -> tuple[int, int]:
        """Count the rows and the columns that are kept."""
        rows, columns = self.slices(height, width)
        return len(range(height)[rows]), len(range(width)[columns])


@dataclasses.dataclass(frozen=True)
class Screen:
    """Screen on which images are shown.

    Attributes:
        height, width: size of the screen in pixels.
        padding: border of the images in pixels; coordinates of fixations begin inside it.

    Raises:
        UserError: height or width is odd, so that no fixation would be in the middle.
    """

    height: int = 150
    width: int = 200
    padding: int = 50

    def __post_init__(self) -> None:
        if self.height % 2 or self.width % 2:
            raise UserError(f"a screen has even numbers of pixels, but is {self.height} x {self.width}")


@dataclasses.dataclass(frozen=True, eq=False)
class Fixations:
    """Image and gaze, frame by frame.

    Attributes:
        image: position of the image among the files, from 0.
        x, y: column and row of the image at the centre of the screen, counted from inside the border.
        mirrored: whether the image was mirrored, top to bottom.
    """

    image: Int64[np.ndarray, " time"]
    x: Int64[np.ndarray, " time"]
    y: Int64[np.ndarray, " time"]
    mirrored: Bool[np.ndarray, " time"]

    def __len__(self) -> int:
        return len(self.image)

    def __getitem__(self, times: slice | Int64[np.ndarray, " _"]) -> "Fixations":
        return Fixations(self.image[times], self.x[times], self.y[times], self.mirrored[times])


def read_fixations(file: Path, opposite_flips: bool = False) -> Fixations:
    """Read the fixations in a text file, which has a line per frame, of words separated by single spaces.

    The first word is the number of the image, the fourth and fifth are x and y, and the last begins with 0 where the
    image was mirrored.

    Args:
        file: the text file.
        opposite_flips: whether the last word begins with 0 where the image was not mirrored.

    Raises:
        UserError: the file is missing, or a line holds anything else.
    """
    rows = []
    try:
        with file.open(encoding="utf-8") as lines:
            for number, line in enumerate(lines, 1):
                words = line.split(" ")
                try:
                    place = (int(float(words[column])) for column in (0, 3, 4))
                    rows.append((*place, (words[-1][0] == "0") != opposite_flips))
                except (IndexError, ValueError, OverflowError):
                    raise UserError(
                        f"{file}: line {number} is {line.strip()[:60]!r}, but must hold the number of an image, two "
                        "other words, the centre x and y, and whether the image is as it is (1) or mirrored (0)"
                    ) from None
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{file}: fixations cannot be read ({error}); check the path") from error
    if not rows:
        raise UserError(f"{file}: holds no fixations")
    image, x, y, mirrored = zip(*rows, strict=True)
    return Fixations(np.array(image), np.array(x), np.array(y), np.array(mirrored))


def fixation_movie(images: Sequence[Path], fixations: Fixations, screen: Screen, crop: Crop) -> Movie:
    """Return the natural movie, which lies on disk; it is rendered first if it is not there.

    Pixels are grey levels divided by 255, in half precision as in openretina: images are resized photographs, whose
    grey levels are not whole numbers.

    Args:
        images: files of all images, ``(x, y)``.
        fixations: image and gaze of every frame of the movie.
        screen: where the images were shown.
        crop: the part of the screen that is kept.

    Raises:
        UserError: there is no such image, an image is damaged, or a fixation is too close to the border of an image.
    """
    unknown = np.flatnonzero((fixations.image < 0) | (fixations.image >= len(images)))
    if unknown.size:
        raise UserError(
            f"a fixation is on image {fixations.image[unknown[0]]}, but there are {len(images)} images; are files "
            "missing?"
        )
    arrays = (fixations.image, fixations.x, fixations.y, fixations.mirrored)
    recipe = {
        "movie": "sridhar_2025 fixations",
        "version": _VERSION,
        "images": _digest([_identity(images[number]) for number in np.unique(fixations.image)]),
        "fixations": _digest([array.tobytes() for array in arrays]),
        "screen": dataclasses.asdict(screen),
        "crop": dataclasses.asdict(crop),
    }
    shape = (len(fixations), *crop.size(screen.height, screen.width), 1)
    return cached_movie(recipe, shape, lambda: _rendered(images, fixations, screen, crop), dtype=np.float16)


def noise_movie(files: Sequence[Path], frames: int, crop: Crop) -> Movie:
    """Return white noise, trial after trial as ``(time, height, width, 1)``; it lies on disk, and is written first.

    Pixels are stored in the narrowest type that holds them exactly: bytes, or half or single precision.

    Args:
        files: a file per trial, ``(height, width, time)``.
        frames: frames of every trial; those beyond, which a file may hold, are left out.
        crop: the part of the screen that is kept.

    Raises:
        UserError: a file is missing, damaged, too short, or its frames have another size than those of the first.
    """
    height, width, _ = _noise_trial(files[0], frames).shape
    for file in files:
        size = _noise_trial(file, frames).shape[:2]
        if size != (height, width):
            raise UserError(f"{file}: frames have {size} pixels, those of {files[0].name} {(height, width)}")
    recipe = {
        "movie": "sridhar_2025 white noise",
        "version": _VERSION,
        "files": _digest([_identity(file) for file in files]),
        "frames": frames,
        "crop": dataclasses.asdict(crop),
    }
    shape = (len(files) * frames, *crop.size(height, width), 1)
    rows, columns = crop.slices(height, width)

    def trials(dtype: type[Any]) -> Iterator[np.ndarray]:
        for file in files:
            trial = np.moveaxis(_noise_trial(file, frames)[rows, columns], 2, 0)[..., None]
            with np.errstate(over="ignore", invalid="ignore"):
                stored = trial.astype(dtype)
            if dtype != np.float32 and not np.array_equal(stored, trial):
                raise _InexactError
            yield stored

    for dtype in (np.uint8, np.float16):
        try:
            return cached_movie(recipe, shape, functools.partial(trials, dtype), dtype=dtype)
        except _InexactError:
            continue
    return cached_movie(recipe, shape, functools.partial(trials, np.float32))


class _InexactError(Exception):
    """A pixel cannot be stored exactly in the type that was tried."""


def _rendered(
    images: Sequence[Path], fixations: Fixations, screen: Screen, crop: Crop
) -> Iterator[Float16[np.ndarray, "_ height width 1"]]:
    """Successive frames of the natural movie; an image is read once for the frames of a block that show it."""
    size = crop.size(screen.height, screen.width)
    rows, columns = crop.slices(screen.height, screen.width)
    for start in range(0, len(fixations), _FRAMES_AT_ONCE):
        block = fixations[start : start + _FRAMES_AT_ONCE]
        frames = np.empty((len(block), *size, 1), np.float16)
        for number in np.unique(block.image):
            file = images[number]
            image = (_image(file) / 255).astype(np.float16)
            for time in np.flatnonzero(block.image == number):
                shown = _on_screen(file, image, int(block.x[time]), int(block.y[time]), screen)
                upright = shown[::-1] if block.mirrored[time] else shown
                frames[time, :, :, 0] = upright[rows, columns]
        yield frames


def _on_screen(
    file: Path, image: Float16[np.ndarray, "x y"], x: int, y: int, screen: Screen
) -> Float16[np.ndarray, "height width"]:
    """The part of an image around a fixation."""
    left, top = x + screen.padding - screen.width // 2, y + screen.padding - screen.height // 2
    right, bottom = left + screen.width, top + screen.height
    if min(left, top) < 0 or right > image.shape[0] or bottom > image.shape[1]:
        raise UserError(
            f"{file}: has {image.shape[0]} x {image.shape[1]} pixels (x, y), so that the fixation at ({x}, {y}) shows "
            f"pixels beyond its border on a screen of {screen.width} x {screen.height}; check the sizes and the padding"
        )
    return image[left:right, top:bottom].T


def _image(file: Path) -> Shaped[np.ndarray, "x y"]:
    return read_npy(file, "x y", remedy=_REMEDY)


def _noise_trial(file: Path, frames: int) -> Shaped[np.ndarray, "height width time"]:
    trial = read_npy(file, "height width time", remedy=_REMEDY)
    if trial.shape[2] < frames:
        raise UserError(
            f"{file}: has {trial.shape[2]} frames (its last axis), but the responses have {frames}; the stimulus "
            "belongs to another recording, or axes are swapped"
        )
    return trial[:, :, :frames]


def _identity(file: Path) -> bytes:
    """Name, size and time of a file, which change when it does."""
    about = file.stat()
    return f"{file.parent.name}/{file.name} {about.st_size} {about.st_mtime_ns}".encode()


def _digest(parts: Sequence[bytes]) -> str:
    digest = hashlib.sha256()
    for part in parts:
        digest.update(part)
    return digest.hexdigest()
