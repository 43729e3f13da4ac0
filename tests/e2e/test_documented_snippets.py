"""The Python of every page runs from top to bottom, on one small run that all pages share."""

import dataclasses
import importlib
import shutil
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest
from matplotlib.figure import Figure

import openretina_jax
from openretina_jax.data.dataset import Dataset
from openretina_jax.experiment import notebook
from openretina_jax.experiment.data import make_dataset
from openretina_jax.insilico import tuning
from openretina_jax.insilico.targets import SCORE_COLUMN
from openretina_jax.models.build import make_model
from openretina_jax.models.model import Model
from openretina_jax.runtime.settings import read_config
from tests import presets
from tests.documented import PAGES, files, snippets
from tests.interop.frozen import answers, path_of

pytestmark = pytest.mark.slow
ELSEWHERE = {"extending", "real_recordings", "your_own_data"}  # trained for real in other tests


@pytest.fixture(scope="module")
def dataset(cache: Path) -> Dataset:
    """One session of few neurons, in the format of the README's recordings; other tests simulate it, too."""
    return make_dataset(presets.small("hoefling_low_res.py").to_dict()["data"], cache / "simulated")


@pytest.fixture(scope="module")
def model(dataset: Dataset) -> Model:
    """A small model of the README's kind, which knows how well it predicts."""
    info = dataset.info
    (name,) = info.sessions
    scores = {SCORE_COLUMN: np.linspace(0.1, 0.9, info.n_neurons).tolist()}
    info = dataclasses.replace(info, neurons={name: {**info.neurons[name], **scores}})
    core = {
        "kind": "simple",
        "hidden_channels": (4,),
        "temporal_kernel_sizes": (5,),
        "spatial_kernel_sizes": (5,),
        "hidden_padding": 0,
    }
    return make_model({"core": core, "readout": {"kind": "gaussian_mask"}}, info)


@pytest.fixture(scope="module")
def run(model: Model, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("documented") / "run"
    openretina_jax.save(model, folder)
    return folder


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, model: Model, dataset: Dataset) -> Path:
    """A folder in which names of configurations and runs are checked, and stand for the small run."""

    def load_dataset(config: str) -> Dataset:
        read_config(config)
        return dataset

    def train(data: Dataset, workdir: str = "", config: str | None = None, settings: Any = None) -> Model:
        notebook.changed(notebook.config_for(data) if config is None else config, settings or {})
        return model

    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(openretina_jax, "load_dataset", load_dataset)
    monkeypatch.setattr(openretina_jax, "train", train)
    monkeypatch.setattr(Figure, "draw", lambda figure, renderer: None)
    return tmp_path


@pytest.mark.parametrize("page", [page for page in PAGES if snippets(page)], ids=lambda page: page.stem)
def test_snippets_of_a_page(page: Path, quick: Path, run: Path, model: Model, dataset: Dataset) -> None:
    if page.stem in ELSEWHERE:
        covered = {"extending": len(files(page)) + 2, "real_recordings": 4, "your_own_data": 5}
        assert len(snippets(page)) == covered[page.stem], "their tests do not know the new ones"
        return
    for name, text in files(page).items():
        (quick / name).parent.mkdir(exist_ok=True)
        (quick / name).write_text(text)
    names: dict[str, Any] = {"openretina_jax": openretina_jax, "np": np, "jax": jax, "model": model, "dataset": dataset}
    names |= GIVEN.get(page.stem, lambda run, model, dataset: {})(run, model, dataset)
    for text in snippets(page):
        if text in files(page).values():
            continue
        for old, new in REPLACED.get(page.stem, {}).items():
            text = text.replace(old, new)
        for name in ("hoefling_low_res_simulated", "hoefling_low_res", "example", "a"):
            text = text.replace(f'load("runs/{name}")', f"load({str(run)!r})")
        exec(compile(text, page.name, "exec"), names)
    for name in files(page):
        importlib.import_module(module := name.removesuffix(".py").replace("/", "."))
        for loaded in (module, module.partition(".")[0]):
            sys.modules.pop(loaded, None)  # other pages have others of the same name
    CHECKED.get(page.stem, lambda names: None)(names)


def of_arrays(run: Path, model: Model, dataset: Dataset) -> dict[str, Any]:
    """Movie and responses of the session, as arrays."""
    session = dataset.sessions[0]
    return {"movie": dataset.stimuli["train"].frames[session.frame_index], "responses": session.responses}


def of_experiments(run: Path, model: Model, dataset: Dataset) -> dict[str, Any]:
    """Tuning, stimuli and a movie, which pages about pictures begin with."""
    recordings = Path(dataset.source["responses"]["source"])
    found = {"direction": tuning.direction(model), "contrast": tuning.contrast(model)}
    return {"found": found, "movie": dataset.stimuli["test"].normalized()[:12], "folder": recordings.parent}


def of_populations(run: Path, model: Model, dataset: Dataset) -> dict[str, Any]:
    return {"config": read_config("hoefling_low_res:simulated,quick")}


def of_published(run: Path, model: Model, dataset: Dataset) -> dict[str, Any]:
    """Checkpoints of openretina, under the names of the page."""
    for name, file in ("lnp", "lnp_cell"), ("contrast_cell", "spatial_contrast_cell"), ("autoencoder", "autoencoder"):
        shutil.copy(path_of(file), f"{name}.ckpt")
    Path("stas").mkdir()
    np.save("stas/cell_data_cell_WN_stas_cell_0.npy", answers("spatial_contrast_cell")["sta"])
    height, width, channels = openretina_jax.load(path_of("by_command_line")).data_info.input_shape
    return {"stimulus": np.zeros((1, 60, height, width, channels), np.float32)}


def check_population(names: dict[str, Any]) -> None:
    notebook.changed(names["config"], {})
    assert set(names["config"].population.vary) == {
        "optimizer.learning_rate",
        "model.core.simple.gamma_temporal",
        "model.readout.gaussian_mask.gamma_features",
    }


GIVEN: Mapping[str, Callable[[Path, Model, Dataset], dict[str, Any]]] = {
    "index": of_arrays,
    "insilico": of_experiments,
    "populations": of_populations,
    "published_models": of_published,
}
CHECKED: Mapping[str, Callable[[dict[str, Any]], None]] = {"populations": check_population}
# what would take long, or needs a network
REPLACED: Mapping[str, Mapping[str, str]] = {
    "insilico": {
        '"best:50"), peak': '"best:1"), peak, ascent=insilico.Ascent(steps=2)',
        '"best:50"': '"best:1", ascent=insilico.Ascent(steps=2)',
        "67": "0",
        "range(16)": "range(1)",
        "window=10": "window=10, ascent=insilico.Ascent(steps=2)",
        ".mp4": ".gif",
    },
    "published_models": {
        '"hoefling_2024_low_res"': repr(str(path_of("by_command_line"))),
        "session=...": "session=next(iter(model.data_info.sessions))",
        "in_shape=(1, 30, 36, 36), rf_location=(12, 20)": "in_shape=(2, 6, 9, 8), rf_location=(4, 5)",
    },
}
