"""Published files: fetched from the Hugging Face Hub or another address, checked, and unpacked from zip archives."""

import contextlib
import dataclasses
import hashlib
import os
import re
import shutil
import stat
import sys
import urllib.parse
import zipfile
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path, PurePosixPath
from typing import BinaryIO, TypeVar

from openretina_jax.errors import UserError
from openretina_jax.runtime.download import CACHE_REMEDY, download
from openretina_jax.runtime.files import address_of, whole_file
from openretina_jax.runtime.stores import local_copy

WAYS_OUT = (
    "connect to the network, or give local files by --config.data.stimuli_path=... "
    "--config.data.responses_path=..., or train on simulated data by appending :simulated to the config"
)
_LARGEST_RATIO = 200  # of an archive's unpacked and packed bytes
_SMALL_BYTES = 1 << 30  # unpacked archives up to here are taken whatever the ratio
_BLOCK_BYTES = 1 << 20
_HUB = "huggingface.co"
_SHA256 = re.compile(r"[0-9a-f]{64}")


@dataclasses.dataclass(frozen=True)
class HubPlace:
    """A place in a repository of the Hugging Face Hub.

    Attributes:
        repo_id: owner and name of the repository.
        path: path in the repository.
        revision: branch, tag or commit.
        repo_type: "dataset", "model" or "space".
    """

    repo_id: str
    path: str
    revision: str = "main"
    repo_type: str = "dataset"

    def __str__(self) -> str:
        return f"hf://{self.repo_type}s/{self.repo_id}/{self.path}"

    @contextlib.contextmanager
    def fetching(self, ways_out: str) -> Iterator[None]:
        """Block in which errors of ``huggingface_hub`` become a ``UserError``.

        Raises:
            UserError: the place cannot be fetched.
        """
        try:
            yield
        except Exception as error:
            of_library = type(error).__module__ == "huggingface_hub.errors"  # each version has others
            if not (of_library or isinstance(error, (OSError, *_http_errors()))):
                raise
            # without a cached file the library reports only that; the cause tells why the file was not fetched
            missing = type(error).__name__ == "LocalEntryNotFoundError"
            cause = error.__cause__ if missing and error.__cause__ else error
            reason = " ".join(str(cause).split()).rstrip(".") or type(cause).__name__
            raise UserError(
                f"{self.path} of {self.repo_id} (revision {self.revision}) cannot be fetched: {reason}; {ways_out}"
            ) from error


def _http_errors() -> tuple[type[Exception], ...]:
    """What the HTTP library of ``huggingface_hub`` raises: its name has changed between versions."""
    loaded = [sys.modules.get(name) for name in ("httpx", "httpx2", "httpcore", "requests")]
    names = ("HTTPError", "InvalidURL", "StreamError", "RequestException", "ProtocolError")
    found = [getattr(module, name, None) for module in loaded if module is not None for name in names]
    return tuple(kind for kind in found if isinstance(kind, type) and issubclass(kind, Exception))


class HubFile(HubPlace):
    """A file in a repository of the Hugging Face Hub."""


@dataclasses.dataclass(frozen=True)
class FetchedFile:
    """A file on this machine and its identity.

    Attributes:
        path: path on this machine.
        source: where it came from, as a user would write it.
        revision: commit of the repository that it came from (None: it came from elsewhere).
        sha256: hash of its bytes, in hexadecimal.
    """

    path: Path
    source: str
    revision: str | None
    sha256: str

    @property
    def record(self) -> dict[str, str | None]:
        """Identity of the file as plain values, for ``Dataset.source``."""
        return {"source": self.source, "revision": self.revision, "sha256": self.sha256}


def cache_folder() -> Path:
    """Folder of downloaded and unpacked files: ``OPENRETINA_JAX_CACHE``, by default ``~/.cache/openretina_jax``."""
    folder = os.environ.get("OPENRETINA_JAX_CACHE") or Path("~", ".cache", "openretina_jax")
    return Path(folder).expanduser()


def fetch(source: HubFile | str | Path, *, sha256: str | None = None, ways_out: str = WAYS_OUT) -> FetchedFile:
    """Fetch a file to this machine: a published one, or one of an object store; a local path is taken as it is.

    Files of the Hub go through the cache of ``huggingface_hub``, whose environment variables apply (``HF_ENDPOINT``,
    ``HF_HUB_OFFLINE``, ``HF_HUB_CACHE``, ...); files at other addresses go to ``cache_folder()``. Cached files need no
    network.

    Args:
        source: file of the Hub, address of a file, in an object store too (``s3://bucket/file``), or of its page on
            the Hub's website, or local path.
        sha256: expected hash (None: any).
        ways_out: advice for the message if the file cannot be fetched.

    Raises:
        UserError: the file cannot be fetched, or its hash is not ``sha256`` or not that of the Hub.
    """
    if is_url(source):
        source = hub_source(str(source), HubFile) or str(source)
    if isinstance(source, HubFile):
        fetched = _fetch_from_hub(source, ways_out)
    elif is_url(source):
        path = download(str(source), cache_folder())
        fetched = FetchedFile(path, str(source), None, file_sha256(path))
    else:
        path = local_copy(source, cache_folder()).expanduser()
        if not path.is_file():
            found = "is a folder" if path.is_dir() else "does not exist"
            raise UserError(f"{path}: {found}; give a file, or {ways_out}")
        fetched = FetchedFile(path, address_of(source) or str(path), None, file_sha256(path))
    if sha256 is not None and fetched.sha256 != sha256.lower():
        raise UserError(
            f"{fetched.path}: has sha256 {fetched.sha256}, not {sha256.lower()}; it is damaged or another "
            "version: delete it and fetch it again"
        )
    return fetched


_Kind = TypeVar("_Kind")


def hub_source(url: str, kind: Callable[[str, str, str, str], _Kind]) -> _Kind | HubFile | None:
    """Parse an address of the Hub's website: a file, or ``kind`` for the page of a folder; None for other addresses."""
    parts = urllib.parse.urlsplit(url)
    match = re.fullmatch(
        r"/(datasets/|spaces/)?([^/]+/[^/]+)/(resolve|raw|blob|tree)/([^/]+)/?(.*)", urllib.parse.unquote(parts.path)
    )
    if parts.hostname != _HUB or match is None:
        return None
    repo_type, repo_id, page, revision, path = match.groups()
    return (kind if page == "tree" else HubFile)(repo_id, path.strip("/"), revision, (repo_type or "models/")[:-2])


def _fetch_from_hub(file: HubFile, ways_out: str) -> FetchedFile:
    from huggingface_hub import hf_hub_download  # where it is needed: in a notebook it may warn of what it lacks

    with file.fetching(ways_out):
        path = Path(hf_hub_download(file.repo_id, file.path, revision=file.revision, repo_type=file.repo_type))
    # the cache stores files as snapshots/<commit>/<path in the repository>
    commit = path.parents[len(PurePosixPath(file.path).parts) - 1].name
    sha256 = file_sha256(path)
    check_hash_of_hub(path, sha256)
    return FetchedFile(path, str(file), commit, sha256)


def check_hash_of_hub(path: Path, sha256: str) -> None:
    """Check a file against the Hub's hash, under which the cache stores large files (small ones under a git hash).

    Raises:
        UserError: the hashes differ.
    """
    blob = path.resolve().name
    if _SHA256.fullmatch(blob) and blob != sha256:
        raise UserError(
            f"{path}: has sha256 {sha256}, the Hub says {blob}; the download was damaged: delete "
            f"{path.resolve()} and fetch it again"
        )


def is_url(source: object) -> bool:
    """Whether a source is a web address."""
    return isinstance(source, str) and source.startswith(("http://", "https://"))


def file_sha256(path: Path) -> str:
    """Hash a file's bytes, in hexadecimal; the hash is cached until the file's size or modification time changes.

    Raises:
        UserError: the file cannot be read.
    """
    try:
        status = path.stat()
        key = f"{path.resolve()} {status.st_size} {status.st_mtime_ns}"
        known = cache_folder() / "hashes" / hashlib.sha256(key.encode()).hexdigest()
        if known.is_file() and _SHA256.fullmatch(text := known.read_text(encoding="latin1")):
            return text
        with path.open("rb") as stream:
            sha256 = hashlib.file_digest(stream, "sha256").hexdigest()
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror or error}); check its permissions") from error
    with contextlib.suppress(OSError):  # it will be computed again
        known.parent.mkdir(parents=True, exist_ok=True)
        known.write_text(sha256, encoding="ascii")
    return sha256


def unpacked(file: FetchedFile, suffixes: tuple[str, ...], folder: Path | None = None) -> Path:
    """Unpack the one file with a suffix from a zip archive; a file that has the suffix itself is taken as it is.

    The file is unpacked once, to a folder named after the hash of the archive. Nothing is written elsewhere, and an
    interrupted run leaves no file that looks whole.

    Args:
        file: the archive, or the file itself.
        suffixes: possible endings of the wanted file, such as ``(".h5", ".hdf5")``.
        folder: folder to unpack into (None: ``cache_folder()``).

    Raises:
        UserError: the archive is truncated or no zip, has members that would be written outside its folder,
            does not hold exactly one wanted file, or does not fit on the disk.
    """
    if file.path.suffix.lower() in suffixes:
        return file.path
    with safe_members(file.path) as (archive, members):
        member = _wanted_member(members, file.path, suffixes)
        target = (folder or cache_folder()) / "unpacked" / file.sha256 / PurePosixPath(member.filename).name
        if not (target.is_file() and target.stat().st_size == member.file_size):
            with whole_file(target, member.file_size, remedy=CACHE_REMEDY) as stream:
                extract(archive, member, stream)
        return target


@contextlib.contextmanager
def safe_members(path: Path) -> Iterator[tuple[zipfile.ZipFile, list[zipfile.ZipInfo]]]:
    """Open a zip archive whose members all stay within its folder.

    Raises:
        UserError: a member would be written outside; or, in the block too, the archive is truncated or no zip, or the
            disk is full.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            _check_ratio(path, archive)
            for member in archive.infolist():
                name = PurePosixPath(member.filename.replace("\\", "/"))
                outside = (
                    not name.parts
                    or name.is_absolute()
                    or ".." in name.parts
                    or re.match(r"[A-Za-z]:", member.filename)
                )
                if outside or stat.S_ISLNK(member.external_attr >> 16):
                    raise UserError(
                        f'{path}: its member "{member.filename}" would be written outside the archive\'s folder; '
                        "the archive is not the published one: delete it and fetch it again"
                    )
            yield archive, archive.infolist()
    # RuntimeError: encrypted; NotImplementedError: compressed by a method that Python does not know
    except (zipfile.BadZipFile, zlib.error, EOFError, RuntimeError, NotImplementedError, ValueError) as error:
        raise UserError(
            f"{path}: is not a whole zip archive ({error}); delete it and fetch it again, or unpack it by hand and "
            "give the path of what was in it"
        ) from error
    except OSError as error:
        raise UserError(f"{path}: cannot be unpacked ({error}); {CACHE_REMEDY}") from error


def _check_ratio(path: Path, archive: zipfile.ZipFile) -> None:
    """Refuse an archive that unpacks to far more than recordings do.

    Raises:
        UserError: says to how much.
    """
    unpacked, packed = sum(member.file_size for member in archive.infolist()), path.stat().st_size
    if unpacked > max(_LARGEST_RATIO * packed, _SMALL_BYTES):
        raise UserError(
            f"{path}: unpacks {packed} bytes to {unpacked}; if it is what you want, unpack it by hand and give the "
            "path of what was in it"
        )


def _wanted_member(members: list[zipfile.ZipInfo], path: Path, suffixes: tuple[str, ...]) -> zipfile.ZipInfo:
    wanted = [
        member
        for member in members
        # macOS adds a file ._<name> for every file
        if member.filename.lower().endswith(suffixes)
        and not PurePosixPath(member.filename).name.startswith("._")
        and not member.is_dir()
    ]
    if len(wanted) != 1:
        names = ", ".join(member.filename for member in wanted) or "none"
        raise UserError(
            f"{path}: must hold exactly one file ending in {' or '.join(suffixes)}, but holds {names}; "
            "unpack it by hand and give the path of the file"
        )
    return wanted[0]


def extract(archive: zipfile.ZipFile, member: zipfile.ZipInfo, stream: BinaryIO) -> None:
    """Write the content of a member to a stream."""
    with archive.open(member) as content:
        shutil.copyfileobj(content, stream, _BLOCK_BYTES)
