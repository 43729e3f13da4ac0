"""Servers on this machine that play the web: files at plain addresses, and a repository of the Hugging Face Hub."""

import contextlib
import hashlib
import http.server
import json
import threading
import urllib.parse
from collections.abc import Iterator

import huggingface_hub.constants
import pytest

COMMIT = "0123456789abcdef0123456789abcdef01234567"
REPOSITORY = "lab/retina"


class Handler(http.server.BaseHTTPRequestHandler):
    """Sends files of the server, from where it is asked to; breaks off or fails as the server is told.

    ``server.broken`` has the number of bytes after which a file ends too early, the next time only.
    ``server.failing`` has the status that is sent instead of a file.
    ``server.said`` has the hash that is told of a file, if it is another than that of its bytes.
    """

    def do_HEAD(self) -> None:
        self.answer(with_body=False)

    def do_GET(self) -> None:
        self.answer(with_body=True)

    def answer(self, with_body: bool) -> None:
        path = urllib.parse.unquote(urllib.parse.urlsplit(self.path).path)
        self.server.requested.append((self.command, path, self.headers.get("Range")))
        name = self.server.name_of(path)
        if name in self.server.failing:
            self.send_nothing(self.server.failing[name])
        elif name in self.server.files:
            self.send_file(name, with_body)
        elif path.startswith("/api/"):
            self.send_listing(path)
        else:
            self.send_nothing(404)

    def send_file(self, name: str, with_body: bool) -> None:
        content = self.server.files[name]
        tag = f'"{self.server.said.get(name) or digest(content)}"'
        start = 0
        if (asked := self.headers.get("Range")) and self.headers.get("If-Range", tag) == tag:
            start = int(asked.removeprefix("bytes=").partition("-")[0])
        if start > len(content):
            self.send_nothing(416)
            return
        self.send_response(206 if start else 200)
        self.send_header("ETag", tag)
        self.send_header("X-Repo-Commit", COMMIT)
        self.send_header("Accept-Ranges", "bytes")
        if start:
            self.send_header("Content-Range", f"bytes {start}-{len(content) - 1}/{len(content)}")
        self.send_header("Content-Length", str(len(content) - start))
        self.end_headers()
        if with_body:
            self.wfile.write(content[start : self.server.broken.pop(name, len(content))])

    def send_listing(self, path: str) -> None:
        """What the Hub tells of a repository: its commit, or its files."""
        entries = [
            {"type": "file", "path": name, "size": len(content), "oid": hashlib.sha1(content).hexdigest()}
            | {"lfs": {"oid": digest(content), "size": len(content), "pointerSize": 130}}
            for name, content in self.server.files.items()
        ]
        body = json.dumps(entries if "/tree/" in path else {"id": REPOSITORY, "sha": COMMIT}).encode()
        if not path.startswith(f"/api/datasets/{REPOSITORY}/"):
            self.send_nothing(404)
            return
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def send_nothing(self, status: int) -> None:
        self.send_response(status)
        if status == 404:
            self.send_header("X-Error-Code", "RepoNotFound")
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_: object) -> None:
        """The server keeps quiet."""


def digest(content: bytes) -> str:
    """SHA-256 in hexadecimal."""
    return hashlib.sha256(content).hexdigest()


@contextlib.contextmanager
def serving(files: dict[str, bytes]) -> Iterator[http.server.ThreadingHTTPServer]:
    """A server of files, whose address is ``server.url``."""
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.files, server.failing, server.broken, server.said, server.requested = files, {}, {}, {}, []
    server.url = f"http://127.0.0.1:{server.server_port}"
    server.name_of = lambda path: path.removeprefix("/").removeprefix(f"datasets/{REPOSITORY}/resolve/{COMMIT}/")
    threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
    yield server
    server.shutdown()
    server.server_close()


def use_as_hub(monkeypatch: pytest.MonkeyPatch, url: str, cache: str) -> None:
    """Let ``huggingface_hub`` ask the server at this address."""
    constants = huggingface_hub.constants
    template = constants.HUGGINGFACE_CO_URL_TEMPLATE.replace(constants.ENDPOINT, url)
    monkeypatch.setattr(constants, "ENDPOINT", url)
    monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", template)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", cache)
