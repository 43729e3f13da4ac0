"""Files: written whole or not at all, however many processes write them, and arrays read with checks."""

import atexit
import contextlib
import errno
import glob
import os
import re
import shutil
import socket
import tempfile
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

import numpy as np
from filelock import FileLock, Timeout
from jaxtyping import Shaped

from openretina_jax.errors import UserError

REMEDY = "check the folder and the disk"
_ADDRESS = re.compile(r"([A-Za-z][A-Za-z0-9+.-]+):/+(.*)", re.DOTALL)
_TEMPORARY = re.compile(r"\.[0-9a-f]{32}\.[A-Za-z0-9-]*\.(\d+)\.part")


def address_of(place: str | Path) -> str | None:
    """The address that a text or path stands for, such as ``s3://bucket/run``; None for a path of this machine.

    Paths have lost one of the two slashes.
    """
    match = _ADDRESS.fullmatch(str(place))
    return None if match is None else f"{match[1]}://{match[2]}"


def check_local(path: str | Path) -> None:
    """Refuse an address where files can only be written on this machine.

    Raises:
        UserError: it is an address.
    """
    if (address := address_of(path)) is not None:
        raise UserError(f"{address} is an address, but only runs can be there; give a path of this machine")


@contextlib.contextmanager
def whole_file(path: Path, needs: int = 0, *, remedy: str = REMEDY) -> Iterator[BinaryIO]:
    """Write a file under a temporary name; when it is whole it takes its name, and replaces an earlier one.

    Args:
        path: path of the file; its folder is made if missing.
        needs: bytes that must be free on the disk.
        remedy: advice for the message if the file cannot be written.

    Raises:
        UserError: it cannot be written.
    """
    with _beside(path, needs, remedy) as temporary:
        with temporary.open("x+b") as stream:
            yield stream
        temporary.replace(path)


@contextlib.contextmanager
def whole_folder(path: Path, needs: int = 0, *, remedy: str = REMEDY) -> Iterator[Path]:
    """Fill a folder under a temporary name; when it is whole it takes its name, and replaces an earlier one.

    Args:
        path, needs, remedy: as in ``whole_file``.

    Raises:
        UserError: it cannot be written.
    """
    with _beside(path, needs, remedy) as temporary:
        work = temporary / path.name
        work.mkdir(parents=True)
        yield work
        put_in_place(work, path)


@contextlib.contextmanager
def locked(path: Path, *, remedy: str = REMEDY, wait: bool = True) -> Iterator[None]:
    """Hold the lock of a file or folder, which lies beside it; the system lets go of it when the process ends.

    Args:
        path: of what is locked; its folder is made if missing.
        remedy: advice for the message if the lock cannot be had.
        wait: whether to wait until another process lets go of it.

    Raises:
        UserError: the folder cannot be written, or another process has the lock and ``wait`` is False.
    """
    check_local(path)
    lock = FileLock(path.with_name(f".{path.name}.lock"), timeout=-1 if wait else 0)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        lock.acquire()
    except Timeout:
        raise UserError(f"{path} is in use by another process; {remedy}") from None
    except (OSError, NotImplementedError) as error:  # some file systems have no locks
        raise UserError(f"{path} cannot be locked ({getattr(error, 'strerror', None) or error}); {remedy}") from error
    try:
        yield
    finally:
        lock.release()


def plain_folder(folder: Path) -> Path:
    """An absolute path of a folder that every library takes for that folder.

    Some take ``*``, ``?`` and ``[`` for patterns, and some names for UTF-8 whatever the locale. Where the own path has
    such, it is a link in a temporary folder, which goes when the process ends.
    """
    folder = folder.absolute()
    if not glob.has_magic(str(folder)) and os.fsencode(folder) == str(folder).encode("utf-8", "surrogatepass"):
        return folder
    folder.mkdir(parents=True, exist_ok=True)
    place = Path(tempfile.mkdtemp(prefix="openretina_jax_"))
    atexit.register(shutil.rmtree, place, ignore_errors=True)
    link = place / "folder"
    link.symlink_to(folder, target_is_directory=True)
    return link


def check_writable(path: Path, *, remedy: str = REMEDY) -> None:
    """Check before long work whether a file or folder can be written after it.

    Raises:
        UserError: it cannot be written.
    """
    with _beside(path, 0, remedy) as temporary:
        temporary.touch()


@contextlib.contextmanager
def _beside(path: Path, needs: int, remedy: str) -> Iterator[Path]:
    """A temporary path on the same disk that no other process uses; nothing is left there at the end.

    Its name says the machine and the process, by which the next one recognises what a dead process left.
    """
    check_local(path)
    temporary = path.parent / f".{uuid.uuid4().hex}.{_machine()}.{os.getpid()}.part"
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        remove_leftovers(path.parent)
        free = shutil.disk_usage(path.parent).free
        if free < needs:
            raise OSError(f"it needs {needs} bytes, {path.parent} has {free}")
        yield temporary
    except OSError as error:
        raise UserError(f"{path} cannot be written ({error.strerror or error}); {remedy}") from error
    finally:
        _remove(temporary)


def _machine() -> str:
    """Short name of this machine, and of the numbering of its processes, of which containers have their own."""
    with contextlib.suppress(OSError):
        return _name(f"{socket.gethostname()}-{os.readlink('/proc/self/ns/pid')}")
    return _name(socket.gethostname())


def _name(text: str) -> str:
    return re.sub(r"[^A-Za-z0-9-]", "", text)[-48:]


def remove_leftovers(folder: Path) -> None:
    """Remove what processes of this machine that were killed left half-written in a folder."""
    for file in folder.glob(f".*.{_machine()}.*.part"):
        if (found := _TEMPORARY.fullmatch(file.name)) and not _lives(int(found[1])):
            _remove(file)


def _lives(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except OSError:  # of another user
        return True
    return True


def _remove(path: Path) -> None:
    shutil.rmtree(path, ignore_errors=True)
    with contextlib.suppress(OSError):
        path.unlink()


def put_in_place(work: Path, path: Path) -> None:
    """Move a folder to its place, where another one may lie, or be put by another process at the same time.

    An earlier folder is moved beside ``work``, which must be on the same disk.
    """
    while True:
        if path.exists():
            with contextlib.suppress(FileNotFoundError):
                path.replace(work.with_name(uuid.uuid4().hex))
        try:
            work.replace(path)
            return
        except OSError as error:
            if error.errno not in (errno.ENOTEMPTY, errno.EEXIST):  # another process was faster: try again
                raise


def read_npy(file: Path, axes: str, *, remedy: str) -> Shaped[np.ndarray, "..."]:
    """Map the real numbers of a ``.npy`` file into memory.

    Args:
        file: file as ``numpy.save`` writes it.
        axes: names of the axes, separated by spaces.
        remedy: advice for the message if the file is missing or the wrong one.

    Raises:
        UserError: the file cannot be read, is truncated or empty, or holds anything but real numbers with these axes.
    """
    try:
        values = np.lib.format.open_memmap(file, mode="r")
    except OSError as error:
        raise UserError(f"{file}: cannot be read ({error.strerror or error}); {remedy}") from error
    except Exception as error:  # arbitrary bytes can make numpy raise anything
        reason = " ".join(str(error).split()) or type(error).__name__
        raise UserError(f"{file}: is not a whole .npy file of numbers ({reason}); {remedy}") from error
    if values.ndim != len(axes.split()) or values.size == 0 or values.dtype.kind not in "biuf":
        raise UserError(
            f"{file}: holds {values.dtype} of shape {values.shape}, but must hold real numbers with the axes "
            f"({axes.replace(' ', ', ')}), none of them empty; {remedy}"
        )
    return values
