"""Galleries of receptive fields and tuning."""

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd

from openretina_jax.data.info import DataInfo
from openretina_jax.insilico.decomposition import ReceptiveFields
from openretina_jax.insilico.tuning.result import Tuning
from openretina_jax.visualize.gallery.frame import card, curves, page, signed_image
from openretina_jax.visualize.style import BLUE, VERMILION, channel_styles

_MOSAIC_PX = 480  # width of the overview


def fields_page(fields: ReceptiveFields, title: str, about: str, info: DataInfo) -> str:
    """Write a card for every neuron with its spatial map, time courses and numbers, below a map of all neurons.

    Args:
        fields: receptive fields.
        title: title of the page.
        about: how they were found, in a sentence.
        info: facts of the data of the model; without a frame rate time is in frames.
    """
    table = fields.table()
    frames, channels = fields.temporal.shape[1:]
    time, unit = np.arange(1 - frames, 1) / (info.frame_rate_hz or 1), "s" if info.frame_rate_hz else "frames"
    styles = channel_styles(channels, info.channels)
    cards = []
    for number, name in enumerate(fields.names):
        parts = [
            signed_image(fields.spatial[number], f"Spatial map of {name}"),
            curves(time, fields.temporal[number].T, (f"time before the response ({unit})", "weight"), styles=styles),
        ]
        cards.append(card(name, parts, table.iloc[number, 1:].to_dict()))
    about = (
        f"{about} Each is shown as the nearest product of an image, whose peak is 1 (red: the sign of the centre), and "
        "a time course of every channel. Above the cards: centre and two standard deviations of every neuron, red for "
        "ON, blue for OFF."
    )
    return page(title, about, cards, _mosaic(fields))


def _mosaic(fields: ReceptiveFields) -> str:
    """Ellipses of all receptive fields on the screen."""
    height, width = fields.spatial.shape[1:]
    ellipses = []
    for centre, sigma, theta, polarity in zip(
        fields.centre_px, fields.sigma_px, fields.theta, fields.polarity, strict=True
    ):
        if np.isfinite([*centre, *sigma, theta]).all():
            y, x = centre + 0.5  # pixel 0 lies between 0 and 1
            colour = VERMILION if polarity > 0 else BLUE
            ellipses.append(
                f'<ellipse rx="{max(2 * sigma[0], 0.2):.2f}" ry="{max(2 * sigma[1], 0.2):.2f}" fill="none" '
                f'stroke="{colour}" stroke-width="{width / _MOSAIC_PX:.3f}" '
                f'transform="translate({x:.2f} {y:.2f}) rotate({np.degrees(theta):.0f})"/>'
            )
    return (
        f'<svg viewBox="0 0 {width} {height}" width="{_MOSAIC_PX}" height="{_MOSAIC_PX * height // width}" role="img" '
        f'aria-label="Receptive fields on the screen"><rect width="{width}" height="{height}" fill="#f4f4f4"/>'
        f"{''.join(ellipses)}</svg><br>"
    )


def tuning_page(
    found: Mapping[str, Tuning], names: Sequence[str], table: pd.DataFrame, response_unit: str | None = None
) -> str:
    """Write a card for every neuron with a curve and the indices of every experiment.

    Args:
        found: tuning of the neurons, by name of the experiment.
        names: names of the neurons.
        table: their indices, as ``tuning.table`` gives them.
        response_unit: unit of the responses (None: not known).
    """
    indices = table.drop(columns=["session", "neuron"])
    cards = []
    for number, name in enumerate(names):
        parts = []
        for kind, one in found.items():
            label = f"{one.parameter} ({one.unit.replace('um', 'µm')})" if one.unit else one.parameter
            labels = label.replace("_", " "), kind.replace("_", " ")
            parts.append(curves(one.values, one.curve[number][None], labels))
        cards.append(card(name, parts, indices.iloc[number].to_dict()))
    unit = f", in {response_unit}" if response_unit else ""
    about = (
        f"Responses of the model to artificial stimuli{unit}, less the response to grey, over the parameter of each "
        "stimulus; docs/insilico.md explains the indices."
    )
    return page("Tuning", about, cards)
