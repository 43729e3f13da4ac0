"""Pages of experiments."""

import re

import numpy as np
import pandas as pd

from openretina_jax.insilico.tuning.result import Tuning
from openretina_jax.visualize.gallery.frame import card, curves, signed_image
from openretina_jax.visualize.gallery.neurons import tuning_page


def points(svg: str) -> list[list[tuple[float, float]]]:
    """Points of every curve."""
    lines = re.findall(r'points="([^"]*)"', svg)
    return [[tuple(map(float, pair.split(","))) for pair in line.split()] for line in lines]


def test_curves_span_their_axes_and_leave_out_what_is_not_known() -> None:
    svg = curves(np.array([2.0, 3.0, 4.0]), np.array([[-1.0, 0.0, 3.0], [1.0, np.nan, 1.0]]), ("time (s)", "<rate>"))
    first, second = points(svg)
    assert len(first) == 3
    assert len(second) == 2
    across, down = np.array(first).T
    np.testing.assert_allclose(across - across[0], [0, (across[2] - across[0]) / 2, across[2] - across[0]], atol=0.1)
    np.testing.assert_allclose((down[1] - down[0]) / (down[2] - down[0]), 0.25, atol=0.01)
    assert "&lt;rate&gt;" in svg


def test_curves_of_one_point_and_of_nothing_known() -> None:
    assert len(points(curves(np.zeros(1), np.zeros((1, 1)), ("x", "y")))[0]) == 1
    assert points(curves(np.zeros(2), np.full((1, 2), np.nan), ("x", "y"))) == [[]]


def test_cards_escape_names_and_shorten_numbers() -> None:
    text = card("<a:1>", [signed_image(np.array([[0.0, -2.0], [1.0, 0.5]]), "map")], {"one": 1 / 3, "two": np.nan})
    assert "<h2>&lt;a:1&gt;</h2>" in text
    assert '<td class="number">0.333</td>' in text
    assert '<td class="number">none</td>' in text


def test_tuning_has_a_curve_for_every_neuron_and_experiment() -> None:
    curve, grey = np.array([[1.0, 2.0], [3.0, 4.0]], np.float32), np.zeros(2, np.float32)
    found = {
        name: Tuning.of(name, (name, "Hz"), [1.0, 2.0], curve, grey, index=np.array([0.5, 1.0]))
        for name in ("temporal_frequency", "flicker")
    }
    table = pd.DataFrame({"session": ["a", "a"], "neuron": [0, 1], "flicker_index": [0.5, 1.0]})
    page = tuning_page(found, ["a:0", "a:1"], table)
    assert page.count("<article>") == 2
    assert page.count("<svg") == 4
    assert "temporal frequency (Hz)" in page
