"""What a model has learnt: the kernels of a core, the masks and feature weights of a readout."""

import textwrap
from collections.abc import Sequence
from typing import Any

import numpy as np
from jaxtyping import Float
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.ticker import MaxNLocator

from openretina_jax.errors import UserError
from openretina_jax.modules.convolutions import FullConv, SeparableConv, SpaceTimeConv, TimeIndependentConv
from openretina_jax.modules.readouts import GaussianMaskReadout
from openretina_jax.visualize.style import BLACK, BLUE, GREEN, ROUND_STEPS, VERMILION, open_axes

MAX_OUTPUTS = 16
MAX_INPUTS = 4
TITLE_CHARACTERS = 28  # that fit above a mask
INPUT_COLOURS = (BLACK, VERMILION, BLUE, GREEN)

Convolution = SpaceTimeConv | SeparableConv | FullConv | TimeIndependentConv


def plot_filters(core: Any, layer: int = 0, *, frame_rate_hz: float | None = None) -> Figure:
    """Kernels of one layer: a column per output channel, a row per input channel, temporal kernels below.

    Spatial kernels share one colour scale. The sign of every pair of a spatial and a temporal kernel is chosen such
    that the middle third of the spatial kernel is positive on average: an OFF cell has a negative temporal kernel.
    Time 0 is the frame of the response; a layer that pads time also sees later frames. At most ``MAX_OUTPUTS`` and
    ``MAX_INPUTS`` channels are shown, the first ones.

    Args:
        core: a core with convolutional layers, such as ``SimpleCore``.
        layer: which of them, counted from 0.
        frame_rate_hz: frames of the stimulus per second, for a time axis in milliseconds (None: in frames).

    Raises:
        UserError: the core has no such layer.
    """
    layers = getattr(core, "layers", ())
    if not 0 <= layer < len(layers):
        raise UserError(f"the core has no layer {layer}; it has {len(layers)}, counted from 0")
    conv = layers[layer].conv
    kernels = _centre_positive(*separable_kernels(conv))
    spatial, temporal = (kernel[:MAX_OUTPUTS, :MAX_INPUTS] for kernel in kernels)
    outputs, inputs = spatial.shape[:2]
    rows = inputs + (temporal.shape[2] > 1)

    size = max(1.5 + 0.8 * outputs, 5), 1 + 0.75 * rows
    figure = Figure(figsize=size, layout=ConstrainedLayoutEngine(w_pad=0.02, h_pad=0.02))
    grid = figure.subplots(rows, outputs, squeeze=False, sharey="row")
    _plot_spatial(grid[:inputs], spatial)
    for o, axes in enumerate(grid[0]):
        axes.set_title(f"output {o}", fontsize=7)
    if rows > inputs:
        step, unit = (1, "frames") if frame_rate_hz is None else (1000 / frame_rate_hz, "ms")
        if core.downsample_input is not None:
            step *= core.downsample_input[0]
        time = step * (np.arange(1 - temporal.shape[2], 1) + _frames_ahead(conv))
        _plot_temporal(grid[-1], time, temporal)
        figure.supxlabel(f"time relative to the response ({unit})", fontsize=8)
    figure.suptitle(_title(layer, conv, kernels[0].shape), fontsize=10)
    return figure


def plot_masks(readout: GaussianMaskReadout, neurons: Sequence[int], names: Sequence[str]) -> Figure:
    """Mask (above, each from 0 to its own maximum) and feature weights (below) of a few neurons, a column per neuron.

    Args:
        readout: the table of all neurons.
        neurons: rows of the table.
        names: titles of their columns, as many as ``neurons``.

    Raises:
        UserError: no neuron is named, or the table has no such row.
    """
    if len(neurons) == 0:
        raise UserError("no neurons to plot; name at least one")
    for neuron in neurons:
        if not 0 <= neuron < readout.n_neurons:
            raise UserError(f"the readout has no neuron {neuron}; it has {readout.n_neurons}, counted from 0")
    masks, features = np.asarray(readout.masks()), np.asarray(readout.features[...])
    if readout.positive:
        features = np.maximum(features, 0)
    figure = Figure(figsize=(max(1 + 2 * len(neurons), 5), 4), layout="constrained")
    grid = figure.subplots(2, len(neurons), squeeze=False, sharey="row")
    for (above, below), neuron, name in zip(grid.T, neurons, names, strict=True):
        above.imshow(masks[neuron], cmap="viridis", vmin=0)
        above.set_title(textwrap.fill(name, TITLE_CHARACTERS), fontsize=8)
        above.set_xlabel("px")
        below.bar(np.arange(features.shape[1]), features[neuron], color=BLUE)
        below.axhline(0, color="black", linewidth=0.6)
        below.set_xlabel("feature")
        below.xaxis.set_major_locator(MaxNLocator(4, integer=True, steps=ROUND_STEPS))
        open_axes(below)
    grid[0, 0].set_ylabel("px")
    grid[1, 0].set_ylabel("feature weight")
    figure.suptitle("masks, each from 0 to its maximum, and feature weights", fontsize=10)
    return figure


def separable_kernels(
    conv: Convolution,
) -> tuple[Float[np.ndarray, "out in height width"], Float[np.ndarray, "out in time"]]:
    """Spatial and temporal kernels of a convolution; the last frame is the most recent one.

    A "custom_separable" convolution has them as such (at the reference speed), and a "time_independent" one has
    temporal kernels of a single frame. For the others the best approximation of every kernel by one such pair is
    returned: the first pair of its singular vectors, with the singular value in the spatial kernel.
    """
    match conv:
        case SpaceTimeConv():
            return np.asarray(conv.spatial[...]), np.asarray(conv.temporal())
        case TimeIndependentConv():
            spatial = np.asarray(conv.spatial[...])
            return spatial, np.ones((*spatial.shape[:2], 1), spatial.dtype)
        case FullConv():
            return _first_pair(np.asarray(conv.kernel[...]))
        case SeparableConv():
            return _first_pair(np.einsum("omt,mihw->oithw", conv.temporal[...], conv.spatial[...]))


def _first_pair(kernel: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Best separable approximation of ``(out, in, time, height, width)``."""
    flat = kernel.reshape(*kernel.shape[:3], -1)
    temporal, size, spatial = np.linalg.svd(flat, full_matrices=False)
    first = size[..., :1] * spatial[..., 0, :]
    return first.reshape(*kernel.shape[:2], *kernel.shape[3:]), temporal[..., 0]


def _centre_positive(spatial: np.ndarray, temporal: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The same product with the middle third of the spatial kernels positive on average."""
    height, width = spatial.shape[2:]
    middle = spatial[:, :, height // 3 : height - height // 3, width // 3 : width - width // 3]
    sign = np.where(middle.mean(axis=(2, 3)) < 0, -1, 1).astype(spatial.dtype)
    return sign[:, :, None, None] * spatial, sign[:, :, None] * temporal


def _frames_ahead(conv: Convolution) -> int:
    """Frames after that of the response which the kernel reaches, because time is padded."""
    paddings = (conv.spatial_padding, conv.temporal_padding) if isinstance(conv, SeparableConv) else (conv.padding,)
    return sum(padding[0][1] for padding in paddings)


def _plot_spatial(grid: np.ndarray, spatial: np.ndarray) -> None:
    limit = float(np.abs(spatial).max())
    for (i, o), axes in np.ndenumerate(grid):
        image = axes.imshow(spatial[o, i], cmap="RdBu_r", vmin=-limit, vmax=limit)
        axes.set(xticks=[], yticks=[])
    for i, axes in enumerate(grid[:, 0]):
        axes.set_ylabel(f"input {i}", color=INPUT_COLOURS[i], fontsize=8)
    bar = grid[0, 0].get_figure().colorbar(image, ax=grid, fraction=0.02, pad=0.01)
    bar.set_label("spatial weight", fontsize=8)
    bar.ax.tick_params(labelsize=6)


def _plot_temporal(row: np.ndarray, time: np.ndarray, temporal: np.ndarray) -> None:
    for axes, kernels in zip(row, temporal, strict=True):
        axes.axhline(0, color="0.7", linewidth=0.6)
        axes.axvline(0, color="0.7", linewidth=0.6)
        for kernel, colour in zip(kernels, INPUT_COLOURS, strict=False):
            axes.plot(time, kernel, color=colour, linewidth=1)
        axes.xaxis.set_major_locator(MaxNLocator(2))
        axes.tick_params(labelsize=6)
        open_axes(axes)
    row[0].set_ylabel("temporal\nweight", fontsize=8)


def _title(layer: int, conv: Convolution, shape: tuple[int, ...]) -> str:
    outputs, inputs, height, width = shape
    title = f"layer {layer}, kernels of {height} x {width} px"
    if outputs > MAX_OUTPUTS:
        title += f", {MAX_OUTPUTS} of {outputs} outputs"
    if inputs > MAX_INPUTS:
        title += f", {MAX_INPUTS} of {inputs} inputs"
    if isinstance(conv, FullConv | SeparableConv):
        title += "\nbest separable approximation"
    return title
