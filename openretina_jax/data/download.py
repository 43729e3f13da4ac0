"""Files at plain http(s) addresses, kept in the cache; an interrupted download goes on where it stopped."""

import hashlib
import http.client
import time
import urllib.error
import urllib.parse
import urllib.request
from pathlib import Path, PurePosixPath

from filelock import FileLock
from huggingface_hub.utils.tqdm import tqdm

from openretina_jax.errors import UserError

CACHE_REMEDY = "check the disk, or set OPENRETINA_JAX_CACHE to another folder"
_ATTEMPTS = 3
_PAUSE_S = 2.0
_TIMEOUT_S = 30.0
_AT_ONCE = 1 << 20  # bytes


def is_url(source: object) -> bool:
    """Whether a source is an address of the web."""
    return isinstance(source, str) and source.startswith(("http://", "https://"))


def download(url: str, cache: Path) -> Path:
    """The file at an address; what was downloaded before needs no network.

    Bytes are collected in ``<name>.part``, which gets its name when it is whole. After an error the next call goes on
    from there, if the server says that the file is still the same one.

    Args:
        url: http or https.
        cache: files lie below it in folders of their own, so that equal names at different addresses do not meet.

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
    """Tries a few times, from where the last try ended."""
    part, mark = target.with_name(f"{target.name}.part"), target.with_name(f"{target.name}.etag")
    for attempt in range(1, _ATTEMPTS + 1):
        try:
            _append(url, part, mark)
            break
        except (http.client.HTTPException, urllib.error.URLError, TimeoutError, ConnectionError) as error:
            status = None
            if isinstance(error, urllib.error.HTTPError):
                status = error.code
                error.close()
            if status == http.client.REQUESTED_RANGE_NOT_SATISFIABLE:  # the part is no beginning of the file
                part.unlink(missing_ok=True)
            elif (status is not None and status < http.client.INTERNAL_SERVER_ERROR) or attempt == _ATTEMPTS:
                kept = f" (the first {part.stat().st_size} bytes are kept for the next try)" if part.is_file() else ""
                reason = " ".join(str(error).split()) or type(error).__name__
                raise UserError(
                    f"{url} cannot be fetched: {reason}{kept}; check the address and the network, or fetch the file "
                    "by hand and give its path"
                ) from error
        time.sleep(_PAUSE_S * attempt)
    part.replace(target)
    mark.unlink(missing_ok=True)


def _append(url: str, part: Path, mark: Path) -> None:
    """Adds to the part what is missing; starts anew if the file may have changed since."""
    have = part.stat().st_size if part.is_file() and mark.is_file() else 0
    headers = {"Range": f"bytes={have}-", "If-Range": mark.read_text()} if have else {}
    with urllib.request.urlopen(urllib.request.Request(url, headers=headers), timeout=_TIMEOUT_S) as answer:
        have = have if answer.status == http.client.PARTIAL_CONTENT else 0
        length = answer.headers.get("Content-Length")
        total = None if length is None else have + int(length)
        tag = answer.headers.get("ETag", "")
        with part.open("ab" if have else "wb") as stream:
            mark.unlink(missing_ok=True)
            if tag.startswith('"'):  # a weak tag does not say that bytes are equal
                mark.write_text(tag)
            with tqdm(desc=part.stem, initial=have, total=total, unit="B", unit_scale=True) as bar:
                while chunk := answer.read(_AT_ONCE):
                    stream.write(chunk)
                    have += len(chunk)
                    bar.update(len(chunk))
    if total is not None and have != total:
        raise http.client.HTTPException(f"the server sent {have} of {total} bytes")
