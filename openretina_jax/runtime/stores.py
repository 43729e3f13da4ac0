"""Object stores: copies of what lies at an address, and folders of this machine that are kept there.

An address is a scheme, a bucket and a path, such as ``s3://bucket/runs/low_res``. The libraries of fsspec know the
stores, and find credentials and endpoints (``AWS_PROFILE``, ``AWS_ENDPOINT_URL``, ``GOOGLE_APPLICATION_CREDENTIALS``).
"""

import contextlib
import fnmatch
import hashlib
import json
import logging
import shutil
import uuid
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from openretina_jax.errors import UserError, require
from openretina_jax.runtime.files import address_of, locked, whole_file

CONTENTS = "openretina_jax.json"  # file of a kept folder that says which files are whole
LIBRARIES = {"s3": "s3fs", "s3a": "s3fs", "gs": "gcsfs", "gcs": "gcsfs"}  # of the extra "cloud"
_VERSION = ("ETag", "etag", "generation", "md5Hash", "LastModified", "mtime", "updated", "created", "size")
_READINGS = 3  # of a folder that another machine changes meanwhile

_log = logging.getLogger(__name__)


def local_copy(source: str | Path, cache: Path, patterns: Sequence[str] = ("*",)) -> Path:
    """Bring a file or folder at an address to this machine; a path is taken as it is.

    What has been brought before and has not changed since is not read again.

    Args:
        source: address or path.
        cache: folder in which copies are.
        patterns: patterns of the names of files in a folder; others are not brought.

    Raises:
        UserError: the store cannot be read, or has nothing at the address.
    """
    address = address_of(source)
    if address is None:
        return Path(source)
    store = Store(address)
    target = store.place(cache / "stores")
    with locked(target):
        if not store.download(target, patterns):
            raise UserError(f"{address} does not exist, or holds no files; look at the address")
    return target


class Store:
    """A file or folder of an object store.

    Args:
        address: address of it.

    Raises:
        UserError: the library of such stores is missing, or cannot be made to work.
    """

    def __init__(self, address: str):
        scheme, _, place = address.partition("://")
        self.address = f"{scheme}://{place.strip('/')}"
        if not place.strip("/"):
            raise UserError(f"{address} names no folder; give one, as in {scheme}://bucket/folder")
        if library := LIBRARIES.get(scheme):
            require(library, "cloud", f"{address} is an address")
            logging.getLogger(library).setLevel(logging.CRITICAL)  # what it logs with a traceback it also raises
        import fsspec  # where it is needed

        try:
            fsspec.get_filesystem_class(scheme)
        except (ImportError, ValueError) as error:
            raise UserError(f"{address} is an address of a store that cannot be reached: {error}") from error
        with self.reached("opened"):
            self.system, self.root = fsspec.url_to_fs(self.address, use_listings_cache=False)

    def place(self, folder: Path) -> Path:
        """Path for a copy below a folder: under the hash of the address, with its last name."""
        return folder / hashlib.sha256(self.address.encode()).hexdigest() / self.root.rsplit("/", 1)[-1]

    @contextlib.contextmanager
    def reached(self, what: str) -> Iterator[None]:
        """Block in which errors of a library become a ``UserError``: "... cannot be <what>"."""
        try:
            yield
        except UserError:
            raise
        except Exception as error:  # each store's library raises its own
            reason = " ".join(str(error).split())[:300] or type(error).__name__
            if isinstance(error, FileNotFoundError):  # of which some libraries give the name alone
                reason = f"not found: {reason}"
            raise UserError(
                f"{self.address} cannot be {what} ({reason}); look at the address, the credentials of this machine, "
                "and what they permit"
            ) from error

    def download(self, target: Path, patterns: Sequence[str] = ("*",)) -> list[str]:
        """Make a copy on this machine equal to what is whole in the store.

        Args:
            target: path of the copy; files that the store does not have are deleted there.
            patterns: patterns of the names of files.

        Returns:
            Names of the files relative to the address, which are "" if it is one file.

        Raises:
            UserError: the store cannot be read, or changes all the time.
        """
        for attempt in range(_READINGS):
            try:
                files = self._whole_files()
                wanted = [name for name in files if not name or any(fnmatch.fnmatchcase(name, one) for one in patterns)]
                with self.reached("read"):
                    self._bring(files, wanted, target)
                break
            except UserError as error:
                if attempt == _READINGS - 1 or not isinstance(error.__cause__, FileNotFoundError):
                    raise
        return wanted

    def _whole_files(self) -> dict[str, str]:
        """Versions of the files by their names; of a kept folder those that were sent completely."""
        whole = self.contents().get("files")  # before the list, in which later ones then are, too
        with self.reached("read"):
            self.system.invalidate_cache()
            found = self.system.find(self.root, detail=True)
        files = {
            path.removeprefix(self.root).lstrip("/"): _version(info)
            for path, info in found.items()
            if info["type"] == "file" and not path.endswith("/")
        }
        if outside := [name for name in files if ".." in name.split("/")]:
            raise UserError(f'{self.address} holds a file "{outside[0]}", which would be written outside its folder')
        if whole is None:
            return files
        with self.reached("read"):
            if gone := [name for name in whole if name not in files]:
                raise FileNotFoundError(gone[0])
        return {name: files[name] for name in whole}

    def _bring(self, files: Mapping[str, str], wanted: Sequence[str], target: Path) -> None:
        """Get wanted files that are not there in their version, and delete those that the store has no more."""
        note = target.with_name(f".{target.name}.versions")
        known: dict[str, str] = {}
        with contextlib.suppress(OSError, ValueError):
            known = json.loads(note.read_text(encoding="utf-8"))
        kept = {name: v for name, v in known.items() if files.get(name) == v and (target / name).is_file()}
        for name in known.keys() - kept.keys():
            with contextlib.suppress(OSError):
                (target / name).unlink()
        _write_json(note, kept)  # a killed process leaves nothing that looks known
        missing = [name for name in wanted if name not in kept]
        for name in missing:
            (target / name).parent.mkdir(parents=True, exist_ok=True)
        if missing:
            self.system.get([self.path(name) for name in missing], [str(target / name) for name in missing])
        _write_json(note, kept | {name: files[name] for name in missing})

    def contents(self) -> dict[str, Any]:
        """What ``KeptFolder`` has written of a folder; nothing if it has not.

        Raises:
            UserError: the store cannot be read, or the file is of something else.
        """
        try:
            with self.reached("read"):
                text = self.system.cat_file(self.path(CONTENTS))
            return dict(json.loads(text))
        except UserError as error:
            if isinstance(error.__cause__, FileNotFoundError):
                return {}
            raise
        except (ValueError, TypeError) as error:
            raise UserError(f"{self.address}/{CONTENTS} is not of a run ({error}); delete it") from error

    def path(self, name: str) -> str:
        """Path of a file in the store."""
        return f"{self.root}/{name}" if name else self.root

    def check_writable(self) -> None:
        """Check before long work that files can be written and deleted.

        Raises:
            UserError: they cannot.
        """
        probe = self.path(f".{uuid.uuid4().hex}.part")
        with self.reached("written"):
            self.system.pipe_file(probe, b"")
            self.system.rm_file(probe)

    def remove(self, names: Iterable[str]) -> None:
        """Delete files; those that are gone already do not matter."""
        with self.reached("written"):
            for name in names:
                with contextlib.suppress(FileNotFoundError):
                    self.system.rm_file(self.path(name))


class KeptFolder:
    """A folder of this machine that is kept at an address: ``keep`` sends what has changed.

    At every moment the store holds a whole state of the folder, that of the last ``keep`` or of the one before. A file
    of contents says which files belong to it; it is written after new files were sent, and before those that are gone
    are deleted. It also has the names of files that may be there in part, which the next owner deletes, and the owner:
    a folder belongs to whoever has claimed it last.

    Args:
        store: address of the folder.
        folder: its path on this machine, which ``Store.download`` fills next.
    """

    def __init__(self, store: Store, folder: Path):
        self.store, self.folder = store, folder
        self._found = store.contents()
        self._owner: str | None = None
        self._sent: dict[str, tuple[int, int]] = {}

    def claim(self) -> None:
        """Take possession: from now on, another owner is refused.

        Raises:
            UserError: another machine has written since the folder was read, or nothing can be written.
        """
        if self.store.contents() != self._found:
            raise UserError(f"{self.store.address} is being written by another run; wait for it, or give another place")
        self._sent = _files(self.folder)
        self.store.remove(set(self._found.get("doubtful", ())) - self._sent.keys())
        self._owner = uuid.uuid4().hex
        self._describe(self._sent, ())

    def keep(self) -> None:
        """Send what has changed; without a claim nothing is done.

        Raises:
            UserError: another process has claimed the folder, or it cannot be written.
        """
        if self._owner is None:
            return
        files = _files(self.folder)
        changed = [name for name, one in files.items() if self._sent.get(name) != one]
        gone = self._sent.keys() - files.keys()
        if not changed and not gone:
            return
        if self.store.contents().get("owner") != self._owner:
            raise UserError(f"{self.store.address} belongs to a run that began later; this one ends")
        self._describe(self._sent, [name for name in changed if name not in self._sent])
        with self.store.reached("written"):
            self.store.system.put(
                [str(self.folder / name) for name in changed], [self.store.path(name) for name in changed]
            )
        self._describe(files, gone)
        self.store.remove(gone)
        self._sent = files

    def _describe(self, files: Collection[str], doubtful: Collection[str]) -> None:
        contents = {"owner": self._owner, "files": sorted(files), "doubtful": sorted(doubtful)}
        with self.store.reached("written"):
            self.store.system.pipe_file(self.store.path(CONTENTS), json.dumps(contents).encode())


@contextlib.contextmanager
def kept_folder(address: str, cache: Path, process: int) -> Iterator[KeptFolder]:
    """Open a folder of an object store on this machine; at the end, unless it is an error, all of it is there.

    Args:
        address: address of it; nothing need be there.
        cache: folder in which it is worked on.
        process: number of this process; processes of one machine do not share a folder.

    Raises:
        UserError: the store cannot be read, or another process of this machine has it open.
    """
    store = Store(address)
    folder = store.place(cache / "runs" / str(process))
    with locked(folder, wait=False, remedy="wait for it, or give another --workdir"):
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        kept = KeptFolder(store, folder)
        if names := store.download(folder):
            _log.info("%d files of %s are in %s, where the run works", len(names), store.address, folder)
        yield kept
        kept.keep()
        shutil.rmtree(folder, ignore_errors=True)


def _files(folder: Path) -> dict[str, tuple[int, int]]:
    """Size and time of every file of a folder by its name; hidden ones, which are of the moment, are left out."""
    found = {}
    for file in folder.rglob("*"):
        name = file.relative_to(folder)
        if not any(part.startswith(".") for part in name.parts) and file.is_file() and not file.is_symlink():
            status = file.stat()
            found[name.as_posix()] = (status.st_size, status.st_mtime_ns)
    return found


def _version(info: Mapping[str, Any]) -> str:
    """What tells a file of a store from a later one of the same name."""
    return " ".join(f"{key}={info[key]}" for key in _VERSION if info.get(key) is not None)


def _write_json(file: Path, value: Mapping[str, str]) -> None:
    with whole_file(file) as stream:
        stream.write(json.dumps(value).encode())
