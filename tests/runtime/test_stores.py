"""Folders that are kept in an object store, and copies of what lies there."""

import importlib.util
import json
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path

import fsspec
import pytest

from openretina_jax.errors import UserError
from openretina_jax.runtime.files import address_of, check_local, check_writable, locked, whole_file, whole_folder
from openretina_jax.runtime.stores import CONTENTS, KeptFolder, Store, kept_folder, local_copy
from tests.stores import gcs, s3

RUN = "memory://runs/one"
FIRST = {"metrics.csv": "1", "checkpoints/1/state": "first", "checkpoints/1/about": "one"}
SECOND = {"metrics.csv": "1 2", "checkpoints/2/state": "second", "checkpoints/2/about": "two", "checkpoints/2/d/x": "-"}


@pytest.fixture(autouse=True)
def memory() -> Iterator[fsspec.AbstractFileSystem]:
    system = fsspec.filesystem("memory")
    yield system
    system.store.clear()
    system.pseudo_dirs[:] = [""]


def fill(folder: Path, files: dict[str, str]) -> None:
    """Make the files of a folder these."""
    for file in [*folder.rglob("*")]:
        if file.is_file():
            file.unlink()
    for name, text in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)


def texts(folder: Path) -> dict[str, str]:
    return {str(file.relative_to(folder)): file.read_text() for file in folder.rglob("*") if file.is_file()}


def stored(system: fsspec.AbstractFileSystem, address: str = RUN) -> dict[str, str]:
    """All files in a store but that of the contents, whole or not."""
    root = address.partition("://")[2]
    found = {path.partition(f"{root}/")[2]: system.cat_file(path).decode() for path in system.find(root)}
    return {name: text for name, text in found.items() if name != CONTENTS}


def test_addresses() -> None:
    assert address_of("s3://bucket/run") == address_of(Path("s3://bucket/run")) == "s3://bucket/run"
    for local in ("runs/one", "/runs/one", "~/one", "c:/runs", "runs/s3://x", ""):
        assert address_of(local) is None


@pytest.mark.parametrize("write", [check_local, check_writable, whole_file, whole_folder, locked])
def test_addresses_are_not_written_as_paths(write, tmp_path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError, match="gs://bucket/x is an address, but only runs can be there"):
        write(Path("gs://bucket/x")).__enter__()
    assert list(tmp_path.iterdir()) == []


def test_a_folder_comes_back_after_the_machine_is_lost(tmp_path: Path, memory: fsspec.AbstractFileSystem) -> None:
    with kept_folder(RUN, tmp_path / "one", 0) as kept:
        assert texts(kept.folder) == {}
        kept.claim()
        for files in (FIRST, SECOND):
            fill(kept.folder, files)
            (kept.folder / ".run.lock").touch()
            kept.keep()
            assert stored(memory) == files
    with kept_folder(RUN, tmp_path / "another", 0) as kept:
        assert kept.folder.name == "one"
        assert texts(kept.folder) == SECOND


def test_without_a_claim_nothing_is_written(tmp_path: Path, memory: fsspec.AbstractFileSystem) -> None:
    with kept_folder(RUN, tmp_path, 0) as kept:
        fill(kept.folder, FIRST)
    assert stored(memory) == {}
    assert not memory.exists(f"runs/one/{CONTENTS}")


class KilledError(Exception):
    """The machine is gone."""


@pytest.mark.parametrize("operations", range(10))
def test_a_machine_may_be_lost_at_any_moment(
    operations: int, tmp_path: Path, memory: fsspec.AbstractFileSystem, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What the store then holds is one of two whole states, and the next owner clears away what is left of another."""
    with kept_folder(RUN, tmp_path / "one", 0) as kept:
        kept.claim()
        fill(kept.folder, FIRST)
        kept.keep()
        fill(kept.folder, SECOND)
        left = iter(range(operations))

        def mortal(act: Callable[..., None]) -> Callable[..., None]:
            def one(*arguments: object, **options: object) -> None:
                if next(left, None) is None:
                    raise KilledError
                act(*arguments, **options)

            return one

        with monkeypatch.context() as patch:
            for name in ("pipe_file", "put_file", "rm_file"):
                patch.setattr(type(memory), name, mortal(getattr(type(memory), name)))
            if operations >= 8:  # two lists, four files, and two that are gone
                kept.keep()
            else:
                with pytest.raises(UserError) as caught:
                    kept.keep()
                assert isinstance(caught.value.__cause__, KilledError)
        kept._owner = None
    with kept_folder(RUN, tmp_path / "another", 0) as kept:
        found = texts(kept.folder)
        assert {name: found[name] for name in found if name != "metrics.csv"} in (
            {name: text for name, text in files.items() if name != "metrics.csv"} for files in (FIRST, SECOND)
        )
        assert found["metrics.csv"] in ("1", "1 2")
        assert texts(local_copy(RUN, tmp_path / "reader")) == found
        kept.claim()
        assert stored(memory) == found
        fill(kept.folder, SECOND)
        kept.keep()
        assert stored(memory) == SECOND


def test_a_folder_belongs_to_who_claimed_it_last(tmp_path: Path, memory: fsspec.AbstractFileSystem) -> None:
    first, second, third = (KeptFolder(Store(RUN), tmp_path / name) for name in "abc")
    for one in (first, second, third):
        fill(one.folder, FIRST)
    first.claim()
    first.keep()
    with pytest.raises(UserError, match="is being written by another run"):
        second.claim()
    later = KeptFolder(Store(RUN), tmp_path / "d")
    later.claim()
    fill(first.folder, SECOND)
    with pytest.raises(UserError, match="belongs to a run that began later; this one ends"):
        first.keep()
    assert "checkpoints/2/state" not in stored(memory)


def test_the_same_machine_does_not_open_it_twice(tmp_path: Path) -> None:
    with kept_folder(RUN, tmp_path, 0), pytest.raises(UserError, match="in use by another process"):
        kept_folder(RUN, tmp_path, 0).__enter__()


def test_copies(tmp_path: Path, memory: fsspec.AbstractFileSystem, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, text in FIRST.items():
        memory.pipe_file(f"/runs/one/{name}", text.encode())
    assert texts(local_copy(RUN, tmp_path)) == FIRST
    assert local_copy(f"{RUN}/metrics.csv", tmp_path).read_text() == "1"
    memory.pipe_file("/runs/one/metrics.csv", b"1 2")
    memory.rm_file("/runs/one/checkpoints/1/about")
    asked = []
    get = type(memory).get_file
    monkeypatch.setattr(
        type(memory), "get_file", lambda own, path, *to, **k: asked.append(path) or get(own, path, *to, **k)
    )
    assert texts(local_copy(RUN, tmp_path)) == {"metrics.csv": "1 2", "checkpoints/1/state": "first"}
    assert asked == ["/runs/one/metrics.csv"]
    local_copy(RUN, tmp_path)
    assert len(asked) == 1
    (tmp_path / "x").touch()
    assert local_copy(tmp_path / "x", tmp_path) == tmp_path / "x"


def test_a_folder_is_read_while_a_run_goes_on(
    tmp_path: Path, memory: fsspec.AbstractFileSystem, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The reader gets the state of before, or that of after."""
    kept = KeptFolder(Store(RUN), tmp_path / "run")
    fill(kept.folder, FIRST)
    kept.claim()
    kept.keep()
    find, times = type(memory).find, 0

    def meanwhile(*arguments: object, **options: object) -> object:
        nonlocal times
        times += 1
        if times == 1:
            fill(kept.folder, SECOND)
            kept.keep()
        return find(*arguments, **options)

    monkeypatch.setattr(type(memory), "find", meanwhile)
    assert texts(local_copy(RUN, tmp_path)) == SECOND
    assert times == 2
    memory.rm_file("/runs/one/metrics.csv")
    with pytest.raises(UserError, match=r"cannot be read \(not found: metrics.csv\)"):
        local_copy(RUN, tmp_path)


def test_copies_of_some_files(tmp_path: Path, memory: fsspec.AbstractFileSystem) -> None:
    for name in ("a.h5", "stimuli/b.npy", "c.avi"):
        memory.pipe_file(f"/data/{name}", name.encode())
    assert texts(local_copy("memory://data", tmp_path, ("*.npy",))).keys() == {"stimuli/b.npy"}
    assert texts(local_copy("memory://data", tmp_path, ("*.h5",))).keys() == {"a.h5", "stimuli/b.npy"}


def test_a_name_cannot_leave_the_folder(tmp_path: Path, memory: fsspec.AbstractFileSystem) -> None:
    memory.pipe_file("/data/../../x", b"")
    with pytest.raises(UserError, match=r'a file "../../x", which would be written outside'):
        local_copy("memory://data", tmp_path)


@pytest.mark.parametrize(
    ("address", "message"),
    [
        ("memory://nothing/here", "memory://nothing/here does not exist, or holds no files"),
        ("memory://", "names no folder; give one, as in memory://bucket/folder"),
        ("nix://bucket/x", "a store that cannot be reached: Protocol not known: nix"),
    ],
)
def test_wrong_addresses(address: str, message: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=message):
        local_copy(address, tmp_path)


@pytest.mark.parametrize(("scheme", "library"), [("s3", "s3fs"), ("gs", "gcsfs")])
def test_a_library_that_is_missing(scheme: str, library: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(UserError, match=rf'but {library} is not installed; run pip install -e "\.\[cloud\]"'):
        local_copy(f"{scheme}://bucket/run", tmp_path)


def test_contents_of_something_else(tmp_path: Path, memory: fsspec.AbstractFileSystem) -> None:
    memory.pipe_file(f"/runs/one/{CONTENTS}", json.dumps([1]).encode())
    with pytest.raises(UserError, match=rf"{CONTENTS} is not of a run .*; delete it"):
        local_copy(RUN, tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize("opened", [s3, gcs])
def test_stores_that_are_asked_over_the_network(
    opened: Callable[[], AbstractContextManager[str]], tmp_path: Path
) -> None:
    with opened() as bucket:
        address, scheme = f"{bucket}/runs/one", bucket.partition("://")[0]
        system = fsspec.filesystem(scheme, use_listings_cache=False)
        with kept_folder(address, tmp_path / "one", 0) as kept:
            kept.store.check_writable()
            kept.claim()
            for files in (FIRST, SECOND):
                fill(kept.folder, files)
                kept.keep()
                assert stored(system, address) == files
        with kept_folder(address, tmp_path / "another", 0) as kept:
            assert texts(kept.folder) == SECOND
        assert local_copy(f"{address}/metrics.csv", tmp_path).read_text() == SECOND["metrics.csv"]
        with pytest.raises(UserError, match="none does not exist, or holds no files"):
            local_copy(f"{bucket}/none", tmp_path)
        with pytest.raises(UserError, match=r"cannot be read \(not found: "):
            local_copy(f"{scheme}://no-such-bucket/x", tmp_path)
        with pytest.raises(UserError, match="no-such-bucket"), kept_folder(f"{scheme}://no-such-bucket", tmp_path, 0):
            pass


@pytest.mark.slow
def test_credentials_are_missing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with s3() as bucket:
        for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
            monkeypatch.delenv(name)
        monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
        for name in ("AWS_SHARED_CREDENTIALS_FILE", "AWS_CONFIG_FILE"):
            monkeypatch.setenv(name, str(tmp_path / "none"))
        with pytest.raises(UserError, match=r"cannot be read \(.*credentials"):
            local_copy(f"{bucket}/runs/one", tmp_path)


def test_what_is_not_permitted(tmp_path: Path, memory: fsspec.AbstractFileSystem, monkeypatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise PermissionError("Access Denied")

    monkeypatch.setattr(type(memory), "pipe_file", refuse)
    with (
        kept_folder(RUN, tmp_path, 0) as kept,
        pytest.raises(UserError, match=rf"{RUN} cannot be written \(Access Denied\); look at the address, the cred"),
    ):
        kept.store.check_writable()
