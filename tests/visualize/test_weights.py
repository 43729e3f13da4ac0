"""All pictures of a model, as figures and as files."""

from pathlib import Path

import numpy as np
import pytest

from openretina_jax.errors import UserError
from openretina_jax.models.build import make_model
from openretina_jax.models.model import CoreReadout
from openretina_jax.modules.cores import CORES
from openretina_jax.modules.readouts import READOUTS
from openretina_jax.modules.readouts.readout import Readout
from openretina_jax.visualize.weights import DEFAULT_NEURONS, save_weights, session_neurons, weight_figures
from tests.visualize.models import info, make, options

LAYERS = {"filters_layer_0", "coefficients_layer_0", "filters_layer_1", "coefficients_layer_1"}


@pytest.mark.parametrize("core", CORES.kinds())
def test_every_kind_of_core(core: str) -> None:
    figures = weight_figures(make_model(options(core), info()), [0, 5])
    expected = {"simple": LAYERS, "gru": LAYERS | {"gates"}, "identity": set()}
    assert figures.keys() == expected[core] | {"neurons"}  # a new core needs an entry here
    assert all(figure.axes for name, figure in figures.items() if name != "neurons")


@pytest.mark.parametrize("readout", READOUTS.kinds())
def test_every_kind_of_readout(readout: str) -> None:
    figures = weight_figures(make_model(options("identity", readout), info()), [0, 5])
    assert [len(row.axes) > 0 for row in figures["neurons"].subfigs] == [True, True]


def test_speeds_where_there_are_any() -> None:
    parts = options("simple")
    parts["core"]["adapt_speed"] = True
    assert "speeds" in weight_figures(make_model(parts, info()), [])


def test_convolutions_without_coefficients() -> None:
    parts = options("simple")
    parts["core"]["convolution"] = "full"
    assert weight_figures(make_model(parts, info()), []).keys() == {"filters_layer_0", "filters_layer_1"}


def test_neurons_are_named_by_their_sessions() -> None:
    rows = weight_figures(make(), [1, 5])["neurons"].subfigs
    assert [row.get_suptitle() for row in rows] == ["a neuron 1", "b neuron 2"]


@pytest.mark.slow
def test_time_axis_of_neurons_counts_maps() -> None:
    """A core that takes means over two frames leaves half as many maps."""
    parts = options("simple", "separable_lnp")
    parts["core"]["downsample_input"] = (2, 1, 1)
    parts["readout"] |= {"spatial_size": (3, 3)}
    *_, time, _ = weight_figures(make_model(parts, info()), [0])["neurons"].subfigs[0].axes
    np.testing.assert_allclose(time.lines[1].get_xdata(), 2 / 30 * 1000 * np.arange(-6, 1))


def test_autoencoder() -> None:
    model = make_model({"base": options("simple"), "autoencoder": {"hidden": 7}}, info())
    assert weight_figures(model, [0]).keys() == LAYERS | {"patterns", "neurons"}


def test_members_of_an_ensemble() -> None:
    parts = options()
    model = make_model({"members": [parts, parts]}, info())
    figures = weight_figures(model, [0])
    assert figures.keys() == {"member_0/neurons", "member_1/neurons"}
    for number in range(2):
        _, features, _ = figures[f"member_{number}/neurons"].subfigs[0].axes
        heights = [bar.get_height() for bar in features.patches]
        np.testing.assert_array_equal(heights, model.members.readout.features[...][number, 0])


def test_a_readout_that_nobody_has_drawn_has_no_picture(tmp_path: Path) -> None:
    model = make("simple")
    plain = CoreReadout(model.core, Readout(), model.options, model.data_info)
    assert weight_figures(plain, [0]).keys() == LAYERS
    assert {file.stem for file in save_weights(plain, tmp_path, [0])} == LAYERS


@pytest.mark.slow
def test_files(tmp_path: Path) -> None:
    files = save_weights(make(), tmp_path / "new", [0, 5])
    assert files == [tmp_path / "new/a/neuron_0.png", tmp_path / "new/b/neuron_2.png"]
    assert sorted(file for file in tmp_path.rglob("*") if file.is_file()) == files
    assert all(file.read_bytes().startswith(b"\x89PNG") for file in files)


def test_files_of_a_core_and_an_ensemble(tmp_path: Path) -> None:
    parts = options("simple")
    files = save_weights(make_model({"members": [parts]}, info()), tmp_path, [])
    assert {str(file.relative_to(tmp_path)) for file in files} == {f"member_0/{name}.png" for name in LAYERS}


@pytest.mark.slow
def test_default_neurons_are_spread_over_the_table(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model = make()
    assert len(save_weights(model, tmp_path)) == 6 <= DEFAULT_NEURONS
    monkeypatch.setattr("openretina_jax.visualize.weights.DEFAULT_NEURONS", 2)
    assert [file.name for file in save_weights(model, tmp_path)] == ["neuron_0.png", "neuron_2.png"]


@pytest.mark.parametrize("name", ["../../out", "/out", "..", "a\\b"])
def test_names_of_sessions_do_not_lead_out_of_the_folder(tmp_path: Path, name: str) -> None:
    named = info()
    object.__setattr__(named, "sessions", {name: 6})
    object.__setattr__(named, "mean_activity", {name: [0.0] * 6})
    (file,) = save_weights(make_model(options(), named), tmp_path / "in", [0])
    assert file.resolve().parent.parent == tmp_path / "in"
    assert file.exists()


def test_neurons_of_a_session() -> None:
    model = make()
    assert session_neurons(model, "b") == [3, 4, 5]
    assert session_neurons(model, "b", [2, 0]) == [5, 3]
    with pytest.raises(UserError, match='session "b" has no neuron 3; it has 3, counted from 0'):
        session_neurons(model, "b", [0, 3])
    with pytest.raises(UserError, match='no session "c"; it has a, b'):
        session_neurons(model, "c")


def test_neurons_that_are_not_there(tmp_path: Path) -> None:
    for draw in (weight_figures, lambda model, neurons: save_weights(model, tmp_path, neurons)):
        with pytest.raises(UserError, match="no neuron 6; it has 6"):
            draw(make(), [6])
