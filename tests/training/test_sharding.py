"""Meshes of devices: the same numbers as on one, each device with its own part, and no needless communication."""

import csv
import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from openretina_jax.data.windows import EpochWindows
from openretina_jax.errors import UserError
from openretina_jax.training.sharding import Sharding, check_shares, mesh_shape
from tests.training.on_devices import N_DEVICES, N_NEURONS

ROOT = Path(__file__).parents[2]
ALONE = "1,1"
# each order of windows meets each axis; the other model meets both axes in shared order
MESHES = {"session": ("4,2",), "shared": ("8,1", "1,8")}
RUNS = [f"{order},simple,{mesh}" for order, meshes in MESHES.items() for mesh in (ALONE, *meshes)]
# nine clones on two devices: a row is left over
OTHER_RUNS = [f"shared,gru and cloned,{mesh}" for mesh in (ALONE, "4,2")]
OTHER_RUNS += [f"session,shifter,{mesh}" for mesh in (ALONE, "4,2")]
OTHER_RUNS += [f"session,points,{mesh}" for mesh in (ALONE, "8,1")]  # whose windows draw positions


@pytest.mark.parametrize(
    ("axes", "n_devices", "shape"),
    [
        ({"data": -1, "neuron": 1}, 1, (1, 1)),
        ({"data": -1, "neuron": 1}, 8, (8, 1)),
        ({"data": -1, "neuron": 2}, 8, (4, 2)),
        ({"data": 2, "neuron": -1}, 8, (2, 4)),
        ({"data": 1, "neuron": 1}, 8, (1, 1)),
        ({"neuron": 2, "data": 3}, 8, (3, 2)),
    ],
)
def test_shape_of_a_mesh(axes: dict[str, int], n_devices: int, shape: tuple[int, int]) -> None:
    assert mesh_shape(axes, n_devices) == shape


@pytest.mark.parametrize(
    ("axes", "n_processes", "words"),
    [
        ({"data": -1}, 1, 'along "data" and along "neuron"'),
        ({"data": -1, "neuron": -1}, 1, "one of them may be -1"),
        ({"data": 0, "neuron": 1}, 1, "at least 1"),
        ({"data": -1, "neuron": 3}, 1, "there are 8 devices in 1 processes; choose numbers whose product is 8"),
        ({"data": -1, "neuron": 16}, 1, "there are 8 devices"),
        ({"data": 4, "neuron": 4}, 1, "there are 8 devices"),
        ({"data": 4, "neuron": 1}, 2, "there are 8 devices in 2 processes"),
    ],
)
def test_meshes_that_do_not_fit(axes: dict[str, int], n_processes: int, words: str) -> None:
    with pytest.raises(UserError, match=re.escape(words)):
        mesh_shape(axes, 8, n_processes)


def test_cores_of_a_cpu_may_be_left_over() -> None:
    assert mesh_shape({"data": -1, "neuron": 3}, 8, all_of_them=False) == (2, 3)
    with pytest.raises(UserError, match="there are 8 devices"):
        mesh_shape({"data": -1, "neuron": 9}, 8, all_of_them=False)


def test_one_device_leaves_everything_as_it_is() -> None:
    sharding = Sharding({"data": 1, "neuron": 1}, 5)
    state = {"a": np.zeros(3)}
    assert sharding.state(state) is state
    assert sharding.whole(state) is state
    assert sharding.for_windows(epoch_of(3, 5)) is sharding


def epoch_of(timelines: int, windows: int) -> EpochWindows:
    """Windows of an epoch of a single step."""
    return EpochWindows(*np.zeros((2, 1, timelines, windows), np.int32))


@pytest.mark.parametrize(
    ("timelines", "windows", "n_devices"),
    [(1, 8, 8), (2, 4, 8), (2, 4, 4), (2, 3, 2), (6, 1, 3), (3, 4, 12), (5, 7, 1)],
)
def test_windows_that_devices_can_share(timelines: int, windows: int, n_devices: int) -> None:
    check_shares(timelines, windows, n_devices)


@pytest.mark.parametrize(
    ("timelines", "windows", "n_devices"), [(1, 4, 8), (1, 6, 4), (2, 3, 4), (3, 4, 2), (2, 4, 16)]
)
def test_windows_that_devices_cannot_share(timelines: int, windows: int, n_devices: int) -> None:
    with pytest.raises(UserError, match=f"{n_devices} devices .* share a step of {timelines} x {windows} windows"):
        check_shares(timelines, windows, n_devices)


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> tuple[dict[str, Any], Path]:
    """What a program on eight devices tells of all runs, and the folder of the runs."""
    folder = tmp_path_factory.mktemp("runs")
    environment = os.environ | {"JAX_NUM_CPU_DEVICES": str(N_DEVICES)}
    command = [sys.executable, "-m", "tests.training.on_devices", str(folder), *RUNS, *OTHER_RUNS]
    options = {"cwd": ROOT, "env": environment, "capture_output": True, "text": True}
    finished = subprocess.run(command, check=False, **options)
    assert finished.returncode == 0, finished.stderr
    return json.loads(finished.stdout.splitlines()[-1]), folder


def epochs(workdir: Path) -> list[dict[str, float]]:
    """The table of epochs without times."""
    with (workdir / "metrics.csv").open(newline="") as stream:
        rows = list(csv.DictReader(stream))
    return [{name: float(value) for name, value in row.items() if "second" not in name} for row in rows]


@pytest.mark.slow
@pytest.mark.parametrize("run", [run for run in (*RUNS, *OTHER_RUNS) if not run.endswith(ALONE)])
def test_results_are_those_of_one_device(results: tuple[dict[str, Any], Path], run: str) -> None:
    alone, spread = (results[1] / name for name in (",".join([*run.split(",")[:2], ALONE]), run))
    for row, expected in zip(epochs(spread), epochs(alone), strict=True):
        assert row == pytest.approx(expected, rel=2e-5, abs=1e-6)
    with np.load(alone / "state.npz") as expected, np.load(spread / "state.npz") as found:
        assert set(found) == set(expected)
        for name in expected:
            largest = np.abs(expected[name][np.isfinite(expected[name])]).max(initial=0)
            np.testing.assert_allclose(found[name], expected[name], rtol=3e-4, atol=3e-4 * largest, err_msg=name)


@pytest.mark.slow
@pytest.mark.parametrize("run", [run for run in RUNS if not run.endswith(ALONE)])
def test_every_device_has_its_part(results: tuple[dict[str, Any], Path], run: str) -> None:
    told, data, neuron = results[0][run], *map(int, run.split(",")[2:])
    assert told["responses"] == N_DEVICES * [told["all_responses"] // neuron]
    padded = N_NEURONS + -N_NEURONS % neuron
    assert told["rows_of_features"] == N_DEVICES * [padded // neuron]
    assert told["rows_of_moments"] == told["rows_of_features"]
    assert told["frames"] == N_DEVICES * [told["all_frames"]]
    assert told["places_of_frames"] == 1  # all devices of a CPU read them where they lie
    assert data * neuron == N_DEVICES


@pytest.mark.slow
@pytest.mark.parametrize("run", [run for run in RUNS if not run.endswith(ALONE)])
def test_gradients_are_added_up_in_one_communication(results: tuple[dict[str, Any], Path], run: str) -> None:
    told = results[0][run]
    groups = [shapes for kind, shapes in told["communication"] if kind == "all-reduce" and told["kernel"] in shapes]
    if run.endswith(",1,8"):  # every device has all windows
        assert groups == []
        return
    (group,) = groups
    assert {tuple(shape) for shape in told["parameters"]} <= {tuple(shape) for shape in group}


@pytest.mark.slow
@pytest.mark.parametrize("run", [run for run in RUNS if not run.endswith(ALONE)])
def test_nothing_is_gathered(results: tuple[dict[str, Any], Path], run: str) -> None:
    assert {kind for kind, _ in results[0][run]["communication"]} == {"all-reduce"}


@pytest.mark.slow
def test_as_many_cores_share_a_step_as_can(results: tuple[dict[str, Any], Path]) -> None:
    """Of eight devices, where the configuration wants all that are left."""
    assert results[0]["cores"] == [[1, 8, [8, 1]], [2, 3, [6, 1]], [1, 6, [6, 1]], [5, 7, [5, 1]], [11, 13, [1, 1]]]
