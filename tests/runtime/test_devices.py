"""Cores as devices: as many as the process may use, unless the user has chosen."""

import os
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from openretina_jax.runtime import devices

ASK = "from openretina_jax.runtime import devices; devices.use_cores(); import jax; print(len(jax.devices()))"


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """A machine of eight cores with two threads each; returns the file with the limit of its container."""
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(16)), raising=False)
    monkeypatch.setattr(psutil, "cpu_count", lambda logical: 16 if logical else 8)
    monkeypatch.setattr(devices, "_CPU_LIMIT", tmp_path / "cpu.max")
    return tmp_path / "cpu.max"


def test_threads_of_a_core_count_once(machine: Path) -> None:
    assert not machine.exists()
    assert devices.n_cores() == 8


@pytest.mark.parametrize(
    ("limit", "cores"), [("max 100000", 8), ("300000 100000", 3), ("150000 100000", 1), ("50000 100000", 1)]
)
def test_containers_have_fewer(machine: Path, limit: str, cores: int) -> None:
    machine.write_text(f"{limit}\n", encoding="ascii")
    assert devices.n_cores() == cores


def test_jobs_that_are_bound_to_cores_have_these(machine: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {3, 5}, raising=False)
    assert devices.n_cores() == 2


def test_systems_that_do_not_tell_affinity(machine: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(os, "sched_getaffinity", raising=False)
    monkeypatch.setattr(os, "cpu_count", lambda: 4)
    monkeypatch.setattr(psutil, "cpu_count", lambda logical: None)
    assert devices.n_cores() == 4


@pytest.mark.parametrize("chosen", [{}, {"JAX_NUM_CPU_DEVICES": "3"}, {"XLA_FLAGS": "5"}])
@pytest.mark.slow
def test_a_process_has_a_device_for_each_core(chosen: dict[str, str]) -> None:
    environment = {name: value for name, value in os.environ.items() if name != "JAX_NUM_CPU_DEVICES"}
    environment |= {
        name: f"--xla_force_host_platform_device_count={value}" if name == "XLA_FLAGS" else value
        for name, value in chosen.items()
    }
    told = subprocess.run([sys.executable, "-c", ASK], check=True, capture_output=True, text=True, env=environment)
    assert int(told.stdout) == int(next(iter(chosen.values()), devices.n_cores()))


@pytest.mark.slow
def test_once_something_is_computed_nothing_changes() -> None:
    environment = {name: value for name, value in os.environ.items() if name != "JAX_NUM_CPU_DEVICES"}
    after = f"import jax; jax.devices(); {ASK}"
    told = subprocess.run([sys.executable, "-c", after], check=True, capture_output=True, text=True, env=environment)
    assert int(told.stdout) == 1
