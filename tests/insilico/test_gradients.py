import functools

import jax
import numpy as np
import pytest

from openretina_jax.errors import UserError
from openretina_jax.insilico import blocks
from openretina_jax.insilico.gradients import (
    contrast_grid,
    gradients,
    integrated_gradients,
    jacobian_spectrum,
    lsta,
    mean_gradients,
)
from openretina_jax.insilico.targets import groups
from openretina_jax.models.build import make_core_readout
from openretina_jax.models.core_readout import CoreReadout
from tests import tiny
from tests.insilico import known_filters as models

NEURONS = [1, 4, 10]
LAG = 6


@functools.cache
def model() -> CoreReadout:
    return models.lively()


def stimuli(count: int, frames: int = LAG + 3) -> np.ndarray:
    shape = (count, frames, tiny.HEIGHT, tiny.WIDTH, tiny.CHANNELS)
    return np.random.default_rng(count).standard_normal(shape).astype(np.float32)


def scores(shown: np.ndarray, window: int) -> np.ndarray:
    """Mean of the last responses: (stimulus, neuron)."""
    return np.asarray(tiny.predict(model(), jax.numpy.asarray(shown)))[:, -window:, NEURONS].mean(axis=1)


def test_gradients_are_finite_differences() -> None:
    shown, direction = stimuli(2)
    shown, step = np.stack([shown, shown]), 1e-2
    found = gradients(model(), shown[:1], NEURONS, window=2)
    assert found.shape == (3, 1, *shown.shape[1:])
    upper, lower = scores(shown + np.array([step, -step], np.float32)[:, None, None, None, None] * direction, 2)
    np.testing.assert_allclose((found[:, 0] * direction).sum(axis=(1, 2, 3, 4)), (upper - lower) / 2 / step, rtol=1e-2)
    assert (found[:, 0, 0] == 0).all()  # two responses do not see the first of nine frames


@pytest.mark.slow
def test_blocks_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    shown = stimuli(2)
    whole = gradients(model(), shown, NEURONS)
    monkeypatch.setattr(blocks, "BLOCK_VALUES", 4 * shown[0].size)
    np.testing.assert_allclose(gradients(model(), shown, NEURONS), whole, rtol=1e-4, atol=1e-6)
    mean = mean_gradients(model(), shown, NEURONS, np.array([0.25, 0.75]))
    np.testing.assert_allclose(mean, 0.25 * whole[:, 0] + 0.75 * whole[:, 1], rtol=1e-4, atol=1e-6)


def test_a_group_has_the_mean_gradient_of_its_members() -> None:
    shown = stimuli(1)
    (of_type_0, *_) = gradients(model(), shown, groups(model()))
    rows = [0, 3, 8]  # the first neuron of every session
    np.testing.assert_allclose(of_type_0, gradients(model(), shown, rows).mean(axis=0), rtol=1e-4, atol=1e-6)


def test_integrated_gradients_are_complete() -> None:
    (shown,), (baseline,) = stimuli(1), 0.3 * stimuli(1)
    found = integrated_gradients(model(), shown, NEURONS, baseline=baseline[:1], window=2)
    ends = scores(np.stack([shown, np.broadcast_to(baseline[:1], shown.shape)]), 2)
    np.testing.assert_allclose(found.sum(axis=(1, 2, 3, 4)), ends[0] - ends[1], rtol=1e-3, atol=1e-4)


@pytest.mark.slow
def test_lsta_sums_over_the_frames_of_the_image_alone() -> None:
    images = stimuli(1)[0, :3]
    found = lsta(model(), images, NEURONS, shown_frames=5, window=(1, 4))
    grey = np.broadcast_to(images.mean(axis=(0, 1, 2)), (LAG, *images.shape[1:]))
    movies = np.stack([np.concatenate([grey, np.repeat(image[None], 5, axis=0)]) for image in images])
    seen = gradients(model(), movies[:, :-1], NEURONS, window=3)  # up to the last frame of the window
    np.testing.assert_allclose(found.gradients, seen[:, :, LAG:].sum(axis=2), rtol=1e-4, atol=1e-6)
    assert found.responses.shape == (3, 3, 5)
    np.testing.assert_allclose(found.mean_responses.T, scores(movies[:, :-1], 3), rtol=1e-5)
    assert (found.window, len(found.names)) == ((1, 4), 3)


def test_lsta_depends_on_the_image_from_its_onset_on() -> None:
    """In the reference's window the first half of the responses is to grey."""
    found = lsta(model(), stimuli(1)[0, :2], [0], shown_frames=5, window=(0, 4))
    assert np.abs(found.gradients[0, 0] - found.gradients[0, 1]).max() > 1e-4


def test_contrast_grid_of_a_linear_model_is_its_nonlinearity() -> None:
    """Each neuron sees its own filter, so that its drive is known for every pair of contrasts."""
    filters = models.filters()
    contrasts = np.linspace(-1, 2, 4)
    found = contrast_grid(models.linear(), filters, "all", contrasts=contrasts, channels=(1, 0))
    power = np.square(filters).sum(axis=(1, 2, 3))[:, ::-1]
    drive = power[:, :1, None] * contrasts[:, None] + power[:, 1:, None] * contrasts
    np.testing.assert_allclose(found.response, np.logaddexp(0, drive), rtol=1e-5)
    slope = 1 / (1 + np.exp(-drive))
    np.testing.assert_allclose(found.gradient, slope[..., None] * power[:, None, None], rtol=1e-5)
    one = contrast_grid(models.linear(), filters[:1], [0, 1], contrasts=contrasts)
    np.testing.assert_allclose(one.response[0], found.response[0].T, rtol=1e-5)


def test_jacobian_spectrum() -> None:
    """At zero, the gradients of a linear-nonlinear model are its filters times the slope there."""
    filters = models.filters().reshape(models.NEURONS, -1)
    found = jacobian_spectrum(models.linear(), np.zeros((1, *models.filters().shape[1:])))
    values = np.linalg.svd(filters / 2, compute_uv=False)  # the slope at 0 is 1/2
    np.testing.assert_allclose(found.singular_values[0], values, rtol=1e-4)
    np.testing.assert_allclose(found.participation_ratio, (values**2).sum() ** 2 / (values**4).sum(), rtol=1e-4)
    few = jacobian_spectrum(model(), 0 * stimuli(2), NEURONS)
    assert (few.participation_ratio > 1).all()
    assert (few.participation_ratio <= 3).all()


@pytest.mark.slow
def test_models_without_end_of_their_memory_or_an_answer_to_every_frame() -> None:
    core = {"kind": "gru", "hidden_channels": (4,), "temporal_kernel_sizes": (7,), "spatial_kernel_sizes": (5,)}
    info = tiny.dataset().info
    gru = make_core_readout({**tiny.MODEL, "core": {**core, "recurrent_channels": 2}}, info)
    assert [blocks.n_responses(gru, frames) for frames in (LAG, LAG + 2)] == [0, 2]
    slow = make_core_readout({**tiny.MODEL, "core": {**tiny.MODEL["core"], "downsample_input": (2, 1, 1)}}, info)
    assert [blocks.n_responses(slow, frames) for frames in (13, 14, 16)] == [0, 1, 2]
    blocks.check_every_frame(gru, 20)
    with pytest.raises(UserError, match="does not answer every frame"):
        lsta(slow, stimuli(1)[0], [0])
    image = stimuli(1)[0, :1]
    found = lsta(gru, image, [0], shown_frames=5, window=(0, 5))
    levels = image.mean(axis=(0, 1, 2))
    grey = np.broadcast_to(levels, (1, blocks.MEMORY_FRAMES, *image.shape[1:])).astype(np.float32)
    movie = np.concatenate([grey, np.repeat(image[:, None], 5, axis=1)], axis=1)
    over_time = gradients(gru, movie, [0], window=5)
    np.testing.assert_allclose(found.gradients[0], over_time[0, :, -5:].sum(axis=1), rtol=1e-4, atol=1e-6)


def test_wrong_use_is_refused() -> None:
    shown = stimuli(1)
    with pytest.raises(UserError, match="have 3 responses each, but 4"):
        gradients(model(), shown, NEURONS, window=4)
    with pytest.raises(UserError, match="have 0 responses each"):
        gradients(model(), shown[:, :2], NEURONS)
    with pytest.raises(UserError, match="the model needs"):
        lsta(model(), shown[0, :, 1:], NEURONS)
    with pytest.raises(UserError, match="within the 4 frames"):
        lsta(model(), shown[0], NEURONS, shown_frames=4, window=(0, 5))
    with pytest.raises(UserError, match="one for each"):
        lsta(model(), shown[0], NEURONS, grey=(0.0,))
    with pytest.raises(UserError, match="2 stimuli for 3 neurons"):
        contrast_grid(model(), stimuli(2), NEURONS)
    with pytest.raises(UserError, match="two different ones of 0 to 1"):
        contrast_grid(model(), shown, NEURONS, channels=(0, 2))
