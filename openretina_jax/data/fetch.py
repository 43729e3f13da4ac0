"""Published files: fetched from the Hugging Face Hub or another server, or found on the disk; checked, unpacked."""

import dataclasses
import hashlib
import http.client
import logging
import os
import re
import shutil
import stat
import urllib.error
import urllib.parse
import urllib.request
import uuid
import zipfile
import zlib
from pathlib import Path, PurePosixPath
from typing import Any

from huggingface_hub import hf_hub_download
from huggingface_hub.errors import EntryNotFoundError, HFValidationError, LocalEntryNotFoundError, XetDownloadError

from openretina_jax.errors import UserError

_log = logging.getLogger(__name__)

TIMEOUT_SECONDS = 60  # without an answer
WAYS_OUT = (
    "connect to the network, or give local files by --config.data.stimuli_path=... "
    "--config.data.responses_path=..., or train on simulated data by appending :simulated to the config"
)
_DIGEST = re.compile(r"[0-9a-f]{64}")


@dataclasses.dataclass(frozen=True)
class HubFile:
    """A file in a repository of the Hugging Face Hub.

    Attributes:
        repo_id: owner and name of the repository.
        path: of the file in the repository.
        revision: branch, tag or commit.
        repo_type: "dataset", "model" or "space".
    """

    repo_id: str
    path: str
    revision: str = "main"
    repo_type: str = "dataset"


@dataclasses.dataclass(frozen=True)
class FetchedFile:
    """A file on this machine, and what is needed to know it again.

    Attributes:
        path: where it lies.
        source: where it came from, as a user would write it.
        revision: commit of the repository that it came from (None: a local file).
        sha256: of its bytes, in hexadecimal.
    """

    path: Path
    source: str
    revision: str | None
    sha256: str

    @property
    def record(self) -> dict[str, str | None]:
        """What a data set remembers of the file, as plain values."""
        return {"source": self.source, "revision": self.revision, "sha256": self.sha256}


def cache_folder() -> Path:
    """Where unpacked files are kept: ``OPENRETINA_JAX_CACHE``, by default ``~/.cache/openretina_jax``."""
    folder = os.environ.get("OPENRETINA_JAX_CACHE") or Path("~", ".cache", "openretina_jax")
    return Path(folder).expanduser()


def fetch(source: HubFile | str | Path, *, sha256: str | None = None, ways_out: str = WAYS_OUT) -> FetchedFile:
    """Brings a published file to this machine; a local path is taken as it is.

    Files of the Hub go through the cache of ``huggingface_hub``, whose environment variables are honoured
    (``HF_ENDPOINT``, ``HF_HUB_OFFLINE``, ``HF_HUB_CACHE``, ...); those of other servers are kept in ``cache_folder()``:
    what is cached needs no network.

    Args:
        source: the file: in a repository of the Hub, an address that begins with http:// or https://, or a path.
        sha256: what the file's hash has to be (None: any).
        ways_out: what a user can do where the file cannot be had, for messages.

    Raises:
        UserError: the file cannot be had, or has another hash than ``sha256`` or than the Hub says.
    """
    if isinstance(source, HubFile):
        fetched = _fetch_from_hub(source, ways_out)
    elif isinstance(source, str) and source.startswith(("http://", "https://")):
        fetched = _fetch_from_server(source, ways_out)
    else:
        path = Path(source).expanduser()
        if not path.is_file():
            found = "is a folder" if path.is_dir() else "does not exist"
            raise UserError(f"{path}: {found}; give a file, or {ways_out}")
        fetched = FetchedFile(path, str(path), None, _sha256(path))
    if sha256 is not None and fetched.sha256 != sha256.lower():
        raise UserError(
            f"{fetched.path}: has sha256 {fetched.sha256}, not {sha256.lower()}; it is damaged or another "
            "version: delete it and fetch it again"
        )
    return fetched


def _fetch_from_hub(file: HubFile, ways_out: str) -> FetchedFile:
    try:
        cached = hf_hub_download(file.repo_id, file.path, revision=file.revision, repo_type=file.repo_type)
    except (OSError, EntryNotFoundError, HFValidationError, XetDownloadError) as error:
        # Without a cached file the library says only that there is none; the cause says what went wrong before.
        cause = error.__cause__ if isinstance(error, LocalEntryNotFoundError) and error.__cause__ else error
        reason = " ".join(str(cause).split()).rstrip(".") or type(cause).__name__
        raise UserError(
            f"{file.path} of {file.repo_id} (revision {file.revision}) cannot be fetched: {reason}; {ways_out}"
        ) from error
    path = Path(cached)
    # The cache lays files out as snapshots/<commit>/<path in the repository>.
    commit = path.parents[len(PurePosixPath(file.path).parts) - 1].name
    sha256 = _sha256(path)
    # Large files are kept under the hash that the Hub gives for them, small ones under a git hash.
    blob = path.resolve().name
    if _DIGEST.fullmatch(blob) and blob != sha256:
        raise UserError(
            f"{path}: has sha256 {sha256}, the Hub says {blob}; the download was damaged: delete "
            f"{path.resolve()} and fetch it again"
        )
    return FetchedFile(path, f"hf://{file.repo_type}s/{file.repo_id}/{file.path}", commit, sha256)


def _fetch_from_server(address: str, ways_out: str) -> FetchedFile:
    """A file of any server; it appears under its name only when all of it is there."""
    name = PurePosixPath(urllib.parse.unquote(urllib.parse.urlsplit(address).path)).name or "file"
    target = cache_folder() / "downloads" / hashlib.sha256(address.encode()).hexdigest()[:16] / name
    try:
        if not target.is_file():
            target.parent.mkdir(parents=True, exist_ok=True)
            with urllib.request.urlopen(address, timeout=TIMEOUT_SECONDS) as response:
                size = response.headers.get("Content-Length")
                written = _write_whole(response, target, int(size) if size else None)
            _log.info("%s: %d bytes fetched to %s", address, written, target)
    # ValueError: no address; HTTPException: the connection broke off
    except (OSError, ValueError, http.client.HTTPException) as error:
        if isinstance(error, urllib.error.HTTPError):
            error.close()  # it holds the answer
        reason = " ".join(str(error).split()).rstrip(".") or type(error).__name__
        raise UserError(f"{address} cannot be fetched: {reason}; {ways_out}") from error
    return FetchedFile(target, address, None, _sha256(target))


def unpacked(file: FetchedFile, suffixes: tuple[str, ...], folder: Path | None = None) -> Path:
    """The one file with the wanted suffix inside a zip archive; a file that has the suffix itself passes.

    The archive is unpacked once: its content lies below ``folder`` under the hash of the archive. Nothing is
    written elsewhere, and an interrupted run leaves no file that looks whole.

    Args:
        file: the archive, or the file itself.
        suffixes: what the wanted file ends with, such as ``(".h5", ".hdf5")``.
        folder: where to unpack (None: ``cache_folder()``).

    Raises:
        UserError: the archive is truncated or no zip, has members that would be written outside its folder,
            does not hold exactly one wanted file, or does not fit on the disk.
    """
    if file.path.suffix.lower() in suffixes:
        return file.path
    try:
        with zipfile.ZipFile(file.path) as archive:
            member = _wanted_member(archive, file.path, suffixes)
            name = PurePosixPath(member.filename).name
            target = (folder or cache_folder()) / "unpacked" / file.sha256 / name
            if not (target.is_file() and target.stat().st_size == member.file_size):
                _extract(archive, member, target)
            return target
    # RuntimeError: encrypted; NotImplementedError: packed by a method that Python does not know.
    except (zipfile.BadZipFile, zlib.error, EOFError, RuntimeError, NotImplementedError) as error:
        raise UserError(
            f"{file.path}: is not a whole zip archive ({error}); delete it and fetch it again, or give the path "
            f"of the unpacked {' or '.join(suffixes)} file"
        ) from error
    except OSError as error:
        raise UserError(
            f"{file.path}: cannot be unpacked ({error}); check the disk, or set OPENRETINA_JAX_CACHE to another folder"
        ) from error


def _wanted_member(archive: zipfile.ZipFile, path: Path, suffixes: tuple[str, ...]) -> zipfile.ZipInfo:
    wanted = []
    for member in archive.infolist():
        name = PurePosixPath(member.filename.replace("\\", "/"))
        outside = name.is_absolute() or ".." in name.parts or re.match(r"[A-Za-z]:", member.filename)
        if outside or stat.S_ISLNK(member.external_attr >> 16):
            raise UserError(
                f'{path}: its member "{member.filename}" would be written outside the archive\'s folder; '
                "the archive is not the published one: delete it and fetch it again"
            )
        # macOS adds a file ._<name> for every file.
        if name.suffix.lower() in suffixes and not name.name.startswith("._") and not member.is_dir():
            wanted.append(member)
    if len(wanted) != 1:
        names = ", ".join(member.filename for member in wanted) or "none"
        raise UserError(
            f"{path}: must hold exactly one file ending in {' or '.join(suffixes)}, but holds {names}; "
            "unpack it by hand and give the path of the file"
        )
    return wanted[0]


def _extract(archive: zipfile.ZipFile, member: zipfile.ZipInfo, target: Path) -> None:
    """Writes one member; it appears under its name only when it is whole."""
    target.parent.mkdir(parents=True, exist_ok=True)
    free = shutil.disk_usage(target.parent).free
    if free < member.file_size:
        raise OSError(f"{member.filename} needs {member.file_size} bytes, {target.parent} has {free}")
    with archive.open(member) as content:
        _write_whole(content, target, member.file_size)


def _write_whole(content: Any, target: Path, size: int | None) -> int:
    """Writes a stream to a file, which appears under its name only when all is there; returns the number of bytes.

    Raises:
        OSError: the stream ended early, or the disk is full.
    """
    temporary = target.with_name(f".{uuid.uuid4().hex}.part")  # processes may write side by side
    try:
        with temporary.open("xb") as stream:
            shutil.copyfileobj(content, stream, length=1 << 20)
            written = stream.tell()
        if size is not None and written != size:
            raise OSError(f"only {written} of {size} bytes came")
        os.replace(temporary, target)
    finally:
        temporary.unlink(missing_ok=True)
    return written


def _sha256(path: Path) -> str:
    try:
        with path.open("rb") as stream:
            return hashlib.file_digest(stream, "sha256").hexdigest()
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror or error}); check its permissions") from error
