"""HDF5 files of sessions, read with checks: every error names the file and the entry."""

import contextlib
import logging
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from jaxtyping import Float32, Num

from openretina_jax.data.assembly import MOVIE, RESPONSES, MovieRecording, arranged, check_lengths
from openretina_jax.errors import UserError

SUFFIXES = (".h5", ".hdf5")
_CELL = re.compile(r".*cell_?(\d+)")

_log = logging.getLogger(__name__)


class SessionFile:
    """An open HDF5 file of a session, or a group in a file of several. Arrays stay on the disk until they are read.

    Args:
        path: path of the file, for messages.
        group: the open file or group. Its entries are datasets, or attributes of the group.
    """

    def __init__(self, path: Path, group: h5py.Group):
        self.path, self.group = path, group

    def error(self, message: str) -> UserError:
        """Make an error whose message begins with the names of the folder and the file."""
        return UserError(f"{self.path.parent.name}/{self.path.name}: {message}")

    def __contains__(self, key: str) -> bool:
        return key in self.group or key in self.group.attrs

    def names(self, key: str = "") -> list[str]:
        """List the names in a group, sorted; none if there is no such group."""
        group = self.group.get(key) if key else self.group
        return sorted(group) if isinstance(group, h5py.Group) else []

    def values(self, key: str) -> np.ndarray:
        """Read an entry of any type that numpy can hold.

        Raises:
            UserError: it is missing or damaged.
        """
        return self._read(self._entry(key), key)

    def numbers(self, key: str, axes: str | None = None) -> np.ndarray:
        """Read an array of numbers, which may be empty.

        Args:
            key: name of the entry.
            axes: names of its axes (None: any).

        Raises:
            UserError: it is missing or damaged, holds no numbers, or has another number of axes.
        """
        return self._read(self._numeric(key, axes), key)

    def dataset(self, key: str, axes: str) -> h5py.Dataset:
        """Find an array of numbers without reading it.

        Args:
            key: name of the entry.
            axes: names of its axes.

        Raises:
            UserError: it is missing or empty, holds no numbers, or has another number of axes.
        """
        values = self._numeric(key, axes)
        if 0 in values.shape:
            raise self.error(f'"{key}" is empty: shape {values.shape} ({axes.replace(" ", ", ")})')
        return values

    def movie(self, key: str, axes: str = "time height width") -> Num[np.ndarray, "time height width channel"]:
        """Read raw pixels: bytes and numbers of half or single precision as they are, others in single precision.

        Raises:
            UserError: as in ``dataset``, or the file is damaged.
        """
        values = self.dataset(key, axes)
        kept = values.dtype in (np.uint8, np.float16, np.float32)
        frames = arranged(self._read(values if kept else values.astype(np.float32), key), axes, MOVIE, key)
        bad = 0 if frames.dtype == np.uint8 else sum(not np.isfinite(frame).all() for frame in frames)
        if bad:
            raise self.error(f'"{key}" holds NaN or infinity in {bad} of {len(frames)} frames')
        return frames

    def responses(
        self, key: str, axes: str = "neuron time", *, unit: float = 1.0, wanted: str = RESPONSES, signed: bool = False
    ) -> Float32[np.ndarray, "..."]:
        """Read responses, divide them by ``unit``, and bring their axes into the order ``wanted``.

        Values that are not finite become NaN, which training and scores leave out. So do negative ones unless
        ``signed``: they cannot be counts or rates, and mark what was not recorded. A line is logged if there are any.

        Raises:
            UserError: as in ``movie``.
        """
        values = self._read(self.dataset(key, axes), key).astype(np.float64) / unit
        bad = ~np.isfinite(values) if signed else ~(np.isfinite(values) & (values >= 0))
        if bad.any():
            what = "not finite" if signed else "negative or not finite"
            _log.warning(
                '%s: %d of %d values in "%s" are %s; they are left out', self.path, bad.sum(), bad.size, key, what
            )
            values = np.where(bad, np.nan, values)
        return np.ascontiguousarray(arranged(values, axes, wanted, key), np.float32)

    def stacked_repeats(self, key: str, *, unit: float = 1.0) -> Float32[np.ndarray, "trial time neuron"] | None:
        """Stack the responses in a group with an array ``(trial, time)`` per neuron, "cell01", "cell02" and so on.

        Neurons with fewer trials than others have NaN in those that they lack.

        Raises:
            UserError: as in ``movie``, or the neurons' arrays differ in length.
        """
        numbers = {name: int(found[1]) for name in self.names(key) if (found := _CELL.fullmatch(name))}
        if not numbers:
            return None
        cells = [
            self.responses(f"{key}/{name}", "trial time", unit=unit, wanted="trial time")
            for name in sorted(numbers, key=numbers.__getitem__)
        ]
        lengths = sorted({cell.shape[1] for cell in cells})
        if len(lengths) > 1:
            raise self.error(
                f'"{key}" has repeats of {" and ".join(map(str, lengths))} frames; they must be equally long'
            )
        trials = max(len(cell) for cell in cells)
        padded = [np.pad(cell, ((0, trials - len(cell)), (0, 0)), constant_values=np.nan) for cell in cells]
        return np.stack(padded, axis=2)

    def repeats_with_mean(
        self,
        key: str,
        mean: Float32[np.ndarray, "time neuron"],
        trials: Float32[np.ndarray, "trial test_time test_neuron"] | None,
    ) -> Float32[np.ndarray, "kept time neuron"]:
        """Give the trials if their mean is the published one, or else that mean as a single trial, and log a line.

        Scores are correlations with the mean, and comparable only if this is the published one.

        Raises:
            UserError: the trials and the mean differ in their numbers of neurons or frames.
        """
        if trials is None:
            return mean[None]
        if trials.shape[1:] != mean.shape:
            raise self.error(
                f'"{key}" has repeats of {trials.shape[2]} neurons and {trials.shape[1]} frames, but their mean has '
                f"{mean.shape[1]} neurons and {mean.shape[0]} frames"
            )
        recorded = np.isfinite(trials).any(axis=0) & np.isfinite(mean)
        found = np.nanmean(np.where(recorded, trials, 0), axis=0, dtype=np.float64)
        published = np.where(recorded, mean, 0)
        if np.allclose(found, published, rtol=1e-4, atol=1e-4 * max(float(published.max()), 1e-6)):
            return trials
        _log.warning(
            '%s: the mean of the repeats in "%s" is not the published mean response; the mean is taken for a single '
            "trial, so that reliability is not known",
            self.path,
            key,
        )
        return mean[None]

    def _entry(self, key: str) -> Any:
        """A dataset, which is not read yet, or an attribute."""
        found = self.group.get(key)
        if isinstance(found, h5py.Dataset):
            return found
        if found is None and key in self.group.attrs:
            return np.asarray(self.group.attrs[key])
        parent = key.rpartition("/")[0]
        beside = ", ".join([*self.names(parent), *(() if parent else sorted(self.group.attrs))]) or "nothing"
        what = "is missing" if found is None else "is a group, not an array"
        raise self.error(f'"{key}" {what}; the file was cut or is of another kind: beside it is {beside}')

    def _numeric(self, key: str, axes: str | None) -> Any:
        values = self._entry(key)
        if values.dtype.kind not in "biuf":
            raise self.error(f'"{key}" holds {values.dtype}, not numbers')
        if axes is not None and values.ndim != len(axes.split()):
            raise self.error(f'"{key}" has shape {values.shape}, but must have the axes ({axes.replace(" ", ", ")})')
        return values

    def _read(self, values: Any, key: str) -> np.ndarray:
        try:
            return np.asarray(values[()])
        except (OSError, RuntimeError) as error:
            raise self.error(f'"{key}" cannot be read ({error}); the file is damaged: fetch it again') from error


@contextlib.contextmanager
def open_session(path: Path) -> Iterator[SessionFile]:
    """Open the file of a session; it is closed when the context ends.

    Raises:
        UserError: it is truncated, missing or not an HDF5 file.
    """
    try:
        opened = h5py.File(path, "r")
    except OSError as error:
        raise UserError(
            f"{path}: is truncated, missing or not an HDF5 file ({error}); delete it and fetch it again"
        ) from error
    with opened:
        yield SessionFile(path, opened)


def check_same_neurons(session: SessionFile, counts: Mapping[str, int]) -> None:
    """Refuse arrays of responses that differ in their numbers of neurons.

    Raises:
        UserError: says how many neurons each has.
    """
    if len(set(counts.values())) > 1:
        each = ", ".join(f'{count} in "{key}"' for key, count in counts.items())
        raise session.error(f"numbers of neurons differ: {each}; are axes swapped? They are (neuron, time)")


def problems_of(files: Iterable[Path], read: Callable[[SessionFile], MovieRecording]) -> Iterator[str]:
    """List the first problem of each file, a line each."""
    for file in files:
        try:
            with open_session(file) as session:
                check_lengths(read(session))
        except UserError as error:
            yield str(error)
