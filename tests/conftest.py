"""Settings of all tests."""

import gc
import importlib
import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import xdist

import tests.checked  # noqa: F401 - by which jaxtyping checks the package
from tests import kept
from tests.kept import COMPILED, with_programs

HURRY = "--xla_cpu_use_fusion_emitters=false --xla_cpu_parallel_codegen_split_count=1"
LIBRARIES = (
    "beartype.door",
    "flax.nnx",
    "grain",
    "h5py",
    "huggingface_hub",
    "hypothesis",
    "matplotlib.figure",
    "ml_collections.config_flags",
    "optax",
    "optuna",
    "orbax.checkpoint",
    "pandas",
    "rich.live",
    "scipy.optimize",
    "scipy.signal",
    "scipy.stats",
    "tensorboardX",
)


def pytest_configure(config: pytest.Config) -> None:
    """Refuse implicit promotion of types and compile in a hurry, in the scripts that tests start too.

    Most of the time goes into compiling programs that run once, and half of that into the passes behind XLA's fusion
    emitters on CPUs; a third of the rest is saved if the small programs are not split for 32 threads. Where a program
    comes from need not be written down either.

    Nothing is compiled twice: programs are kept for other processes and the next run of the tests. They are found by
    their instructions, and by flags and version of the compiler, so that one that a change of the package changes is
    compiled. So are recordings, which are found by the code that simulates them (``tests/kept.py``), and bytecode,
    which some environments forbid to keep images small.
    """
    if not hasattr(config, "workerinput"):
        kept.drop_old()
    os.environ["JAX_COMPILATION_CACHE_DIR"] = str(COMPILED)
    os.environ["JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS"] = "0"
    os.environ["JAX_PERSISTENT_CACHE_ENABLE_XLA_CACHES"] = "none"  # else the folder's name were among the flags
    sys.dont_write_bytecode = False
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
    if HURRY not in os.environ.get("XLA_FLAGS", ""):
        os.environ["XLA_FLAGS"] = f"{os.environ.get('XLA_FLAGS', '')} {HURRY}"
    os.environ["JAX_NUMPY_DTYPE_PROMOTION"] = "strict"
    os.environ["JAX_DISABLE_MOST_OPTIMIZATIONS"] = "true"
    os.environ["JAX_TRACEBACK_IN_LOCATIONS_LIMIT"] = "0"
    os.environ["JAX_NUM_CPU_DEVICES"] = "1"  # of scripts, too: their programs are those of the tests
    os.environ["OMP_NUM_THREADS"] = "1"  # products of NumPy: threads of workers would wait for each other


def pytest_sessionstart(session: pytest.Session) -> None:
    """Import libraries before the package: below its import hook, that of jaxtyping, they would be compiled anew."""
    if xdist.is_xdist_controller(session):
        return
    gc.disable()
    for library in LIBRARIES:
        importlib.import_module(library)
    if session.config.getoption("markexpr") == "not slow":
        from hypothesis import settings

        settings.register_profile("quick", max_examples=20)
        settings.load_profile("quick")


def pytest_collection_finish() -> None:
    """Look for garbage among what tests leave, no longer in all that was imported."""
    gc.freeze()
    gc.set_threshold(20_000)  # a traced program has so many objects, and hardly one of them is garbage
    gc.enable()


@pytest.fixture(scope="session")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder that all processes of this run of pytest have in common."""
    folder = tmp_path_factory.getbasetemp()
    return folder.parent if "PYTEST_XDIST_WORKER" in os.environ else folder


@pytest.fixture(scope="session")
def simulated() -> Path:
    """Simulated recordings that all tests share, of this run and the next; nobody may change them."""
    return kept.simulated()


@pytest.fixture(scope="module", autouse=True)
def cache_of_module(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """The cache of the tests, which is never that of the user; no programs of other modules are kept."""
    folder = with_programs(tmp_path_factory.mktemp("cache"))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("OPENRETINA_JAX_CACHE", str(folder))
        yield
    import jax  # after its settings above
    from jax.experimental.compilation_cache import compilation_cache

    from openretina_jax.runtime import programs

    programs.forget()
    if jax.config.jax_compilation_cache_dir != str(COMPILED):  # a run of training has set it
        jax.config.update("jax_compilation_cache_dir", str(COMPILED))
        compilation_cache.reset_cache()
    # traced programs live on, gigabytes at the end, which no later collection need look through; what of it is garbage
    # stays, too: a twentieth, and looking for it would take ten seconds
    gc.freeze()


@pytest.fixture(scope="module")
def optimized() -> Iterator[None]:
    """Programs of tests that train for seconds are optimised: these take half as long, and no longer with compilation.

    Wanted by one test of a module, it holds until the end of the module.
    """
    import jax

    jax.config.update("jax_disable_most_optimizations", False)
    yield
    jax.config.update("jax_disable_most_optimizations", True)


@pytest.fixture(scope="module")
def blank_pictures() -> Iterator[None]:
    """Pictures that runs make stay blank, which take seconds; tests/visualize draws them."""
    from matplotlib.figure import Figure

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Figure, "draw", lambda figure, renderer: None)
        yield


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A cache in which nothing is yet."""
    monkeypatch.setenv("OPENRETINA_JAX_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture(autouse=True)
def forgotten_kinds() -> Iterator[None]:
    """Forget what a test registers when it ends, in all registries; what the package registers meanwhile stays."""
    from openretina_jax.runtime.registry import Registry

    enter = Registry.__call__

    def register(registry: Registry, kind: str) -> Callable[[Any], Any]:
        def keep(maker: Any) -> Any:
            if not maker.__module__.startswith("openretina_jax."):
                patch.setitem(registry._makers, kind, maker)
            return enter(registry, kind)(maker)

        return keep

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Registry, "__call__", register)
        yield
