"""Configurations of the published experiments: their data can be read, and their models built and called."""

import runpy
from pathlib import Path

import pytest

import openretina_jax
from openretina_jax.data.windows import SAMPLERS
from openretina_jax.errors import UserError
from openretina_jax.experiment.data import make_dataset
from openretina_jax.experiment.recipe import resolved
from openretina_jax.models.build import make_model
from openretina_jax.runtime.settings import read_config
from openretina_jax.sources.sridhar_2025.sessions import RETINAS
from tests import tiny
from tests.presets import small

ROOT = Path(__file__).parents[2]
VARIANTS = [
    "goldin_2022_core_readout.py",
    "goldin_2022_core_readout.py:axolotl,klindt",
    "maheswaranathan_2023_core_readout.py",
    "maheswaranathan_2023_core_readout.py:whitenoise,factorized",
    "maheswaranathan_2023_lnp.py",
    "hdf5_core_readout.py",
    "karamanlis_2024_core_readout.py:marmoset,klindt",
]
LAGS = {"goldin": 0, "maheswaranathan": 30, "hdf5": 7, "karamanlis": 30}
# predicted frames that a loss stands for: those of a step of openretina; of LNP models, those of a step of ours
SAMPLES = {
    "goldin_2022_core_readout": 16,
    "maheswaranathan_2023_core_readout": 64 * 20,
    "maheswaranathan_2023_lnp": 4 * 20,
    "hdf5_core_readout": 64 * 43,
    "karamanlis_2024_core_readout": 64 * 20,
}


@pytest.mark.parametrize(
    "variant", [pytest.param(variant, marks=pytest.mark.slow if n > 2 else ()) for n, variant in enumerate(VARIANTS)]
)
def test_windows_and_losses_fit_model_and_data(variant, simulated):
    settings = resolved(small(variant).to_dict())
    windows = settings["train"]["windows"][settings["train"]["order"]]
    dataset = make_dataset(settings["data"], simulated)
    model = make_model(settings["model"], dataset.info, 0)
    assert model.lag == LAGS[variant.split("_")[0]]
    assert settings["objective"]["loss"]["samples"] == SAMPLES[variant.split(".")[0]]
    assert windows["window_frames"] > model.lag
    assert settings["train"]["order"] in SAMPLERS.kinds()
    height, width, channels = dataset.info.input_shape
    assert model.stimulus_shape(windows["window_frames"])[-3:] == (height, width, channels)


def test_windows_of_a_gru_stay_within_clips():
    low_res = ROOT / "configs" / "hoefling_low_res.py"
    assert read_config(f"{low_res}:simulated,gru").train.windows.shared.within_clips
    assert not read_config(low_res).train.windows.shared.within_clips


@pytest.mark.parametrize("config", ["template", "hdf5_core_readout"])
def test_calcium_is_a_word_for_responses_below_0(config):
    usual, calcium = (resolved(read_config(f"{config}{words}").to_dict()) for words in ("", ":calcium"))
    kinds = [(one["objective"]["loss"]["kind"], one["model"]["readout"]["nonlinearity"]) for one in (usual, calcium)]
    assert kinds == [("poisson", "softplus"), ("squared_error", "identity")]


def test_calcium_needs_a_readout_that_can_predict_it():
    with pytest.raises(UserError, match='"factorized" cannot predict'):
        read_config("hdf5_core_readout:calcium,factorized")


def test_the_template_asks_for_data():
    settings = resolved(read_config(ROOT / "configs" / "template.py").to_dict())
    with pytest.raises(UserError, match="path is not given"):
        make_dataset(settings["data"], ROOT)


@pytest.mark.parametrize(("decay", "kept"), [(0.0, None), (None, None), (0.99, 0.99)])
def test_runs_keep_no_average_in_one_way(decay, kept):
    """None, as runs have that are older than the 0 that says it in configurations."""
    config = read_config(ROOT / "configs" / "template.py")
    assert config.train.average_decay == 0.0
    config.train.average_decay = decay
    assert resolved(config.to_dict())["train"]["average_decay"] == kept


def test_the_space_of_goldin_names_settings_that_there_are():
    config = read_config(ROOT / "configs" / "goldin_2022_core_readout.py:factorized")
    space = runpy.run_path(str(ROOT / "configs" / "spaces" / "goldin_2022.py"))["get_space"]()
    for name in space:
        entry = config
        for part in name.split("."):
            entry = entry[part]


def test_pixels_of_ones_own_recordings_are_normalized_if_told_so():
    file = ROOT / "configs" / "hdf5_core_readout.py"
    assert [read_config(f"{file}{word}").data.norm_std for word in ("", ":normalized")] == [1.0, None]


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"train.epoch": 30}, 'has no setting "train.epoch"; did you mean "train.epochs"'),
        ({"train.epochs": "many"}, "settings do not fit the configuration: .*epochs"),
        (
            {"optimizer.sgd.momentum": 0.8},
            'optimizer.sgd.momentum is given, but .* config.optimizer.kind is "adamw"; ch',
        ),
        ({"data.clip_length": 10}, "config.data.clip_length is given, but config.data is not used"),
    ],
)
def test_settings_that_a_run_on_arrays_cannot_take(tmp_path, settings, message):
    with pytest.raises(UserError, match=message):
        openretina_jax.train(tiny.dataset(), tmp_path / "run", ROOT / "configs" / "template.py", settings)
    assert not (tmp_path / "run").exists()


def test_words_choose_the_species():
    assert read_config(ROOT / "configs" / "karamanlis_2024_core_readout.py").data.species == "mouse"
    config = read_config(ROOT / "configs" / "karamanlis_2024_core_readout.py:marmoset,simulated")
    assert (config.data.species, config.data.simulated.species) == ("marmoset", "marmoset")


def test_one_cell_is_the_published_one():
    one = ROOT / "configs" / "sridhar_2025_nm_sc.py"
    assert read_config(one).data.cell_index == 272
    assert read_config(f"{one}:all_cells").data.cell_index is None
    assert read_config(ROOT / "configs" / "sridhar_2025_wn_sc.py").data.retinas == ("04",)


@pytest.mark.parametrize("name", sorted(file.stem for file in (ROOT / "configs").glob("[sv]*_20*.py")))
def test_retinas_of_marmosets_are_published_ones(name):
    data = resolved(read_config(ROOT / "configs" / f"{name}.py").to_dict())["data"]
    assert set(data["retinas"]) <= set(RETINAS[data["stimulus"]])


@pytest.mark.parametrize(
    ("loss", "nonlinearity"), [("poisson", "softplus"), ("squared_error", "identity"), ("correlation", "identity")]
)
def test_models_predict_what_the_loss_allows(loss, nonlinearity):
    """Responses below 0, as of fluorescence; what somebody chooses stays."""
    config = read_config(ROOT / "configs" / "template.py")
    config.objective.loss.kind = loss
    assert resolved(config.to_dict())["model"]["readout"]["nonlinearity"] == nonlinearity
    config.model.readout.gaussian_mask.nonlinearity = "relu"
    assert resolved(config.to_dict())["model"]["readout"]["nonlinearity"] == "relu"
