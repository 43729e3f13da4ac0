"""Bootstrap and jackknife against what they estimate, and scores from moments against scores."""

import dataclasses

import numpy as np
import pytest
from scipy.stats import ttest_1samp

from openretina_jax.data.masked import correlation, mean_of
from openretina_jax.evaluation import metrics
from openretina_jax.evaluation.resampling import (
    TrialMoments,
    jackknife_deviations,
    mean_interval,
)
from openretina_jax.evaluation.splits import SessionResponses
from openretina_jax.evaluation.tables import neuron_scores
from tests.evaluation.simulated import OF_COUNTS, counts, responses

RESAMPLES = 2000


def interval(values: np.ndarray, unit: np.ndarray, seed: int = 0) -> np.ndarray:
    """Ends of the interval of a single score."""
    return mean_interval(values[:, None], unit, RESAMPLES, seed)[:, 0]


def test_the_standard_error_of_a_mean() -> None:
    values = np.random.default_rng(0).standard_normal(400)
    expected = values.mean() + 1.96 * values.std() / 20 * np.array([-1, 1])
    np.testing.assert_allclose(interval(values, np.arange(400)), expected, atol=0.01)


def test_neurons_of_a_session_are_drawn_together() -> None:
    session = np.repeat(np.arange(20), 30)
    values = np.random.default_rng(1).standard_normal(20)[session]
    apart, together = (np.diff(interval(values, unit)) for unit in (np.arange(600), session))
    assert together == pytest.approx(apart * np.sqrt(30), rel=0.1)


def test_few_units_of_equal_size_have_the_interval_of_student() -> None:
    """As scipy has it for their means; percentiles of a bootstrap would be too narrow."""
    of_session = np.random.default_rng(3).standard_normal(4)
    session = np.repeat(np.arange(4), 5)
    expected = ttest_1samp(of_session, 0).confidence_interval(0.95)
    np.testing.assert_allclose(interval(of_session[session], session), expected, rtol=1e-12)


@pytest.mark.parametrize("units", [3, 8])
def test_intervals_of_few_sessions_hold_the_mean_as_often_as_they_say(units: int) -> None:
    rng = np.random.default_rng(units)
    session = np.repeat(np.arange(units), 5 + np.arange(units))
    values = rng.standard_normal((units, 400))[session] + rng.standard_normal((len(session), 400))
    low, high = mean_interval(values, session, RESAMPLES, 0)
    assert 0.9 < ((low < 0) & (high > 0)).mean() < 0.99


def test_scores_that_some_neurons_lack() -> None:
    values = np.tile([[1.0, np.nan], [3.0, 5.0], [2.0, 5.0]], (10, 1))
    low, high = mean_interval(values, np.arange(30), RESAMPLES, 0)
    assert low[0] < 2 < high[0]
    assert (low[1], high[1]) == (5, 5)
    unknown = mean_interval(np.full((30, 1), np.nan), np.arange(30), RESAMPLES, 0)
    assert np.isnan(unknown).all()
    assert np.isnan(interval(np.ones(5), np.zeros(5, int))).all()  # a single session


def test_the_seed_decides() -> None:
    values = np.random.default_rng(2).standard_normal(20)
    first, again, other = (interval(values, np.arange(20), seed) for seed in (0, 0, 1))
    np.testing.assert_array_equal(first, again)
    assert (first != other).any()


def test_trials_of_a_noisy_recording() -> None:
    """The spread over resamples is that over recordings, for every score."""
    (signal,) = responses(1, neurons=20, noise=0)

    def recording(seed: int) -> SessionResponses:
        noise = np.random.default_rng((1, seed)).standard_normal((12, *signal.recorded.shape[1:]))
        return dataclasses.replace(signal, recorded=signal.recorded[:1] + noise.astype(np.float32))

    tables = [neuron_scores(recording(seed)) for seed in range(60)]
    moved = jackknife_deviations([TrialMoments(recording(0))], [np.ones(20, bool)], RESAMPLES, 0)
    for name in moved.keys() - OF_COUNTS:
        check_spread(moved[name], np.array([table[name].mean() for table in tables]), name)


def check_spread(deviations: np.ndarray, means: np.ndarray, name: str) -> None:
    assert 0.5 < deviations.std() / means.std() < 2, name
    assert deviations.mean() == pytest.approx(0, abs=0.1 * means.std()), name


@pytest.mark.slow
def test_trials_of_spikes() -> None:
    """The same for scores that only counts have; negative responses have none."""
    tables = [neuron_scores(counts(seed=seed)) for seed in range(60)]
    moved = jackknife_deviations([TrialMoments(counts())], [np.ones(20, bool)], RESAMPLES, 0)
    for name in OF_COUNTS:
        check_spread(moved[name], np.array([table[name].mean() for table in tables]), name)
        assert np.isnan(neuron_scores(SESSION)[name]).all()
    whole = TrialMoments(counts()).scores(np.ones((1, 12)), np.ones(20, bool))
    for name in OF_COUNTS:
        np.testing.assert_allclose(whole[name][0], tables[0][name], rtol=1e-6)


def test_two_trials_tell_only_what_one_trial_tells() -> None:
    moments = [TrialMoments(session) for session in responses(2, trials=2)]
    moved = jackknife_deviations(moments, [np.ones(8, bool)] * 2, 50, 0)
    assert np.isfinite(moved["correlation"]).all()
    assert np.isnan(moved["feve"]).all()


(SESSION,) = responses(1)
TRIALS, NEURONS = len(SESSION.trials), SESSION.trials.shape[-1]
ALL = np.ones(NEURONS, bool)


def with_weights(session: SessionResponses, *weights: list[float]) -> dict[str, np.ndarray]:
    return TrialMoments(session).scores(np.array(weights, float), ALL)


def test_equal_weights_give_the_scores_of_the_table() -> None:
    expected = neuron_scores(SESSION)
    for name, values in with_weights(SESSION, [1] * TRIALS).items():
        np.testing.assert_allclose(values[0], expected[name], rtol=1e-5, err_msg=name)


def test_trials_with_predictions_of_their_own() -> None:
    """They make the scores of single trials; all others compare with the mean of the predictions."""
    noise = np.random.default_rng(5).standard_normal(SESSION.recorded.shape)
    each = (SESSION.predicted + 0.5 * noise).astype(np.float32)
    session = dataclasses.replace(SESSION, predicted=each.mean(axis=0), by_trial=each)
    expected = neuron_scores(session)
    own = [correlation(trial, prediction) for trial, prediction in zip(session.trials, each[:, 0], strict=True)]
    np.testing.assert_allclose(expected["correlation_single_trials"], np.mean(own, axis=0), rtol=1e-6)
    for name, values in with_weights(session, [1] * TRIALS).items():
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
    need |= {"jackknife", "reliability", *OF_COUNTS}  # the responses are negative here and there
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
