"""Exported programs respond as the model does, with JAX alone."""

import json
import subprocess
import sys
import zipfile
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import openretina_jax
from openretina_jax.errors import UserError
from openretina_jax.interop.exported import _portable
from openretina_jax.models.build import make_core_readout
from openretina_jax.models.ensemble import Ensemble
from openretina_jax.modules.cores.simple import SimpleCore
from tests import tiny
from tests.interop.frozen import NAMES, answers, compare, load

ALONE = """
import json, sys, zipfile
import jax, numpy as np
with zipfile.ZipFile(sys.argv[1]) as archive:
    metadata = json.loads(archive.read("metadata.json"))
    program = jax.export.deserialize(bytearray(archive.read("program")))
x = np.load(sys.argv[2])
np.save(sys.argv[3], program.call(x, np.int32(0)))
assert not [name for name in sys.modules if name.startswith(("openretina", "flax"))]
print(json.dumps([metadata["data_info"]["sessions"], metadata["shortest_stimulus"], program.platforms]))
"""


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small model as a program."""
    path = tmp_path_factory.mktemp("exported") / "model.zip"
    openretina_jax.export(tiny.model(seed=1), path)
    return path


def movie(batch: int, time: int) -> np.ndarray:
    return np.random.default_rng(time).standard_normal(tiny.model().stimulus_shape(time, batch)).astype(np.float32)


@pytest.mark.slow
def test_batches_and_movies_of_any_length(exported: Path) -> None:
    model, program = tiny.model(seed=1), openretina_jax.load_exported(exported)
    assert program.data_info == model.data_info
    assert program.options == model.options
    for batch, time in ((1, 7), (3, 20)):
        for session in (None, "left"):
            x = movie(batch, time)
            np.testing.assert_allclose(
                program(x, session), tiny.predict(model, x, session=session), rtol=1e-5, atol=1e-6
            )


@pytest.mark.slow
def test_jax_alone_is_enough(exported: Path, tmp_path: Path) -> None:
    x = movie(2, 12)
    np.save(tmp_path / "x.npy", x)
    files = [str(exported), str(tmp_path / "x.npy"), str(tmp_path / "y.npy")]
    done = subprocess.run(
        [sys.executable, "-c", ALONE, *files], capture_output=True, text=True, check=False, cwd=tmp_path
    )
    assert done.returncode == 0, done.stderr
    sessions, shortest, platforms = json.loads(done.stdout)
    assert (sessions, shortest, platforms) == (tiny.model().data_info.sessions, 7, ["cpu", "cuda", "tpu"])
    np.testing.assert_allclose(np.load(tmp_path / "y.npy"), tiny.predict(tiny.model(seed=1), x), rtol=1e-5, atol=1e-6)


@pytest.mark.slow
@pytest.mark.parametrize("name", [name for name in NAMES if not name.endswith("_cell")])
def test_every_kind_of_model(name: str, tmp_path: Path) -> None:
    openretina_jax.export(load(name), tmp_path / "model.zip")
    program = openretina_jax.load_exported(tmp_path / "model.zip")
    x = jnp.asarray(answers(name)["x"])
    for session in program.data_info.sessions:
        compare(name, f"eval/{session}", program(x, session))
    assert jax.eval_shape(program, x[:1, : program.shortest_stimulus]).shape[1] == 1


@pytest.mark.parametrize(
    ("shape", "session", "message"),
    [
        ((1, 6, 12, 10, 2), None, "needs .* at least 7, 12, 10, 2"),
        ((1, 9, 12, 11, 2), None, "the stimulus has shape"),
        ((1, 9, 12, 10, 2), "middle", 'has no session "middle"; it has right_1'),
    ],
)
def test_wrong_calls(exported: Path, shape: tuple[int, ...], session: str | None, message: str) -> None:
    with pytest.raises(UserError, match=message):
        openretina_jax.load_exported(exported)(np.zeros(shape, np.float32), session)


def test_damaged_files(exported: Path, tmp_path: Path) -> None:
    for name, content in (("cut.zip", exported.read_bytes()[:200]), ("text.zip", b"program")):
        (tmp_path / name).write_bytes(content)
        with pytest.raises(UserError, match="is damaged or no exported model"):
            openretina_jax.load_exported(tmp_path / name)
    with pytest.raises(UserError, match=r"absent.zip: cannot be read \(No such file"):
        openretina_jax.load_exported(tmp_path / "absent.zip")
    with zipfile.ZipFile(tmp_path / "newer.zip", "w") as archive:
        archive.writestr("metadata.json", '{"format": 2}')
    with pytest.raises(UserError, match="has format 2, only 1 is known"):
        openretina_jax.load_exported(tmp_path / "newer.zip")


def test_nothing_is_left_where_it_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match="cannot be written"):
        openretina_jax.export(tiny.model(), tmp_path / "file" / "model.zip")
    assert [file.name for file in tmp_path.iterdir()] == ["file"]


class OwnCore(SimpleCore):
    """A core of one's own that inherits the choice of a lowering."""


def test_convolutions_of_every_core_are_portable() -> None:
    core = {**tiny.model().options["core"], "kind": f"{__name__}:OwnCore"}
    assert core["lowering"] == "auto"
    mine = make_core_readout({"core": core, "readout": tiny.model().options["readout"]}, tiny.dataset().info)
    portable = _portable(Ensemble([mine, mine]))
    assert [member["core"]["lowering"] for member in portable.options["members"]] == ["dense"] * 2


@pytest.mark.slow
def test_frame_by_frame(tmp_path: Path) -> None:
    model, x = tiny.model(seed=1), movie(1, 10)[0]
    openretina_jax.export_stream(model, tmp_path / "stream.zip", "left")
    program, stream = openretina_jax.load_exported_stream(tmp_path / "stream.zip"), model.stream("left")
    assert (program.session, program.lag) == ("left", model.lag)
    with pytest.raises(UserError, match=r"predicts frame by frame; open it with openretina_jax\.load_exported_stream"):
        openretina_jax.load_exported(tmp_path / "stream.zip")
    there, here = program.init(), stream.init()
    for frame in x:
        found, there = program.step(there, frame)
        expected, here = stream.step(here, frame)
        np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-6)
    with pytest.raises(UserError, match=r"the frame has shape \(10, 12, 2\); the model needs"):
        program.step(there, x[0].transpose(1, 0, 2))
