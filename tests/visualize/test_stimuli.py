"""What is drawn of stimuli."""

import numpy as np

from openretina_jax.visualize.data import plot_stimuli


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
