"""Examples in the documentation run."""

import json
import pickle
import re
from pathlib import Path

import h5py
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.io import savemat

import openretina_jax
from openretina_jax.data.dataset import Dataset
from openretina_jax.errors import UserError
from openretina_jax.evaluation.baselines.baselines import Baselines
from openretina_jax.models.build import make_model
from openretina_jax.models.saving import load_model, save_model
from openretina_jax.models.summary import summary
from openretina_jax.training.objective import Poisson, ResponseObjective
from openretina_jax.training.optimizers import AdamW
from openretina_jax.training.recipe import Recipe
from openretina_jax.training.trainer import Trainer
from tests import tiny
from tests.kept import with_programs
from tests.scripts import Done, call, mistake, printed
from tests.white_noise import needs_white_noise

DOCS = Path(__file__).parents[1] / "docs"
PAGE_OF_RECORDINGS = DOCS / "real_recordings.md"

pytestmark = pytest.mark.usefixtures("blank_pictures")


@pytest.mark.slow
def test_arrays_to_a_trained_model_in_ten_lines(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The example of docs/your_own_data.md, with small arrays and few epochs, run where a user would."""
    blocks = re.findall(r"```python\n(.*?)```", (DOCS / "your_own_data.md").read_text(), re.DOTALL)
    (example,) = [block for block in blocks if "settings=settings" in block]
    assert len([line for line in example.splitlines() if line and "import" not in line]) <= 10
    monkeypatch.chdir(DOCS.parent)
    monkeypatch.setenv("OPENRETINA_JAX_CACHE", str(with_programs(tmp_path / "cache")))
    rng = np.random.default_rng(0)
    movie, test_movie = (rng.integers(256, size=(frames, 12, 10), dtype=np.uint8) for frames in (2400, 60))
    light = movie[:, 4:7, 4:7].mean(axis=(1, 2))
    arrays = {
        "movie": movie,
        "responses": np.stack([light > 130, light < 125], axis=1).astype(np.float32),
        "test_movie": test_movie,
        "repeats": rng.poisson(1.0, (3, 60, 2)).astype(np.float32),
    }
    few = example.replace('"runs/arrays"', repr(str(tmp_path / "run"))).replace(
        '"train.epochs": 30', '"train.epochs": 2'
    )
    exec(compile(few, "your_own_data.md", "exec"), arrays)
    assert arrays["predicted"].shape == (1, 60 - 14, 2)
    assert load_model(tmp_path / "run").data_info.sessions == {"my_retina": 2}


@pytest.mark.slow
@needs_white_noise
def test_recordings_of_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The snippets of docs/real_recordings.md on files of the same layouts, which hold noise; trained for one epoch."""
    write_recordings_of_others(tmp_path)
    monkeypatch.chdir(tmp_path)
    names, shapes = {"openretina_jax": openretina_jax}, []
    fewer = {
        "50_000": "600",
        "frames=model.lag + 1": "frames=4",
        "trials, rows, columns = 60": "trials, rows, columns = 2",
        "73:77]": "73:77][:3]",
    }

    def of_the_network(dataset: Dataset, frames: int) -> Baselines:
        """What stands for baselines where fitting them would show nothing new: the network once more."""
        assert frames == 4
        return Baselines({"GLM": openretina_jax.evaluate(names["model"], dataset, name="GLM")}, "softplus", frames)

    for example, text in enumerate(re.findall(r"```python\n(.*?)```", PAGE_OF_RECORDINGS.read_text(), re.DOTALL)):
        if example == 2:  # those before have shown the baselines of flicker and of bars
            monkeypatch.setattr(openretina_jax, "baselines", of_the_network)
        few = re.sub(r"train\((dataset, .*)\)\n", r'train(\1, settings={"train.epochs": 1})\n', text)
        for many, number in fewer.items():
            few = few.replace(many, number)
        exec(compile(few, PAGE_OF_RECORDINGS.name, "exec"), names)
        said = capsys.readouterr().out
        assert len(re.findall(r"(test|frozen): network wins for", said)) == few.count("epochs") + few.count('"cal"')
        fitted = ("STA-LN", "GLM with history", "quadratic GLM") if example < 2 else ("GLM",)
        assert [model for model in fitted if f"\n{model} " not in said] == []
        shapes.append(names["dataset"].info.input_shape)
    assert shapes == [(1, 1, 1), (1, 24, 1), (20, 20, 1), (20, 15, 1)]
    assert np.isnan(names["responses"]).any(axis=0).tolist() == [False] * 8 + [True]  # a recording that ended too soon


def write_recordings_of_others(folder: Path) -> None:
    """Files of docs/real_recordings.md, in their layouts but small."""
    rng = np.random.default_rng(0)
    frame_s = np.arange(3000) / 120
    trains = np.empty((1, 4), object)
    trains[0] = [np.sort(rng.uniform(0, 25, size=(900, 1)), axis=0) for _ in range(4)]
    for name in ("data_RGCs", "subunit_mele", "rgc-subunit-classifier/data", "data_RFEst"):
        (folder / name).mkdir(parents=True)
    for name, values in {"Stim": rng.choice([-0.5, 0.5], (3000, 1)), "stimtimes": frame_s[:, None]}.items():
        savemat(folder / "data_RGCs" / f"{name}.mat", {name: values})
    savemat(folder / "data_RGCs" / "SpTimes.mat", {"SpTimes": trains})
    with h5py.File(folder / "subunit_mele" / "544l029.p21_stc.mat", "w") as file:
        file["stim"] = rng.choice([-1.0, 1.0], (24, 3000))
        file["spikes_per_frm"] = rng.poisson(0.7, (3000, 1)).astype(float)
    counts = {"spk1": rng.poisson(0.3, (78, 1500, 3)), "spk2": rng.poisson(0.3, (78, 300, 4))}
    savemat(folder / "rgc-subunit-classifier" / "data" / "cell_data_01_NC.mat", counts)
    dendrites: dict[str, object] = {"stim": rng.integers(2, size=(240, 20, 15)).astype(np.float32)}
    for cell in ("C1", "C2", "C3"):
        cal, spk = ({part: {} for part in ("soma", "pd", "dd")} for _ in range(2))
        for part in ("soma", "pd", "dd"):
            start_s = rng.uniform(1, 2)
            shown = 235 if (cell, part) == ("C3", "dd") else 240
            cal[part]["triggertime"] = (start_s + 0.2 * np.arange(shown)).astype(np.float32)
            cal[part]["tracetime"] = (0.032 * np.arange(1600)).astype(np.float32)
            cal[part]["trace"] = (11_000 + rng.normal(size=1600)).astype(np.float32)
            spk[part]["triggertime"] = start_s + 0.2 * np.arange(240)
            spk[part]["spiketime"] = np.sort(rng.uniform(0, 51, 400))
        dendrites[cell] = {"cal": cal, "spk": spk}
    (folder / "data_RFEst" / "rgc_dendrites.pickle").write_bytes(pickle.dumps(dendrites))


def blocks_of_extending() -> list[str]:
    """All examples of docs/extending.md, in their order."""
    return re.findall(r"```python\n(.*?)```", (DOCS / "extending.md").read_text(), re.DOTALL)


@pytest.mark.slow
def test_a_core_of_ones_own(tmp_path: Path) -> None:
    """The core of docs/extending.md is built by kind, trained, saved and loaded without an edit elsewhere."""
    (example,) = [block for block in blocks_of_extending() if "class DifferenceCore" in block]
    assert len(example.splitlines()) <= 30
    exec(compile(example, "extending.md", "exec"), {})
    options = {"core": {"kind": "difference", "features": 4, "gamma": 0.1}, "readout": tiny.MODEL["readout"]}
    model = make_model(options, tiny.dataset().info)
    assert (model.lag, model.receptive_field().frames, model.is_causal()) == (5, 6, True)
    assert summary(model)["parameters"]["core.mix"] == 8
    trainer = Trainer(model, Recipe(ResponseObjective(Poisson(samples=100.0)), AdamW(), learning_rate=0.01))
    data, table, windows = tiny.session_windows(frames=16, windows_per_step=4)
    state, metrics = trainer.epoch(16)(
        trainer.init(), data, table, windows.timeline[:2], windows.start[:2], jnp.asarray(0)
    )
    assert float(metrics["penalty_core"]) > 0
    assert (state.params["core"]["mix"][...] != model.core.mix[...]).any()
    save_model(model, tmp_path / "model")
    movie = np.random.default_rng(0).standard_normal(model.stimulus_shape(12)).astype(np.float32)
    found, expected = (tiny.predict(one, movie) for one in (load_model(tmp_path / "model"), model))
    np.testing.assert_array_equal(found, expected)
    with pytest.raises(UserError, match='has no option "feature"; did you mean "features"'):
        make_model(options | {"core": {"kind": "difference", "feature": 4}}, tiny.dataset().info)


def parts_of_ones_own() -> dict[str, str]:
    """The files of docs/extending.md, by their names."""
    return {block.split()[1]: block for block in blocks_of_extending() if block.startswith("# my_lab/")}


@pytest.mark.slow
def test_an_experiment_whose_parts_are_all_ones_own(tmp_path: Path) -> None:
    """The files of docs/extending.md in a folder outside the checkout, trained by the script as a user would."""
    files = parts_of_ones_own()
    assert len(files) == 7
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)

    def train(*flags: str) -> Done:
        where = {"cache": tmp_path / "cache", "folder": tmp_path}
        return call("train.py", "--config=my_lab/experiment.py", "--workdir=run", *flags, **where)

    printed(train())
    rows = [json.loads(line) for line in (tmp_path / "run" / "epochs.jsonl").read_text().splitlines()]
    assert [row["epoch"] for row in rows] == [1, 2, 3]
    assert rows[-1]["train/loss"] < rows[0]["train/loss"]
    assert rows[0]["validation/monitored"] <= rows[-1]["validation/best"] <= 1
    wrong = train("--config.model.readout.kind=my_lab.readouts:PixelReadot")
    assert 'my_lab.readouts has no "PixelReadot"; did you mean "PixelReadout"' in mistake(wrong)


@pytest.mark.slow
def test_a_training_loop_of_ones_own() -> None:
    (example,) = [block for block in blocks_of_extending() if "trainer.step" in block]
    assert len([line for line in example.splitlines() if line and "import" not in line]) <= 10
    example = example.replace("window_frames=30", "window_frames=16")
    names = {"dataset": tiny.dataset(), "options": tiny.MODEL}
    exec(compile(example, "extending.md", "exec"), names)
    assert int(names["state"].step) == 2 * 2
    assert (names["model"].readout.features[...] != tiny.model().readout.features[...]).any()
