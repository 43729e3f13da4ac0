import hashlib
import io
import zipfile
from collections.abc import Iterator
from pathlib import Path

import huggingface_hub.constants
import pytest

from openretina_jax.errors import UserError
from openretina_jax.runtime.fetch import HubFile, fetch
from openretina_jax.sources.folders import HubFolder, fetch_folder, unpacked_folder
from tests.runtime.web import COMMIT, REPOSITORY, serving, use_as_hub

FILES = {"mouse_1.h5": b"first recording" * 100, "sub/mouse_2.h5": b"second", "axolotl_1.h5": b"other"}


def zipped(members: dict[str, bytes]) -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return stream.getvalue()


def contents(folder: Path) -> dict[str, bytes]:
    return {str(file.relative_to(folder)): file.read_bytes() for file in sorted(folder.rglob("*")) if file.is_file()}


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator:
    files = {f"goldin/{name}": content for name, content in FILES.items()}
    with serving(files | {"goldin_else/x.h5": b"", "readme.md": b"all data"}) as server:
        use_as_hub(monkeypatch, server.url, str(tmp_path / "hub"))
        yield server


FOLDER = HubFolder(REPOSITORY, "goldin")


def written(folder: Path, files: dict[str, bytes]) -> Path:
    for name, content in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)
    return folder


def test_a_folder_of_the_hub_is_fetched_once_and_its_commit_recorded(hub, tmp_path):
    fetched = fetch_folder(FOLDER)
    assert contents(fetched.path) == FILES
    assert (fetched.source, fetched.revision) == (f"hf://datasets/{REPOSITORY}/goldin", COMMIT)
    local = fetch_folder(written(tmp_path / "own", FILES))
    assert fetched.record == local.record | {"source": fetched.source, "revision": COMMIT}
    assert local.record["files"] == 3
    n_files = sum(name.endswith(".h5") for _, name, _ in hub.requested)
    assert fetch_folder(HubFolder(REPOSITORY, "goldin", revision=COMMIT)) == fetched
    assert sum(name.endswith(".h5") for _, name, _ in hub.requested) == n_files


def test_a_part_of_a_folder(hub):
    fetched = fetch_folder(FOLDER, ("*mouse*",))
    assert contents(fetched.path).keys() == {"mouse_1.h5", "sub/mouse_2.h5"}
    assert not [name for _, name, _ in hub.requested if "axolotl" in name]


def test_what_is_cached_needs_no_network(hub, monkeypatch):
    fetched = fetch_folder(FOLDER)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    n_requests = len(hub.requested)
    assert fetch_folder(FOLDER) == fetched
    assert len(hub.requested) == n_requests


def test_half_a_folder_is_not_taken_for_a_whole_one(hub, monkeypatch):
    fetch_folder(FOLDER, ("mouse_1.h5",))
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    with pytest.raises(UserError, match=r"goldin of lab/retina .* cannot be fetched: .*") as raised:
        fetch_folder(FOLDER)
    assert "\n" not in str(raised.value)
    assert fetch_folder(FOLDER, ("mouse_1.h5",)).record["files"] == 1


@pytest.mark.parametrize("status", [404, 500])
def test_a_file_that_the_hub_does_not_give(hub, status, monkeypatch):
    monkeypatch.setattr("time.sleep", lambda _: None)  # the library tries again, later and later
    hub.failing["goldin/sub/mouse_2.h5"] = status
    with pytest.raises(UserError, match=r"goldin of lab/retina .* cannot be fetched: .*; connect") as raised:
        fetch_folder(FOLDER)
    assert "\n" not in str(raised.value)
    del hub.failing["goldin/sub/mouse_2.h5"]
    n_first = sum("mouse_1" in name and method == "GET" for method, name, _ in hub.requested)
    assert contents(fetch_folder(FOLDER).path) == FILES
    assert sum("mouse_1" in name and method == "GET" for method, name, _ in hub.requested) == max(n_first, 1)


def test_half_a_file_is_not_taken_for_a_whole_one(hub, monkeypatch):
    monkeypatch.setattr("time.sleep", lambda _: None)
    hub.broken["goldin/mouse_1.h5"] = 700
    assert contents(fetch_folder(FOLDER).path) == FILES
    assert sum(method == "GET" and name.endswith("mouse_1.h5") for method, name, _ in hub.requested) == 2


def test_a_file_that_was_cut_later_is_noticed(hub):
    cut = fetch_folder(FOLDER).path / "mouse_1.h5"
    cut.write_bytes(FILES["mouse_1.h5"][:700])
    with pytest.raises(UserError, match=r"mouse_1\.h5: has 700 bytes, the Hub says 1500; .* delete .* fetch it again"):
        fetch_folder(FOLDER)


def test_a_damaged_file_is_noticed(hub):
    hub.said["goldin/mouse_1.h5"] = "0" * 64
    with pytest.raises(UserError, match=r"mouse_1\.h5: has sha256 .*, the Hub says 000"):
        fetch_folder(FOLDER)


@pytest.mark.parametrize(
    "folder",
    [HubFolder(REPOSITORY, "gold"), HubFolder("lab/absent", "goldin"), HubFile(REPOSITORY, "absent.zip")],
)
def test_folders_that_the_hub_does_not_have(hub, folder):
    with pytest.raises(UserError, match=f"{folder.path}.*--config.data.path=.*:simulated") as raised:
        fetch_folder(folder)
    assert "\n" not in str(raised.value)


def test_an_archive_of_the_hub_is_a_folder(hub, cache):
    members = {"code/": b"", "code/data/r.h5": b"responses", "code/s.h5": b"stimulus", "__MACOSX/code/._s.h5": b"fork"}
    hub.files["lab/code.zip"] = zipped(members)
    fetched = fetch_folder(HubFile(REPOSITORY, "lab/code.zip", revision=COMMIT))
    assert contents(fetched.path) == {"data/r.h5": b"responses", "s.h5": b"stimulus"}
    assert fetched.path.is_relative_to(cache / "unpacked")
    assert fetched.record["sha256"] == hashlib.sha256(hub.files["lab/code.zip"]).hexdigest()


def test_an_archive_at_an_address(hub):
    hub.files["code.zip"] = zipped({"r.h5": b"responses", "s/s.h5": b"stimulus"})
    fetched = fetch_folder(f"{hub.url}/code.zip")
    assert contents(fetched.path) == {"r.h5": b"responses", "s/s.h5": b"stimulus"}
    assert fetched.source == f"{hub.url}/code.zip"


def test_archives_inside_a_folder_become_folders_and_stay_where_they_are(tmp_path):
    files = {
        "note.txt": b"a note",
        "a/mouse_1.zip": zipped({"mouse_1/s.mat": b"1", "mouse_1/deep/r.mat": b"2"}),
        "mouse_2.ZIP": zipped({"s.mat": b"3", "r.mat": b"4"}),
        "mouse_3.zip": zipped({"mouse_3.h5": b"5"}),
    }
    folder = written(tmp_path / "sessions", files)
    fetched = fetch_folder(folder)
    expected = {"note.txt": b"a note", "a/mouse_1/s.mat": b"1", "a/mouse_1/deep/r.mat": b"2"}
    expected |= {"mouse_2/s.mat": b"3", "mouse_2/r.mat": b"4", "mouse_3.h5": b"5"}
    assert contents(fetched.path) == expected
    assert contents(folder) == files
    written_at = {file: file.lstat().st_mtime_ns for file in fetched.path.rglob("*")}
    again = fetch_folder(folder)
    assert again == fetched
    assert {file: file.lstat().st_mtime_ns for file in again.path.rglob("*")} == written_at


def test_a_folder_without_archives_is_taken_as_it_is(tmp_path, cache):
    folder = written(tmp_path / "own", FILES | {".hidden/x": b"", ".DS_Store": b""})
    assert fetch_folder(str(folder)).path == folder
    assert fetch_folder(folder).record["files"] == 3
    assert not (cache / "unpacked").exists()


def test_a_changed_file_changes_the_record(tmp_path):
    folder = written(tmp_path / "own", FILES)
    before = fetch_folder(folder).record
    (folder / "mouse_1.h5").write_bytes(b"another recording")
    assert fetch_folder(folder).record["sha256"] != before["sha256"]


def test_an_earlier_unpacking_is_reused_if_it_is_whole(tmp_path):
    (tmp_path / "a.zip").write_bytes(zipped({"r.h5": b"responses", "s.h5": b"stimulus"}))
    folder = unpacked_folder(fetch(tmp_path / "a.zip"))
    written_at = (folder / "r.h5").stat().st_mtime_ns
    assert unpacked_folder(fetch(tmp_path / "a.zip")) == folder
    assert (folder / "r.h5").stat().st_mtime_ns == written_at
    (folder / "s.h5").write_bytes(b"cut")
    assert contents(unpacked_folder(fetch(tmp_path / "a.zip"))) == {"r.h5": b"responses", "s.h5": b"stimulus"}


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (zipped({"r.h5": b"x" * 5000})[:60], "is not a whole zip archive"),
        (zipped({"../r.h5": b"x"}), "would be written outside"),
    ],
    ids=["cut", "outside"],
)
def test_bad_archives_leave_nothing_behind(tmp_path, cache, content, said):
    (tmp_path / "bad.zip").write_bytes(content)
    with pytest.raises(UserError, match=rf"bad\.zip: .*{said}") as raised:
        fetch_folder(tmp_path / "bad.zip")
    assert "\n" not in str(raised.value)
    assert not list(cache.rglob("*.h5"))


def test_a_full_disk_leaves_nothing_behind(tmp_path, cache, monkeypatch):
    (tmp_path / "a.zip").write_bytes(zipped({"r.h5": b"responses", "s.h5": b"stimulus"}))
    monkeypatch.setattr("shutil.disk_usage", lambda _: type("Usage", (), {"free": 12}))
    with pytest.raises(UserError, match=r"needs 17 bytes, .* has 12\); check the disk"):
        fetch_folder(tmp_path / "a.zip")
    assert not list(cache.rglob("*.h5"))


@pytest.mark.parametrize(("name", "said"), [("absent", "there is no such folder"), ("empty", "holds no files")])
def test_no_local_folder(tmp_path, name, said):
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserError, match=rf"{name}: {said}.*:simulated"):
        fetch_folder(tmp_path / name)
