"""Published folders: fetched from the Hugging Face Hub or found on the disk, checked, and their archives unpacked."""

import dataclasses
import fnmatch
import glob
import hashlib
import os
import zipfile
from pathlib import Path, PurePosixPath
from typing import Any

from openretina_jax.errors import UserError
from openretina_jax.runtime.download import CACHE_REMEDY
from openretina_jax.runtime.fetch import (
    FetchedFile,
    HubFile,
    HubPlace,
    cache_folder,
    check_hash_of_hub,
    extract,
    fetch,
    file_sha256,
    hub_source,
    is_url,
    safe_members,
)
from openretina_jax.runtime.files import address_of, whole_folder
from openretina_jax.runtime.stores import local_copy

_WAYS_OUT = (
    "connect to the network, or give a local folder by --config.data.path=..., or train on simulated data by appending "
    ":simulated to the config"
)
_JUNK = ("__MACOSX/*", "*/__MACOSX/*", "._*", "*/._*", ".DS_Store", "*/.DS_Store")


class HubFolder(HubPlace):
    """A folder in a repository of the Hugging Face Hub."""


# a folder on the Hub or on this machine, or an archive of one (on the Hub, at an address, or local)
Source = HubFolder | HubFile | str | Path


@dataclasses.dataclass(frozen=True)
class FetchedFolder:
    """A folder on this machine, and a record of where it came from.

    Attributes:
        path: the folder. Archives that were in it are folders here.
        source: where it came from, as a user would write it.
        revision: commit of the repository that it came from (None: a local folder).
        record: facts that a data set keeps, as plain values: source, revision, number of files, and a hash of the names
            and hashes of all files.
    """

    path: Path
    source: str
    revision: str | None
    record: dict[str, Any]


def fetch_folder(source: Source, patterns: tuple[str, ...] = ("*",)) -> FetchedFolder:
    """Bring a published folder, or one of an object store, to this machine; a local one is used where it lies.

    A source may also be a zip archive: a file on the Hub, at an address, or local. Folders on the Hub go through the
    cache of ``huggingface_hub``, as in ``fetch``: an interrupted download continues where it stopped, and what is
    cached needs no network. Archives are unpacked below ``cache_folder()``, never where they lie.

    Args:
        source: the folder. The address of its page on the Hub names it too.
        patterns: patterns of file names relative to the folder, such as ``("*mouse*.h5",)``; other files are ignored.

    Raises:
        UserError: the folder cannot be fetched or is empty, the hash of a file is not that on the Hub, or an archive is
            damaged or does not fit on the disk.
    """
    if is_url(source):
        source = hub_source(str(source), HubFolder) or str(source)
    if isinstance(source, HubFolder):
        return _fetch_from_hub(source, patterns)
    if not isinstance(source, HubFile) and not is_url(source) and (address := address_of(source)) is not None:
        copy = local_copy(address, cache_folder(), patterns)
        found = fetch_folder(copy, patterns)
        return dataclasses.replace(found, source=address, record={**found.record, "source": address})
    if isinstance(source, HubFile) or is_url(source) or Path(source).expanduser().is_file():
        archive = fetch(source, ways_out=_WAYS_OUT)
        return FetchedFolder(unpacked_folder(archive), archive.source, archive.revision, archive.record)
    folder = Path(source).expanduser()
    if not folder.is_dir():
        raise UserError(f"{folder}: there is no such folder; {_WAYS_OUT}")
    files = [file for file in _files(folder) if _matches(file, patterns)]
    return _with_record(folder, str(folder), None, files, patterns)


def unpacked_folder(file: FetchedFile, folder: Path | None = None) -> Path:
    """Unpack a zip archive into a folder of its name, below ``folder`` (None: ``cache_folder()``).

    If all members lie in one folder of the archive's name, there is no second one inside. The archive is unpacked once,
    under its hash; an interrupted run leaves no folder that looks whole.

    Raises:
        UserError: the archive is damaged, has members that would be written outside the folder, or does not fit on the
            disk.
    """
    target = (folder or cache_folder()) / "unpacked" / file.sha256 / file.path.stem
    with safe_members(file.path) as (archive, members):
        wanted = {
            _inside(member, file.path.stem, members): member
            for member in members
            if not member.is_dir() and not _matches(member.filename, _JUNK)
        }
        if not _is_whole(target, wanted):
            _unpack(archive, wanted, target)
    return target


def _fetch_from_hub(folder: HubFolder, patterns: tuple[str, ...]) -> FetchedFolder:
    # takes half a second, and configurations read the options of sources
    from huggingface_hub import get_cached_repo_tree, snapshot_download

    inside = f"{folder.path.strip('/')}/" if folder.path.strip("/") else ""
    wanted = [glob.escape(inside) + pattern for pattern in patterns]
    with folder.fetching(_WAYS_OUT):
        snapshot = Path(
            snapshot_download(
                folder.repo_id, revision=folder.revision, repo_type=folder.repo_type, allow_patterns=wanted
            )
        )
        tree = get_cached_repo_tree(folder.repo_id, revision=snapshot.name, repo_type=folder.repo_type)
    sizes = {entry.path.removeprefix(inside): entry.size for entry in tree if entry.path.startswith(inside)}
    files = sorted(name for name in sizes if _matches(name, patterns))
    for name in files:
        path = snapshot / inside / name
        found = path.stat().st_size
        if found != sizes[name]:
            raise UserError(
                f"{path}: has {found} bytes, the Hub says {sizes[name]}; the download was damaged: delete "
                f"{path.resolve()} and fetch it again"
            )
        check_hash_of_hub(path, file_sha256(path))
    return _with_record(snapshot / inside, str(folder), snapshot.name, files, patterns)


def _with_record(
    folder: Path, source: str, revision: str | None, files: list[str], patterns: tuple[str, ...]
) -> FetchedFolder:
    if not files:
        what = "" if patterns == ("*",) else f" named {' or '.join(patterns)}"
        raise UserError(f"{source}: holds no files{what}; is it another folder? Or {_WAYS_OUT}")
    hashes = {name: file_sha256(folder / name) for name in files}
    digest = hashlib.sha256("".join(f"{name} {sha256}\n" for name, sha256 in hashes.items()).encode()).hexdigest()
    record = {"source": source, "revision": revision, "files": len(files), "sha256": digest}
    archives = [name for name in files if name.lower().endswith(".zip")]
    path = _with_archives_unpacked(folder, hashes, digest) if archives else folder
    return FetchedFolder(path, source, revision, record)


def _with_archives_unpacked(folder: Path, hashes: dict[str, str], digest: str) -> Path:
    """A folder in the cache with links to all files, and to those in the archives among them.

    An archive becomes a folder of its name; if it holds a single file, that file stands in its place.
    """
    links = {}
    for name, sha256 in hashes.items():
        path = (folder / name).absolute()
        if not name.lower().endswith(".zip"):
            links[name] = path
            continue
        content = unpacked_folder(FetchedFile(path, str(path), None, sha256))
        inner = _files(content)
        place = PurePosixPath(name).parent if len(inner) == 1 else PurePosixPath(name).with_suffix("")
        links |= {str(place / file): content / file for file in inner}
    where = hashlib.sha256(f"{digest} {folder.absolute()}".encode()).hexdigest()
    target = cache_folder() / "unpacked" / where / (folder.name or "folder")
    if not all((target / name).exists() for name in links):
        with whole_folder(target, remedy=CACHE_REMEDY) as work:
            for name, path in links.items():
                (work / name).parent.mkdir(parents=True, exist_ok=True)
                (work / name).symlink_to(path)
    return target


def _unpack(archive: zipfile.ZipFile, wanted: dict[str, zipfile.ZipInfo], target: Path) -> None:
    with whole_folder(target, sum(member.file_size for member in wanted.values()), remedy=CACHE_REMEDY) as work:
        for name, member in wanted.items():
            (work / name).parent.mkdir(parents=True, exist_ok=True)
            with (work / name).open("xb") as stream:
                extract(archive, member, stream)


def _is_whole(folder: Path, members: dict[str, zipfile.ZipInfo]) -> bool:
    return folder.is_dir() and all(
        (folder / name).is_file() and (folder / name).stat().st_size == member.file_size
        for name, member in members.items()
    )


def _inside(member: zipfile.ZipInfo, stem: str, members: list[zipfile.ZipInfo]) -> str:
    """Name of a member in the folder of its archive, without a folder that repeats the archive's name."""
    repeated = all(
        PurePosixPath(other.filename).parts[0] == stem for other in members if not _matches(other.filename, _JUNK)
    )
    return member.filename.removeprefix(f"{stem}/") if repeated else member.filename


def _files(folder: Path) -> list[str]:
    """Names of all files relative to a folder, with slashes, sorted; hidden ones are left out."""
    found = [
        str(PurePosixPath(Path(place, name).relative_to(folder)))
        for place, _, names in os.walk(folder, followlinks=True)
        for name in names
    ]
    return sorted(name for name in found if not any(part.startswith(".") for part in PurePosixPath(name).parts))


def _matches(name: str, patterns: tuple[str, ...]) -> bool:
    return any(fnmatch.fnmatchcase(name, pattern) for pattern in patterns)
