"""Figures in notebooks, and names of channels."""

import pytest

from openretina_jax.errors import UserError
from openretina_jax.visualize.style import BLACK, CHANNEL_COLOURS, COLOURS, Figure, channel_styles


def test_a_figure_shows_itself() -> None:
    figure = Figure(figsize=(1, 1))
    figure.subplots()
    assert figure._repr_png_().startswith(b"\x89PNG")


def test_channels_have_names_and_colours() -> None:
    assert channel_styles(2, ["green", "UV"]) == [("green", CHANNEL_COLOURS["green"]), ("UV", CHANNEL_COLOURS["UV"])]
    assert channel_styles(1) == [("grey", BLACK)]
    assert channel_styles(5)[4] == ("channel 4", COLOURS[0])
    with pytest.raises(UserError, match=r"2 channels are named \(green, UV\), but there are 1"):
        channel_styles(1, ["green", "UV"])
