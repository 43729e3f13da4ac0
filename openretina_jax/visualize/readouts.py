"""Pictures of a readout's neurons: where they look, and how they weigh features. A row of panels per neuron."""

import textwrap
from collections.abc import Callable, Sequence
from statistics import NormalDist
from typing import Any

import jax.numpy as jnp
import numpy as np
from jaxtyping import Float
from matplotlib.axes import Axes
from matplotlib.figure import SubFigure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.ticker import MaxNLocator

from openretina_jax.errors import UserError
from openretina_jax.modules.readouts.cloned import ClonedReadout
from openretina_jax.modules.readouts.factorized import FactorizedReadout
from openretina_jax.modules.readouts.gaussian_mask import GaussianMaskReadout
from openretina_jax.modules.readouts.lnp import LnpReadout
from openretina_jax.modules.readouts.point_gaussian import PointGaussianReadout, interpolation_masks
from openretina_jax.modules.readouts.readout import Readout
from openretina_jax.modules.readouts.separable_lnp import SeparableLnpReadout
from openretina_jax.modules.readouts.spatial_contrast import SpatialContrastReadout
from openretina_jax.visualize.filters import UNKNOWN, Scale, centre_sign
from openretina_jax.visualize.style import (
    BLACK,
    BLUE,
    COLOURS,
    VERMILION,
    Figure,
    colour_bar,
    draw_weights,
    open_axes,
    time_axis,
    whole_ticks,
)

MAX_CHANNELS = 6  # so many kernels fit into a row
MAX_RANKS = len(COLOURS)
QUANTILES = 32  # of the normal distribution along each axis
WIDTH, ROW_HEIGHT = 9.0, 2.1  # inches
TITLE_CHARACTERS = 130
_LEAST_BARS, _MOST_TICKS = 4, 10  # room for bars, so that a single one is no block, and ticks below them
CONTRAST_PARAMETERS = {"w": "w (weight of contrast)", "a": "a (gain)", "b": "b (slope)", "c": "c (offset)"}

Drawer = Callable[[SubFigure, Any, int, Scale], None]


def drawer(readout: Readout) -> Drawer | None:
    """Choose the function that draws a neuron of a readout; None if there is no picture of its kind.

    A new kind of readout gets its picture here. The function takes a figure, the readout, the neuron's row and the
    scale of the feature maps.
    """
    match readout:
        case GaussianMaskReadout() | FactorizedReadout():
            return _draw_mask
        case PointGaussianReadout():
            return _draw_position
        case LnpReadout():
            return _draw_kernel
        case SeparableLnpReadout():
            return _draw_separable_kernel
        case SpatialContrastReadout():
            return _draw_spatial_contrast
        case ClonedReadout() if drawer(readout.source) is not None:
            return _draw_clone
        case _:
            return None


def plot_neurons(
    readout: Readout, neurons: Sequence[int], names: Sequence[str], *, scale: Scale = UNKNOWN, width: float = WIDTH
) -> Figure:
    """Plot the weights of a few neurons, a row of panels each, as fits the kind of readout.

    Masks, positions and kernels lie on the stimulus where the scale knows it, or else on the pixels of feature maps.

    Args:
        readout: the table of all neurons.
        neurons: rows of the table.
        names: names of all neurons of the table.
        scale: place of the feature maps in time and on the stimulus, see ``Scale.of``.
        width: in inches.

    Raises:
        UserError: no neuron is named, the table has no such row, or the kind of readout has no picture.
    """
    draw = drawer(readout)
    if draw is None:
        raise UserError(f"there is no picture of a {type(readout).__name__}")
    if len(neurons) == 0:
        raise UserError("no neurons to plot; name at least one")
    for neuron in neurons:
        if not 0 <= neuron < readout.n_neurons:
            raise UserError(f"the readout has no neuron {neuron}; it has {readout.n_neurons}, counted from 0")
    figure = Figure(figsize=(width, ROW_HEIGHT * len(neurons)), layout=ConstrainedLayoutEngine(wspace=0.05))
    rows = figure.subfigures(len(neurons), squeeze=False)[:, 0]
    for row, neuron in zip(rows, neurons, strict=True):
        row.suptitle(textwrap.shorten(names[neuron], TITLE_CHARACTERS, placeholder=" ..."), fontsize=9)
        draw(row, readout, neuron, scale)
    return figure


def _draw_mask(figure: SubFigure, readout: GaussianMaskReadout | FactorizedReadout, neuron: int, scale: Scale) -> None:
    """Draw the mask and the feature weights."""
    left, right = figure.subplots(ncols=2, width_ratios=(1, 2))
    signed = isinstance(readout, FactorizedReadout) and readout.mask_constraint is None
    _draw_image(left, np.asarray(readout.masks())[neuron], "mask", scale, signed=signed)
    _draw_bars(right, np.asarray(readout.feature_weights())[neuron], "feature", "feature weight")


def _draw_position(figure: SubFigure, readout: PointGaussianReadout, neuron: int, scale: Scale) -> None:
    """Draw the mean weight of every pixel over positions drawn from the neuron's Gaussian, and mark its mean."""
    quantiles = np.asarray([NormalDist().inv_cdf((n + 0.5) / QUANTILES) for n in range(QUANTILES)], np.float32)
    noise = jnp.asarray(np.stack(np.meshgrid(quantiles, quantiles), axis=-1).reshape(-1, 1, 2))
    drawn = readout.positions(neuron, 1, noise)[:, 0]
    density = interpolation_masks(drawn, readout.in_shape[:2], readout.align_corners).mean(axis=0)
    left, right = figure.subplots(ncols=2, width_ratios=(1, 2))
    height, width, _ = readout.in_shape
    _draw_image(left, np.asarray(density), "density of the position", scale, signed=False)
    x, y = (
        (p + 1) / 2 * (n - 1) if readout.align_corners else ((p + 1) * n - 1) / 2
        for p, n in zip(np.asarray(readout.positions(neuron, 1)[0]), (width, height), strict=True)
    )
    (top, first), (down, across) = scale.first_px or (0.0, 0.0), scale.step_px
    left.plot(first + across * x, top + down * y, marker="+", color=VERMILION, markersize=9, markeredgewidth=1.5)
    left.set_title("+ mean position", fontsize=8, color=VERMILION)
    _draw_bars(right, np.asarray(readout.feature_weights())[neuron], "feature", "feature weight")


def _draw_kernel(figure: SubFigure, readout: LnpReadout, neuron: int, scale: Scale) -> None:
    """Draw the kernels of the strongest channels, and the norms of all."""
    kernels = np.asarray(readout.kernel[...])[neuron]
    norms = np.linalg.norm(kernels, axis=(1, 2))
    shown = np.sort(np.argsort(-norms, kind="stable")[:MAX_CHANNELS]).tolist()
    *panels, last = figure.subplots(ncols=len(shown) + 1, width_ratios=(*[1] * len(shown), 2))
    _draw_montage(panels, kernels[shown], [scale.channel(c) for c in shown], scale)
    _draw_bars(last, norms, "channel", "norm of kernel")
    if len(shown) < len(kernels):
        _add_to_title(figure, f"the {len(shown)} strongest of {len(kernels)} channels")


def _draw_separable_kernel(figure: SubFigure, readout: SeparableLnpReadout, neuron: int, scale: Scale) -> None:
    """Draw the spatial kernels on the patch that the neuron sees, and the temporal kernels in the same colours.

    The sign of every pair of kernels is chosen as in ``plot_filters``, for the mean over channels.
    """
    spatial, temporal = (np.asarray(kernels[...])[neuron] for kernels in (readout.spatial, readout.temporal))
    if readout.normalize:
        spatial, temporal = (kernels / (np.linalg.norm(kernels) or 1) for kernels in (spatial, temporal))
    sign = centre_sign(spatial.mean(axis=1))
    spatial, temporal = sign[:, None, None, None] * spatial, sign[:, None] * temporal
    ranks = min(len(spatial), MAX_RANKS)
    channels = min(spatial.shape[1], max(MAX_CHANNELS // ranks, 1))
    *panels, last = figure.subplots(ncols=ranks * channels + 1, width_ratios=(*[1] * ranks * channels, 2))
    titles = [f"rank {rank}, {scale.channel(channel)}" for rank in range(ranks) for channel in range(channels)]
    images = spatial[:ranks, :channels].reshape(-1, *spatial.shape[2:])
    _draw_montage(panels, images, titles, scale, corner=np.asarray(readout.corner[...])[neuron])
    for number, axes in enumerate(panels):
        axes.title.set_color(COLOURS[number // channels])
    _draw_time_courses(last, temporal[:ranks], scale.rate_hz)
    if (ranks, channels) != spatial.shape[:2]:
        _add_to_title(figure, f"{ranks} of {len(spatial)} ranks, {channels} of {spatial.shape[1]} channels")


def _draw_spatial_contrast(figure: SubFigure, readout: SpatialContrastReadout, neuron: int, scale: Scale) -> None:
    """Draw the frozen filters and the four trained numbers."""
    left, middle, right = figure.subplots(ncols=3)
    corner = np.asarray(readout.corner[...])[neuron]
    _draw_image(left, np.asarray(readout.spatial[...])[neuron], "spatial weight", scale, corner=corner)
    _draw_time_courses(middle, np.asarray(readout.temporal[...])[neuron][None], scale.rate_hz)
    trained = {name: float(getattr(readout, name)[neuron]) for name in CONTRAST_PARAMETERS}
    values = [max(value, 0) if name == readout.nonnegative else value for name, value in trained.items()]
    bars = right.barh(list(CONTRAST_PARAMETERS.values()), values, color=BLUE)
    right.bar_label(bars, fmt="%.3g", fontsize=7, padding=2)
    right.axvline(0, color=BLACK, linewidth=0.6)
    right.invert_yaxis()
    right.margins(x=0.2)
    right.set_title("a softplus(b (mean + w contrast) + c)", fontsize=8)
    right.set_xlabel("value", fontsize=8)
    right.tick_params(labelsize=7)
    open_axes(right)


def _draw_clone(figure: SubFigure, readout: ClonedReadout, neuron: int, scale: Scale) -> None:
    """Draw the neuron of the source, with the session's gain and offset in the title."""
    session, source = divmod(neuron, readout.source.n_neurons)
    draw = drawer(readout.source)
    assert draw is not None
    draw(figure, readout.source, source, scale)
    original = bool(readout.original[session])
    gain, offset = (1.0, 0.0) if original else (float(readout.alpha[neuron]), float(readout.beta[neuron]))
    _add_to_title(figure, f"neuron {source} of the source, gain {gain:.3g}, offset {offset:.3g}")


def _add_to_title(figure: SubFigure, text: str) -> None:
    figure.suptitle(f"{figure.get_suptitle()}: {text}", fontsize=9)


def _draw_image(
    axes: Axes,
    weights: Float[np.ndarray, "height width"],
    label: str,
    scale: Scale,
    *,
    signed: bool = True,
    corner: np.ndarray | None = None,
) -> None:
    """Draw weights of pixels with their own colour scale; ``corner`` is the row and column of the first one."""
    limit, extent = float(np.abs(weights).max()), _extent(weights, corner, scale)
    image = draw_weights(axes, weights, limit, signed=signed, extent=extent)
    colour_bar(image, axes, label, fraction=0.05)
    _label_pixels(axes, scale)
    axes.set_ylabel(f"row ({scale.unit})", fontsize=8)


def _draw_montage(
    panels: Sequence[Axes],
    kernels: Float[np.ndarray, "panel height width"],
    titles: Sequence[str],
    scale: Scale,
    corner: np.ndarray | None = None,
) -> None:
    """Draw spatial kernels side by side with one colour scale."""
    limit = float(np.abs(kernels).max())
    for axes, kernel, title in zip(panels, kernels, titles, strict=True):
        image = draw_weights(axes, kernel, limit, extent=_extent(kernel, corner, scale))
        axes.set_title(title, fontsize=8)
        _label_pixels(axes, scale)
    panels[0].set_ylabel(f"row ({scale.unit})", fontsize=8)
    colour_bar(image, list(panels), "weight")


def _extent(kernel: np.ndarray, corner: np.ndarray | None, scale: Scale) -> tuple[float, float, float, float]:
    """Edges of an image (left, right, bottom, top) for which ticks count pixels."""
    rows, columns = (
        first + step * (start + np.array([-0.5, length - 0.5]))
        for first, step, start, length in zip(
            scale.first_px or (0.0, 0.0), scale.step_px, (0, 0) if corner is None else corner, kernel.shape, strict=True
        )
    )
    return float(columns[0]), float(columns[1]), float(rows[1]), float(rows[0])


def _label_pixels(axes: Axes, scale: Scale) -> None:
    axes.set_xlabel(f"column ({scale.unit})", fontsize=8)
    axes.tick_params(labelsize=6)
    for axis in (axes.xaxis, axes.yaxis):
        whole_ticks(axis, 4)


def _draw_bars(axes: Axes, values: Float[np.ndarray, " number"], what: str, label: str) -> None:
    axes.bar(np.arange(len(values)), values, color=BLUE)
    axes.axhline(0, color=BLACK, linewidth=0.6)
    axes.set_xlabel(what, fontsize=8)
    axes.set_ylabel(label, fontsize=8)
    axes.set_xlim(-0.6, max(len(values), _LEAST_BARS) - 0.4)
    axes.set_xticks(np.arange(0, len(values), -(-len(values) // _MOST_TICKS)))
    axes.tick_params(labelsize=6)
    open_axes(axes)


def _draw_time_courses(axes: Axes, kernels: Float[np.ndarray, "rank frame"], rate_hz: float | None) -> None:
    time, unit = time_axis(kernels.shape[1], rate_hz)
    axes.axhline(0, color="0.7", linewidth=0.6)
    for kernel, colour in zip(kernels, COLOURS, strict=False):
        axes.plot(time, kernel, color=colour, linewidth=1)
    axes.set_xlabel(f"time relative to the response ({unit})", fontsize=8)
    axes.set_ylabel("temporal weight", fontsize=8)
    axes.xaxis.set_major_locator(MaxNLocator(5))
    axes.tick_params(labelsize=6)
    open_axes(axes)
