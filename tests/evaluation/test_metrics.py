"""Metrics and oracles: gaps, repeats that lack, and known answers."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from openretina_jax.data.masked import correlation, mean_of
from openretina_jax.evaluation import metrics
from openretina_jax.evaluation import metrics as oracles

TRIALS, TIME, NEURONS = 4, 50, 3
SHAPE = (TRIALS, TIME, NEURONS)


def recording(seed: int, noise: float = 1.0) -> tuple[np.ndarray, np.ndarray]:
    """Noisy trials of a signal, and the signal."""
    rng = np.random.default_rng(seed)
    signal = np.exp(rng.standard_normal((TIME, NEURONS)))
    return signal + noise * rng.standard_normal(SHAPE), signal


SCORES = {
    "correlation": lambda trials, prediction: correlation(mean_of(trials), prediction),
    "squared error": lambda trials, prediction: metrics.squared_error(trials, prediction, (0, 1)),
    "poisson loss": lambda trials, prediction: metrics.poisson_loss(mean_of(trials), prediction),
    "bits per spike": lambda trials, prediction: metrics.bits_per_spike(np.abs(trials), prediction),
    "explained deviance": lambda trials, prediction: metrics.explained_deviance(np.abs(trials), prediction),
    "fev": metrics.fev,
    "feve": metrics.feve,
    "normalized correlation": lambda *given: np.stack(metrics.normalized_correlation(*given)),
    "explainable variance": lambda trials, _: np.stack(metrics.explainable_variance(trials)),
    "jackknife": lambda trials, _: oracles.jackknife_oracle(trials),
    "reliability": lambda trials, _: oracles.reliability(trials),
}


@pytest.mark.parametrize("name", SCORES)
def test_what_was_not_recorded_is_as_if_it_were_not_there(name: str) -> None:
    """Frames that no trial has, and a trial that a neuron lacks, change no score of the rest."""
    trials, prediction = recording(0)
    gaps = trials.copy()
    gaps[:, 10:20] = np.nan
    rest = np.delete(np.arange(TIME), np.arange(10, 20))
    expected = SCORES[name](trials[:, rest], prediction[rest])
    np.testing.assert_allclose(SCORES[name](gaps, prediction), expected, err_msg="frames")
    missing = np.concatenate([trials, np.full((1, TIME, NEURONS), np.nan)])
    np.testing.assert_allclose(SCORES[name](missing, prediction), SCORES[name](trials, prediction), err_msg="trial")
    none = trials.copy()
    none[..., 1] = np.nan
    score = SCORES[name](none, prediction)
    assert np.isnan(score[..., 1]).all()
    np.testing.assert_allclose(score[..., [0, 2]], SCORES[name](trials, prediction)[..., [0, 2]], err_msg="neuron")


@given(seed=st.integers(0, 2**16), scale=st.floats(0.1, 10), shift=st.floats(-5, 5))
@settings(max_examples=20, deadline=None)
def test_correlations_do_not_depend_on_scale_and_offset(seed: int, scale: float, shift: float) -> None:
    trials, prediction = recording(seed)
    mean = mean_of(trials)
    expected = correlation(mean, prediction)
    np.testing.assert_allclose(expected, [np.corrcoef(mean[:, n], prediction[:, n])[0, 1] for n in range(NEURONS)])
    np.testing.assert_allclose(correlation(mean, scale * prediction + shift), expected, rtol=1e-6)
    normalized, highest = metrics.normalized_correlation(trials, scale * prediction + shift)
    np.testing.assert_allclose(normalized * highest, expected, rtol=1e-6)


def test_normalized_correlation_is_that_of_its_paper() -> None:
    """Equations 4 and 13 of Schoppe et al. 2016, word by word."""
    trials, prediction = recording(1)
    for neuron in range(NEURONS):
        r, y = trials[:, :, neuron], prediction[:, neuron]
        power = (np.var(r.sum(axis=0), ddof=1) - np.var(r, axis=1, ddof=1).sum()) / (TRIALS * (TRIALS - 1))
        covariance = np.cov(r.mean(axis=0), y)[0, 1]
        expected = covariance / np.sqrt(np.var(y, ddof=1) * power)
        np.testing.assert_allclose(metrics.normalized_correlation(trials, prediction)[0][neuron], expected, rtol=1e-6)


def test_a_perfect_model_explains_what_can_be_explained() -> None:
    rng = np.random.default_rng(2)
    signal = rng.standard_normal((20000, 1))
    trials = signal + rng.standard_normal((5, 20000, 1))
    np.testing.assert_allclose(metrics.feve(trials, signal), 1, atol=0.03)
    np.testing.assert_allclose(metrics.fev(trials, signal), 0.5, atol=0.02)
    np.testing.assert_allclose(metrics.explainable_variance(trials)[0], 0.5, atol=0.02)
    normalized, highest = metrics.normalized_correlation(trials, signal)
    np.testing.assert_allclose(normalized, 1, atol=0.02)
    np.testing.assert_allclose(highest, np.sqrt(5 / 6), atol=0.02)
    np.testing.assert_allclose(oracles.reliability(trials), np.sqrt(0.5 * 4 / 5), atol=0.02)


def test_without_repeats_there_is_nothing_to_compare() -> None:
    trials, prediction = recording(3)
    single = trials[:1]
    for name in ("feve", "normalized correlation", "explainable variance", "jackknife", "reliability"):
        assert np.isnan(SCORES[name](single, prediction)).all(), name
    assert np.isfinite(metrics.fev(single, prediction)).all()
    never_twice = trials[:2].copy()
    never_twice[0, ::2] = never_twice[1, 1::2] = np.nan  # two trials, but no frame that both have
    assert np.isnan(metrics.feve(never_twice, prediction)).all()


def test_constant_traces_have_no_correlation() -> None:
    constant = np.full((TIME, NEURONS), 0.1)  # its mean is not exactly 0.1
    np.testing.assert_allclose(correlation(constant, recording(4)[1]), 0, atol=1e-6)


def test_a_negative_rate_has_no_likelihood() -> None:
    _, prediction = recording(5)
    wrong = prediction.copy()
    wrong[3, 1] = -0.1
    loss = metrics.poisson_loss(prediction, wrong)
    assert np.isnan(loss).tolist() == [False, True, False]


def test_neurons_that_only_follow_each_other() -> None:
    rng = np.random.default_rng(6)
    state = rng.standard_normal((2, TIME, 1)) + 0.01 * rng.standard_normal((2, TIME, 5))
    assert (oracles.global_mean_oracle(state) > 0.99).all()
    assert np.abs(oracles.global_mean_oracle(rng.standard_normal((2, 2000, 200)))).max() < 0.2


@pytest.mark.parametrize(("frames", "skip"), [(51, None), (45, 6), (10, -1)])
def test_predictions_that_do_not_fit(frames: int, skip: int | None) -> None:
    with pytest.raises(ValueError, match=f"{frames} predictions from frame .* do not fit {TIME} responses"):
        metrics.aligned(recording(7)[0], frames, skip)


def test_bits_per_spike_and_deviance_are_those_of_the_likelihood() -> None:
    """With the probabilities of scipy, trial by trial."""
    rng = np.random.default_rng(0)
    rate = rng.gamma(1.0, 0.6, (TIME, NEURONS))
    counts = rng.poisson(rate, SHAPE).astype(np.float64)
    for neuron in range(NEURONS):
        own = counts[..., neuron]

        def likelihood(expected: np.ndarray, own: np.ndarray = own) -> float:
            return stats.poisson.logpmf(own, np.broadcast_to(expected, own.shape)).sum()

        model, mean, best = likelihood(rate[:, neuron]), likelihood(own.mean()), likelihood(own)
        bits = (model - mean) / np.log(2) / own.sum()
        np.testing.assert_allclose(metrics.bits_per_spike(counts, rate)[neuron], bits)
        np.testing.assert_allclose(metrics.explained_deviance(counts, rate)[neuron], 1 - (best - model) / (best - mean))


def test_scores_of_counts_have_the_values_that_their_names_say() -> None:
    rng = np.random.default_rng(1)
    counts = rng.poisson(0.7, SHAPE).astype(np.float64)
    mean = np.broadcast_to(counts.mean(axis=(0, 1)), SHAPE[1:])
    for score in (metrics.bits_per_spike, metrics.explained_deviance):
        np.testing.assert_allclose(score(counts, mean), 0, atol=1e-12)
        assert (score(counts, mean + 1) < 0).all()
        assert np.isnan(score(counts - 1, mean)).all(), "negative responses are no counts"
        assert np.isnan(score(counts, mean - 1)).all(), "a negative rate has no likelihood"
        assert np.isnan(score(np.zeros(SHAPE), mean)).all(), "there is no spike to tell something about"
    np.testing.assert_allclose(metrics.explained_deviance(counts[:1], counts[0]), 1)
