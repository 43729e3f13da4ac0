"""Files of the Hub, of other addresses and on the disk; archives and hashes."""

import errno
import hashlib
import http.server
import os
import subprocess
import sys
import threading
import zipfile
from collections.abc import Iterator
from pathlib import Path

import huggingface_hub.constants
import pytest

from openretina_jax.errors import UserError
from openretina_jax.runtime import download as module
from openretina_jax.runtime.fetch import FetchedFile, HubFile, cache_folder, download, fetch, hub_source, unpacked
from openretina_jax.sources.folders import HubFolder
from tests.runtime.web import serving

COMMIT = "0123456789abcdef0123456789abcdef01234567"
CONTENT = b"frames and responses"
DIGEST = hashlib.sha256(CONTENT).hexdigest()
FILE = HubFile("lab/retina", "mouse/movies.bin")


class Hub(http.server.BaseHTTPRequestHandler):
    """As much of the Hub as a download of one file asks for."""

    digest = DIGEST

    def do_HEAD(self):
        self.answer(body=b"")

    def do_GET(self):
        self.answer(body=CONTENT)

    def answer(self, body):
        self.server.requested.append(self.path)
        if self.path.startswith("/datasets/lab/retina/resolve/") and self.path.endswith("/mouse/movies.bin"):
            self.send_response(200)
            self.send_header("X-Repo-Commit", COMMIT)
            self.send_header("ETag", f'"{self.server.digest}"')
            self.send_header("Content-Length", str(len(CONTENT)))
        else:
            known = self.path.startswith("/datasets/lab/retina/")
            self.send_response(404)
            self.send_header("X-Error-Code", "EntryNotFound" if known else "RepoNotFound")
            self.send_header("Content-Length", "0")
            body = b""
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        """The server keeps quiet."""


@pytest.fixture
def hub(monkeypatch, tmp_path):
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Hub)
    server.digest, server.requested = DIGEST, []
    threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
    endpoint = f"http://127.0.0.1:{server.server_port}"
    template = huggingface_hub.constants.HUGGINGFACE_CO_URL_TEMPLATE
    template = template.replace(huggingface_hub.constants.ENDPOINT, endpoint)
    monkeypatch.setattr(huggingface_hub.constants, "ENDPOINT", endpoint)
    monkeypatch.setattr(huggingface_hub.constants, "HUGGINGFACE_CO_URL_TEMPLATE", template)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    yield server
    server.shutdown()
    server.server_close()


def test_a_hub_file_is_fetched_once_and_its_commit_recorded(hub):
    fetched = fetch(FILE)
    assert fetched.path.read_bytes() == CONTENT
    assert fetched.record == {
        "source": "hf://datasets/lab/retina/mouse/movies.bin",
        "revision": COMMIT,
        "sha256": DIGEST,
    }
    n_requests = len(hub.requested)
    assert fetch(HubFile("lab/retina", "mouse/movies.bin", revision=COMMIT)) == fetched
    assert len(hub.requested) == n_requests


def test_what_is_cached_needs_no_network(hub, monkeypatch):
    fetched = fetch(FILE)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    assert fetch(FILE) == fetched


def assert_names_three_ways_out(text):
    assert "\n" not in text
    for way in ("network", "--config.data.stimuli_path=", "--config.data.responses_path=", ":simulated"):
        assert way in text


@pytest.mark.parametrize(
    "file", [HubFile("lab/retina", "mouse/absent.bin"), HubFile("lab/absent", "movies.bin"), HubFile("no/such/id", "x")]
)
def test_files_that_the_hub_does_not_have(hub, file):
    with pytest.raises(UserError, match=f"{file.path} of {file.repo_id}") as raised:
        fetch(file)
    assert_names_three_ways_out(str(raised.value))


def test_offline_without_a_cached_file(hub, monkeypatch):
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    with pytest.raises(UserError) as raised:
        fetch(FILE)
    assert_names_three_ways_out(str(raised.value))
    assert hub.requested == []


def test_the_environment_variables_of_the_hub_are_honoured(hub, tmp_path):
    fetched = _fetch_in_another_process(tmp_path, HF_ENDPOINT=f"http://127.0.0.1:{hub.server_port}")
    assert fetched.stdout == DIGEST
    offline = _fetch_in_another_process(tmp_path / "other", HF_HUB_OFFLINE="1")
    assert "UserError" in offline.stderr.splitlines()[-1]
    assert_names_three_ways_out(offline.stderr.splitlines()[-1])


def _fetch_in_another_process(folder, **variables):
    code = (
        "from openretina_jax.runtime.fetch import HubFile, fetch\n"
        "print(fetch(HubFile('lab/retina', 'mouse/movies.bin')).sha256, end='')"
    )
    return subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, "HF_HUB_CACHE": str(folder / "hub"), **variables},
        cwd=Path(__file__).parents[2],
        capture_output=True,
        text=True,
        check=False,
    )


def test_a_damaged_download_is_noticed(hub):
    hub.digest = "0" * 64
    with pytest.raises(UserError, match="the Hub says 000"):
        fetch(FILE)


def test_a_local_file_is_taken_as_it_is(tmp_path):
    file = tmp_path / "movies.pkl"
    file.write_bytes(CONTENT)
    assert fetch(str(file)) == FetchedFile(file, str(file), None, DIGEST)
    assert fetch(file, sha256=DIGEST.upper()).path == file


def test_a_file_is_hashed_once_until_it_changes(tmp_path, monkeypatch):
    monkeypatch.setenv("OPENRETINA_JAX_CACHE", str(tmp_path / "cache"))
    path = tmp_path / "movies.bin"
    path.write_bytes(CONTENT)
    assert fetch(path).sha256 == DIGEST
    with monkeypatch.context() as unreadable:
        unreadable.delattr(hashlib, "file_digest")
        assert fetch(path).sha256 == DIGEST
    path.write_bytes(CONTENT[::-1])
    os.utime(path, ns=(0, 0))
    assert fetch(path).sha256 == hashlib.sha256(CONTENT[::-1]).hexdigest()


def test_a_local_file_with_another_hash(tmp_path):
    file = tmp_path / "movies.pkl"
    file.write_bytes(CONTENT)
    with pytest.raises(UserError, match=f"has sha256 {DIGEST}, not 00"):
        fetch(file, sha256="0" * 64)


@pytest.mark.parametrize(("name", "found"), [("absent.pkl", "does not exist"), (".", "is a folder")])
def test_no_local_file(tmp_path, name, found):
    with pytest.raises(UserError, match=found) as raised:
        fetch(tmp_path / name)
    assert_names_three_ways_out(str(raised.value))


def zipped(file, members):
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members.items():
            member = zipfile.ZipInfo("member")
            member.filename, member.compress_type = name, zipfile.ZIP_DEFLATED  # zipfile itself writes no empty name
            with archive.open(member, "w") as stream:
                stream.write(content)
    return fetch(file)


def test_the_wanted_member_is_unpacked_below_the_cache(tmp_path):
    members = {"data/": b"", "data/r.h5": CONTENT, "README.txt": b"read me", "__MACOSX/data/._r.h5": b"resource fork"}
    archive = zipped(tmp_path / "responses.zip", members)
    path = unpacked(archive, (".h5", ".hdf5"), tmp_path / "cache")
    assert path.read_bytes() == CONTENT
    assert path.name == "r.h5"
    assert path.is_relative_to(tmp_path / "cache")
    assert [file for file in (tmp_path / "cache").rglob("*") if file.is_file()] == [path]


def test_an_unpacked_file_passes(tmp_path):
    (tmp_path / "r.H5").write_bytes(CONTENT)
    assert unpacked(fetch(tmp_path / "r.H5"), (".h5",), tmp_path / "cache") == tmp_path / "r.H5"
    assert not (tmp_path / "cache").exists()


def test_an_earlier_unpacking_is_reused_for_the_same_archive_only(tmp_path):
    first = zipped(tmp_path / "a.zip", {"r.h5": CONTENT})
    path = unpacked(first, (".h5",), tmp_path / "cache")
    written = path.stat().st_mtime_ns
    assert unpacked(first, (".h5",), tmp_path / "cache") == path
    assert path.stat().st_mtime_ns == written

    path.write_bytes(CONTENT[:5])
    assert unpacked(first, (".h5",), tmp_path / "cache").read_bytes() == CONTENT

    other = zipped(tmp_path / "a.zip", {"r.h5": b"other responses"})
    assert unpacked(other, (".h5",), tmp_path / "cache").read_bytes() == b"other responses"
    assert path.read_bytes() == CONTENT


@pytest.mark.parametrize("name", ["/etc/r.h5", "../r.h5", "data/../../r.h5", "..\\r.h5", "C:\\r.h5", ".", ""])
def test_members_outside_the_folder_are_refused(tmp_path, name):
    archive = zipped(tmp_path / "evil.zip", {name: CONTENT, "good.h5": CONTENT})
    with pytest.raises(UserError, match=r"evil\.zip: its member .* would be written outside"):
        unpacked(archive, (".h5",), tmp_path / "cache")
    assert not (tmp_path / "cache").exists()


def test_links_are_refused(tmp_path):
    link = zipfile.ZipInfo("r.h5")
    link.external_attr = 0o120777 << 16
    with zipfile.ZipFile(tmp_path / "evil.zip", "w") as archive:
        archive.writestr(link, "/etc/passwd")
    with pytest.raises(UserError, match="would be written outside"):
        unpacked(fetch(tmp_path / "evil.zip"), (".h5",), tmp_path / "cache")


def _cut(content):
    return content[: len(content) // 2]


def _flipped(content):
    middle = content.index(b"r.h5") + 10
    return content[:middle] + bytes([content[middle] ^ 0xFF]) + content[middle + 1 :]


def _encrypted(content):
    at = content.index(b"PK\x01\x02") + 8
    return content[:at] + b"\x01" + content[at + 1 :]


@pytest.mark.parametrize("damage", [_cut, _flipped, _encrypted, lambda _: b"not a zip"])
def test_damaged_archives_are_refused(tmp_path, damage):
    archive = zipped(tmp_path / "bad.zip", {"r.h5": bytes(range(256)) * 20})
    archive.path.write_bytes(damage(archive.path.read_bytes()))
    with pytest.raises(UserError, match=r"bad\.zip: is not a whole zip archive") as raised:
        unpacked(fetch(archive.path), (".h5",), tmp_path / "cache")
    assert "\n" not in str(raised.value)
    assert not [file for file in (tmp_path / "cache").rglob("*") if file.is_file()]


@pytest.mark.parametrize(
    ("members", "found"), [({"a.h5": b"", "b.h5": b""}, "a.h5, b.h5"), ({"a.txt": b""}, "none"), ({}, "none")]
)
def test_archives_need_exactly_one_wanted_file(tmp_path, members, found):
    archive = zipped(tmp_path / "responses.zip", members)
    with pytest.raises(UserError, match=f"exactly one file ending in .h5, but holds {found}"):
        unpacked(archive, (".h5",), tmp_path / "cache")


def test_a_full_disk_leaves_nothing_behind(tmp_path, monkeypatch):
    archive = zipped(tmp_path / "responses.zip", {"r.h5": CONTENT})
    monkeypatch.setattr("shutil.disk_usage", lambda _: type("Usage", (), {"free": 3}))
    with pytest.raises(UserError, match=r"needs 20 bytes, .* has 3\); check the disk"):
        unpacked(archive, (".h5",), tmp_path / "cache")
    assert not [file for file in (tmp_path / "cache").rglob("*") if file.is_file()]


def test_the_cache_folder_can_be_chosen(monkeypatch, tmp_path):
    monkeypatch.setenv("OPENRETINA_JAX_CACHE", str(tmp_path))
    assert cache_folder() == tmp_path
    monkeypatch.delenv("OPENRETINA_JAX_CACHE")
    assert cache_folder() == Path.home() / ".cache" / "openretina_jax"


DOWNLOADED = bytes(range(256)) * 40


@pytest.fixture
def web(monkeypatch: pytest.MonkeyPatch) -> Iterator:
    monkeypatch.setattr(module, "_PAUSE_S", 0.0)
    with serving({"data/movie one.npz": DOWNLOADED}) as server:
        server.address = f"{server.url}/data/movie%20one.npz?download=1"
        yield server


def kept(folder: Path) -> list[str]:
    return sorted(file.name for file in folder.rglob("*") if file.is_file() and file.suffix != ".lock")


def test_a_file_is_downloaded_once(web, tmp_path):
    path = download(web.address, tmp_path)
    assert (path.name, path.read_bytes()) == ("movie one.npz", DOWNLOADED)
    assert download(web.address, tmp_path) == path
    assert len(web.requested) == 1
    assert kept(tmp_path) == ["movie one.npz"]


def test_addresses_are_sources_of_files(web, cache):
    fetched = fetch(web.address)
    assert fetched.record == {
        "source": web.address,
        "revision": None,
        "sha256": hashlib.sha256(DOWNLOADED).hexdigest(),
    }


def test_an_interrupted_download_goes_on_where_it_stopped(web, tmp_path):
    web.broken["data/movie one.npz"] = 3000
    assert download(web.address, tmp_path).read_bytes() == DOWNLOADED
    assert [asked for _, _, asked in web.requested] == [None, "bytes=3000-"]
    assert kept(tmp_path) == ["movie one.npz"]


def test_a_file_that_changed_meanwhile_is_fetched_anew(web, tmp_path, monkeypatch):
    monkeypatch.setattr(module, "_ATTEMPTS", 1)
    web.broken["data/movie one.npz"] = 3000
    with pytest.raises(UserError, match=r"sent 3000 of 10240 bytes .the first 3000 bytes are kept"):
        download(web.address, tmp_path)
    assert kept(tmp_path) == ["movie one.npz.etag", "movie one.npz.part"]
    web.files["data/movie one.npz"] = DOWNLOADED[::-1]
    assert download(web.address, tmp_path).read_bytes() == DOWNLOADED[::-1]


def test_a_part_that_is_too_long_is_thrown_away(web, tmp_path):
    path = download(web.address, tmp_path)
    path.rename(path.with_name(f"{path.name}.part")).write_bytes(DOWNLOADED + b"more")
    path.with_name(f"{path.name}.etag").write_text(f'"{hashlib.sha256(DOWNLOADED).hexdigest()}"')
    assert download(web.address, tmp_path).read_bytes() == DOWNLOADED


@pytest.mark.parametrize(("status", "tries"), [(404, 1), (403, 1), (500, 3), (503, 3)])
def test_what_a_server_does_not_give(web, tmp_path, status, tries):
    web.failing["data/movie one.npz"] = status
    with pytest.raises(
        UserError, match=f"{web.url}/data.* cannot be fetched: .*{status}.*; check the address"
    ) as raised:
        download(web.address, tmp_path)
    assert "\n" not in str(raised.value)
    assert len(web.requested) == tries
    assert kept(tmp_path) == []


def test_no_server(tmp_path, monkeypatch):
    monkeypatch.setattr(module, "_PAUSE_S", 0.0)
    with serving({}) as server:
        address = f"{server.url}/movie.npz"
    with pytest.raises(UserError, match=r"cannot be fetched: .*refused"):
        download(address, tmp_path)


def test_a_full_disk(web, tmp_path, monkeypatch):
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(Path, "replace", full)
        with pytest.raises(UserError, match=r"cannot be written to .*: No space left on device; check the disk"):
            download(web.address, tmp_path)
    assert "movie one.npz" not in kept(tmp_path)
    assert download(web.address, tmp_path).read_bytes() == DOWNLOADED


@pytest.mark.parametrize(
    ("url", "source"),
    [
        ("https://huggingface.co/datasets/lab/retina/resolve/main/a/b.zip", HubFile("lab/retina", "a/b.zip")),
        ("https://huggingface.co/datasets/lab/retina/blob/v1/a%20b.h5", HubFile("lab/retina", "a b.h5", "v1")),
        ("https://huggingface.co/spaces/lab/eye/raw/main/a.npz?x=1", HubFile("lab/eye", "a.npz", repo_type="space")),
        ("https://huggingface.co/datasets/lab/retina/tree/main/a/b/", HubFolder("lab/retina", "a/b")),
        ("https://huggingface.co/lab/net/tree/main", HubFolder("lab/net", "", repo_type="model")),
        ("https://example.org/datasets/lab/retina/resolve/main/a.zip", None),
        ("https://huggingface.co/datasets/lab/retina", None),
    ],
)
def test_pages_of_the_hub_are_understood(url, source):
    assert hub_source(url, HubFolder) == source
