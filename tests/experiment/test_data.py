"""Data sets from settings: sources of this package and of users, with and without a simulator."""

import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from openretina_jax.errors import UserError
from openretina_jax.experiment.data import data_config, make_dataset, source_problems
from openretina_jax.runtime.settings import entries, read_config
from openretina_jax.simulation.cache import simulate, simulator_names
from openretina_jax.sources import SOURCES
from tests.scripts import call, printed

ROOT = Path(__file__).parents[2]
TINY = {"n_sessions": 1, "clips": 6, "clip_length": 10, "neurons_per_session": 2, "n_repeats": 2}
LAB = """
import dataclasses
from collections.abc import Mapping
from pathlib import Path
import numpy as np
from openretina_jax.data import ArrayRecording, Dataset, from_arrays
from openretina_jax.errors import UserError

@dataclasses.dataclass(frozen=True)
class Noise:
    scale: float = 1.0
    seeds: tuple[int, ...] = (0,)

def load_mine(
    frames: int,
    *,
    size: tuple[int, int] = (4, 5),
    folder: str | Path | None = None,
    noise: Noise | None = None,
    clips: int | tuple[int, ...] = 2,
    names: Mapping[str, tuple[int, ...]] | None = None,
    best: bool = True,
) -> Dataset:
    if folder is not None:
        raise UserError(f"{folder}: holds nothing")
    noise = noise or Noise()
    rng = np.random.default_rng(noise.seeds)
    recording = ArrayRecording(rng.random((frames, *size)), noise.scale * rng.random((frames, 3)))
    return from_arrays({"mine": recording}, frame_rate_hz=30.0, clip_length=20, validation_clips=clips)

def no_dataset(frames: int) -> Dataset:
    return frames
"""


@pytest.fixture
def lab(tmp_path, monkeypatch):
    """The module of a lab outside the package."""
    (tmp_path / "a_lab.py").write_text(LAB)
    monkeypatch.syspath_prepend(tmp_path)
    yield "a_lab:load_mine"
    sys.modules.pop("a_lab", None)


def test_a_source_is_a_function_anywhere(lab, tmp_path):
    settings = {"source": lab, "frames": 200, "size": [6, 7], "noise": {"scale": 2, "seeds": [3]}, "clips": [1, 3]}
    dataset = make_dataset(settings, tmp_path)
    assert dataset.stimuli["train"].frames.shape == (200, 6, 7, 1)
    assert dataset.validation_clips == {"train": (1, 3)}
    assert dataset.sessions[0].responses.max() > 1
    assert source_problems(settings, tmp_path) == []
    assert source_problems({**settings, "folder": "there"}, tmp_path) == ["there: holds nothing"]


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({}, 'source "a_lab:load_mine" needs frames'),
        ({"frames": None}, 'source "a_lab:load_mine" needs frames'),
        ({"frames": 200, "sice": (4, 5)}, 'has no option "sice"; did you mean "size"'),
        ({"frames": 200, "noise": {"scal": 1.0}}, 'noise has no option "scal"; did you mean "scale"'),
        ({"frames": "many"}, "frames is 'many', but must be int"),
        ({"source": "a_lab:load_yours"}, 'has no "load_yours"'),
        ({"source": "no_lab:load_mine"}, 'there is no module "no_lab"'),
        ({"source": "a_lab:no_dataset", "frames": 2}, "returns int, but must return a Dataset"),
        ({"source": "hoefling"}, "'hoefling' is unknown; choose among goldin_2022, hdf5, hoefling_2024"),
        ({"source": None}, "source is not given; choose among goldin_2022"),
        ({"frames": 200, "simulated": {"enabled": True}}, 'files of "a_lab:load_mine" cannot be simulated'),
        ({"source": "hdf5", "simulated": {"enabled": True, "clip": 3}}, 'has no option "clip"; did you mean "clips"'),
    ],
)
def test_mistakes_are_one_line(lab, tmp_path, settings, said):
    with pytest.raises(UserError) as error:
        make_dataset({"source": lab, **settings}, tmp_path)
    assert said in str(error.value)
    assert "\n" not in str(error.value)


def test_a_source_needs_no_entry_for_a_simulation(tmp_path):
    folder = simulate("hdf5", tmp_path / "files", TINY)["path"]
    given = {"source": "hdf5", "path": str(folder), "clip_length": 10, "validation_clips": 2}
    assert make_dataset(given, tmp_path).test_names == ()
    assert make_dataset({**given, "simulated": {"enabled": False}}, tmp_path).n_neurons == 2


def test_a_configuration_has_an_entry_for_every_option(lab):
    config = data_config(lab, size=(8, 8), noise={"scale": 0.5})
    assert {name: kind for name, (kind, _) in entries(config).items()} == {
        "source": str,
        "frames": int,
        "size": tuple,
        "folder": str,
        "noise.scale": float,
        "noise.seeds": tuple,
        "clips": object,
        "names": object,
        "best": bool,
    }
    assert config.to_dict() == {
        "source": lab,
        "frames": None,
        "size": (8, 8),
        "folder": None,
        "noise": {"scale": 0.5, "seeds": (0,)},
        "clips": 2,
        "names": None,
        "best": True,
    }
    with pytest.raises(UserError, match='has no option "syze"; did you mean "size"'):
        data_config(lab, syze=3)
    with pytest.raises(UserError, match="cannot be simulated"):
        data_config(lab, simulated={"seed": 0})


def test_options_of_a_simulation_are_entries_too():
    config = data_config("hdf5", simulated={"clips": 3})
    assert config.simulated.enabled is False
    assert config.simulated.clips == 3
    assert config.simulated.width is None  # the simulator's own default
    config.simulated.width = 4
    with pytest.raises(UserError, match='the simulation of "hdf5" has no option "clip"'):
        data_config("hdf5", simulated={"clip": 3})
    assert set(simulator_names()) <= set(SOURCES.kinds())


def test_a_configuration_can_bring_its_source_along(tmp_path):
    code = f"""
from configs import common
from openretina_jax.sources import PROBLEMS, SOURCES
{LAB}
SOURCES("brought_along")(load_mine)

@PROBLEMS("brought_along")
def problems(frames: int) -> list[str]:
    return [] if frames % 2 == 0 else [f"{{frames}} is odd", "it is"]

def get_config(arg=None):
    config = common.training()
    config.data = common.data("brought_along", frames=100)
    return config
"""
    (tmp_path / "my_config.py").write_text(code)
    config = read_config(tmp_path / "my_config.py")
    config.data.frames = 80
    assert len(make_dataset(config.data.to_dict(), tmp_path).stimuli["train"].frames) == 80
    assert source_problems({**config.data.to_dict(), "frames": 3}, tmp_path) == ["3 is odd", "it is"]


@pytest.mark.slow
def test_reading_a_configuration_imports_nothing_slow():
    code = (
        "import sys; from openretina_jax.runtime.settings import read_config\n"
        "for name in sys.argv[1:]: read_config(name).data\n"
        "print(*sys.modules)"
    )
    names = ["configs/hoefling_low_res.py", "configs/sridhar_2025_nm_sc.py"]
    done = subprocess.run([sys.executable, "-c", code, *names], cwd=ROOT, capture_output=True, text=True, check=True)
    assert {"scipy", "pandas", "matplotlib"} & set(done.stdout.split()) == set()


@pytest.mark.slow
def test_the_example_of_the_docs_trains(tmp_path):
    section = (ROOT / "docs" / "data.md").read_text().partition("## A source of your own")[2].partition("\n## ")[0]
    lab, config = re.findall(r"```python\n(.*?)```", section, re.DOTALL)
    (tmp_path / "my_lab.py").write_text(lab)
    (tmp_path / "my_config.py").write_text(config)
    rng = np.random.default_rng(0)
    movie, test_movie = rng.standard_normal((2, 1000, 12, 10)).astype(np.float32)
    np.savez(
        tmp_path / "recording.npz",
        movie=movie,
        responses=np.maximum(movie[:, 5, 3:6], 0),
        test_movie=test_movie,
        test_responses=np.maximum(test_movie[None, :, 5, 3:6], 0),
    )
    flags = ["--config=my_config.py", "--config.data.path=recording.npz", "--config.data.validation_clips=4"]

    def run(script: str, *more: str) -> str:
        return printed(call(script, *flags, *more, cache=tmp_path / "cache", folder=tmp_path))

    assert "3 neurons, clips of 50 frames, for validation 4 of train" in run("check_data.py")
    trained = run("train.py", "--workdir=run", "--config.train.epochs=2", "--config.logging.tensorboard=False")
    assert re.search(r"^test correlation -?\d\.\d{4} \(3 neurons, 1 session\)$", trained, re.MULTILINE)
