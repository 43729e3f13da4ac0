"""Places and feature weights with which neurons begin."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.optimize import minimize, nnls

from openretina_jax.modules.readouts.readout import Grid
from openretina_jax.training.adaptation.maps import Piece
from openretina_jax.training.adaptation.starts import fit_features, non_negative, screen
from openretina_jax.training.objective import Poisson, SquaredError

HEIGHT, WIDTH, FEATURES, TIME, WINDOWS, NEURONS = 4, 3, 3, 40, 6, 4
RNG = np.random.default_rng(0)
MAPS = RNG.normal(size=(HEIGHT, WIDTH, FEATURES, TIME, WINDOWS)).astype(np.float32)
MASKS = np.eye(HEIGHT * WIDTH, dtype=np.float32).reshape(-1, HEIGHT, WIDTH)  # a place is a pixel
PLACE = np.array([7, 0, 7, 11])
WEIGHTS = np.array([[1.0, 0.5, 0.2], [0.3, 1.2, 0.0], [0.0, 0.4, 0.9], [0.7, 0.0, 0.6]])
BIAS = np.array([0.2, -0.5, 0.0, 0.4])


def behind(place: int) -> np.ndarray:
    """Features of a place, (feature, time x window)."""
    return MAPS.reshape(-1, *MAPS.shape[2:])[place].reshape(FEATURES, -1)


def responses() -> np.ndarray:
    """Counts of the neurons, (window, time, neuron)."""
    drive = np.stack([weights @ behind(place) for weights, place in zip(WEIGHTS, PLACE, strict=True)]) + BIAS[:, None]
    counts = RNG.poisson(np.logaddexp(0, drive)).reshape(NEURONS, TIME, WINDOWS)
    return counts.transpose(2, 1, 0).astype(np.float32)


COUNTS = responses()


def pieces(recorded: np.ndarray | None = None) -> list[Piece]:
    """The recording as two pieces."""
    shown = COUNTS if recorded is None else np.where(recorded, COUNTS, np.nan)
    mean = jnp.asarray(np.nanmean(shown, axis=(0, 1)), jnp.float32)
    return [
        Piece(jnp.asarray(MAPS[..., half]), jnp.asarray(shown[half], jnp.float32), mean, jnp.int32(0), 0)
        for half in (slice(0, 3), slice(3, 6))
    ]


def grid(positive: bool = True) -> Grid:
    return Grid(jnp.asarray(MASKS), {}, jax.nn.softplus, positive)


def test_non_negative_least_squares() -> None:
    features, targets = RNG.normal(size=(50, 5)), RNG.normal(size=(50, 3))
    found = non_negative(*(jnp.asarray(features.T @ x, jnp.float32) for x in (features, targets)))
    expected = np.stack([nnls(features, target)[0] for target in targets.T], axis=1)
    np.testing.assert_allclose(found, expected, atol=1e-4)


@pytest.mark.parametrize("positive", [True, False])
def test_the_true_place_is_found(positive: bool) -> None:
    place, linear = screen(grid(positive), pieces(), NEURONS)
    np.testing.assert_array_equal(place, PLACE)
    if positive:
        assert (linear[:, :-1] >= 0).all()


def test_responses_that_are_missing_do_not_move_the_place() -> None:
    recorded = np.ones(COUNTS.shape, bool)
    recorded[0, :, 1], recorded[4] = False, False
    place, linear = screen(grid(), pieces(recorded), NEURONS)
    np.testing.assert_array_equal(place, PLACE)
    assert jnp.isfinite(linear).all()


@pytest.mark.parametrize(("positive", "penalty"), [(True, 0.0), (True, 5.0), (False, 0.0)])
def test_weights_are_those_of_scipy(positive: bool, penalty: float) -> None:
    place, linear = screen(grid(positive), pieces(), NEURONS)
    weight, penalties = jnp.full(NEURONS, 1.0), jnp.full((NEURONS, FEATURES), penalty)
    found = fit_features(grid(positive), place, linear, pieces(), Poisson(), weight, penalties)
    for neuron in range(NEURONS):
        seen, counts = behind(PLACE[neuron]), COUNTS[..., neuron].T.ravel()

        def objective(x: np.ndarray, seen: np.ndarray = seen, counts: np.ndarray = counts) -> float:
            rate = np.logaddexp(0, x[:-1] @ seen + x[-1])
            return float((rate - counts * np.log(rate)).sum() + penalty * np.abs(x[:-1]).sum())

        bounds = [(0 if positive else None, None)] * FEATURES + [(None, None)]
        best = minimize(objective, np.full(FEATURES + 1, 0.1), method="L-BFGS-B", bounds=bounds, tol=1e-12)
        np.testing.assert_allclose(found[neuron], best.x, atol=5e-3)
        assert objective(np.asarray(found[neuron], np.float64)) < best.fun + 1e-2


def test_an_offset_that_is_not_trained_stays() -> None:
    place, linear = screen(grid(), pieces(), NEURONS)
    linear = linear.at[:, -1].set(0.25)
    nothing = jnp.zeros((NEURONS, FEATURES))
    found = fit_features(grid(), place, linear, pieces(), SquaredError(), jnp.ones(NEURONS), nothing, fixed_bias=True)
    np.testing.assert_array_equal(found[:, -1], np.full(NEURONS, 0.25, np.float32))
    assert (found[:, :-1] != linear[:, :-1]).any()
