"""What is drawn of the neurons of every kind of readout."""

import dataclasses
from typing import Any

import numpy as np
import pytest
from flax import nnx
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from openretina_jax.errors import UserError
from openretina_jax.models.build import make_model
from openretina_jax.modules.readouts import READOUTS
from openretina_jax.modules.readouts.lnp import LnpReadout
from openretina_jax.visualize.filters import Scale
from openretina_jax.visualize.readouts import MAX_CHANNELS, plot_neurons
from tests.visualize.models import UnknownReadout, info, make, options, randomised

NAMES = [f"{session}/{number}" for session in "ab" for number in range(3)]


def panels(figure: Figure) -> list[list[Axes]]:
    """The panels of every neuron, in the order in which they were made."""
    return [row.axes for row in figure.subfigs]


def image(axes: Axes) -> np.ndarray:
    return np.asarray(axes.images[0].get_array())


def heights(axes: Axes) -> list[float]:
    return [bar.get_height() for bar in axes.patches]


def curves(axes: Axes) -> np.ndarray:
    """What is drawn as lines, without the one at 0."""
    return np.array([line.get_ydata() for line in axes.lines[1:]])


@pytest.mark.slow
@pytest.mark.parametrize("kind", READOUTS.kinds())
def test_every_kind_has_its_picture(kind: str) -> None:
    """A new kind needs a case in ``drawer``."""
    figure = plot_neurons(make("identity", kind).readout, [4, 1], NAMES, scale=Scale(rate_hz=30.0))
    assert len(figure.subfigs) == 2
    for row, name in zip(figure.subfigs, ("b/1", "a/1"), strict=True):
        assert row.get_suptitle().startswith(name)
        labelled = [axes for axes in row.axes if axes.get_label() != "<colorbar>"]
        assert all(axes.get_xlabel() for axes in labelled)
        assert labelled[0].get_ylabel() == "row (px of the map)"


@pytest.mark.parametrize("kind", ["lnp", "separable_lnp"])
def test_kernels_of_a_single_channel(kind: str) -> None:
    parts = options("identity", kind)
    model = randomised(make_model(parts, dataclasses.replace(info(), input_shape=(12, 10, 1))))
    (row,) = panels(plot_neurons(model.readout, [4], NAMES))
    kernels = [axes for axes in row if axes.images and axes.get_label() != "<colorbar>"]
    assert [axes.get_title() for axes in kernels] == (
        ["channel 0"] if kind == "lnp" else ["rank 0, channel 0", "rank 1, channel 0"]
    )
    if kind == "lnp":
        norms = row[1]
        assert heights(norms) == pytest.approx([np.linalg.norm(image(kernels[0]))], rel=1e-5)
        assert norms.get_xticks().tolist() == [0]


@pytest.mark.parametrize("positive", [False, True])
def test_gaussian_masks(positive: bool) -> None:
    readout = make("identity", "gaussian_mask", positive=positive).readout
    for neuron, (mask, features, bar) in zip((4, 1), panels(plot_neurons(readout, [4, 1], NAMES)), strict=True):
        np.testing.assert_array_equal(image(mask), readout.masks()[neuron])
        assert mask.images[0].get_clim() == pytest.approx((0, image(mask).max()))
        np.testing.assert_array_equal(heights(features), readout.features[neuron].clip(0 if positive else None))
        assert (features.get_ylabel(), bar.get_ylabel()) == ("feature weight", "mask")


@pytest.mark.parametrize("constraint", [None, "abs"])
def test_free_masks_have_signs(constraint: str | None) -> None:
    readout = make("identity", "factorized", mask_constraint=constraint, feature_constraint="absnorm").readout
    ((mask, features, _),) = panels(plot_neurons(readout, [2], NAMES))
    np.testing.assert_array_equal(image(mask), readout.masks()[2])
    limit = np.abs(readout.mask[2]).max()
    assert mask.images[0].get_clim() == pytest.approx((-limit if constraint is None else 0, limit))
    np.testing.assert_array_equal(heights(features), readout.feature_weights()[2])


@pytest.mark.parametrize("align_corners", [False, True])
@pytest.mark.parametrize("gaussian", ["full", "uncorrelated", "isotropic"])
def test_positions(gaussian: str, align_corners: bool) -> None:
    readout = make("identity", "point_gaussian", gaussian=gaussian, align_corners=align_corners).readout
    readout.sigma[...] = 0.05 * readout.sigma[...]
    readout.means.positions[...] = 0.2 * readout.means.positions[...]
    ((density, features, _),) = panels(plot_neurons(readout, [2], NAMES))
    weights = image(density)
    assert weights.sum() == pytest.approx(1, abs=1e-5)
    (x,), (y,) = density.lines[0].get_data()
    rows, columns = np.mgrid[: weights.shape[0], : weights.shape[1]]
    assert ((weights * rows).sum(), (weights * columns).sum()) == pytest.approx((y, x), abs=1e-3)
    np.testing.assert_array_equal(heights(features), readout.features[2])


def test_a_position_without_width_is_one_pixel() -> None:
    readout = make("identity", "point_gaussian", initial_positions=((1.0, -1.0),) * 6).readout
    readout.sigma[...] = 0 * readout.sigma[...]
    readout.means.positions[...] = np.tile(np.float32([1, -1]), (6, 1))
    ((density, *_),) = panels(plot_neurons(readout, [0], NAMES))
    assert image(density)[0, -1] == 1  # right edge, first row
    assert density.lines[0].get_data() == ([image(density).shape[1] - 1], [0])


def test_lnp_kernels() -> None:
    readout = make("identity", "lnp").readout
    ((*kernels, norms, bar),) = panels(plot_neurons(readout, [2], NAMES))
    np.testing.assert_array_equal([image(axes) for axes in kernels], readout.kernel[2])
    assert len({axes.images[0].get_clim() for axes in kernels}) == 1
    np.testing.assert_allclose(heights(norms), readout.feature_weights()[2], rtol=1e-6)
    assert (norms.get_ylabel(), bar.get_ylabel()) == ("norm of kernel", "weight")


@pytest.mark.slow
def test_the_strongest_of_many_channels_are_shown() -> None:
    readout = LnpReadout((12, 10, MAX_CHANNELS + 2), 6, rngs=nnx.Rngs(0))
    readout.kernel[...] = readout.kernel[...] * np.arange(MAX_CHANNELS + 2, 0, -1, np.float32)[:, None, None]
    figure = plot_neurons(readout, [2], NAMES)
    (row,) = panels(figure)
    assert [axes.get_title() for axes in row[:MAX_CHANNELS]] == [f"channel {c}" for c in range(MAX_CHANNELS)]
    assert figure.subfigs[0].get_suptitle() == "a/2: the 6 strongest of 8 channels"
    assert len(heights(row[MAX_CHANNELS])) == MAX_CHANNELS + 2


@pytest.mark.parametrize("normalize", [False, True])
def test_separable_lnp_kernels(normalize: bool) -> None:
    readout = make("identity", "separable_lnp", normalize=normalize).readout
    ((*kernels, time, _),) = panels(plot_neurons(readout, [2], NAMES, scale=Scale(rate_hz=20.0)))
    spatial, temporal = np.array([image(axes) for axes in kernels]), curves(time)
    assert [axes.get_title() for axes in kernels] == [
        f"rank {rank}, channel {channel}" for rank in range(2) for channel in range(2)
    ]
    spatial = spatial.reshape(2, 2, 5, 4)  # rank, channel, height, width
    assert (spatial[..., 1:4, 1:3].mean(axis=(1, 2, 3)) > 0).all()
    expected = np.einsum("rchw,rt->tchw", readout.spatial[2], readout.temporal[2])
    if normalize:
        expected /= np.linalg.norm(readout.spatial[2]) * np.linalg.norm(readout.temporal[2])
    np.testing.assert_allclose(np.einsum("rchw,rt->tchw", spatial, temporal), expected, atol=1e-6)
    np.testing.assert_allclose(time.lines[1].get_xdata(), np.arange(-300, 1, 50))
    top, left = readout.corner[2].tolist()
    assert kernels[0].images[0].get_extent() == [left - 0.5, left + 3.5, top + 4.5, top - 0.5]


def test_spatial_contrast() -> None:
    readout = make("identity", "spatial_contrast").readout
    random = np.random.default_rng(0)
    filters = random.normal(size=(6, 12, 10)).astype(np.float32), random.normal(size=(6, 7)).astype(np.float32)
    readout.set_filters(*filters, np.full((6, 2), 5))
    readout.a[...] = -1 - 0 * readout.a[...]
    ((spatial, time, numbers, _),) = panels(plot_neurons(readout, [2], NAMES))
    np.testing.assert_array_equal(image(spatial), filters[0][2])
    np.testing.assert_array_equal(curves(time), filters[1][2:3])
    assert time.get_xlabel() == "time relative to the response (frames)"
    widths = [bar.get_width() for bar in numbers.patches]
    np.testing.assert_allclose(widths, [readout.w[2], 0, readout.b[2], readout.c[2]])  # a is used clipped


def test_filters_that_are_not_set_yet() -> None:
    ((spatial, *_),) = panels(plot_neurons(make("identity", "spatial_contrast").readout, [2], NAMES))
    assert not image(spatial).any()


def test_clones_show_the_source_with_gain_and_offset() -> None:
    readout = make("identity", "cloned").readout
    readout.alpha[...], readout.beta[...] = np.float32([1] * 5 + [2.5]), np.float32([0] * 5 + [-0.125])
    figure = plot_neurons(readout, [2, 5], NAMES)
    original, clone = panels(figure)
    np.testing.assert_array_equal(image(original[0]), image(clone[0]))
    np.testing.assert_array_equal(image(clone[0]), readout.source.masks()[2])
    assert [row.get_suptitle() for row in figure.subfigs] == [
        "a/2: neuron 2 of the source, gain 1, offset 0",
        "b/2: neuron 2 of the source, gain 2.5, offset -0.125",
    ]


@pytest.mark.parametrize(
    ("readout", "neurons", "message"),
    [
        (None, [0, 6], "no neuron 6; it has 6"),
        (None, [-1], "no neuron -1; it has 6"),
        (None, [], "name at least one"),
        (UnknownReadout(), [0], "no picture of a UnknownReadout"),
    ],
)
def test_mistakes(readout: Any, neurons: list[int], message: str) -> None:
    with pytest.raises(UserError, match=message):
        plot_neurons(readout or make().readout, neurons, NAMES)
