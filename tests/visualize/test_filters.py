"""What is drawn of a layer: kernels in space and time, and coefficients."""

import dataclasses
from typing import Any

import numpy as np
import pytest
from flax import nnx
from matplotlib.figure import Figure

from openretina_jax.errors import UserError
from openretina_jax.modules.convolutions import CONVOLUTIONS
from openretina_jax.modules.cores.identity import IdentityCore
from openretina_jax.modules.cores.simple import SimpleCore
from openretina_jax.visualize.filters import Scale, plot_coefficients, plot_filters, separable_kernels
from openretina_jax.visualize.style import CHANNEL_COLOURS, COLOURS
from tests import tiny
from tests.visualize.models import CORES


def make(convolution: str = "custom_separable") -> SimpleCore:
    """A core of two layers: 2 to 4 channels, and 4 to 3."""
    return SimpleCore(2, **CORES["simple"], convolution=convolution, rngs=nnx.Rngs(0))


def many_channels() -> SimpleCore:
    sizes = {"hidden_channels": (65,), "temporal_kernel_sizes": (3,), "spatial_kernel_sizes": (3,)}
    return SimpleCore(17, **sizes, rngs=nnx.Rngs(0))


def product(spatial: np.ndarray, temporal: np.ndarray) -> np.ndarray:
    return np.einsum("oihw,oit->oithw", spatial, temporal)


def untiled(image: np.ndarray, rows: int, columns: int) -> np.ndarray:
    """The small images (row, column, height, width) of a picture of many."""
    height, width = image.shape[0] // rows, image.shape[1] // columns
    return image.reshape(rows, height, columns, width).swapaxes(1, 2)


def drawn(figure: Figure, outputs: int, inputs: int) -> tuple[np.ndarray, np.ndarray]:
    """Spatial (out, in, height, width) and temporal (out, in, time) kernels of a picture."""
    above, below = figure.axes[:2]
    spatial = untiled(np.asarray(above.images[0].get_array()), inputs, outputs).swapaxes(0, 1)
    curves = [line.get_ydata() for line in below.lines if len(line.get_xdata()) > 2]
    return spatial, np.reshape(curves, (outputs, inputs, -1))


@pytest.mark.parametrize(
    "options",
    [{"input_padding": (0, 2, 1), "hidden_padding": (0, 1, 1)}, {"pool_every": 1, "downsample_input": (1, 2, 1)}],
)
def test_pixels_of_maps_lie_where_the_core_sees(options: dict[str, Any]) -> None:
    """In the middle of the rows of a stimulus whose every row is its own number, of which a window takes the mean."""
    core = SimpleCore(2, **CORES["simple"], **options, rngs=nnx.Rngs(0))
    scale = Scale.of(core, dataclasses.replace(tiny.dataset().info, pixel_size_um=50.0))
    assert scale.first_px is not None
    for axis in (1, 2):
        rows, before = np.arange(40.0), [core.downsample_input] if core.downsample_input else []
        steps = [(size[axis], size[axis], 0) for size in before]
        for layer in core.layers:
            steps.append((layer.conv.size[axis], 1, layer.conv.padding[axis][0]))
            steps += [(2, 2, 0)] * layer.pool
        for size, stride, padding in steps:
            outside = rows[0] + (rows[1] - rows[0]) * np.arange(-padding, 0)
            windows = np.lib.stride_tricks.sliding_window_view(np.concatenate([outside, rows]), size)
            rows = windows[::stride].mean(axis=1)
        np.testing.assert_allclose(rows, scale.first_px[axis - 1] + scale.step_px[axis - 1] * np.arange(len(rows)))
    assert scale.unit == "px of 50 µm"


def test_filters_of_the_first_layer() -> None:
    core = make()
    conv, figure = core.layers[0].conv, plot_filters(core, frame_rate_hz=20.0)
    spatial, temporal = drawn(figure, 4, 2)
    np.testing.assert_array_equal(np.abs(spatial), np.abs(conv.spatial[...]))
    np.testing.assert_allclose(product(spatial, temporal), product(conv.spatial[...], conv.temporal()), rtol=1e-6)
    assert (spatial[..., 1:4, 1:4].mean(axis=(2, 3)) > 0).all()
    assert (conv.spatial[..., 1:4, 1:4].mean(axis=(2, 3)) < 0).any(), "no kernel had to be flipped"
    assert figure.axes[0].images[0].get_clim() == (-np.abs(spatial).max(), np.abs(spatial).max())


def test_filters_are_labelled() -> None:
    above, below, bar = plot_filters(make(), frame_rate_hz=20.0).axes
    assert bar.get_ylabel() == "spatial weight"
    (outputs,) = above.child_axes
    assert [label.get_text() for label in outputs.get_xticklabels()] == [f"output {o}" for o in range(4)]
    inputs = above.get_yticklabels()
    assert [(label.get_text(), label.get_color()) for label in inputs] == [
        ("input 0", COLOURS[0]),
        ("input 1", COLOURS[1]),
    ]
    curves = [line for line in below.lines if len(line.get_xdata()) > 2]
    assert [line.get_color() for line in curves[:2]] == list(COLOURS[:2])
    assert (below.get_ylabel(), below.get_xlabel()) == ("temporal weight", "time relative to the response (ms)")
    assert above.get_figure().get_suptitle() == "layer 0, kernels of 5 x 5 px"


def test_temporal_kernels_lie_below_their_outputs() -> None:
    _, below, _ = plot_filters(make(), frame_rate_hz=20.0).axes
    curves = [line.get_xdata() for line in below.lines if len(line.get_xdata()) > 2]
    assert [(np.floor(x.min()), np.floor(x.max())) for x in curves] == [(o, o) for o in range(4) for _ in range(2)]


def test_inputs_have_names() -> None:
    above, below, _ = plot_filters(make(), inputs=["green", "UV"]).axes
    colours = [CHANNEL_COLOURS[name] for name in ("green", "UV")]
    assert [(label.get_text(), label.get_color()) for label in above.get_yticklabels()] == [
        ("green", colours[0]),
        ("UV", colours[1]),
    ]
    assert [line.get_color() for line in below.lines if len(line.get_xdata()) > 2][:2] == colours
    (names,) = plot_coefficients(make(), inputs=["green", "UV"]).axes[0].child_axes
    assert [label.get_text() for label in names.get_xticklabels()] == ["green", "UV"]
    with pytest.raises(UserError, match=r"1 channels are named \(grey\), but there are 2"):
        plot_filters(make(), inputs=["grey"])


@pytest.mark.parametrize(
    ("layer", "downsample", "first"),
    [(0, None, "-250"), (0, (2, 1, 1), "-500"), (1, None, "-50")],  # layer 1 is padded in time
)
def test_time_axis(layer: int, downsample: tuple[int, int, int] | None, first: str) -> None:
    core = make()
    core.downsample_input = downsample
    _, below, _ = plot_filters(core, layer, frame_rate_hz=20.0).axes
    assert [label.get_text() for label in below.get_xticklabels()][:4] == [first, "0", first, "0"]
    x = next(line.get_xdata() for line in below.lines if len(line.get_xdata()) > 2)
    start, zero = below.get_xticks()[:2]
    assert x[0] == pytest.approx(start)
    assert x[-1] - zero == pytest.approx(0 if layer == 0 else zero - start)  # as much after 0 as before


def test_time_axis_without_a_frame_rate() -> None:
    _, below, _ = plot_filters(make()).axes
    assert below.get_xticklabels()[0].get_text() == "-5"
    assert below.get_xlabel() == "time relative to the response (frames)"


def test_many_channels_are_cut() -> None:
    figure = plot_filters(many_channels())
    assert drawn(figure, 16, 4)[0].shape == (16, 4, 3, 3)
    assert figure.get_suptitle() == "layer 0, kernels of 3 x 3 px, 16 of 65 outputs, 4 of 17 inputs"


@pytest.mark.parametrize("convolution", CONVOLUTIONS)
def test_every_convolution_has_a_picture(convolution: str) -> None:
    core = make(convolution)
    for layer, conv in enumerate(layer.conv for layer in core.layers):
        figure = plot_filters(core, layer, frame_rate_hz=20.0)
        assert len(figure.axes) == (2 if convolution == "time_independent" else 3)
        approximate = "best separable approximation" in figure.get_suptitle()
        assert approximate == (convolution in ("full", "separable"))
        if convolution != "time_independent":
            outputs, inputs = separable_kernels(conv)[0].shape[:2]
            kernels = product(*separable_kernels(conv))
            np.testing.assert_allclose(product(*drawn(figure, outputs, inputs)), kernels, atol=1e-6)


def test_full_kernel_is_split_exactly_where_it_is_separable() -> None:
    conv = make("full").layers[0].conv
    random = np.random.default_rng(0)
    kernel = product(random.normal(size=(4, 2, 5, 5)), random.normal(size=(4, 2, 6))).astype(np.float32)
    conv.kernel[...] = kernel
    np.testing.assert_allclose(product(*separable_kernels(conv)), kernel, atol=1e-5)


def test_the_strongest_pixel_of_a_split_kernel_is_positive() -> None:
    conv = make("full").layers[0].conv
    kernel = np.random.default_rng(0).normal(size=conv.kernel.shape).astype(np.float32)
    kernels = []
    for sign in (1, -1):
        conv.kernel[...] = sign * kernel
        kernels.append(separable_kernels(conv))
    (spatial, temporal), (same, opposite) = kernels
    np.testing.assert_allclose(spatial, same, atol=1e-5)
    np.testing.assert_allclose(temporal, -opposite, atol=1e-5)
    flat = spatial.reshape(*spatial.shape[:2], -1)
    np.testing.assert_array_equal(flat.max(axis=-1), np.abs(flat).max(axis=-1))


def test_separable_convolution_sees_its_inputs_through_all_channels() -> None:
    """Where the spatial kernels of an input are alike, its kernel is exactly that one, with the summed time courses."""
    conv = make("separable").layers[0].conv
    conv.spatial[...] = np.broadcast_to(conv.spatial[...][:1], conv.spatial.shape)
    spatial, temporal = separable_kernels(conv)
    expected = np.einsum("ot,ihw->oithw", conv.temporal[...].sum(axis=1), conv.spatial[...][0])
    np.testing.assert_allclose(product(spatial, temporal), expected, atol=1e-6)


def test_coefficients() -> None:
    """They have the signs of the drawn kernels, of which they make the temporal ones."""
    core = make()
    conv = core.layers[0].conv
    sines, cosines, _ = plot_coefficients(core, frame_rate_hz=20.0).axes
    shape = (4, 2, 2)  # outputs, inputs, frequencies
    sin, cos = (np.asarray(axes.images[0].get_array().filled(0)).reshape(shape) for axes in (sines, cosines))
    assert sines.images[0].get_array().mask.reshape(shape)[..., 0].all()  # the sine of frequency 0
    np.testing.assert_array_equal(np.abs(sin[..., 1]), np.abs(conv.sin[..., 1]))
    np.testing.assert_array_equal(np.abs(cos), np.abs(conv.cos[...]))
    conv.sin[...], conv.cos[...] = sin, cos
    np.testing.assert_allclose(
        conv.temporal(), drawn(plot_filters(make()), 4, 2)[1], atol=1e-7, err_msg="another sign than the kernels"
    )
    assert sines.images[0].get_clim() == cosines.images[0].get_clim()


def test_coefficients_are_labelled() -> None:
    sines, cosines, bar = plot_coefficients(make(), frame_rate_hz=30.0).axes
    assert (sines.get_ylabel(), cosines.get_ylabel(), bar.get_ylabel()) == (
        "sines\noutput",
        "cosines\noutput",
        "coefficient",
    )
    assert cosines.get_xlabel() == "frequency (Hz), 2 from 0 to 5"  # one cycle in 6 frames of 1/30 s
    assert [label.get_text() for label in cosines.get_xticklabels()] == ["0", "5", "0", "5"]
    unknown = plot_coefficients(make()).axes[1]
    assert unknown.get_xlabel() == "frequency (cycles per frame), 2 from 0 to 0.167"


def test_coefficients_of_many_channels_are_cut() -> None:
    figure = plot_coefficients(many_channels())
    assert figure.axes[0].images[0].get_array().shape == (64, 16)
    assert figure.get_suptitle().endswith("64 of 65 outputs, 16 of 17 inputs")


def test_layers_that_are_not_there() -> None:
    for plot in (plot_filters, plot_coefficients):
        with pytest.raises(UserError, match="no layer 2; it has 2"):
            plot(make(), 2)
        with pytest.raises(UserError, match="no layer 0; it has 0"):
            plot(IdentityCore(2))
    with pytest.raises(UserError, match='layer 1 has no sines and cosines; its convolution is not "custom_separable"'):
        plot_coefficients(make("full"), 1)
