"""``openretina-jax adapt`` as a user runs it."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from openretina_jax import load
from openretina_jax.experiment.data import make_dataset
from openretina_jax.experiment.recipe import resolved
from openretina_jax.models.build import make_model
from openretina_jax.models.core_readout import CoreReadout
from openretina_jax.models.saving import SCORE, save_model
from openretina_jax.runtime.settings import read_config
from openretina_jax.simulation.cache import simulated_files
from tests.scripts import call, mistake, printed

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("blank_pictures")]

SCRIPT, CONFIG = "adapt.py", "configs/hdf5_core_readout.py:simulated,quick"
SMALL = {
    "data.simulated.n_sessions": 2,
    "data.simulated.neurons_per_session": 5,
    "data.simulated.clip_length": 60,
    "data.simulated.clips": 24,
    "data.test_names": ("random_noise_3",),
    "data.validation_clips": 3,
    "data.clip_length": 60,
    "data.frame_rate_hz": 30.0,
    "model.core.simple.hidden_channels": (2,),
    "model.core.simple.temporal_kernel_sizes": (5,),
    "model.core.simple.spatial_kernel_sizes": (5,),
}
FLAGS = [f"--config={CONFIG}", *(f"--config.{name}={value}" for name, value in SMALL.items())]


@pytest.fixture(scope="module")
def run(cache: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model of the recordings, which was never trained, and whose sessions have other names."""
    folder = tmp_path_factory.mktemp("runs") / "run"
    config = read_config(CONFIG)
    config.update_from_flattened_dict(SMALL)
    settings = resolved(config.to_dict())
    info = make_dataset(settings["data"], cache / "simulated").info
    text = info.to_json()
    for name in info.sessions:
        text = text.replace(f'"{name}"', f'"before_{name}"')
    info = type(info).from_json(text)
    model = make_model(settings["model"], info)
    save_model(model, folder)
    about = {"config": settings | {"model": model.options}, "data_info": json.loads(info.to_json())}
    (folder / "about" / "metadata").write_text(json.dumps(about))
    return folder


@pytest.fixture(scope="module")
def adapted(cache: Path, run: Path) -> tuple[Path, str]:
    """The adapted model, and what was printed."""
    out = run.parent / "adapted"
    return out, printed(call(SCRIPT, f"--checkpoint={run}", *FLAGS, f"--folder={out}", cache=cache))


def test_what_is_saved_and_said(adapted: tuple[Path, str], run: Path) -> None:
    out, output = adapted
    assert "validation correlation 0." in output
    assert "random_noise_3: correlation" in output
    assert output.endswith(f"neurons     {out / 'neurons.csv'}\n")
    model, before = load(out), load(run)
    assert isinstance(model, CoreReadout)
    assert isinstance(before, CoreReadout)
    assert len(model.data_info.sessions) == 2 * len(before.data_info.sessions)
    np.testing.assert_array_equal(model.core.layers[0].conv.spatial[...], before.core.layers[0].conv.spatial[...])
    table = pd.read_csv(out / "neurons.csv")
    assert set(table["split"]) == {"validation", "random_noise_3"}
    first = next(iter(model.data_info.sessions))
    scores = table[(table["split"] == "validation") & (table["session"] == first)]["correlation_clips"]
    np.testing.assert_allclose(model.data_info.neurons[first][SCORE], scores, atol=1e-4)


def test_training_goes_on_from_there(adapted: tuple[Path, str], cache: Path) -> None:
    out, _ = adapted
    flags = ["--config.train.epochs=1", "--config.train.windows.session.window_frames=40"]
    flags += [f"--config.start_from={out}", f"--workdir={out.parent / 'tuned'}", "--dry_run"]
    data = [flag for flag in FLAGS if "config.model." not in flag]
    assert "steps in an epoch" in printed(call("train.py", *data, *flags, cache=cache))


def test_a_folder_of_recordings(run: Path, cache: Path) -> None:
    """Normalisation, frame rate and clips are those of the model; its own sessions can go."""
    simulated = {name.rpartition(".")[2]: value for name, value in SMALL.items() if "simulated" in name}
    files = simulated_files("hdf5", simulated | {"seed": 0}, cache / "simulated")
    out = run.parent / "of_folder"
    flags = [f"--recordings={files['path']}", "--tests=random_noise_3", "--nokeep_sessions", f"--folder={out}"]
    assert "validation correlation" in printed(call(SCRIPT, f"--checkpoint={run}", *flags, cache=cache))
    assert len(load(out).data_info.sessions) == 2


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        ([], "give one of --config and --recordings"),
        ([*FLAGS, "--recordings=somewhere"], "give one of --config and --recordings"),
        ([*FLAGS, "--config.data.frame_rate_hz=60"], "60 frames per second, but the core was trained on 30"),
        ([*FLAGS, "--config.data.norm_mean=100"], "would be another number; set norm_mean to"),
    ],
)
def test_mistakes(flags: list[str], message: str, run: Path, cache: Path, tmp_path: Path) -> None:
    line = mistake(call(SCRIPT, f"--checkpoint={run}", *flags, f"--folder={tmp_path / 'out'}", cache=cache))
    assert message in line
    assert not (tmp_path / "out").exists()


def test_a_folder_that_exists(run: Path, cache: Path, tmp_path: Path) -> None:
    line = mistake(call(SCRIPT, f"--checkpoint={run}", *FLAGS, f"--folder={tmp_path}", cache=cache))
    assert line.endswith(f"{tmp_path} exists; give another --folder")
