"""Experiments from the command line, on a saved model."""

import dataclasses
import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import h5py
import numpy as np
import pandas as pd
import pytest
from PIL import Image

from openretina_jax.errors import UserError
from openretina_jax.experiment.insilico.experiment import Work
from openretina_jax.experiment.insilico.gradients import read_images
from openretina_jax.experiment.insilico.run import run
from openretina_jax.insilico.stimuli import Stimuli
from openretina_jax.models.saving import save_model
from tests import tiny
from tests.kept import with_programs

SCRIPT = Path(__file__).parents[2] / "scripts" / "insilico.py"
FEW = {"neurons": "left", "steps": "3", "window": "2"}
pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("models") / "tiny"
    save_model(tiny.model(), folder)
    return folder


@pytest.fixture(autouse=True)
def data(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """The data of the model, which was saved without the settings that say where they are."""
    monkeypatch.setattr(Work, "dataset", tiny.dataset())
    monkeypatch.setenv("OPENRETINA_JAX_CACHE", str(with_programs(tmp_path / "cache")))


@pytest.fixture(scope="module")
def mei(model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Most exciting stimuli, for the experiments that take some."""
    folder = tmp_path_factory.mktemp("stimuli") / "mei"
    assert run("mei", [str(model)], folder, FEW, overwrite=False) == []
    return folder


def script(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, str(SCRIPT), *arguments], capture_output=True, text=True, check=False)


def conduct(kind: str, model: Path, folder: Path, **options: str) -> pd.DataFrame:
    """The table of an experiment whose page is as it must be."""
    assert run(kind, [str(model)], folder, options, overwrite=False) == []
    page = (folder / "gallery.html").read_text(encoding="utf-8")
    table = pd.read_csv(folder / "neurons.csv")
    assert page.count("<article>") == len(table)
    assert 'name="viewport"' in page
    assert not folder.with_name(f"{folder.name}.unfinished").exists()
    return table


def test_the_script_writes_stimuli_their_table_and_their_page(model: Path, tmp_path: Path) -> None:
    out = tmp_path / "mei"
    done = script("mei", f"--checkpoint={model}", f"--folder={out}", "--neurons=left", "--steps=3", "--window=2")
    assert done.returncode == 0, done.stderr
    assert f"written to {out}" in done.stdout
    assert len(pd.read_csv(out / "neurons.csv")) == tiny.NEURONS["left"]
    assert len(Stimuli.load(out / "stimuli.h5")) == tiny.NEURONS["left"]
    page = (out / "gallery.html").read_text(encoding="utf-8")
    assert page.count("data:image/gif") == tiny.NEURONS["left"]
    with pytest.raises(UserError, match="exists; give another --folder, or --overwrite"):
        run("mei", [str(model)], out, FEW, overwrite=False)


def test_mistakes_of_the_script_are_one_line(model: Path, tmp_path: Path) -> None:
    out = tmp_path / "x"
    for arguments, message in (
        (("mei", f"--checkpoint={model}", "--stpes=1"), 'no option "stpes"; did you mean "steps"'),
        (
            ("mei", f"--checkpoint={model}", "--steps", "1"),
            "unexpected arguments: 1; flags are written as --name=value",
        ),
    ):
        done = script(*arguments, f"--folder={out}")
        assert done.returncode == 2
        assert message in done.stderr
        assert len(done.stderr.strip().splitlines()) == 1


def test_mistakes_leave_nothing_behind(model: Path, mei: Path, tmp_path: Path) -> None:
    for kind, options, message in (
        ("mei", {"neurons": "type:99", "steps": "1"}, "type"),
        ("mie", {}, "'mie' is unknown; choose among"),
        ("mei", {"steps": "many"}, "steps is 'many', but must be int"),
        ("mei", {"low": "-1,-1,-1", "norm": "1"}, "one for each of the 2 channels"),
        ("layer", {"layer": "7"}, "layers 0 to 0"),
        ("mds", {"on": "77"}, 'no chosen neuron is of type "77"'),
        ("contrast_grid", {}, "needs stimuli"),
        ("contrast_grid", {"stimuli": str(mei), "channels": "0,5"}, "must be two different ones of 0 to 1"),
        ("vector_field", {"images": str(tmp_path)}, "no PNG or JPEG"),
        ("export", {"stimuli": str(mei)}, "does not know how its movies were normalised"),
        ("export", {"stimuli": str(mei), "mean": "3", "std": "40"}, "which a projector cannot show"),
        ("tuning", {"experiments": "area,dirction"}, 'no tuning experiment "dirction"; did you mean "direction"'),
        ("tuning", {"experiments": "direction"}, "does not know the size of its pixels"),
        ("pathlib:Path", {}, "must be an Experiment"),
    ):
        with pytest.raises(UserError, match=message.replace("?", r"\?")):
            run(kind, [str(model)], tmp_path / "x", options, overwrite=False)
        assert not list(tmp_path.glob("x*"))


def test_diverse_stimuli_say_what_share_they_reach(model: Path, tmp_path: Path) -> None:
    table = conduct("dei", model, tmp_path / "dei", count="2", share="0.5", **FEW)
    assert table["least_share"].min() >= 0.5 - 1e-5  # rounding
    assert Stimuli.load(tmp_path / "dei" / "stimuli.h5").movies.shape[:2] == (4, 2)
    assert len(Stimuli.load(tmp_path / "dei" / "best.h5")) == 4


@pytest.mark.parametrize(
    ("kind", "options", "targets"),
    [
        ("layer", {"neurons": "layer_0:1,3"}, ["layer_0:1", "layer_0:3"]),
        ("types", {"neurons": "left"}, ["type 0", "type 1", "type 2", "type 3"]),
        ("mds", {"neurons": "all", "on": "1", "off": "0,3"}, ["1"]),
        ("surround", {"neurons": "left:0"}, ["left:0"]),
    ],
)
def test_other_targets(model: Path, tmp_path: Path, kind: str, options: dict[str, str], targets: list[str]) -> None:
    table = conduct(kind, model, tmp_path / kind, **{**FEW, **options})
    assert table["target"].astype(str).tolist() == targets


def test_receptive_fields_have_a_card_for_every_neuron(model: Path, tmp_path: Path) -> None:
    fields = conduct("receptive_fields", model, tmp_path / "fields", frames="200")
    assert len(fields) == sum(tiny.NEURONS.values())
    with h5py.File(tmp_path / "fields" / "fields.h5") as file:
        assert len(file["sta"]) == len(file["neuron"]) == len(fields)


def test_tuning_has_a_curve_for_every_neuron(model: Path, tmp_path: Path) -> None:
    options = {"neurons": "left:0,2", "frames": "200", "experiments": "direction,area", "pixel_size_um": "50"}
    table = conduct("tuning", model, tmp_path / "tuning", **options)
    assert table["neuron"].tolist() == [0, 2]
    assert table["direction_preferred_deg"].between(0, 360).all()
    with h5py.File(tmp_path / "tuning" / "tuning.h5") as file:
        assert file["direction/curve"].shape == (2, len(file["direction/values"]))
        assert len(file["area/curve"]) == 2


def test_gradients_at_natural_windows_and_at_own_stimuli(model: Path, mei: Path, tmp_path: Path) -> None:
    natural = conduct("gradients", model, tmp_path / "natural", neurons="left", count="2")
    own = conduct("gradients", model, tmp_path / "own", stimuli=str(mei), window="2")
    assert natural["neuron"].tolist() == own["neuron"].tolist() == [f"left:{number}" for number in range(4)]
    np.testing.assert_allclose(own["alike"], 1, rtol=1e-5)
    grids = conduct("contrast_grid", model, tmp_path / "grids", stimuli=str(mei), steps="3")
    np.testing.assert_allclose(grids["both"], pd.read_csv(mei / "neurons.csv")["activation"], rtol=1e-4)


def test_vector_fields_of_frames_and_of_image_files(model: Path, tmp_path: Path) -> None:
    table = conduct("vector_field", model, tmp_path / "frames", neurons="left:0,2", count="5", window="0,3")
    assert table["neuron"].tolist() == ["left:0", "left:2"]
    with h5py.File(tmp_path / "frames" / "field.h5") as file:
        assert file["places"].shape == (2, 5, 2)
        assert file["images"].shape == (5, tiny.HEIGHT, tiny.WIDTH, tiny.CHANNELS)
    halves = np.repeat(np.repeat(np.array([[0, 200]], np.uint8), 36, axis=0), 30, axis=1)
    Image.fromarray(halves).save(tmp_path / "halves.png")
    known = dataclasses.replace(tiny.dataset().info, norm_mean=100.0, norm_std=50.0)
    image = read_images(tmp_path, known, 5)[0]
    assert image.shape == (tiny.HEIGHT, tiny.WIDTH, tiny.CHANNELS)
    np.testing.assert_allclose(image[:, :, 1], [[-2.0] * 5 + [2.0] * 5] * tiny.HEIGHT)
    with pytest.raises(UserError, match="images have no units"):
        run("vector_field", [str(model)], tmp_path / "x", {"images": str(tmp_path)}, overwrite=False)


def test_perturbed_movies(model: Path, tmp_path: Path) -> None:
    out = tmp_path / "perturb"
    assert (
        run("perturb", [str(model)], out, {"neurons": "left", "frames": "20", "clip_frames": "5"}, overwrite=False)
        == []
    )
    effects = pd.read_csv(out / "effects.csv")
    assert set(effects["session"]) == {"left"}
    assert len(effects) == 4 * effects["perturbation"].nunique()
    assert (out / "gallery.html").read_text(encoding="utf-8").count("<article>") == 3


def test_export_for_a_projector(model: Path, mei: Path, tmp_path: Path) -> None:
    out = tmp_path / "rig"
    options = {"stimuli": str(mei), "mean": "100", "std": "2", "black": "10,20", "white": "210", "repeats": "2"}
    assert run("export", [str(model)], out, {**options, "pause_s": "0.1"}, overwrite=False) == []
    stimuli, triggers = Stimuli.load(mei / "stimuli.h5"), pd.read_csv(out / "triggers.csv")
    with h5py.File(out / "movie.h5") as file:
        movie, rate = file["frames"][()], file.attrs["frame_rate_hz"]
    assert triggers["stimulus"].tolist() == list(stimuli.names) * 2
    np.testing.assert_allclose(triggers["begin_s"], triggers["first_frame"] / rate)
    row = triggers.iloc[5]
    levels = stimuli.best[1] * 2 + 100
    expected = np.array([10, 20]) + np.array([200, 190]) * levels / 255
    assert np.abs(movie[row["first_frame"] : row["end_frame"]] - expected).max() <= 0.51
    grey = np.round(np.array([10, 20]) + np.array([200, 190]) * 100 / 255)
    np.testing.assert_array_equal(movie[:3], np.broadcast_to(grey, movie[:3].shape))
    assert len(movie) == row["end_frame"] + 2 * (stimuli.movies.shape[2] + 3) + 3


KILLED = """
import os, signal, sys
from pathlib import Path
from openretina_jax.experiment.insilico import experiment, run
put = experiment.Kept.__setitem__
def put_or_die(self, name, arrays):
    if len(self) == 3:
        os.kill(os.getpid(), signal.SIGKILL)
    put(self, name, arrays)
experiment.Kept.__setitem__ = put_or_die
run.run("mei", [sys.argv[1]], Path(sys.argv[2]), dict(pair.split("=") for pair in sys.argv[3:]), overwrite=False)
"""


def test_a_killed_experiment_goes_on(model: Path, mei: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    out = tmp_path / "mei"
    words = [f"{name}={value}" for name, value in FEW.items()]
    command = [sys.executable, "-c", KILLED, str(model), str(out), *words]
    done = subprocess.run(command, check=False, cwd=SCRIPT.parents[1], env=dict(os.environ))
    assert done.returncode == -signal.SIGKILL
    assert not out.exists()
    with pytest.raises(UserError, match="is of an interrupted experiment with steps 3, not 4"):
        run("mei", [str(model)], out, {**FEW, "steps": "4"}, overwrite=False)
    with caplog.at_level("INFO", logger="openretina_jax"):
        run("mei", [str(model)], out, FEW, overwrite=False)
    assert "3 of 4 stimuli had been found before" in caplog.text
    resumed, whole = (Stimuli.load(folder / "stimuli.h5") for folder in (out, mei))
    np.testing.assert_array_equal(resumed.movies, whole.movies)
    np.testing.assert_array_equal(resumed.history, whole.history)
    assert [file.name for file in tmp_path.glob("mei*")] == ["mei"]


def test_an_experiment_of_ones_own_may_fail(model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The example of docs/insilico.md, which is made to fail."""
    text = (SCRIPT.parents[1] / "docs" / "insilico.md").read_text()
    (example,) = [block for block in re.findall(r"```python\n(.*?)```", text, re.DOTALL) if "(Experiment)" in block]
    (tmp_path / "names_lab.py").write_text(example.replace("return []", 'return ["too few neurons"]'))
    monkeypatch.syspath_prepend(str(tmp_path))
    out = tmp_path / "out"
    found = run("names_lab:Names", [str(model)], out, {"neurons": "left:0,2", "prefix": "cell_"}, overwrite=False)
    assert found == ["too few neurons"]
    with h5py.File(out / "names.h5") as file:
        assert file["neuron"].asstr()[()].tolist() == ["cell_left:0", "cell_left:2"]
