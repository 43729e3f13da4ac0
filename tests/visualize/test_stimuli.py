"""Space, time and frequencies of a stimulus."""

import numpy as np
import pytest

from openretina_jax.visualize.stimuli import plot_composition
from openretina_jax.visualize.style import CHANNEL_COLOURS, Figure, pixels

RATE_HZ = 30.0


def movie(channels: int) -> np.ndarray:
    """Each channel is a pixel that follows a sinusoid, of 2 Hz, 3 Hz, ..."""
    shown = np.zeros((60, 6, 5, channels), np.float32)
    for channel in range(channels):
        shown[:, 2, channel, channel] = (1 + channel) * np.sin(2 * np.pi * (2 + channel) * np.arange(60) / RATE_HZ)
    return shown


@pytest.mark.parametrize(("channels", "names"), [(1, None), (2, ["green", "UV"]), (3, None)])
def test_composition(channels: int, names: list[str] | None) -> None:
    figure = plot_composition(movie(channels), RATE_HZ, channels=names, windows_s=[(-0.3, 0.0)])
    space, courses = figure.subfigs
    time, frequency = courses.axes
    for channel in range(channels):
        (image,) = space.axes[channel].images
        assert np.argwhere(image.get_array() == 1).tolist() == [[2, channel]]
        line = time.lines[1 + channel]  # after that at 0
        np.testing.assert_allclose(line.get_ydata(), movie(channels)[:, 2, channel, channel], atol=1e-5)
        assert line.get_xdata()[-1] == 0
        spectrum = frequency.lines[2 * channel]
        assert spectrum.get_xdata()[np.argmax(spectrum.get_ydata())] == 2 + channel
    if names:
        assert [axes.get_title().split(":")[0] for axes in space.axes[:2]] == names
        assert [line.get_color() for line in time.lines[1:]] == [CHANNEL_COLOURS[name] for name in names]


def test_scale_bar_and_a_given_figure() -> None:
    whole = Figure(figsize=(8, 4))
    _, right = whole.subfigures(1, 2)
    assert plot_composition(movie(1), RATE_HZ, pixel_size_um=50.0, figure=right) is right
    assert [text.get_text() for text in right.subfigs[0].axes[0].texts] == ["100 µm"]  # at most 40 % of 5 x 50 µm
    assert pixels(whole).std() > 0
