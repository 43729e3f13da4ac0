"""Pictures of the imaging field: values and responses of neurons, drawn into their regions of interest (ROI)."""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float, Float64, Int, Int32, Integer
from matplotlib.axes import Axes
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure as AnyFigure  # of the caller, such as one of pyplot
from matplotlib.patheffects import withStroke

from openretina_jax.errors import UserError
from openretina_jax.sources.hoefling_2024.cells import CELL_CLASSES, cell_class
from openretina_jax.visualize.animation import Animation, enlarged
from openretina_jax.visualize.style import BLACK, Figure, colour_bar, figure_of

CLASS_COLOURS = dict(zip(CELL_CLASSES, ("#4477DD", "#BB44CC", "#EE6644", "#EEBB33", "#AAAAAA", "#44BB77"), strict=True))
_DIM = 0.12  # light of a silent neuron, so that it can be seen

Mask = Int32[np.ndarray, "row column"]
Ids = Sequence[int] | Integer[np.ndarray, " neuron"]


def animate_rois(
    mask: Mask,
    roi_ids: Ids,
    responses: Float[np.ndarray, "time neuron"],
    frame_rate_hz: float,
    *,
    highest: float | None = None,
    colours: Float[np.ndarray, "neuron 3"] | None = None,
    pixel_px: int | None = None,
) -> Animation:
    """Animate responses in the imaging field: every neuron's region of interest (ROI) is as bright as its response.

    Args:
        mask: ROI of every pixel, 0 for none: ``Session.roi_mask``, or ``DataInfo.roi_mask(session)``.
        roi_ids: ROI of every neuron, its "roi_id".
        responses: recorded or predicted responses; neurons without one (NaN) and silent ones are dim.
        frame_rate_hz: frames per second of the animation.
        highest: response that is brightest (None: the 99.5th percentile of all).
        colours: colour of every neuron's brightest response, such as ``class_colours`` (None: white).
        pixel_px: side of a pixel of the mask (None: that the animation has about ``SIDE_PX``).

    Raises:
        UserError: there are fewer or more ids than neurons, or no ROI of a neuron is in the mask.
    """
    neurons = responses.shape[1]
    neuron_of = _neuron_at(mask, roi_ids, neurons)
    top = float(np.nanpercentile(responses, 99.5)) if highest is None else highest
    bright = np.clip(np.nan_to_num(responses) / (top if top > 0 else 1.0), 0, 1)
    levels = _DIM + (1 - _DIM) * bright[..., None]
    shades = np.zeros((len(responses), neurons + 1, 3), np.uint8)  # the last one is black: pixels without a neuron
    shades[:, :neurons] = np.rint(255 * levels * (1.0 if colours is None else colours))
    return Animation(enlarged(shades[:, neuron_of], pixel_px), frame_rate_hz)


def plot_rois(
    mask: Mask,
    roi_ids: Ids,
    values: Float[np.ndarray, " neuron"] | Int[np.ndarray, " neuron"],
    label: str,
    *,
    pixel_size_um: float | None = None,
    numbered: bool = True,
    axes: Axes | None = None,
) -> AnyFigure:
    """Plot a value of every neuron, such as its score, in the imaging field.

    Args:
        mask, roi_ids: as in ``animate_rois``.
        values: values of the neurons; NaN is left blank.
        label: name of the values, with their unit.
        pixel_size_um: side of a pixel of the mask on the retina (None: axes count pixels).
        numbered: whether every ROI has its id.
        axes: where to draw (None: a new figure).

    Returns:
        The figure that was drawn into.

    Raises:
        UserError: as ``animate_rois``.
    """
    neuron_of = _neuron_at(mask, roi_ids, len(values))
    if axes is None:
        axes = Figure(figsize=(5.4, 4.4), layout="constrained").subplots()
    image = np.append(np.asarray(values, float), np.nan)[neuron_of]
    rows, columns = mask.shape
    step, unit = (1.0, "px") if pixel_size_um is None else (pixel_size_um, "µm")
    extent = (-0.5 * step, (columns - 0.5) * step, (rows - 0.5) * step, -0.5 * step)
    axes.set_facecolor("0.92")
    drawn = axes.imshow(image, cmap="viridis", extent=extent, interpolation="nearest")
    colour_bar(drawn, axes, label, fraction=0.05)
    if numbered:
        for number, roi in enumerate(np.asarray(roi_ids).tolist()):
            places = np.argwhere(neuron_of == number)
            if len(places):
                row, column = step * places.mean(axis=0)
                outline = [withStroke(linewidth=1.5, foreground="white")]
                axes.text(
                    column, row, str(roi), ha="center", va="center", fontsize=6, color=BLACK, path_effects=outline
                )
    axes.set_xlabel(f"column ({unit})", fontsize=8)
    axes.set_ylabel(f"row ({unit})", fontsize=8)
    axes.tick_params(labelsize=7)
    return figure_of(axes)


def class_colours(cell_types: Sequence[int] | Integer[np.ndarray, " neuron"]) -> Float64[np.ndarray, "neuron 3"]:
    """Colour of the class of every neuron, by its type after Baden et al. 2016; white for other numbers."""
    return np.array([to_rgb(CLASS_COLOURS.get(cell_class(int(kind)), "white")) for kind in cell_types])


def _neuron_at(mask: Mask, roi_ids: Ids, neurons: int) -> Int[np.ndarray, "row column"]:
    """Number of the neuron at every pixel; one more than the last where there is none."""
    ids = np.asarray(roi_ids)
    if len(ids) != neurons:
        raise UserError(f"there are {len(ids)} roi_ids for {neurons} neurons")
    if not np.isin(ids, mask).any():
        raise UserError("no ROI of these neurons is in the mask; is it that of another session?")
    neuron_of = np.full(max(int(mask.max()), int(ids.max())) + 1, neurons)
    neuron_of[ids] = np.arange(neurons)
    neuron_of[0] = neurons
    return neuron_of[mask]
