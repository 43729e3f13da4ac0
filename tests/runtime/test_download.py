"""Servers and archives that are not what they should be: one line, in bounded time and space."""

import contextlib
import gc
import socket
import threading
import time
import warnings
import zipfile

import pytest

from openretina_jax.errors import UserError
from openretina_jax.runtime import download as module
from openretina_jax.runtime import fetch as fetch_module
from openretina_jax.runtime.download import download
from openretina_jax.runtime.fetch import fetch, unpacked


@pytest.fixture(autouse=True, scope="module")
def sockets():
    """Sockets that urllib leaves open after an answer that is none; other tests would find them as garbage."""
    yield
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)
        gc.collect()


def serving(answer):
    """The port of a server that gives an answer to everybody: bytes, or a function of the connection."""
    listening = socket.create_server(("127.0.0.1", 0))

    def serve():
        while True:
            connection, _ = listening.accept()
            with connection, contextlib.suppress(OSError):
                connection.recv(65536)
                if callable(answer):
                    answer(connection)
                else:
                    connection.sendall(answer)

    threading.Thread(target=serve, daemon=True).start()
    return listening.getsockname()[1]


def slow_body(connection):
    connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n")
    for _ in range(100):
        connection.sendall(b"x")
        time.sleep(0.05)


def slow_header(connection):
    for byte in b"HTTP/1.1 200 OK\r\nX: " + bytes(100):
        connection.sendall(bytes([byte]))
        time.sleep(0.05)


def endless(connection):
    connection.sendall(b"HTTP/1.1 200 OK\r\n\r\n")
    while True:
        connection.sendall(bytes(1 << 16))


def ok(content, *headers):
    return b"\r\n".join([b"HTTP/1.1 200 OK", *headers, b"Connection: close", b"", content])


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        (ok(b"abc", b"Content-Length: many"), "the server says that it sends 'many' bytes"),
        (ok(b"abc", b"Content-Length: 10, 20"), "the server says that it sends '10, 20' bytes"),
        (b"HTTP/1.1 302 Found\r\nLocation: http://[::1\r\n\r\n", "cannot be fetched"),
        (bytes(range(128, 256)), "cannot be fetched"),
        (slow_body, r"the server sent \d+ bytes in \d+ s"),
        (slow_header, r"no answer within \d+ s"),
        (endless, "the server does not say how long the file is"),
        (ok(b"abc", b"Content-Length: 99999999999999"), r"needs 99999999999999 more bytes"),
        (ok(b"<!DOCTYPE html><html>log in", b"Content-Length: 27"), "is a page of a website, not a.zip"),
        (ok(b"no archive", b"Content-Length: 10"), "is no zip archive, not a.zip"),
    ],
)
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # urllib leaves sockets open
def test_what_servers_send_instead_of_files(answer, message, tmp_path, monkeypatch):
    for name, value in {"_PAUSE_S": 0.0, "_TIMEOUT_S": 0.5, "_UNKNOWN_BYTES": 1 << 20}.items():
        monkeypatch.setattr(module, name, value)
    with pytest.raises(UserError, match=message) as caught:
        download(f"http://127.0.0.1:{serving(answer)}/a.zip", tmp_path)
    assert "\n" not in str(caught.value)
    assert not list(tmp_path.rglob("a.zip"))


def test_archives_that_unpack_to_far_more_are_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(fetch_module, "_SMALL_BYTES", 1000)
    with zipfile.ZipFile(tmp_path / "bomb.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("a.pkl", bytes(1_000_000))
    with pytest.raises(UserError, match=r"bomb\.zip: unpacks \d+ bytes to 1000000; if it is what you want"):
        unpacked(fetch(tmp_path / "bomb.zip"), (".pkl",), tmp_path)


@pytest.mark.parametrize("name", [".", "/"])
def test_members_without_a_name_are_refused(tmp_path, name):
    with zipfile.ZipFile(tmp_path / "odd.zip", "w") as archive:
        archive.writestr(name, b"x")
    with pytest.raises(UserError, match="would be written outside the archive's folder"):
        unpacked(fetch(tmp_path / "odd.zip"), (".pkl",), tmp_path)
