"""Responses and values of neurons in the imaging field."""

import numpy as np
import pytest

from openretina_jax.errors import UserError
from openretina_jax.visualize.rois import CLASS_COLOURS, animate_rois, class_colours, plot_rois
from openretina_jax.visualize.style import pixels

MASK = np.zeros((6, 5), np.int32)
MASK[0, :2], MASK[2:4, 3], MASK[5, 4] = 3, 1, 7  # of 7 there is no neuron
IDS = [1, 3]
RESPONSES = np.array([[0.0, 2.0], [1.0, np.nan], [4.0, 0.0]], np.float32)


def test_rois_are_as_bright_as_responses() -> None:
    frames = animate_rois(MASK, IDS, RESPONSES, 30.0, highest=2.0, pixel_px=1).frames
    assert frames.shape == (3, 6, 5, 3)
    np.testing.assert_array_equal(frames[:, 2, 3, 0], [31, 143, 255])  # what is silent can be seen
    np.testing.assert_array_equal(frames[:, 0, 1, 0], [255, 31, 31])
    assert frames[:, MASK == 0].max() == frames[:, 5, 4].max() == 0


def test_colours_of_types() -> None:
    colours = class_colours([2, 12, 99])
    assert colours[2].tolist() == [1, 1, 1]
    frames = animate_rois(MASK, IDS, RESPONSES, 30.0, highest=2.0, colours=colours[:2], pixel_px=2).frames
    assert "#" + bytes(frames[2, 4, 6]).hex().upper() == CLASS_COLOURS["OFF"]
    assert "#" + bytes(frames[0, 0, 0]).hex().upper() == CLASS_COLOURS["ON-OFF"]


def test_values_of_neurons() -> None:
    figure = plot_rois(MASK, IDS, np.array([0.5, 0.25]), "correlation", pixel_size_um=2.0)
    axes, bar = figure.axes
    image = axes.images[0].get_array()
    assert (image[3, 3], image[0, 0]) == (0.5, 0.25)
    assert np.ma.getmaskarray(image).sum() == 30 - 4
    assert {text.get_text(): text.get_position() for text in axes.texts} == {"1": (6, 5), "3": (1, 0)}
    assert (axes.get_xlabel(), bar.get_ylabel()) == ("column (µm)", "correlation")
    assert pixels(figure).std() > 0


def test_mistakes() -> None:
    with pytest.raises(UserError, match="there are 3 roi_ids for 2 neurons"):
        animate_rois(MASK, [1, 3, 7], RESPONSES, 30.0)
    with pytest.raises(UserError, match="no ROI of these neurons is in the mask"):
        plot_rois(MASK, [20, 21], np.zeros(2), "value")
