"""Programs for devices that are not here: what is said of them, and that they are made for those devices."""

import copy
from pathlib import Path

import jax
import jax.numpy as jnp
import pytest
from jax.experimental import topologies

from benchmarks.elsewhere import compile_epoch, devices_elsewhere, placement
from benchmarks.programs import bytes_of, kernels, of_a_step
from benchmarks.run import benchmark
from openretina_jax.errors import UserError
from openretina_jax.modules.kernels import lowerings
from openretina_jax.runtime import devices
from openretina_jax.training.sharding import Sharding
from tests.benchmarks.test_benchmark import CONFIG, SETTINGS
from tests.scripts import call, mistake

PROGRAM = """
%body.1 (arg.1: (f32[2], f32[9])) -> (f32[2], f32[9]) {
  %arg.1 = (f32[2]{0}, f32[9]{0}) parameter(0)
  %table = f32[9]{0} get-tuple-element(%arg.1), index=1
  %two = (f32[3]{0}, f32[5]{0}) fusion(%table), kind=kLoop
  %second = f32[5]{0} get-tuple-element(%two), index=1
  %a = f32[2] fusion(%second, %table), kind=kLoop
  %library = f32[2] custom-call(%a), custom_call_target="conv"
  %b = f32[2] all-reduce-start(%a)
  %c = f32[2] all-reduce-done(%b)
  %d = f32[2] reduce-scatter(%c)
  ROOT %e = (f32[2], f32[9]) tuple(%d, %table)
}

%small.2 (arg.2: (f32[2])) -> (f32[2]) {
  %f = f32[2] all-gather(%arg.2)
}

ENTRY %main (x: f32[2]) -> f32[2] {
  %g = f32[2] all-reduce(%x)
  %h = (f32[2]) while(%g), condition=%cond, body=%body.1
  %i = (f32[2]) while(%g), condition=%cond, body=%small.2
}
"""


@pytest.mark.slow
def test_an_epoch_is_compiled_for_the_devices() -> None:
    line = compile_epoch(SETTINGS, jax.devices()[:1], sessions=3, neurons=4, input_shape=(6, 5, 2))
    assert line["devices"] == 1
    assert line["shape"] == {"steps": 93 * 150 // 10, "windows": 1, "frames": 10}
    movie = (93 + 15) * 150 * 6 * 5 * 2 * 4 / 1e6  # megabytes
    assert movie < line["data_mb"] < 2 * movie
    assert line["temporaries_mb"] > 0
    assert line["kernels"] > 0
    assert (line["communications"], line["communicated_bytes"]) == ({}, 0)


def test_communications_and_kernels_of_the_largest_loop() -> None:
    found = of_a_step(PROGRAM)
    both = {"all-reduce": 1, "reduce-scatter": 1}
    read_and_written = 4 * (3 + 5) + 4 * (5 + 2)  # without the table that the loop carries
    assert found == {
        "communications": both,
        "communicated_bytes": 2 * 8,
        "kernels": 3,
        "kernel_bytes": read_and_written,
    }
    assert bytes_of("(f32[16,2]{1,0}, s32[], /*index=2*/pred[3], bf16[2,0])") == 4 * 32 + 4 + 3


def test_kernels_outside_of_loops() -> None:
    assert kernels(PROGRAM.replace("ROOT %e", "%e")) == 0
    assert kernels(PROGRAM.replace("%g = f32[2] all-reduce(%x)", "%g = f32[2] copy(%x)")) == 1


def test_arrays_that_devices_share_get_longer() -> None:
    sharding = Sharding({"data": 1, "neuron": 1}, 4, jax.devices()[:1])
    alone = placement(jax.devices()[:1], sharding)
    assert alone(jnp.zeros((3, 5)), "data", "neuron").shape == (3, 5)
    sharding.mesh = jax.sharding.AbstractMesh((4, 2), ("data", "neuron"))
    shared = placement(jax.devices()[:1], sharding)
    assert shared(jnp.zeros((3, 5)), "data", "neuron").shape == (4, 6)
    assert shared(jnp.zeros((3, 5)), "neuron").shape == (4, 5)
    assert shared(jnp.zeros((3, 5))).shape == (3, 5)


def test_programs_are_made_for_what_they_are_compiled_for() -> None:
    x, kernel = jnp.zeros((1, 5, 6, 6, 2)), jnp.zeros((3, 3, 3, 2, 4))

    def program() -> str:
        return str(jax.make_jaxpr(lambda *arrays: lowerings.convolve(*arrays, ((0, 0),) * 3))(x, kernel))

    assert devices.backend() == "cpu"
    here = program()
    with devices.compiling_for("gpu"):
        assert devices.backend() == "gpu"
        assert "conv_general_dilated" in program()
    assert "conv_general_dilated" not in here == program()


@pytest.mark.parametrize("error", [RuntimeError("not installed"), NotImplementedError("not for cuda")])
def test_a_compiler_that_is_missing(error: Exception, monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(**_: str) -> None:
        raise error

    monkeypatch.setattr(topologies, "get_topology_desc", missing)
    with pytest.raises(UserError, match=r'"1x1x8" of cuda \(not .*; look at the name, .*"\.\[cuda\]"'):
        devices_elsewhere("cuda", "1x1x8")


@pytest.mark.slow
def test_a_mistake_is_one_line(tmp_path: Path) -> None:
    line = mistake(call("compile_for.py", f"--config={CONFIG}", "--topology=v0:1x1", cache=tmp_path))
    assert 'there is no compiler for "v0:1x1" of tpu' in line


def test_no_description_of_a_gpu(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"h100.txtpb: cannot be read \(No such file or directory\)"):
        devices_elsewhere("cuda", "1x1x8", tmp_path / "h100.txtpb")


def test_frames_of_unknown_size() -> None:
    settings = copy.deepcopy(SETTINGS)
    del settings["data"]["resolution"]
    sizes = {"repeats": 1, "sessions": 1, "neurons": 1, "windows": 1, "frames": 8}
    lines = benchmark(
        {"configured": settings},
        measures=["forward"],
        threads=[1],
        lowerings=[],
        reference_python=None,
        **sizes,
    )
    with pytest.raises(UserError, match=r"such as --shape=60,80,1"):
        next(lines)
