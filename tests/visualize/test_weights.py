"""Pictures of a model's weights, as figures and as files: all of them, patterns, gates and speeds."""

from pathlib import Path

import numpy as np
import pytest
from flax import nnx

from openretina_jax.errors import UserError
from openretina_jax.models.autoencoder import SparseAutoencoder
from openretina_jax.models.build import make_model
from openretina_jax.models.core_readout import CoreReadout
from openretina_jax.modules.cores import CORES
from openretina_jax.modules.cores.simple import SimpleCore
from openretina_jax.modules.readouts import READOUTS
from openretina_jax.modules.recurrent import GATES
from openretina_jax.visualize.weights import (
    DEFAULT_NEURONS,
    MAX_PATTERNS,
    MAX_SESSIONS,
    plot_gates,
    plot_patterns,
    plot_speeds,
    save_weights,
    session_neurons,
    weight_figures,
)
from tests.visualize.models import UnknownReadout, info, make, options

LAYERS = {"filters_layer_0", "coefficients_layer_0", "filters_layer_1", "coefficients_layer_1"}


@pytest.fixture
def blank_files(monkeypatch: pytest.MonkeyPatch) -> None:
    """Files are written without their pictures, which take a second each."""
    monkeypatch.setattr("openretina_jax.visualize.weights.save", lambda figure, file: file.touch(exist_ok=False))


@pytest.mark.parametrize("core", CORES.kinds())
def test_every_kind_of_core(core: str) -> None:
    figures = weight_figures(make_model(options(core), info()), [0, 5])
    expected = {"simple": LAYERS, "gru": LAYERS | {"gates"}, "identity": set()}
    assert figures.keys() == expected[core] | {"neurons"}  # a new core needs an entry here
    assert all(figure.axes for name, figure in figures.items() if name != "neurons")


@pytest.mark.slow
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


@pytest.mark.slow
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


@pytest.mark.usefixtures("blank_files")
def test_a_readout_that_nobody_has_drawn_has_no_picture(tmp_path: Path) -> None:
    model = make("simple")
    plain = CoreReadout(model.core, UnknownReadout(), model.options, model.data_info)
    assert weight_figures(plain, [0]).keys() == LAYERS
    assert {file.stem for file in save_weights(plain, tmp_path, [0])} == LAYERS


@pytest.mark.slow
def test_files(tmp_path: Path) -> None:
    files = save_weights(make(), tmp_path / "new", [0, 5])
    assert files == [tmp_path / "new/a/neuron_0.png", tmp_path / "new/b/neuron_2.png"]
    assert sorted(file for file in tmp_path.rglob("*") if file.is_file()) == files
    assert all(file.read_bytes().startswith(b"\x89PNG") for file in files)


@pytest.mark.usefixtures("blank_files")
def test_files_of_a_core_and_an_ensemble(tmp_path: Path) -> None:
    parts = options("simple")
    files = save_weights(make_model({"members": [parts]}, info()), tmp_path, [])
    assert {str(file.relative_to(tmp_path)) for file in files} == {f"member_0/{name}.png" for name in LAYERS}


@pytest.mark.usefixtures("blank_files")
def test_default_neurons_are_spread_over_the_table(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model = make()
    assert len(save_weights(model, tmp_path / "all")) == 6 <= DEFAULT_NEURONS
    monkeypatch.setattr("openretina_jax.visualize.weights.DEFAULT_NEURONS", 2)
    assert [file.name for file in save_weights(model, tmp_path / "two")] == ["neuron_0.png", "neuron_2.png"]


@pytest.mark.usefixtures("blank_files")
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


SESSIONS = {"a": 2, "b": 4}


def autoencoder_of(decoder: np.ndarray) -> SparseAutoencoder:
    autoencoder = SparseAutoencoder(decoder.shape[1], hidden=len(decoder), rngs=nnx.Rngs(0))
    autoencoder.decoder[...] = decoder.astype(np.float32)
    return autoencoder


def test_patterns_of_norm_1_in_the_order_of_their_neurons() -> None:
    decoder = np.random.default_rng(0).normal(size=(5, 6)) + 9 * np.eye(6)[[4, 0, 3, 0, 2]]
    axes, bar = plot_patterns(autoencoder_of(decoder), SESSIONS).axes
    order = [1, 3, 4, 2, 0]
    patterns = (decoder / np.linalg.norm(decoder, axis=1, keepdims=True))[order]
    np.testing.assert_allclose(np.asarray(axes.images[0].get_array()), patterns, rtol=1e-5)
    assert [label.get_text() for label in axes.get_yticklabels()] == [str(number) for number in order]
    assert (axes.get_xlabel(), axes.get_ylabel(), bar.get_ylabel()) == ("neuron", "pattern", "weight in the pattern")


def test_sessions_are_separated_and_named() -> None:
    axes, _ = plot_patterns(autoencoder_of(np.eye(6)), SESSIONS).axes
    assert [line.get_xdata()[0] for line in axes.lines] == [1.5]
    (names,) = axes.child_axes
    assert [label.get_text() for label in names.get_xticklabels()] == ["a", "b"]
    np.testing.assert_allclose(names.get_xticks(), [0.5, 3.5])


def test_the_most_selective_of_many_patterns_are_shown() -> None:
    decoder = np.ones((MAX_PATTERNS + 2, 6))
    decoder[2:, 3] = 5
    axes, _ = plot_patterns(autoencoder_of(decoder), SESSIONS).axes
    assert axes.images[0].get_array().shape == (MAX_PATTERNS, 6)
    assert axes.get_yticklabels()[0].get_text() == "2"
    assert axes.get_figure().get_suptitle().startswith("100 of 102 patterns")


def test_a_pattern_of_zeros_is_left_blank() -> None:
    axes, _ = plot_patterns(autoencoder_of(np.diag([1, 1, 0, 1, 1, 1])), SESSIONS).axes
    assert axes.images[0].get_clim() == (-1, 1)
    assert sorted(np.abs(axes.images[0].get_array()).sum(axis=1)) == [0, 1, 1, 1, 1, 1]


def test_norms_of_all_kernels() -> None:
    core = make("gru").core
    *panels, bar = plot_gates(core).axes
    kernels = [getattr(core.gru.cell, f"{gate}_{source}")[...] for source in ("input", "hidden") for gate in GATES]
    for axes, kernel in zip(panels, kernels, strict=True):
        norms = np.asarray(axes.images[0].get_array())
        np.testing.assert_allclose(norms, np.sqrt(np.square(kernel).sum(axis=(2, 3))), rtol=1e-6)
    assert [axes.get_title() for axes in panels[2:4]] == ["out, from the input", "reset, from the state"]
    assert {axes.get_xlabel() for axes in panels} == {"channel of the input", "channel of the state"}
    assert len({axes.images[0].get_clim() for axes in panels}) == 1
    assert bar.get_ylabel() == "norm of the kernel"


@pytest.mark.slow
def test_cores_without_a_recurrent_unit() -> None:
    for core in ("simple", "identity"):
        with pytest.raises(UserError, match="no recurrent unit; it comes with recurrent_channels"):
            plot_gates(make(core).core)


def make_core(convolution: str = "custom_separable", n_sessions: int = 2) -> SimpleCore:
    sizes = {"hidden_channels": (4,), "temporal_kernel_sizes": (6,), "spatial_kernel_sizes": (5,)}
    return SimpleCore(2, **sizes, convolution=convolution, adapt_speed=True, n_sessions=n_sessions, rngs=nnx.Rngs(0))


@pytest.mark.parametrize("convolution", ["custom_separable", "separable"])
def test_speeds(convolution: str) -> None:
    core = make_core(convolution)
    core.log_speed[...] = np.float32([0, np.log(2)])
    (axes,) = plot_speeds(core, ["a", "b"]).axes
    np.testing.assert_allclose(axes.lines[-1].get_xdata(), [1, 2])
    assert [label.get_text() for label in axes.get_yticklabels()] == ["a", "b"]
    assert axes.get_xlabel().startswith("speed of temporal" if convolution == "custom_separable" else "gain of")


def test_many_sessions_are_cut() -> None:
    names = [str(number) for number in range(MAX_SESSIONS + 1)]
    (axes,) = plot_speeds(make_core(n_sessions=len(names)), names).axes
    assert len(axes.get_yticks()) == MAX_SESSIONS
    assert axes.get_title() == "speeds of 100 of 101 sessions"


def test_cores_without_speeds() -> None:
    for core in ("simple", "identity"):
        with pytest.raises(UserError, match="no speeds of sessions; they come with adapt_speed"):
            plot_speeds(make(core).core, ["a", "b"])
