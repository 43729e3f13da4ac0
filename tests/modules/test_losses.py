import jax
import jax.numpy as jnp
import numpy as np
import pytest

from openretina_jax.errors import UserError
from openretina_jax.modules import losses

RNG = np.random.default_rng(0)
PREDICTION, RESPONSE = (RNG.random((2, 70, 3)).astype(np.float32) for _ in range(2))
RECORDED = RNG.random((2, 70, 3)) < 0.7
RECORDED[:, 30:60, 1] = False
correlation = jax.jit(losses.correlation)
l1_correlation = jax.jit(losses.l1_correlation, static_argnames="gamma")
scaled_correlation = jax.jit(losses.scaled_correlation, static_argnames="frames")
MEASURES = {
    "correlation": correlation,
    "l1_correlation": l1_correlation,
    "scaled_correlation": scaled_correlation,
}


def pearson(x: np.ndarray, y: np.ndarray) -> float:
    return float(np.corrcoef(x, y)[0, 1])


def test_scaled_correlation_has_pieces_of_thirty_frames() -> None:
    """The reference's own default is not a whole number, and fails."""
    found = scaled_correlation(PREDICTION, RESPONSE)
    assert found.shape == (2, 3)
    pieces = [pearson(PREDICTION[1, start : start + 30, 2], RESPONSE[1, start : start + 30, 2]) for start in (0, 30)]
    np.testing.assert_allclose(found[1, 2], np.mean(pieces), atol=1e-6)
    with pytest.raises(UserError, match="scaled_correlation has pieces of 71 frames, but predictions have only 70"):
        scaled_correlation(PREDICTION, RESPONSE, frames=71)


def test_scaled_correlation_weights_pieces_by_their_recorded_frames() -> None:
    found = scaled_correlation(PREDICTION, RESPONSE, RECORDED)
    counts, values = [], []
    for start in (0, 30):
        rows = np.flatnonzero(RECORDED[0, start : start + 30, 0]) + start
        counts.append(len(rows))
        values.append(pearson(PREDICTION[0, rows, 0], RESPONSE[0, rows, 0]))
    np.testing.assert_allclose(found[0, 0], np.average(values, weights=counts), atol=1e-6)
    only_piece = np.flatnonzero(RECORDED[0, :30, 1])
    np.testing.assert_allclose(
        found[0, 1], pearson(PREDICTION[0, only_piece, 1], RESPONSE[0, only_piece, 1]), atol=1e-6
    )


def test_l1_correlation_of_each_neuron() -> None:
    """The reference cannot reduce it to neurons."""
    found = l1_correlation(PREDICTION, RESPONSE, RECORDED, gamma=0.5)
    found = np.asarray(found).mean(axis=0)
    for neuron in range(3):
        values = []
        for window in range(2):
            rows = np.flatnonzero(RECORDED[window, :, neuron])
            x, y = PREDICTION[window, rows, neuron], RESPONSE[window, rows, neuron]
            values.append(pearson(x, y) - 0.5 * np.abs(x).mean())
        np.testing.assert_allclose(found[neuron], np.mean(values), atol=1e-6)
    rate = np.full_like(PREDICTION, -3.0)
    np.testing.assert_allclose(
        l1_correlation(PREDICTION, RESPONSE, RECORDED, rate),
        correlation(PREDICTION, RESPONSE, RECORDED) - 2e-4 * 3,
        atol=1e-6,
    )


@pytest.mark.parametrize("name", MEASURES)
def test_frames_that_do_not_count_change_nothing(name: str) -> None:
    measure = MEASURES[name]

    def total(prediction: jax.Array, response: jax.Array) -> jax.Array:
        return measure(prediction, response, jnp.asarray(RECORDED)).sum()

    judge = jax.jit(jax.value_and_grad(total))
    value, gradient = judge(PREDICTION, RESPONSE)
    spoiled, spoiled_gradient = judge(PREDICTION, np.where(RECORDED, RESPONSE, np.float32(np.nan)))
    np.testing.assert_array_equal(spoiled, value)
    np.testing.assert_array_equal(spoiled_gradient, gradient)
    np.testing.assert_array_equal(np.asarray(gradient)[~RECORDED], 0)
    assert np.abs(gradient).max() > 1e-4
    everything = measure(PREDICTION, RESPONSE, np.ones_like(RECORDED))
    np.testing.assert_allclose(everything, measure(PREDICTION, RESPONSE), rtol=1e-5, atol=1e-6)
    nothing = measure(PREDICTION, RESPONSE, np.zeros_like(RECORDED))
    np.testing.assert_array_equal(nothing, 0)
