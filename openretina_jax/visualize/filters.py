"""The kernels of a core's layers in space and time, and the sines and cosines that temporal kernels are made of."""

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float
from matplotlib.axes import Axes

from openretina_jax.data.info import DataInfo
from openretina_jax.errors import UserError
from openretina_jax.modules.convolutions import FullConv, SeparableConv, SpaceTimeConv, TimeIndependentConv
from openretina_jax.modules.cores.identity import IdentityCore
from openretina_jax.modules.cores.simple import POOL, SimpleCore
from openretina_jax.visualize.style import (
    COLOURS,
    Figure,
    channel_styles,
    colour_bar,
    draw_tiles,
    label_columns,
    open_axes,
    time_axis,
)

MAX_OUTPUTS = 16
MAX_INPUTS = len(COLOURS)  # each input channel has its own colour
MAX_COEFFICIENT_OUTPUTS, MAX_COEFFICIENT_INPUTS = 64, 16
TILE, TEMPORAL_HEIGHT = 0.8, 0.9  # inches

Convolution = SpaceTimeConv | SeparableConv | FullConv | TimeIndependentConv


class Scale(NamedTuple):
    """Place of feature maps in time and on the stimulus.

    Attributes:
        rate_hz: maps per second (None: not known).
        first_px: row and column of the stimulus in the middle of the first pixel of a map (None: not known).
        step_px: rows and columns of the stimulus between neighbouring pixels of a map.
        pixel_um: side of a stimulus pixel on the retina (None: not known).
        channels: names of the channels of the maps (None: they have numbers).
    """

    rate_hz: float | None = None
    first_px: tuple[float, float] | None = None
    step_px: tuple[float, float] = (1.0, 1.0)
    pixel_um: float | None = None
    channels: Sequence[str] | None = None

    @classmethod
    def of(cls, core: Any, info: DataInfo) -> "Scale":
        """Scale of the maps of a core; where they lie is known if it has layers of convolutions, or none at all."""
        rate_hz, um = map_rate_hz(core, info.frame_rate_hz), info.pixel_size_um
        if isinstance(core, IdentityCore):
            channels = info.channels if core.grey is None else ["grey"]
            return cls(rate_hz, (0.0, 0.0), pixel_um=um, channels=channels)
        if not isinstance(core, SimpleCore):
            return cls(rate_hz, pixel_um=um)
        places = []
        for axis in (1, 2):
            first, step = 0.0, 1.0
            for size, stride, padding in _spatial_steps(core, axis):
                first += ((size - 1) / 2 - padding) * step
                step *= stride
            places.append((first, step))
        (row, down), (column, across) = places
        return cls(rate_hz, (row, column), (down, across), um)

    def channel(self, number: int) -> str:
        """Name of a channel of the maps."""
        return f"channel {number}" if self.channels is None else self.channels[number]

    @property
    def unit(self) -> str:
        """Unit of places on the maps."""
        if self.first_px is None:
            return "px of the map"
        return "px" if self.pixel_um is None else f"px of {self.pixel_um:g} µm"


UNKNOWN = Scale()


def _spatial_steps(core: SimpleCore, axis: int) -> Iterator[tuple[int, int, int]]:
    """Kernel size, stride, and padding before the first pixel, of all that a core does to an axis of the stimulus."""
    if core.downsample_input:
        yield core.downsample_input[axis], core.downsample_input[axis], 0
    for layer in core.layers:
        yield layer.conv.size[axis], layer.conv.strides[axis], layer.conv.padding[axis][0]
        if layer.pool:
            yield POOL[axis], POOL[axis], 0


def plot_filters(
    core: Any,
    layer: int = 0,
    *,
    frame_rate_hz: float | None = None,
    inputs: Sequence[str] | None = None,
    pixel_um: float | None = None,
    max_outputs: int = MAX_OUTPUTS,
) -> Figure:
    """Plot the kernels of a layer: a column per output channel, a row per input channel, temporal kernels below.

    Spatial kernels share one colour scale. The sign of every pair of a spatial and a temporal kernel is chosen so that
    the middle third of the spatial kernel is positive on average: an OFF cell has a negative temporal kernel. Time 0 is
    the frame of the response; a layer that pads time also sees later frames. Only the first ``max_outputs`` and
    ``MAX_INPUTS`` channels are shown.

    Args:
        core: a core with convolutional layers, such as ``SimpleCore``.
        layer: number of the layer, counted from 0.
        frame_rate_hz: frames of the stimulus per second, for a time axis in milliseconds (None: in frames).
        inputs: names of the input channels, such as those of the stimulus for the first layer (None: numbers).
        pixel_um: side of a pixel of the input on the retina (None: not known).
        max_outputs: most output channels that are shown.

    Raises:
        UserError: the core has no such layer, or other inputs than are named.
    """
    conv = _convolution(core, layer)
    spatial, temporal = separable_kernels(conv)
    title = _title(layer, conv, spatial.shape, max_outputs, MAX_INPUTS, pixel_um)
    styles = _input_styles(spatial.shape[1], inputs)[:MAX_INPUTS]
    sign = centre_sign(spatial)
    spatial, temporal = sign[:, :, None, None] * spatial, sign[:, :, None] * temporal
    spatial, temporal = (kernel[:max_outputs, :MAX_INPUTS] for kernel in (spatial, temporal))
    outputs, count, height, width = spatial.shape
    shares = [count * TILE * height / width, TEMPORAL_HEIGHT][: 1 + (temporal.shape[2] > 1)]  # of the height

    figure = Figure(figsize=(1.7 + TILE * max(outputs, 4), 1 + sum(shares)), layout="constrained")
    above, *below = figure.subplots(len(shares), squeeze=False, sharex=True, height_ratios=shares)[:, 0]
    image = draw_tiles(above, spatial.swapaxes(0, 1), float(np.abs(spatial).max()))
    colour_bar(image, above, "spatial weight")
    above.set_yticks(np.arange(count) + 0.5, [name for name, _ in styles], fontsize=7)
    for label, (_, colour) in zip(above.get_yticklabels(), styles, strict=True):
        label.set_color(colour)
    above.tick_params(axis="x", bottom=False, labelbottom=False)
    label_columns(above, np.arange(outputs) + 0.5, [f"output {o}" for o in range(outputs)])
    for axes in below:
        time, unit = time_axis(temporal.shape[2], map_rate_hz(core, frame_rate_hz), _frames_ahead(conv))
        _plot_temporal(axes, time, temporal, [colour for _, colour in styles])
        axes.set_xlabel(f"time relative to the response ({unit})", fontsize=8)
    figure.suptitle(title, fontsize=10)
    return figure


def plot_coefficients(
    core: Any, layer: int = 0, *, frame_rate_hz: float | None = None, inputs: Sequence[str] | None = None
) -> Figure:
    """Plot the coefficients of the sines (top) and cosines (bottom) of a layer's temporal kernels, a column per input.

    All share one colour scale, and have the signs of the kernels in ``plot_filters``. The sine of frequency 0 is zero;
    its coefficient has no effect and is left out. Only the first ``MAX_COEFFICIENT_OUTPUTS`` and
    ``MAX_COEFFICIENT_INPUTS`` channels are shown.

    Args:
        core: a core with "custom_separable" convolutions.
        layer: number of the layer, counted from 0.
        frame_rate_hz: frames of the stimulus per second, for frequencies in Hz (None: in cycles per frame).
        inputs: as in ``plot_filters``.

    Raises:
        UserError: the core has no such layer, the layer has no sines and cosines, or other inputs than are named.
    """
    conv = _convolution(core, layer)
    if not isinstance(conv, SpaceTimeConv):
        raise UserError(f'layer {layer} has no sines and cosines; its convolution is not "custom_separable"')
    sign = centre_sign(np.asarray(conv.spatial[...]))[:, :, None]
    sines, cosines = (sign * np.asarray(values[...]) for values in (conv.sin, conv.cos))
    sines[:, :, 0] = np.nan
    kinds = {"sines": sines, "cosines": cosines}
    title = _title(layer, conv, conv.spatial.shape, MAX_COEFFICIENT_OUTPUTS, MAX_COEFFICIENT_INPUTS)
    styles = _input_styles(sines.shape[1], inputs)[:MAX_COEFFICIENT_INPUTS]
    outputs, count, frequencies = sines[:MAX_COEFFICIENT_OUTPUTS, :MAX_COEFFICIENT_INPUTS].shape
    rate = map_rate_hz(core, frame_rate_hz)
    step, unit = (1, "cycles per frame") if rate is None else (rate, "Hz")
    step /= conv.temporal_size
    ends = step * np.array([0, frequencies - 1])

    size = max(2 + TILE * count, 5), 1.2 + 2 * (0.3 + 0.1 * outputs)
    figure = Figure(figsize=size, layout="constrained")
    grid = figure.subplots(2, squeeze=False, sharex=True)[:, 0]
    limit = float(np.nanmax(np.abs([sines, cosines])))
    for axes, (name, values) in zip(grid, kinds.items(), strict=True):
        image = draw_tiles(axes, values[None, :outputs, :count].swapaxes(1, 2), limit)
        rows = np.arange(0, outputs, 1 if outputs <= MAX_OUTPUTS else 4)
        axes.set_yticks((rows + 0.5) / outputs, rows.astype(str), fontsize=6)
        axes.set_ylabel(f"{name}\noutput", fontsize=8)
    label_columns(grid[0], np.arange(count) + 0.5, [name for name, _ in styles])
    inside = np.array([0.5, frequencies - 0.5]) / frequencies
    ticks = np.arange(count)[:, None] + inside
    grid[1].set_xticks(ticks.ravel(), [f"{end:.3g}" for end in ends] * count, fontsize=6)
    colour_bar(image, grid, "coefficient")
    grid[1].set_xlabel(f"frequency ({unit}), {frequencies} from {ends[0]:.3g} to {ends[1]:.3g}", fontsize=8)
    figure.suptitle(f"coefficients of temporal kernels, {title}", fontsize=10)
    return figure


def separable_kernels(
    conv: Convolution,
) -> tuple[Float[np.ndarray, "out in height width"], Float[np.ndarray, "out in time"]]:
    """Spatial and temporal kernels of a convolution; the last frame is the most recent one.

    A "custom_separable" convolution has such kernels (here at the reference speed), and a "time_independent" one has
    temporal kernels of a single frame. In the others every kernel is approximated by the best pair: its first singular
    vectors, with the singular value in the spatial kernel.
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


def centre_sign(spatial: Float[np.ndarray, "*kernel height width"]) -> Float[np.ndarray, "*kernel"]:
    """Sign of every spatial kernel: -1 where its middle third is negative on average, else 1."""
    height, width = spatial.shape[-2:]
    middle = spatial[..., height // 3 : height - height // 3, width // 3 : width - width // 3]
    return np.where(middle.mean(axis=(-2, -1)) < 0, -1, 1).astype(spatial.dtype)


def map_rate_hz(core: Any, frame_rate_hz: float | None) -> float | None:
    """Feature maps per second: fewer than frames of the stimulus where the core averages over time."""
    downsample = getattr(core, "downsample_input", None)
    return frame_rate_hz if frame_rate_hz is None or downsample is None else frame_rate_hz / downsample[0]


def _convolution(core: Any, layer: int) -> Convolution:
    layers = getattr(core, "layers", ())
    if not 0 <= layer < len(layers):
        raise UserError(f"the core has no layer {layer}; it has {len(layers)}, counted from 0")
    return layers[layer].conv


def _input_styles(count: int, names: Sequence[str] | None) -> list[tuple[str, str]]:
    """Name and colour of every input of a layer."""
    return channel_styles(count, [f"input {number}" for number in range(count)] if names is None else names)


def _first_pair(kernel: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Best separable approximation of ``(out, in, time, height, width)``, in space and in time.

    The strongest pixel is positive, so that the temporal kernel has the sign of the product there.
    """
    flat = kernel.reshape(*kernel.shape[:3], -1)
    temporal, size, spatial = np.linalg.svd(flat, full_matrices=False)
    first = size[..., :1] * spatial[..., 0, :]
    strongest = np.take_along_axis(first, np.abs(first).argmax(axis=-1, keepdims=True), axis=-1)
    sign = np.where(strongest < 0, -1, 1)  # a decomposition leaves it open: that of LAPACK differs between processors
    return (sign * first).reshape(*kernel.shape[:2], *kernel.shape[3:]), sign * temporal[..., 0]


def _frames_ahead(conv: Convolution) -> int:
    """Number of frames later than the response that the kernel sees, because time is padded."""
    paddings = (conv.spatial_padding, conv.temporal_padding) if isinstance(conv, SeparableConv) else (conv.padding,)
    return sum(padding[0][1] for padding in paddings)


def _plot_temporal(axes: Axes, time: np.ndarray, temporal: np.ndarray, colours: Sequence[str]) -> None:
    """Plot temporal kernels below their tiles, with ticks at the first time and at 0."""
    lowest, highest = time.min(), max(time.max(), 0)
    place, zero = (0.15 + 0.75 * (at - lowest) / (highest - lowest) for at in (time, 0))
    axes.axhline(0, color="0.7", linewidth=0.6)
    for output, kernels in enumerate(temporal):
        axes.axvline(output + zero, color="0.7", linewidth=0.6)
        for kernel, colour in zip(kernels, colours, strict=True):
            axes.plot(output + place, kernel, color=colour, linewidth=1)
    ticks = np.arange(len(temporal))[:, None] + [place[0], zero]
    axes.set_xticks(ticks.ravel(), [f"{lowest:.0f}", "0"] * len(temporal), fontsize=6)
    axes.tick_params(labelsize=6)
    axes.set_ylabel("temporal weight", fontsize=8)
    open_axes(axes)


def _title(
    layer: int,
    conv: Convolution,
    shape: tuple[int, ...],
    max_outputs: int,
    max_inputs: int,
    pixel_um: float | None = None,
) -> str:
    outputs, inputs, height, width = shape
    title = f"layer {layer}, kernels of {height} x {width} px"
    if pixel_um is not None:
        title += f" ({height * pixel_um:g} x {width * pixel_um:g} µm)"
    if outputs > max_outputs:
        title += f", {max_outputs} of {outputs} outputs"
    if inputs > max_inputs:
        title += f", {max_inputs} of {inputs} inputs"
    if isinstance(conv, FullConv | SeparableConv):
        title += "\nbest separable approximation"
    return title
