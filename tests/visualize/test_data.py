"""Pictures of a data set and of stimuli."""

import numpy as np
import pytest

from openretina_jax.data.arrays import ArrayRecording, ArrayTest, from_arrays
from openretina_jax.data.dataset import Dataset
from openretina_jax.data.triggered_averages import triggered_averages
from openretina_jax.visualize.data import plot_dataset, plot_stimuli
from openretina_jax.visualize.style import pixels

RNG = np.random.default_rng(0)


def dataset(trials: int) -> Dataset:
    movie = RNG.integers(256, size=(90, 6, 5), dtype=np.uint8)
    responses = RNG.gamma(1.0, size=(90, 4)).astype(np.float32)
    responses[:10] = responses[:60, 1] = np.nan
    repeats = RNG.gamma(1.0, size=(trials, 30, 4)).astype(np.float32)
    recording = ArrayRecording(movie, responses, {"clip": ArrayTest(movie[:30] // 2, repeats, "trial time neuron")})
    return from_arrays({"retina": recording}, frame_rate_hz=30.0)


@pytest.mark.slow
def test_averages_of_the_clearest_neurons_are_drawn() -> None:
    data = dataset(trials=2)
    averages = triggered_averages(data)
    figure = plot_dataset(data, averages)
    panels = figure.subfigs[-1].axes
    found = averages["retina"]
    order = np.argsort(-found.z_score)
    titles = [axes.get_title() for axes in panels if axes.get_title()]
    assert titles == [f"retina\nneuron {neuron}, z {found.z_score[neuron]:.0f}" for neuron in order]
    np.testing.assert_array_equal(panels[0].images[0].get_array(), found.spatial[order[0], ..., 0])
    course = panels[8].lines[2]
    np.testing.assert_array_equal(course.get_xdata(), -found.lags)
    np.testing.assert_allclose(course.get_ydata(), found.of_segment[4:, order[0]].sum(axis=0))
    assert pixels(figure).std() > 0


@pytest.mark.slow
def test_movie_responses_and_neurons_are_drawn() -> None:
    data = dataset(trials=4)
    figure = plot_dataset(data)
    above, middle, below = figure.subfigs
    assert [axes.get_title() for axes in above.axes[:4]] == ["frame 0", "frame 30", "frame 59", "frame 89"]
    image = middle.axes[0].images[0].get_array()
    assert (image.shape, int(np.ma.getmaskarray(image).sum())) == ((4, 90), 60 + 3 * 10)
    responses = data.sessions[0].responses
    lines = {line.get_label(): np.asarray(line.get_ydata()) for line in middle.axes[1].lines}
    assert lines.keys() == {"mean light", "mean response"}
    shown = np.nanmean(responses[10:], axis=1)  # the mean of what was recorded; before, nothing was
    np.testing.assert_allclose(lines["mean response"][10:], (shown - shown.mean()) / shown.std(), rtol=1e-4)
    assert np.isnan(lines["mean response"][:10]).all()
    bars, means = below.axes[0].patches, np.nanmean(responses, axis=0)
    assert (bars[0].get_x(), bars[-1].get_x() + bars[-1].get_width()) == pytest.approx((means.min(), means.max()))
    assert sum(bar.get_height() for bar in bars) == 4
    assert sum(bar.get_height() for bar in below.axes[1].patches) == 4
    assert pixels(figure).std() > 0


@pytest.mark.slow
def test_without_repeats_it_says_so() -> None:
    below = plot_dataset(dataset(trials=1)).subfigs[2]
    assert [text.get_text() for text in below.axes[1].texts] == ["no repeats"]


def test_frames_and_the_middle_pixel() -> None:
    movie = np.random.default_rng(0).normal(size=(21, 4, 6, 2)).astype(np.float32)
    figure = plot_stimuli({"noise": movie, "other": movie[:9]}, frame_rate_hz=10.0, count=5)
    assert [row.get_suptitle() for row in figure.subfigs] == ["noise", "other"]
    *panels, time = figure.subfigs[0].axes
    grey = movie.mean(axis=-1)
    for panel, frame in zip(panels, [0, 5, 10, 15, 20], strict=True):
        (image,) = panel.images
        np.testing.assert_array_equal(image.get_array(), grey[frame])
        assert image.get_clim() == (grey.min(), grey.max())
        assert panel.get_title() == f"{frame / 10:.2f} s"
    (line,) = time.lines
    np.testing.assert_array_equal(line.get_ydata(), grey[:, 2, 3])
    np.testing.assert_allclose(line.get_xdata(), np.arange(21) / 10)
