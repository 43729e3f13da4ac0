"""Polar plots, curves of a neuron, and of all neurons."""

import dataclasses

import numpy as np
import pytest

from openretina_jax.errors import UserError
from openretina_jax.insilico.tuning.result import Tuning
from openretina_jax.visualize.style import Figure, pixels
from openretina_jax.visualize.tuning import plot_directions, plot_population, plot_tuning

ANGLES = np.arange(8) * 45.0
GREY = np.zeros(4, np.float32)
INDICES = {
    "selectivity": np.array([0.5, 0.1, 0.4, 0.3]),
    "preferred_deg": np.array([90.0, 10.0, 350.0, 91.0]),
    "p": np.array([0.001, 0.5, 0.01, 0.02]),
}


def angular(name: str) -> Tuning:
    values = ANGLES if name == "direction" else ANGLES / 2
    curve = np.stack([np.cos(np.deg2rad(values - best)) for best in INDICES["preferred_deg"]])
    return Tuning.of(name, (name, "deg"), values, curve, GREY, **INDICES)


SPEED = Tuning.of("speed", ("speed", "um_per_s"), [250.0, 500.0, 2000.0], np.eye(4, 3) * [[2], [4], [1], [1]], GREY)
COLOUR = Tuning.of("colour", ("channel", ""), [0.0, 1.0], -np.ones((4, 2)), GREY)
FOUND = {"direction": angular("direction"), "orientation": angular("orientation"), "speed": SPEED, "colour": COLOUR}


def test_directions_are_a_closed_curve_with_a_vector() -> None:
    figure = plot_directions(FOUND["direction"], 0, name="cell")
    (axes,) = figure.axes
    (line,) = axes.lines
    angle, radius = line.get_data()
    assert np.rad2deg(angle).tolist() == pytest.approx([*ANGLES, 0])
    np.testing.assert_allclose(radius, np.maximum(np.sin(angle), 0), atol=1e-6)  # what is below grey is 0
    (arrow,) = axes.texts
    assert arrow.xy == pytest.approx((np.pi / 2, 0.5))  # half of the largest response
    assert axes.get_title() == "cell\nDSI 0.50, preferred 90°, p 0.001"


def test_an_orientation_comes_twice() -> None:
    whole = Figure()
    axes = whole.add_subplot(projection="polar")
    assert plot_directions(FOUND["orientation"], 1, axes=axes) is whole
    assert len(axes.lines[0].get_xdata()) == 17
    assert [np.rad2deg(text.xy[0]) for text in axes.texts] == pytest.approx([10, 190])


def test_all_curves_of_a_neuron() -> None:
    figure = plot_tuning(FOUND, 1, channels=["green", "UV"])
    direction, orientation, speed, colour = figure.axes
    assert (direction.name, orientation.name) == ("polar", "polar")
    np.testing.assert_array_equal(speed.lines[0].get_ydata(), [0, 4, 0])
    assert (speed.get_xlabel(), speed.get_xscale()) == ("speed (µm/s)", "log")
    assert [text.get_text() for text in speed.get_xticklabels()] == ["250", "500", "2000"]
    assert [text.get_text() for text in colour.get_xticklabels()] == ["green", "UV"]
    assert pixels(figure).std() > 0


def test_all_neurons() -> None:
    figure = plot_population(FOUND)
    selectivity, preferred, _, _, speed, _ = figure.axes
    assert selectivity.get_title() == "direction: 3 neurons from 0.3 up"
    counts = [bar.get_height() for bar in preferred.patches]
    assert (sum(counts), counts[6], counts[23]) == (3, 2, 1)  # 90 and 91 degrees, and 350
    np.testing.assert_allclose(speed.lines[0].get_ydata(), [0, 0, 0])  # medians of four neurons
    gaps = dataclasses.replace(SPEED, curve=np.where(SPEED.values == 500, np.nan, SPEED.curve).astype(np.float32))
    (median,) = plot_population({"speed": gaps}).axes[0].lines[:1]
    assert median.get_xdata().tolist() == [250, 2000]
    figure = plot_population({"speed": SPEED}, ["b", "a", "b", "b"])
    lines = {line.get_label(): line.get_ydata().tolist() for line in figure.axes[0].lines[:2]}
    assert lines == {"b (3)": [0, 0, 0], "a (1)": [0, 1, 0]}


def test_mistakes() -> None:
    with pytest.raises(UserError, match='tuning "speed" has no angles; take that of direction or orientation'):
        plot_directions(SPEED, 0)
    with pytest.raises(UserError, match="the tuning has no neuron 4; it has 4, counted from 0"):
        plot_tuning(FOUND, 4)
    with pytest.raises(UserError, match="there is no tuning to plot"):
        plot_population({})
    with pytest.raises(UserError, match="groups has 1 entries for 4 neurons"):
        plot_population(FOUND, ["a"])
