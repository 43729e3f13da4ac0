"""Files and folders that are there as a whole or not at all."""

import os
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import pytest

from openretina_jax.errors import UserError
from openretina_jax.runtime import files
from openretina_jax.runtime.files import check_writable, whole_file, whole_folder

NAMES = ("a", "b", "c")  # of files in a folder


def write(path: Path, text: str, *, folder: bool) -> None:
    with opened(path, folder) as place:
        fill(place, text)


def opened(path: Path, folder: bool) -> AbstractContextManager[Any]:
    return whole_folder(path) if folder else whole_file(path)


def fill(place: Any, text: str) -> None:
    if not isinstance(place, Path):
        place.write(text.encode())
        return
    for name in NAMES:
        (place / name).write_text(text)


def contents(path: Path) -> set[str]:
    return {(path / name).read_text() for name in NAMES} if path.is_dir() else {path.read_text(encoding="utf-8")}


@pytest.mark.parametrize("folder", [False, True])
def test_it_appears_when_it_is_complete(folder: bool, tmp_path: Path) -> None:
    path = tmp_path / "new" / "out"
    for text in ("first", "second"):
        with opened(path, folder) as place:
            fill(place, text)
            assert not path.exists() or contents(path) == {"first"}
        assert contents(path) == {text}
    assert list(path.parent.iterdir()) == [path]


@pytest.mark.parametrize("folder", [False, True])
def test_a_failure_leaves_what_was_there(folder: bool, tmp_path: Path) -> None:
    path = tmp_path / "out"
    write(path, "old", folder=folder)

    def fail(error: Exception) -> None:
        with opened(path, folder) as place:
            fill(place, "new")
            raise error

    with pytest.raises(RuntimeError):
        fail(RuntimeError())
    with pytest.raises(UserError, match=r"out cannot be written \(No space left on device\); check the folder and"):
        fail(OSError(28, "No space left on device"))
    assert contents(path) == {"old"}
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("whole", [whole_file, whole_folder])
def test_the_disk_must_have_room(whole: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("shutil.disk_usage", lambda _: type("Usage", (), {"free": 3}))
    with (
        pytest.raises(UserError, match=r"out cannot be written \(it needs 4 bytes, .* has 3\); buy another disk"),
        whole(tmp_path / "out", 4, remedy="buy another disk"),
    ):
        raise AssertionError
    with whole(tmp_path / "out", 3):
        pass
    assert [file.name for file in tmp_path.iterdir()] == ["out"]


@pytest.mark.parametrize("folder", [False, True])
def test_several_writers_of_the_same(folder: bool, tmp_path: Path) -> None:
    ready = threading.Barrier(4)

    def write_often(number: int) -> None:
        ready.wait()
        for _ in range(20):
            write(tmp_path / "out", f"text of {number}", folder=folder)

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(write_often, range(4)))
    assert len(contents(tmp_path / "out")) == 1
    assert [file.name for file in tmp_path.iterdir()] == ["out"]


def test_another_process_puts_its_folder_there_between_two_moves(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rename, others = Path.replace, []

    def after_the_other(source: Path, target: Path) -> Path:
        if target == tmp_path / "out" and not others:
            target.mkdir()
            others.append(target / "other")
            others[0].touch()
        return rename(source, target)

    monkeypatch.setattr(Path, "replace", after_the_other)
    write(tmp_path / "out", "ours", folder=True)
    assert contents(tmp_path / "out") == {"ours"}
    assert sorted(os.listdir(tmp_path / "out")) == sorted(NAMES)


def test_a_folder_is_tried_before_it_is_written(tmp_path: Path) -> None:
    write(tmp_path / "out", "old", folder=True)
    check_writable(tmp_path / "out")
    assert contents(tmp_path / "out") == {"old"}
    assert list(tmp_path.iterdir()) == [tmp_path / "out"]
    with pytest.raises(UserError, match=r"new cannot be written \(File exists\); give another"):
        check_writable(tmp_path / "out" / "a" / "new", remedy="give another")


@pytest.mark.parametrize("name", ["run", "Zürich 網膜", "run [a-z]", "what?", "a*b", os.fsdecode(b"run_\xe9")])
def test_folders_that_libraries_take_for_others(name: str, tmp_path: Path) -> None:
    folder = files.plain_folder(tmp_path / name)
    str(folder).encode()
    assert not set("*?[") & set(str(folder))
    assert (folder == tmp_path / name) == (name in ("run", "Zürich 網膜"))
    folder.mkdir(exist_ok=True)
    (folder / "file").touch()
    assert (tmp_path / name / "file").exists()


def test_leftovers_of_dead_processes_are_removed(tmp_path):
    dead = subprocess.Popen([sys.executable, "-c", ""])
    dead.wait()
    machine = files._machine()
    names = {
        f".{'0' * 32}.{machine}.{dead.pid}.part": False,
        f".{'1' * 32}.{machine}.{os.getpid()}.part": True,
        f".{'2' * 32}.another-machine.{dead.pid}.part": True,
        f".mine.{machine}.{dead.pid}.part": True,
    }
    for name in names:
        (tmp_path / name).mkdir()
        (tmp_path / name / "half").write_bytes(b"a")
    with files.whole_file(tmp_path / "whole") as stream:
        stream.write(b"b")
    assert {name: (tmp_path / name).exists() for name in names} == names


def test_a_lock_that_another_process_has_is_refused(tmp_path):
    refused = pytest.raises(UserError, match="run is in use by another process; stop it")
    again = files.locked(tmp_path / "run", wait=False, remedy="stop it")
    with files.locked(tmp_path / "run"), refused, again:
        raise AssertionError
    with files.locked(tmp_path / "run", wait=False):
        pass
