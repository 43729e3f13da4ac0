import errno
import hashlib
from collections.abc import Iterator
from pathlib import Path

import pytest

from openretina_jax.errors import UserError
from openretina_jax.runtime import fetch as module
from openretina_jax.runtime.fetch import HubFile, download, fetch, hub_source
from openretina_jax.sources.folders import HubFolder
from tests.runtime.web import serving

CONTENT = bytes(range(256)) * 40


@pytest.fixture
def web(monkeypatch: pytest.MonkeyPatch) -> Iterator:
    monkeypatch.setattr(module, "_PAUSE_S", 0.0)
    with serving({"data/movie one.npz": CONTENT}) as server:
        server.address = f"{server.url}/data/movie%20one.npz?download=1"
        yield server


def left(folder: Path) -> list[str]:
    return sorted(file.name for file in folder.rglob("*") if file.is_file() and file.suffix != ".lock")


def test_a_file_is_downloaded_once(web, tmp_path):
    path = download(web.address, tmp_path)
    assert (path.name, path.read_bytes()) == ("movie one.npz", CONTENT)
    assert download(web.address, tmp_path) == path
    assert len(web.requested) == 1
    assert left(tmp_path) == ["movie one.npz"]


def test_addresses_are_sources_of_files(web, cache):
    fetched = fetch(web.address)
    assert fetched.record == {
        "source": web.address,
        "revision": None,
        "sha256": hashlib.sha256(CONTENT).hexdigest(),
    }


def test_an_interrupted_download_goes_on_where_it_stopped(web, tmp_path):
    web.broken["data/movie one.npz"] = 3000
    assert download(web.address, tmp_path).read_bytes() == CONTENT
    assert [asked for _, _, asked in web.requested] == [None, "bytes=3000-"]
    assert left(tmp_path) == ["movie one.npz"]


def test_a_file_that_changed_meanwhile_is_fetched_anew(web, tmp_path, monkeypatch):
    monkeypatch.setattr(module, "_ATTEMPTS", 1)
    web.broken["data/movie one.npz"] = 3000
    with pytest.raises(UserError, match=r"sent 3000 of 10240 bytes .the first 3000 bytes are kept"):
        download(web.address, tmp_path)
    assert left(tmp_path) == ["movie one.npz.etag", "movie one.npz.part"]
    web.files["data/movie one.npz"] = CONTENT[::-1]
    assert download(web.address, tmp_path).read_bytes() == CONTENT[::-1]


def test_a_part_that_is_too_long_is_thrown_away(web, tmp_path):
    path = download(web.address, tmp_path)
    path.rename(path.with_name(f"{path.name}.part")).write_bytes(CONTENT + b"more")
    path.with_name(f"{path.name}.etag").write_text(f'"{hashlib.sha256(CONTENT).hexdigest()}"')
    assert download(web.address, tmp_path).read_bytes() == CONTENT


@pytest.mark.parametrize(("status", "tries"), [(404, 1), (403, 1), (500, 3), (503, 3)])
def test_what_a_server_does_not_give(web, tmp_path, status, tries):
    web.failing["data/movie one.npz"] = status
    with pytest.raises(
        UserError, match=f"{web.url}/data.* cannot be fetched: .*{status}.*; check the address"
    ) as raised:
        download(web.address, tmp_path)
    assert "\n" not in str(raised.value)
    assert len(web.requested) == tries
    assert left(tmp_path) == []


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
    assert "movie one.npz" not in left(tmp_path)
    assert download(web.address, tmp_path).read_bytes() == CONTENT


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
