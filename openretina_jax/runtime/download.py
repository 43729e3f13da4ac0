"""Downloads from any server: in a bounded time, in bounded space, and continued where they stopped."""

import hashlib
import http.client
import shutil
import threading
import time
import urllib.error
import urllib.parse
import urllib.request
import zipfile
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import Any

from filelock import FileLock

from openretina_jax.errors import UserError

CACHE_REMEDY = "check the disk, or set OPENRETINA_JAX_CACHE to another folder"
_ATTEMPTS = 3
_PAUSE_S = 2.0  # before the second attempt; grows with every further one
_TIMEOUT_S = 30.0  # of silence, and of one part of a transfer
_SLOWEST_BYTES_S = 1000  # over such a part
_KEPT_FREE = 1 << 26  # bytes of the disk that a download leaves
_UNKNOWN_BYTES = 1 << 29  # most of a file whose length the server does not say
_BLOCK_BYTES = 1 << 20


def download(url: str, cache: Path) -> Path:
    """Download the file at an address, unless that was done before.

    Bytes are collected in ``<name>.part``, which is renamed when it is whole. After an error the next call goes on from
    there, if the server confirms that the file has not changed.

    Args:
        url: address, http or https.
        cache: folder of downloads; each address has a folder of its own in it, so that equal names do not collide.

    Raises:
        UserError: the server does not have the file or does not send all of it, or the disk is full.
    """
    name = PurePosixPath(urllib.parse.unquote(urllib.parse.urlsplit(url).path)).name or "file"
    target = cache / "downloads" / hashlib.sha256(url.encode()).hexdigest()[:16] / name
    if target.is_file():
        return target
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(target.with_name(f".{name}.lock")):
            if not target.is_file():
                _collect(url, target)
    except OSError as error:
        raise UserError(f"{url} cannot be written to {target}: {error.strerror or error}; {CACHE_REMEDY}") from error
    return target


def _collect(url: str, target: Path) -> None:
    """Try a few times, each time from where the last attempt ended."""
    part, mark = target.with_name(f"{target.name}.part"), target.with_name(f"{target.name}.etag")
    for attempt in range(1, _ATTEMPTS + 1):
        try:
            _append(url, part, mark)
            break
        except (http.client.HTTPException, urllib.error.URLError, TimeoutError, ConnectionError, ValueError) as error:
            status = None
            if isinstance(error, urllib.error.HTTPError):
                status = error.code
                error.close()
            if status == http.client.REQUESTED_RANGE_NOT_SATISFIABLE:  # the part is longer than the file
                part.unlink(missing_ok=True)
            elif (status or 500) < http.client.INTERNAL_SERVER_ERROR or _is_slow(error) or attempt == _ATTEMPTS:
                kept = f" (the first {part.stat().st_size} bytes are kept for the next try)" if part.is_file() else ""
                reason = " ".join(str(error).split()) or type(error).__name__
                raise UserError(
                    f"{url} cannot be fetched: {reason}{kept}; check the address and the network, or fetch the file "
                    "by hand and give its path"
                ) from error
        time.sleep(_PAUSE_S * attempt)
    _check_content(url, part, target.name)
    part.replace(target)
    mark.unlink(missing_ok=True)


def _is_slow(error: Exception) -> bool:
    """Whether a server was silent or too slow, which another try would wait for again."""
    return isinstance(error, TimeoutError) or isinstance(getattr(error, "reason", None), TimeoutError)


def _check_content(url: str, part: Path, name: str) -> None:
    """Refuse a page of a website, such as one to log in, in the place of a file; it does not stay in the cache.

    Raises:
        UserError: says what came.
    """
    with part.open("rb") as stream:
        begin = stream.read(512).lstrip().lower()
    page = begin.startswith((b"<!doctype html", b"<html")) and not name.lower().endswith((".html", ".htm"))
    archive = name.lower().endswith(".zip") and not zipfile.is_zipfile(part)
    if page or archive:
        part.unlink()
        what = "a page of a website" if page else "no zip archive"
        raise UserError(f"{url} is {what}, not {name}; log in there, fetch the file by hand and give its path")


def _append(url: str, part: Path, mark: Path) -> None:
    """Append the missing bytes to the part; start anew if the file may have changed since."""
    from huggingface_hub.utils.tqdm import tqdm  # where it is needed: in a notebook it may warn of what it lacks

    have = part.stat().st_size if part.is_file() and mark.is_file() else 0
    headers = {"Range": f"bytes={have}-", "If-Range": mark.read_text(encoding="latin1")} if have else {}
    with _opened(urllib.request.Request(url, headers=headers)) as answer:
        have = have if answer.status == http.client.PARTIAL_CONTENT else 0
        if have and not str(answer.headers.get("Content-Range", "")).startswith(f"bytes {have}-"):
            part.unlink()
            raise http.client.HTTPException("the server sent another part of the file than it was asked for")
        total = _total(answer.headers.get_all("Content-Length"), have)
        _check_space(part, (total or 0) - have)
        tag = answer.headers.get("ETag", "")
        with part.open("ab" if have else "wb") as stream:
            mark.unlink(missing_ok=True)
            if tag.startswith('"'):  # a weak tag (W/"...") does not promise equal bytes
                mark.write_text(tag, encoding="latin1")
            with tqdm(desc=part.stem, initial=have, total=total, unit="B", unit_scale=True) as bar:
                for chunk in _chunks(answer):
                    _check_space(part, len(chunk))
                    stream.write(chunk)
                    have += len(chunk)
                    if total is None and have > _UNKNOWN_BYTES:
                        raise UserError(
                            f"{url}: the server does not say how long the file is, and has sent {have} bytes; fetch "
                            "it by hand and give its path"
                        )
                    bar.update(len(chunk))
    if total is not None and have != total:
        raise http.client.HTTPException(f"the server sent {have} of {total} bytes")


def _opened(request: urllib.request.Request) -> Any:
    """The answer of a server; one that sends its headers byte by byte is given up, too."""
    found: list[Any] = []

    def ask() -> None:
        try:
            found.append(urllib.request.urlopen(request, timeout=_TIMEOUT_S))
        except Exception as error:
            found.append(error)

    asking = threading.Thread(target=ask, daemon=True)
    asking.start()
    asking.join(_TIMEOUT_S)
    if not found:
        raise TimeoutError(f"no answer within {_TIMEOUT_S:.0f} s")
    if isinstance(found[0], Exception):
        raise found[0]
    return found[0]


def _chunks(answer: Any) -> Iterator[bytes]:
    """The bytes of an answer, as they come, as long as they come fast enough."""
    began, received = time.monotonic(), 0
    while chunk := answer.read1(_BLOCK_BYTES):
        yield chunk
        received += len(chunk)
        if (elapsed := time.monotonic() - began) > _TIMEOUT_S:
            if received < _SLOWEST_BYTES_S * elapsed:
                raise TimeoutError(f"the server sent {received} bytes in {elapsed:.0f} s")
            began, received = time.monotonic(), 0


def _total(lengths: list[str] | None, have: int) -> int | None:
    """Bytes of the whole file, from the length of what is sent (None: the server does not say)."""
    if not lengths:
        return None
    if len(set(lengths)) > 1 or not lengths[0].strip().isdecimal():
        raise http.client.HTTPException(f"the server says that it sends {', '.join(lengths)!r} bytes")
    return have + int(lengths[0])


def _check_space(part: Path, needed: int) -> None:
    """Refuse a file that leaves no room on the disk.

    Raises:
        UserError: says how much there is.
    """
    free = shutil.disk_usage(part.parent).free
    if needed > free - _KEPT_FREE:
        raise UserError(f"{part.stem} needs {needed} more bytes, {part.parent} has {free}; {CACHE_REMEDY}")
