"""Simulated recordings in the cache folder."""

import shutil
import threading
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from threadpoolctl import threadpool_info, threadpool_limits

from openretina_jax import simulation
from openretina_jax.errors import UserError
from openretina_jax.simulation.cache import modules_of, simulate, simulated_files, simulator, simulator_names

FOLDER = Path(simulation.__path__[0])
TINY = {"n_sessions": 1, "clips": 2, "clip_length": 3, "neurons_per_session": 2, "n_repeats": 2}


def test_two_that_ask_at_once_get_the_files_of_one_simulation(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    written = []

    def simulate(folder: Path, config: object, progress: object) -> dict[str, Path]:
        written.append(folder)
        time.sleep(0.2)  # the other one asks meanwhile
        (folder / "file").write_text("recordings")
        return {"path": folder / "file"}

    monkeypatch.setattr(simulator("hdf5"), "simulate", simulate)
    ready = threading.Barrier(2)

    def ask(_: int) -> dict[str, str]:
        ready.wait()
        return simulated_files("hdf5", {}, tmp_path)

    with ThreadPoolExecutor(2) as pool:
        first, second = pool.map(ask, range(2))
    assert first == second
    assert Path(first["path"]).read_text(encoding="utf-8") == "recordings"
    assert len(written) == 1


def test_products_have_one_thread_while_recordings_are_simulated(tmp_path: Path) -> None:
    """Their last digits so depend on the processor alone, and not on how many cores it has."""

    def threads() -> set[int]:
        return {pool["num_threads"] for pool in threadpool_info() if pool["user_api"] == "blas"}

    meanwhile = []
    with threadpool_limits(2, "blas"):
        simulate("hdf5", tmp_path, TINY, progress=lambda *_: meanwhile.append(threads()))
        assert threads() == {2}
    assert meanwhile
    assert all(number == {1} for number in meanwhile)


@pytest.mark.parametrize(
    ("name", "others"),
    [
        ("hdf5", ["spiking", "truth", "writing"]),
        ("karamanlis_2024", ["scenes", "spiking", "writing"]),
        ("hoefling_2024", ["imaging", "movies", "retina", "scenes", "truth", "writing"]),
    ],
)
def test_a_simulator_depends_on_the_modules_that_it_uses(name: str, others: Sequence[str]) -> None:
    own = FOLDER / "publications" / f"{name}.py"
    assert modules_of(own) == sorted([own, *(FOLDER / f"{other}.py" for other in others)])


def test_every_simulator_uses_others() -> None:
    for name in simulator_names():
        assert FOLDER / "writing.py" in modules_of(FOLDER / "publications" / f"{name}.py")


def test_files_are_simulated_again_if_their_own_simulator_changes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    copy = Path(shutil.copytree(FOLDER, tmp_path / "simulation"))
    monkeypatch.setattr(simulation, "__path__", [str(copy)])
    monkeypatch.setattr(simulator("hdf5"), "__file__", str(copy / "publications" / "hdf5.py"))

    def files_after_a_change_of(module: str) -> str:
        with (copy / module).open("a") as file:
            file.write("# another version\n")
        return simulated_files("hdf5", TINY, tmp_path / "cache")["path"]

    first = simulated_files("hdf5", TINY, tmp_path / "cache")["path"]
    assert files_after_a_change_of("publications/hoefling_2024.py") == first
    assert files_after_a_change_of("retina.py") == first
    second = files_after_a_change_of("publications/hdf5.py")
    assert second != first
    assert files_after_a_change_of("spiking.py") not in (first, second)


def test_options_without_a_value_are_those_of_the_simulator(tmp_path: Path) -> None:
    assert simulated_files("hdf5", {**TINY, "trials": None}, tmp_path) == simulated_files("hdf5", TINY, tmp_path)


@pytest.mark.parametrize(
    ("name", "options", "texts", "said"),
    [
        ("hdf", {}, [], 'files of "hdf" cannot be simulated; did you mean "hdf5"'),
        ("hdf5", {"clip": 2}, [], 'simulation of "hdf5" has no option "clip"; did you mean "clips"'),
        ("hdf5", {}, ["clip=2"], 'simulation of "hdf5" has no option "clip"; did you mean "clips"'),
        ("hdf5", {}, ["clips=two"], "--set=clips=two: invalid literal for int"),
        ("hdf5", {"clips": 0}, [], "clips is 0; it must be at least 1"),
    ],
)
def test_mistakes_are_one_line(tmp_path: Path, name: str, options: dict[str, int], texts: list[str], said: str) -> None:
    with pytest.raises(UserError) as error:
        simulate(name, tmp_path, options, texts)
    assert said in str(error.value)


@pytest.mark.parametrize("content", [b"", b'{"pa', b"[]", None])
def test_simulations_that_changed_are_made_again(tmp_path: Path, content: bytes | None) -> None:
    path = Path(simulated_files("hdf5", TINY, tmp_path)["path"])
    before = {file: file.read_bytes() for file in path.rglob("*") if file.is_file()}
    if content is None:
        next(path.rglob("*.npy")).write_bytes(b"another movie")
    else:
        next(tmp_path.rglob("files.json")).write_bytes(content)
    assert simulated_files("hdf5", TINY, tmp_path)["path"] == str(path)
    for file, saved in before.items():
        if file.suffix == ".npy":
            assert file.read_bytes() == saved
