"""What is drawn of a core and a readout."""

import numpy as np
import pytest
from flax import nnx

from openretina_jax.data.dataset import DataInfo
from openretina_jax.errors import UserError
from openretina_jax.models.build import make_core_readout
from openretina_jax.models.core_readout import CoreReadout
from openretina_jax.modules.convolutions import CONVOLUTIONS
from openretina_jax.modules.cores import IdentityCore, SimpleCore
from openretina_jax.visualize.weights import INPUT_COLOURS, plot_filters, plot_masks, separable_kernels


def make(convolution: str = "custom_separable", **readout: object) -> CoreReadout:
    core = {
        "kind": "simple",
        "hidden_channels": (4, 3),
        "temporal_kernel_sizes": (6, 3),
        "spatial_kernel_sizes": (5, 3),
        "convolution": convolution,
    }
    info = DataInfo(
        sessions={"a": 2, "b": 3},
        mean_activity={"a": [0.0] * 2, "b": [0.0] * 3},
        input_shape=(12, 10, 2),
        frame_rate_hz=20.0,
        pixel_size_um=None,
        norm_mean=None,
        norm_std=None,
        neurons={},
        source={},
    )
    return make_core_readout({"core": core, "readout": {"kind": "gaussian_mask", **readout}}, info)


def product(spatial: np.ndarray, temporal: np.ndarray) -> np.ndarray:
    return np.einsum("oihw,oit->oithw", spatial, temporal)


def test_filters_of_the_first_layer() -> None:
    conv = make().core.layers[0].conv
    figure = plot_filters(make().core, frame_rate_hz=20.0)
    *panels, bar = figure.axes
    assert bar.get_ylabel() == "spatial weight"
    grid = np.array(panels).reshape(3, 4)
    drawn = np.array([[grid[i, o].images[0].get_array() for i in range(2)] for o in range(4)])
    lines = np.array([[line.get_ydata() for line in axes.lines[-2:]] for axes in grid[2]])
    np.testing.assert_array_equal(np.abs(drawn), np.abs(conv.spatial[...]))
    np.testing.assert_allclose(product(drawn, lines), product(conv.spatial[...], conv.temporal()), rtol=1e-6)
    assert (drawn[..., 1:4, 1:4].mean(axis=(2, 3)) > 0).all()
    assert (conv.spatial[..., 1:4, 1:4].mean(axis=(2, 3)) < 0).any(), "no kernel had to be flipped"
    limits = {axes.images[0].get_clim() for axes in grid[:2].ravel()}
    assert limits == {(-np.abs(drawn).max(), np.abs(drawn).max())}


def test_filters_are_labelled() -> None:
    figure = plot_filters(make().core, frame_rate_hz=20.0)
    grid = np.array(figure.axes[:-1]).reshape(3, 4)
    assert [axes.get_title() for axes in grid[0]] == ["output 0", "output 1", "output 2", "output 3"]
    assert [axes.get_ylabel() for axes in grid[:, 0]] == ["input 0", "input 1", "temporal\nweight"]
    assert tuple(line.get_color() for line in grid[2, 0].lines[-2:]) == INPUT_COLOURS[:2]
    assert figure.get_supxlabel() == "time relative to the response (ms)"
    assert figure.get_suptitle() == "layer 0, kernels of 5 x 5 px"


@pytest.mark.parametrize(
    ("layer", "downsample", "expected"),
    [
        (0, None, [-250, -200, -150, -100, -50, 0]),
        (0, (2, 1, 1), [-500, -400, -300, -200, -100, 0]),
        (1, None, [-50, 0, 50]),  # padded in time
    ],
)
def test_time_axis(layer: int, downsample: tuple[int, int, int] | None, expected: list[float]) -> None:
    core = make().core
    core.downsample_input = downsample
    line = plot_filters(core, layer, frame_rate_hz=20.0).axes[-2].lines[-1]
    np.testing.assert_allclose(line.get_xdata(), expected)


def test_time_axis_without_a_frame_rate() -> None:
    figure = plot_filters(make().core)
    np.testing.assert_array_equal(figure.axes[-2].lines[-1].get_xdata(), np.arange(-5, 1))
    assert figure.get_supxlabel() == "time relative to the response (frames)"


def test_many_channels_are_cut() -> None:
    core = SimpleCore(5, hidden_channels=(17,), temporal_kernel_sizes=(3,), spatial_kernel_sizes=(3,), rngs=nnx.Rngs(0))
    figure = plot_filters(core, frame_rate_hz=20.0)
    assert len(figure.axes) == (4 + 1) * 16 + 1
    assert figure.get_suptitle() == "layer 0, kernels of 3 x 3 px, 16 of 17 outputs, 4 of 5 inputs"


@pytest.mark.parametrize("convolution", CONVOLUTIONS)
def test_every_convolution_has_a_picture(convolution: str) -> None:
    core = make(convolution).core
    temporal_rows = convolution != "time_independent"
    for layer, (inputs, outputs) in enumerate(((2, 4), (4, 3))):
        figure = plot_filters(core, layer, frame_rate_hz=20.0)
        assert len(figure.axes) == (inputs + temporal_rows) * outputs + 1
        approximate = "best separable approximation" in figure.get_suptitle()
        assert approximate == (convolution in ("full", "separable"))


def test_full_kernel_is_split_exactly_where_it_is_separable() -> None:
    conv = make("full").core.layers[0].conv
    random = np.random.default_rng(0)
    kernel = product(random.normal(size=(4, 2, 5, 5)), random.normal(size=(4, 2, 6))).astype(np.float32)
    conv.kernel[...] = kernel
    np.testing.assert_allclose(product(*separable_kernels(conv)), kernel, atol=1e-5)


def test_separable_convolution_sees_its_inputs_through_all_channels() -> None:
    """Where the spatial kernels of an input are alike, its kernel is exactly that one, with the summed time courses."""
    conv = make("separable").core.layers[0].conv
    conv.spatial[...] = np.broadcast_to(conv.spatial[...][:1], conv.spatial.shape)
    spatial, temporal = separable_kernels(conv)
    expected = np.einsum("ot,ihw->oithw", conv.temporal[...].sum(axis=1), conv.spatial[...][0])
    np.testing.assert_allclose(product(spatial, temporal), expected, atol=1e-6)


def test_layers_that_are_not_there() -> None:
    with pytest.raises(UserError, match="no layer 2; it has 2"):
        plot_filters(make().core, 2, frame_rate_hz=20.0)
    with pytest.raises(UserError, match="no layer 0; it has 0"):
        plot_filters(IdentityCore(), frame_rate_hz=20.0)


@pytest.mark.parametrize("positive", [False, True])
def test_masks(positive: bool) -> None:
    readout = make(positive=positive).readout
    readout.features[...] = np.random.default_rng(0).normal(size=readout.features.shape).astype(np.float32)
    readout.mask_mean[...] = np.linspace(-0.5, 0.5, 10, dtype=np.float32).reshape(5, 2)
    figure = plot_masks(readout, [4, 1], ["b/2", "a/1"])
    above, below = np.array(figure.axes).reshape(2, 2)
    assert [axes.get_title() for axes in above] == ["b/2", "a/1"]
    weights = np.asarray(readout.features[...])
    for neuron, mask, bars in zip((4, 1), above, below, strict=True):
        np.testing.assert_array_equal(mask.images[0].get_array(), readout.masks()[neuron])
        heights = [bar.get_height() for bar in bars.patches]
        np.testing.assert_array_equal(heights, weights[neuron].clip(0 if positive else None))


def test_neurons_that_are_not_there() -> None:
    with pytest.raises(UserError, match="no neuron 5; it has 5"):
        plot_masks(make().readout, [0, 5], ["a/0", "?"])
    with pytest.raises(UserError, match="name at least one"):
        plot_masks(make().readout, [], [])
