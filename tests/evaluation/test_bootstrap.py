"""Intervals against what they estimate."""

import dataclasses

import numpy as np
import pytest

from openretina_jax.evaluation.predict import SessionResponses
from openretina_jax.evaluation.resampling import (
    TrialMoments,
    bootstrap_means,
    confidence_interval,
    jackknife_deviations,
)
from openretina_jax.evaluation.tables import neuron_scores
from tests.evaluation.simulated import responses

RESAMPLES = 2000


def test_the_standard_error_of_a_mean() -> None:
    values = np.random.default_rng(0).standard_normal((400, 1))
    resampled = bootstrap_means(values, np.arange(400), RESAMPLES, seed=1)
    assert resampled.std() == pytest.approx(values.std() / 20, rel=0.05)
    low, high = confidence_interval(resampled)[:, 0]
    assert (low, high) == pytest.approx(tuple(values.mean() + 1.96 * values.std() / 20 * np.array([-1, 1])), abs=0.01)


def test_neurons_of_a_session_are_drawn_together() -> None:
    session = np.repeat(np.arange(20), 30)
    values = np.random.default_rng(1).standard_normal(20)[session][:, None]
    apart, together = (bootstrap_means(values, unit, RESAMPLES, 0).std() for unit in (np.arange(600), session))
    assert together == pytest.approx(apart * np.sqrt(30), rel=0.1)


def test_scores_that_some_neurons_lack() -> None:
    values = np.array([[1.0, np.nan], [3.0, 5.0], [2.0, np.nan]])
    resampled = bootstrap_means(values, np.arange(3), RESAMPLES, 0)
    assert set(resampled[:, 1][np.isfinite(resampled[:, 1])]) == {5.0}
    assert np.isnan(resampled[:, 1]).mean() == pytest.approx((2 / 3) ** 3, abs=0.05)
    np.testing.assert_array_equal(confidence_interval(resampled)[:, 1], 5)
    assert np.isnan(confidence_interval(np.full((RESAMPLES, 1), np.nan))).all()


def test_the_seed_decides() -> None:
    values = np.random.default_rng(2).standard_normal((10, 2))
    first, again, other = (bootstrap_means(values, np.arange(10), 20, seed) for seed in (0, 0, 1))
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
    for name, deviations in moved.items():
        means = np.array([table[name].mean() for table in tables])
        assert 0.5 < deviations.std() / means.std() < 2, name
        assert deviations.mean() == pytest.approx(0, abs=0.1 * means.std()), name


def test_two_trials_tell_only_what_one_trial_tells() -> None:
    moments = [TrialMoments(session) for session in responses(2, trials=2)]
    moved = jackknife_deviations(moments, [np.ones(8, bool)] * 2, 50, 0)
    assert np.isfinite(moved["correlation"]).all()
    assert np.isnan(moved["feve"]).all()
