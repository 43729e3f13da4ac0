import numpy as np
import pytest

from openretina_jax.data.assembly import ArrayRecording, ArrayTest, from_arrays
from openretina_jax.data.dataset import Dataset
from openretina_jax.visualize.data import plot_dataset
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
def test_movie_responses_and_neurons_are_drawn():
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
def test_without_repeats_it_says_so():
    below = plot_dataset(dataset(trials=1)).subfigs[2]
    assert [text.get_text() for text in below.axes[1].texts] == ["no repeats"]
