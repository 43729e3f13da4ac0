"""Models as one piece: causal or not, how far they see, what they are made of, saved and loaded."""

import json
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

import openretina_jax
from openretina_jax.errors import UserError
from openretina_jax.models.autoencoder import AutoencoderModel
from openretina_jax.models.build import complete_options, make_core_readout, make_model
from openretina_jax.models.ensemble import Ensemble
from openretina_jax.models.saving import save_model
from openretina_jax.models.summary import parameters, summary
from tests import tiny

INFO = tiny.dataset().info
SIMPLE = {
    "kind": "simple",
    "hidden_channels": (4, 3),
    "temporal_kernel_sizes": (6, 3),
    "spatial_kernel_sizes": (5, 3),
    "hidden_padding": (0, 1, 1),
}
CORES: dict[str, dict[str, Any]] = {
    "simple": SIMPLE,
    "full, pooled": SIMPLE | {"convolution": "full", "pool_every": 2},
    "separable": SIMPLE | {"convolution": "separable"},
    "time_independent, halved": SIMPLE | {"convolution": "time_independent", "downsample_input": (2, 1, 1)},
    "identity": {"kind": "identity", "cut_first_frames": 2},
    "padded": SIMPLE | {"hidden_padding": "same"},
    "full, padded and cut": SIMPLE | {"convolution": "full", "input_padding": (2, 0, 0), "cut_first_frames": 9},
    "separable, padded twice": SIMPLE | {"convolution": "separable", "input_padding": (1, 0, 0)},
    "gru, padded": SIMPLE | {"kind": "gru", "hidden_padding": "same", "recurrent_channels": 2},
}


def model_of(core: dict[str, Any], readout: dict[str, Any] | None = None) -> Any:
    return make_model({"core": core, "readout": readout or tiny.MODEL["readout"]}, INFO)


@pytest.mark.slow
@pytest.mark.parametrize("name", CORES)
def test_receptive_field(name: str) -> None:
    """The gradient of one number of the map reaches as far as the core says, and there in time."""
    core = model_of(CORES[name]).core
    if hasattr(core, "layers"):  # smooth nonlinearities: no gradient is 0 by chance
        for layer in core.layers:
            layer.nonlinearity = jnp.tanh
    frames, field = 24, core.receptive_field()
    movie = jax.random.normal(jax.random.key(0), (1, frames, 16, 16, 2))
    _, time, height, width, _ = jax.eval_shape(lambda x: core(x), movie).shape
    gradient = jax.jit(jax.grad(lambda x: core(x)[0, time // 2, height // 2, width // 2].sum()))(movie)[0]
    reached = jnp.abs(gradient) > 1e-5 * jnp.abs(gradient).max()  # what is below is rounding
    extent = [int(reached.any(axis=tuple({0, 1, 2, 3} - {axis})).sum()) for axis in range(3)]
    assert all(said in (found, None) for found, said in zip(extent, field, strict=False))
    seen, own = np.flatnonzero(reached.any(axis=(1, 2, 3))), frames - time + time // 2
    if field.future is not None:
        assert own - seen[0] == (own if field.past is None else field.past)
        assert seen[-1] - own == field.future


def test_receptive_field_with_a_readout_in_time() -> None:
    readout = {"kind": "separable_lnp", "temporal_frames": 7, "spatial_size": (5, 5)}
    model = model_of({"kind": "identity"}, readout)
    assert model.receptive_field().frames == 7
    assert model.lag == 6


def test_a_gru_sees_all_frames_before() -> None:
    assert model_of(SIMPLE | {"kind": "gru", "recurrent_channels": 2}).receptive_field() == (None, None, None, 0)


@pytest.mark.parametrize(
    ("options", "past", "future"),
    [
        ({"hidden_padding": (0, 1, 1)}, 7, 0),
        ({"temporal_kernel_sizes": (8, 8), "hidden_padding": "same"}, 10, 4),
        ({"temporal_kernel_sizes": (21, 11), "hidden_padding": True, "cut_first_frames": 30}, 25, 5),
        ({"convolution": "time_independent"}, 0, 0),
        ({"convolution": "separable", "hidden_padding": (1, 1, 1)}, 5, 2),  # in space and in time
        ({"downsample_input": (2, 1, 1)}, None, None),  # no map has a frame of its own
    ],
)
def test_past_and_future_of_a_prediction(options: dict[str, Any], past: int | None, future: int | None) -> None:
    field = model_of(SIMPLE | options).receptive_field()
    assert (field.past, field.future) == (past, future)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("core", "causal"),
    [
        (SIMPLE, True),
        (SIMPLE | {"kind": "gru", "recurrent_channels": 2}, True),
        (SIMPLE | {"input_padding": (2, 0, 0)}, False),
        (SIMPLE | {"convolution": "full", "hidden_padding": "same"}, False),
        ({"kind": "identity"}, True),
    ],
)
def test_causality(core: dict[str, Any], causal: bool) -> None:
    assert model_of(core).is_causal() is causal


def test_summary() -> None:
    model = model_of(SIMPLE)
    table = summary(model)
    assert list(table.index) == ["core.layers[0]", "core.layers[1]", "readout", "total"]
    assert table["parameters"]["total"] == sum(value.size for value in parameters(model).values())
    assert "conv.spatial (4, 2, 5, 5)" in table["shapes"]["core.layers[0]"]
    # maps of 8 x 6 pixels and 3 features for each of 12 neurons
    assert table["multiplications"]["readout"] == pytest.approx(8 * 6 * 3 * 12, rel=0.05)
    assert table["multiplications"]["total"] == pytest.approx(table["multiplications"][:-1].sum(), abs=2)
    assert (table["multiplications"] > 0).all()


@pytest.mark.slow
def test_summary_of_a_full_convolution() -> None:
    table = summary(model_of(SIMPLE | {"convolution": "full", "hidden_channels": (4, 3)}))
    assert set(table.index) == {"core.layers[0]", "core.layers[1]", "readout", "total"}


def test_paths_are_what_one_writes() -> None:
    model = model_of(SIMPLE)
    for path, value in parameters(model).items():
        np.testing.assert_array_equal(eval(f"model.{path}[...]", {"model": model}), value)
    assert "core.layers[0].conv.spatial" in parameters(model)


@pytest.mark.slow
def test_an_ensemble_is_saved_as_one(tmp_path: Path) -> None:
    members = [tiny.model(seed) for seed in (0, 1, 2)]
    ensemble = Ensemble(members)
    save_model(ensemble, tmp_path / "ensemble")
    movie = np.random.default_rng(0).standard_normal(ensemble.stimulus_shape(12)).astype(np.float32)
    loaded = openretina_jax.load(tmp_path / "ensemble")
    left = [tiny.predict(model, movie, session="left") for model in (loaded, ensemble)]
    np.testing.assert_array_equal(*left)
    assert ensemble.receptive_field() == members[0].receptive_field()
    each = np.stack([np.asarray(tiny.predict(member, movie)) for member in members])
    np.testing.assert_allclose(tiny.predict(ensemble, movie), each.mean(axis=0), rtol=1e-5)
    spread = nnx.jit(lambda model: model.spread(movie))(loaded)
    np.testing.assert_allclose(spread, each.std(axis=0), rtol=1e-3, atol=1e-6)


def test_runs_make_an_ensemble(tmp_path: Path) -> None:
    for seed in (0, 1):
        save_model(tiny.model(seed), tmp_path / str(seed))
    ensemble = openretina_jax.load([tmp_path / "0", tmp_path / "1"])
    assert isinstance(ensemble, Ensemble)
    assert ensemble.n_members == 2


def test_members_must_be_alike() -> None:
    with pytest.raises(UserError, match="member 1 of the ensemble has other options or sessions than member 0"):
        Ensemble([tiny.model(), model_of(SIMPLE)])
    with pytest.raises(UserError, match="at least one member"):
        Ensemble([])


def test_an_autoencoder_is_saved_with_its_base(tmp_path: Path) -> None:
    options = {"base": tiny.MODEL, "autoencoder": {"hidden": 7}}
    model = make_model(options, INFO)
    assert isinstance(model, AutoencoderModel)
    save_model(model, tmp_path / "autoencoder")
    movie = np.random.default_rng(0).standard_normal(model.stimulus_shape(12)).astype(np.float32)
    loaded = openretina_jax.load(tmp_path / "autoencoder")
    encode = nnx.jit(lambda model: model.encode(movie))
    np.testing.assert_array_equal(encode(loaded), encode(model))
    left = [tiny.predict(model, movie, session="left") for model in (loaded, model)]
    np.testing.assert_array_equal(*left)
    assert encode(model).shape == (1, 6, 7)
    assert model.receptive_field() == model.base.receptive_field()


@pytest.mark.parametrize("trained", ["encoder", "decoder"])
def test_the_gradient_of_patterns_keeps_their_norm(trained: str) -> None:
    model = make_model({"base": tiny.MODEL, "autoencoder": {"hidden": 7}}, INFO)
    gradient = nnx.state(model, lambda path, _: path[-1] == trained)
    before = np.array(gradient["autoencoder"][trained][...])
    after = np.array(model.project_gradient(gradient)["autoencoder"][trained][...])
    if trained == "encoder":  # alone: the patterns are frozen
        np.testing.assert_array_equal(after, before)
    else:
        np.testing.assert_allclose((after * model.autoencoder.patterns()).sum(axis=1), 0, atol=1e-6)


@pytest.mark.parametrize("options", [{"core": tiny.MODEL["core"]}, {"base": tiny.MODEL, "core": {}}, {}])
def test_parts_that_make_no_model(options: dict[str, Any]) -> None:
    with pytest.raises(UserError, match='a model has the parts "core" and "readout"'):
        make_model(options, INFO)


def test_saving_replaces_what_was_there(tmp_path: Path) -> None:
    (tmp_path / "model").mkdir()
    save_model(tiny.model(0), tmp_path / "model")
    save_model(tiny.model(1), tmp_path / "model")
    movie = np.zeros(tiny.model().stimulus_shape(12), np.float32)
    loaded = openretina_jax.load(tmp_path / "model")
    np.testing.assert_array_equal(tiny.predict(loaded, movie), tiny.predict(tiny.model(1), movie))
    assert [path.name for path in tmp_path.iterdir()] == ["model"]


def test_a_core_readout_needs_its_parts() -> None:
    with pytest.raises(UserError, match="autoencoder needs hidden"):
        make_model({"base": tiny.MODEL, "autoencoder": {}}, INFO)


def test_a_model_keeps_all_options() -> None:
    """Those that are not given too, so that it stays what it is where a default changes."""
    kept = make_core_readout(tiny.MODEL, INFO).options
    assert kept == json.loads(json.dumps(complete_options(tiny.MODEL)))
    for part, given in tiny.MODEL.items():
        assert json.loads(json.dumps(given)).items() <= kept[part].items()
    assert kept["core"]["nonlinearity"] == "elu"
    assert kept["readout"]["mean_scale"] == 1.0
    cloned = complete_options({**tiny.MODEL, "readout": {"kind": "cloned", "source": tiny.MODEL["readout"]}})
    assert cloned["readout"]["source"] == complete_options(tiny.MODEL)["readout"]
