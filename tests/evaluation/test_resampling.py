"""Scores from moments are the scores; drawn trials are what they stand for."""

import dataclasses

import numpy as np

from openretina_jax.data.masked import correlation, mean_of
from openretina_jax.evaluation import metrics
from openretina_jax.evaluation.predict import SessionResponses
from openretina_jax.evaluation.resampling import TrialMoments
from openretina_jax.evaluation.tables import neuron_scores
from tests.evaluation.simulated import responses

(SESSION,) = responses(1)
TRIALS, NEURONS = len(SESSION.trials), SESSION.trials.shape[-1]
ALL = np.ones(NEURONS, bool)


def with_weights(session: SessionResponses, *weights: list[float]) -> dict[str, np.ndarray]:
    return TrialMoments(session).scores(np.array(weights, float), ALL)


def test_equal_weights_give_the_scores_of_the_table() -> None:
    expected = neuron_scores(SESSION)
    for name, values in with_weights(SESSION, [1] * TRIALS).items():
        np.testing.assert_allclose(values[0], expected[name], rtol=1e-5, err_msg=name)


def test_a_trial_that_is_left_out() -> None:
    rest = dataclasses.replace(SESSION, recorded=SESSION.recorded[1:])
    expected = neuron_scores(rest)
    for name, values in with_weights(SESSION, [0, *[1] * (TRIALS - 1)]).items():
        np.testing.assert_allclose(values[0], expected[name], rtol=1e-4, err_msg=name)


def test_trials_that_are_drawn_twice() -> None:
    """They count twice in the mean response; noise comes from pairs of different trials."""
    found = with_weights(SESSION, [2, 1, 0, 0])
    drawn = SESSION.trials[[0, 0, 1]]
    mean = mean_of(drawn)
    np.testing.assert_allclose(found["correlation"][0], correlation(mean, SESSION.prediction), rtol=1e-5)
    np.testing.assert_allclose(found["mse"][0], metrics.squared_error(mean, SESSION.prediction), rtol=1e-5)
    _, noise = metrics.variances(SESSION.trials[:2])
    total, _ = metrics.variances(drawn)
    np.testing.assert_allclose(found["explainable_variance"][0], np.maximum(total - noise, 1e-9), rtol=1e-4)


def test_one_trial_alone_tells_nothing_of_the_noise() -> None:
    found = with_weights(SESSION, [0, 3, 0, 0])
    need = {"feve", "variance_ratio", "explainable_variance", "normalized_correlation", "max_correlation"}
    need |= {"jackknife", "reliability"}
    for name, values in found.items():
        assert np.isnan(values).all() == (name in need), name


def test_missing_trials_and_neurons() -> None:
    gaps = SESSION.recorded.copy()
    gaps[1, ..., 0] = np.nan
    gaps[..., 1] = np.nan
    gaps[:, :, :10, 2] = np.nan
    session = dataclasses.replace(SESSION, recorded=gaps)
    expected = neuron_scores(session)
    for name, values in with_weights(session, [1] * TRIALS).items():
        assert np.isnan(values[0, 1]), name
        np.testing.assert_allclose(values[0, [0, 2, 3]], expected[name][[0, 2, 3]], rtol=1e-4, err_msg=name)
