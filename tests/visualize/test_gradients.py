"""Contrast grids and vector fields."""

import numpy as np
import pytest
from matplotlib.quiver import Quiver

from openretina_jax.errors import UserError
from openretina_jax.insilico.gradients import ContrastGrid
from openretina_jax.insilico.vector_field import VectorField
from openretina_jax.visualize.gradients import plot_contrast_grid, plot_vector_field
from openretina_jax.visualize.style import CHANNEL_COLOURS, pixels

CONTRASTS = np.linspace(-1, 1, 5, dtype=np.float32)


def quiver(axes: object) -> Quiver:
    (arrows,) = [part for part in axes.collections if isinstance(part, Quiver)]  # type: ignore[attr-defined]
    return arrows


def test_arrows_of_a_contrast_grid_point_uphill() -> None:
    first, second = np.meshgrid(CONTRASTS, CONTRASTS, indexing="ij")
    response = (3 * first + 4 * second)[None]
    gradient = np.broadcast_to(np.array([3, 4], np.float32), (1, 5, 5, 2))
    grid = ContrastGrid(("cell",), (0, 1), CONTRASTS, response, gradient)
    figure = plot_contrast_grid(grid, channels=["green", "UV"])
    axes = figure.axes[0]
    arrows = quiver(axes)
    np.testing.assert_allclose(np.stack([arrows.U, arrows.V], axis=1), np.full((9, 2), [0.6, 0.8]), rtol=1e-6)
    assert sorted(set(arrows.X.tolist())) == [-0.5, 0, 0.5]
    assert (axes.get_xlabel(), axes.xaxis.label.get_color()) == ("contrast of green", CHANNEL_COLOURS["green"])
    assert pixels(figure).std() > 0
    with pytest.raises(UserError, match="the grid has no neuron 1; it has 1, counted from 0"):
        plot_contrast_grid(grid, 1)


def test_a_flat_response_has_no_lines() -> None:
    flat = np.zeros((1, 5, 5), np.float32)
    grid = ContrastGrid(("cell",), (2, 0), CONTRASTS, flat, flat[..., None].repeat(2, axis=-1))
    axes = plot_contrast_grid(grid).axes[0]
    assert (axes.get_xlabel(), axes.get_ylabel()) == ("contrast of channel 2", "contrast of channel 0")


@pytest.mark.parametrize(("bins", "places"), [(None, 6), (2, 4)])
def test_vector_field(bins: int | None, places: int) -> None:
    rng = np.random.default_rng(0)
    where = np.array([[0, 0], [0, 1], [1, 0], [1, 1], [0.1, 0.1], [0.9, 0.9]], np.float32)
    components = rng.normal(size=(2, 4, 5)).astype(np.float32)
    field = VectorField(
        "cell", components, np.array([0.7, 0.2], np.float32), where, where + 1, np.arange(6, dtype=np.float32)
    )
    figure = plot_vector_field(field, bins=bins)
    main, second, first, _ = figure.axes
    assert places == quiver(main).N
    np.testing.assert_array_equal(first.images[0].get_array(), components[0])
    assert second.get_title().startswith("second component, 20%")
