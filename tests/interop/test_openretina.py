"""Models of openretina as ours and back: the same responses, the same facts, or one line that says why not."""

import json
import zipfile
from pathlib import Path
from typing import Any

import jax.numpy as jnp
import numpy as np
import pytest

import openretina_jax
from openretina_jax.errors import UserError
from openretina_jax.interop import load_autoencoder, openretina, to_openretina
from openretina_jax.interop.descriptions import describe, number
from openretina_jax.interop.openretina import PUBLISHED
from openretina_jax.interop.torch_files import read_lightning_checkpoint
from openretina_jax.interop.weights import load_state, state_dict
from openretina_jax.models.build import make_core_readout
from openretina_jax.models.core_readout import CoreReadout
from openretina_jax.models.ensemble import Ensemble
from openretina_jax.models.saving import load_model, save_model
from tests import tiny
from tests.interop.frozen import NAMES, answers, check, load, path_of, slow_unless


@pytest.mark.parametrize(
    "name",
    slow_unless(
        [name for name in NAMES if name != "spatial_contrast_cell"],
        quick=("by_command_line", "lnp", "spatial_contrast", "lnp_cell"),
    ),
)
def test_responses_are_those_of_openretina(name: str) -> None:
    model = load(name)
    check(name, model)
    if any(key.startswith("train/") for key in answers(name)):
        check(name, model, "train")


def test_patch_of_a_single_cell_follows_from_its_sta(tmp_path: Path) -> None:
    """The checkpoint does not say where the patch lies."""
    with pytest.raises(
        UserError, match=r"follows from cell_data_cell_WN_stas_cell_0.npy, which is not in .*; give sta_dir"
    ):
        openretina_jax.load(path_of("spatial_contrast_cell"))
    np.save(tmp_path / "cell_data_cell_WN_stas_cell_0.npy", answers("spatial_contrast_cell")["sta"])
    model = openretina_jax.load(path_of("spatial_contrast_cell"), sta_dir=str(tmp_path))
    check("spatial_contrast_cell", model)
    row, column = (int(edge) for edge in np.asarray(model.readout.corner[...])[0])
    again = openretina_jax.load(path_of("spatial_contrast_cell"), rf_location=(row + 3, column + 2))
    np.testing.assert_array_equal(again.readout.corner[...], model.readout.corner[...])


@pytest.fixture(scope="module")
def trained() -> CoreReadout:
    """A model that openretina trained, tested and described."""
    return load("by_command_line")


def test_facts_are_carried_over(trained: CoreReadout) -> None:
    info = trained.data_info
    assert info.sessions == {"right_b": 3, "left_a": 2}
    assert (info.input_shape, info.frame_rate_hz, info.pixel_size_um) == ((9, 8, 2), 30.0, 50.0)
    assert (info.norm_mean, info.norm_std) == (37.25, 36.5)
    theirs = read_lightning_checkpoint(path_of("by_command_line")).hyper_parameters["data_info"]
    for session, columns in info.neurons.items():
        known = theirs["sessions_kwargs"][session]
        assert columns["cell_type"] == known["group_assignment"].tolist()
        assert columns["roi_id"] == known["roi_ids"].tolist()
        assert np.shape(columns["roi_coords"]) == (info.sessions[session], 2)
        np.testing.assert_array_equal(info.roi_mask(session), -known["roi_mask"])
        np.testing.assert_allclose(columns["published_performance"], theirs["pretrained_performance"][session])
        np.testing.assert_allclose(info.mean_activity[session], theirs["mean_activity_dict"][session], rtol=1e-6)
        assert info.source["sessions"][session] == {
            "eye": session[:-2],
            "scan_sequence_idx": known["scan_sequence_idx"],
        }
    assert info.source["data_info"]["stimulus_class"] == "natural"
    assert info.source["data_info"]["pretrained_performance_metric"] == "test CorrelationLoss3d"
    assert info.source["checkpoint"]["sha256"]
    assert json.loads(info.to_json())["sessions"] == {"right_b": 3, "left_a": 2}


def test_units_in_text() -> None:
    info = load("spatial_contrast").data_info
    assert (info.frame_rate_hz, info.pixel_size_um) == (85.0, None)
    assert info.source["data_info"]["retina_pixel_size_um"].startswith("7.5 for full resolution")
    assert info.neurons["left_a"]["cell_index"] == [0, 1]
    assert [number(value, "Hz") for value in ("85Hz", " 85 Hz", 85, None, "fast", np.float32(2.5))] == [
        85.0,
        85.0,
        85.0,
        None,
        None,
        2.5,
    ]


def test_a_converted_model_is_an_ordinary_one(trained: CoreReadout, tmp_path: Path) -> None:
    save_model(trained, tmp_path / "converted")
    again = load_model(tmp_path / "converted")
    assert again.data_info == trained.data_info
    check("by_command_line", again)


def test_penalties_of_the_example_are_crossed() -> None:
    checkpoint = read_lightning_checkpoint(path_of("example"))
    options, _ = describe(checkpoint.state, checkpoint.hyper_parameters)
    readout = options["readout"]
    assert (readout["gamma_mask"], readout["gamma_features"]) == (0.5, 0.125)


def test_autoencoder_encodes_sessions_in_their_order(trained: CoreReadout) -> None:
    """openretina joins responses in the order of names, our table keeps the order of the checkpoint."""
    model = load_autoencoder(path_of("autoencoder"), trained)
    frozen = answers("autoencoder")
    x, rebuilt = frozen["x"], frozen["eval/cell"]
    sorted_then_ours = [3, 4, 0, 1, 2]  # left_a has rows 3 and 4
    ours = np.empty_like(x)
    ours[..., sorted_then_ours] = x
    np.testing.assert_allclose(
        np.asarray(model.autoencoder(jnp.asarray(ours)))[..., sorted_then_ours], rebuilt, rtol=1e-5, atol=1e-6
    )
    with pytest.raises(UserError, match=r"take openretina_jax\.interop\.load_autoencoder"):
        openretina_jax.load(path_of("autoencoder"))
    with pytest.raises(UserError, match="is no checkpoint of a sparse autoencoder"):
        load_autoencoder(path_of("lnp"), trained)


def test_several_make_an_ensemble() -> None:
    both = openretina_jax.load([path_of("lnp"), path_of("lnp")])
    assert both.n_members == 2


@pytest.mark.parametrize(
    ("name", "arguments", "message"),
    [
        ("lnp_cell", {}, "does not say in_shape; give what it was made with as keywords of openretina_jax.load"),
        ("by_hydra", {"speed": 2}, "has the arguments speed, which are not known here; the model was made by a newer"),
        (
            "by_hydra",
            {"core": {"_target_": "a.ConvGRUCor"}},
            "core ConvGRUCor .* has no counterpart here; did you mean",
        ),
        (
            "lnp",
            {"readout": {"_target_": "a.B"}},
            "readout B of openretina has no counterpart here; choose among Factor",
        ),
        (
            "lnp",
            {"n_neurons_dict": {"right_b": 3}},
            "do not fit .* readout.left_a.inner_product_kernel.bias is left over",
        ),
        ("example", {"speed": 2}, "SimpleCoreWrapper has the arguments speed, which are not known here"),
        ("example", {"readout_speed": 2}, "MultiGaussianMaskReadout has the arguments speed, which are not known"),
        ("tensors", {}, "the checkpoint is of no model of openretina: its parameters are"),
    ],
)
def test_one_line_says_why_not(name: str, arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message) as caught:
        openretina_jax.load(path_of(name), **arguments)
    assert "\n" not in str(caught.value)


def test_folders_and_names(tmp_path: Path) -> None:
    with pytest.raises(
        UserError, match=r"absent does not exist; give a run's folder, a .ckpt file, or one of hoefling"
    ):
        openretina_jax.load(tmp_path / "absent", in_shape=(1, 2, 3, 4))
    with pytest.raises(UserError, match="says all that its model needs; leave out in_shape"):
        openretina_jax.load(tmp_path, in_shape=(1, 2, 3, 4))


def test_names_and_addresses_are_fetched(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []

    def fetch(source: object, ways_out: str) -> None:
        asked.append(source)
        raise UserError(ways_out)

    monkeypatch.setattr(openretina, "fetch", fetch)
    sources = [*PUBLISHED, "https://example.org/model.ckpt", path_of("lnp")]
    for source in sources:
        with pytest.raises(UserError, match="connect to the network, or give the path of the file"):
            openretina_jax.load(source)
    assert asked == [PUBLISHED.get(source, source) for source in sources]
    assert len(PUBLISHED) == 9
    assert PUBLISHED["hoefling_2024_low_res"].path.endswith("hoefling_2024_cnn_low_res.ckpt")


def test_compressed_copies_are_refused(tmp_path: Path) -> None:
    with (
        zipfile.ZipFile(path_of("lnp")) as archive,
        zipfile.ZipFile(tmp_path / "packed.ckpt", "w", zipfile.ZIP_DEFLATED) as packed,
    ):
        for member in archive.namelist():
            packed.writestr(member, archive.read(member))
    with pytest.raises(UserError, match="is compressed, which PyTorch does not do"):
        openretina_jax.load(tmp_path / "packed.ckpt")


FROM_OPTIONS = ("filter", "grid", "num_batches_tracked", "sf_sums")


@pytest.mark.parametrize(
    "name",
    slow_unless(
        [name for name in NAMES if name not in ("cloned", "legacy", "spatial_contrast_cell")],
        quick=("by_command_line", "lnp", "spatial_contrast", "lnp_cell"),
    ),
)
def test_every_weight_comes_back(name: str, tmp_path: Path) -> None:
    model, original = load(name), read_lightning_checkpoint(path_of(name)).state
    to_openretina(model, tmp_path / "model.npz")
    with np.load(tmp_path / "model.npz") as arrays:
        written = dict(arrays)
    arguments = written.pop("hyper_parameters", None)
    for key, array in written.items():
        np.testing.assert_array_equal(array, original[key], err_msg=key)
        assert array.shape == original[key].shape, key
    missing = {key.rpartition(".")[2] for key in original if key not in written}
    assert {part for part in missing if not part.startswith("log_speed")} <= {
        *FROM_OPTIONS,
        "_log_speed_default",
        "bias",
    }
    if arguments is not None:
        check_arguments(json.loads(str(arguments)), model, written)


def check_arguments(arguments: dict[str, Any], model: CoreReadout, state: dict[str, np.ndarray]) -> None:
    """The arguments describe a model that takes the weights."""
    options, info = describe(state, arguments)
    assert (info.sessions, info.input_shape) == (model.data_info.sessions, model.data_info.input_shape)
    again = make_core_readout(options, model.data_info)
    assert [problem for problem in load_state(again, state) if not problem.endswith("is missing")] == []


def test_our_own_models(tmp_path: Path) -> None:
    model = tiny.model(seed=2)
    to_openretina(model, tmp_path / "model.npz")
    with np.load(tmp_path / "model.npz") as arrays:
        arguments = json.loads(str(arrays["hyper_parameters"]))
    assert arguments["in_shape"] == [2, 7, 12, 10]
    assert arguments["hidden_channels"] == [4]
    again = tiny.model(seed=3)
    assert load_state(again, state_dict(model)) == []
    np.testing.assert_array_equal(again.readout.features[...], model.readout.features[...])


def test_what_cannot_be_written(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="openretina has no Ensemble to write to"):
        to_openretina(Ensemble([tiny.model()]), tmp_path / "model.npz")
    with pytest.raises(UserError, match=r"must end in \.npz"):
        to_openretina(tiny.model(), tmp_path / "model.ckpt")
    relu = make_core_readout(tiny.MODEL | {"core": tiny.MODEL["core"] | {"nonlinearity": "relu"}}, tiny.dataset().info)
    with pytest.raises(UserError, match="with nonlinearity 'relu'; set it to 'elu'"):
        to_openretina(relu, tmp_path / "model.npz")
    readout = {"kind": "separable_lnp", "spatial_size": [3, 3], "temporal_frames": 4}
    cells = make_core_readout({"core": {"kind": "identity"}, "readout": readout}, tiny.dataset().info)
    with pytest.raises(
        UserError, match=f"for a single cell, not for {cells.data_info.n_neurons}; write a model per cell"
    ):
        to_openretina(cells, tmp_path / "model.npz")
    assert list(tmp_path.iterdir()) == []
