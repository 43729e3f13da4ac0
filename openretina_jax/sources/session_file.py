"""HDF5 files of sessions, read with checks: every error names the file and the entry.

Everything comes from the file itself: links to other files, storage outside it and virtual arrays of other files are
refused, and so are arrays that claim to be larger than the file's bytes could be.
"""

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
_MOST_LINKS = 16  # links in a chain
_LARGEST_RATIO = 1032  # largest compression that deflate reaches
_ALWAYS_TAKEN = 1 << 20  # bytes up to which the size of an array is not checked against that of the file
_CELL = re.compile(r".*cell_?(\d+)")
_AGAIN = "fetch it again, or write it again"

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
        return self.find(key) is not None or key in self.group.attrs

    def find(self, key: str) -> h5py.Group | h5py.Dataset | None:
        """Find a group, or an array without reading it; None if it is not there.

        Raises:
            UserError: it lies in another file, its links lead in a circle, or it is damaged.
        """
        found: Any = self.group
        for part in key.split("/"):
            if not isinstance(found, h5py.Group):
                return None
            found = self._follow(found, part, key)
        return found if isinstance(found, h5py.Group | h5py.Dataset) else None

    def names(self, key: str = "") -> list[str]:
        """List the names in a group, sorted; none if there is no such group."""
        group = self.find(key) if key else self.group
        return sorted(map(_text, group)) if isinstance(group, h5py.Group) else []

    def groups(self) -> list[h5py.Group]:
        """List the groups in the group."""
        return [found for name in self.names() if isinstance(found := self.find(name), h5py.Group)]

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
        """Return the trials if their mean is the published one, else that mean as a single trial, with a warning.

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

    def _follow(self, group: h5py.Group, name: str, key: str) -> Any:
        """Resolve a name in a group; links are followed here, so that none leaves the file."""
        for _ in range(_MOST_LINKS):
            links = group.id.links
            raw = next((raw for raw in _raw(name) if links.exists(raw)), None)
            if raw is None:
                return None
            kind = links.get_info(raw).type
            if kind == h5py.h5l.TYPE_HARD:
                return group[raw]
            target = links.get_val(raw)
            if kind != h5py.h5l.TYPE_SOFT:
                other = target[0].decode(errors="replace") if isinstance(target, tuple) else "another file"
                raise self.error(f'"{key}" is a link to {other}; copy the array into the file')
            path = target.decode(errors="surrogateescape")
            *outer, name = path.split("/")
            group = group.file if path.startswith("/") else group
            for part in filter(None, outer):
                group = self._follow(group, part, key)
                if not isinstance(group, h5py.Group):
                    return None
        raise self.error(f'"{key}" is a link that leads in a circle; put the array in its place')

    def _entry(self, key: str) -> Any:
        """A dataset, which is not read yet, or an attribute."""
        found = self.find(key)
        if isinstance(found, h5py.Dataset):
            self._check_storage(found, key)
            return found
        if found is None and key in self.group.attrs:
            return np.asarray(self.group.attrs[key])
        parent = key.rpartition("/")[0]
        beside = ", ".join([*self.names(parent), *(() if parent else map(_text, sorted(self.group.attrs)))])
        what = "is missing" if found is None else "is a group, not an array"
        raise self.error(f'"{key}" {what}; the file was cut or is of another kind: beside it is {beside or "nothing"}')

    def _check_storage(self, dataset: h5py.Dataset, key: str) -> None:
        """Refuse numbers of other files, and more numbers than the file can hold."""
        if dataset.is_virtual and any(source.file_name != "." for source in dataset.virtual_sources()):
            raise self.error(f'"{key}" is a virtual array of other files; copy the numbers into the file')
        if dataset.external:
            raise self.error(f'"{key}" is stored in another file, {dataset.external[0][0]}; copy it into the file')
        size, own = dataset.size or 0, dataset.file.id.get_filesize()
        if size * dataset.dtype.itemsize > max(_LARGEST_RATIO * own, _ALWAYS_TAKEN):
            raise self.error(
                f'"{key}" claims to be {dataset.shape} ({dataset.dtype}), but the file has only {own} bytes; fetch it '
                "again, or write it again"
            )

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
        except Exception as error:
            if not _of_h5py(error):
                raise
            if isinstance(values, h5py.Dataset) and (filters := _missing_filters(values)):
                raise self.error(
                    f'"{key}" is compressed by {filters}, which is not here; run pip install hdf5plugin and import it, '
                    "or save the array with gzip"
                ) from error
            raise self.error(f'"{key}" cannot be read ({_reason(error)}); the file is damaged: {_AGAIN}') from error


@contextlib.contextmanager
def open_session(path: Path) -> Iterator[SessionFile]:
    """Open the file of a session; it is closed when the context ends.

    Raises:
        UserError: it is missing, open for writing elsewhere, or not an HDF5 file; or damaged, also if that is noticed
            within the context.
    """
    try:
        opened = h5py.File(path, "r")
    except BlockingIOError as error:
        raise UserError(
            f"{path}: is open for writing in another program; close it there (a notebook keeps files open), or set "
            "HDF5_USE_FILE_LOCKING=FALSE if nothing is being written"
        ) from error
    except (FileNotFoundError, PermissionError, IsADirectoryError) as error:
        raise UserError(f"{path}: cannot be read ({error.strerror or _reason(error)}); check the path") from error
    except Exception as error:
        raise UserError(f"{path}: is truncated or not an HDF5 file ({_reason(error)}); {_AGAIN}") from error
    with opened:
        try:
            yield SessionFile(path, opened)
        except Exception as error:
            if not _of_h5py(error):
                raise
            raise UserError(f"{path}: cannot be read ({_reason(error)}); the file is damaged: {_AGAIN}") from error


def _of_h5py(error: BaseException) -> bool:
    """Whether an error was raised by the library: damaged files can make it raise anything."""
    traceback = error.__traceback__
    while traceback is not None and traceback.tb_next is not None:
        traceback = traceback.tb_next
    return traceback is not None and "h5py" in traceback.tb_frame.f_code.co_filename


def _reason(error: BaseException) -> str:
    return " ".join(str(error).strip("'\"").split()) or type(error).__name__


def _missing_filters(dataset: h5py.Dataset) -> str:
    """Names of the filters of an array that are not installed."""
    plan = dataset.id.get_create_plist()
    filters = [plan.get_filter(number) for number in range(plan.get_nfilters())]
    return ", ".join(
        f"{name.decode(errors='replace') or 'a filter'} ({code})"
        for code, _, _, name in filters
        if not h5py.h5z.filter_avail(code)
    )


def _text(name: str | bytes) -> str:
    """A name as text; one that is not UTF-8 is taken for Latin-1."""
    return name.decode("latin1") if isinstance(name, bytes) else name


def _raw(name: str) -> list[bytes]:
    """The names in a file that ``_text`` makes this text of."""
    utf8 = name.encode(errors="surrogateescape")
    return [utf8] if name.isascii() else [utf8, name.encode("latin1", errors="replace")]


def check_same_neurons(session: SessionFile, counts: Mapping[str, int]) -> None:
    """Refuse arrays of responses that differ in their numbers of neurons.

    Raises:
        UserError: says how many neurons each has.
    """
    if len(set(counts.values())) > 1:
        each = ", ".join(f'{count} in "{key}"' for key, count in counts.items())
        raise session.error(f"numbers of neurons differ: {each}; are axes swapped? They are (neuron, time)")


def recordings_of(files: Iterable[Path], read: Callable[[SessionFile], MovieRecording]) -> Iterator[MovieRecording]:
    """Read the recording of each file, one file open at a time."""
    for file in files:
        with open_session(file) as session:
            yield read(session)


def problems_of(files: Iterable[Path], read: Callable[[SessionFile], MovieRecording]) -> Iterator[str]:
    """List the first problem of each file, a line each."""
    for file in files:
        try:
            with open_session(file) as session:
                check_lengths(read(session))
        except UserError as error:
            yield str(error)
