"""Metrics against the truth, and the broken models that must miss them."""

from pathlib import Path

import jax.numpy as jnp
import numpy as np
import pytest

from openretina_jax.errors import UserError
from openretina_jax.insilico import blocks, score
from openretina_jax.insilico.simulated_retina import SimulatedRetina
from openretina_jax.insilico.targets import Targets, neurons
from openretina_jax.insilico.truth import truth_model
from tests.insilico import known_retina
from tests.insilico.known_retina import as_stimulus, clips


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return known_retina.write(tmp_path_factory.mktemp("simulated"))


@pytest.fixture(scope="module")
def truth(path: Path) -> SimulatedRetina:
    return truth_model(path)


def metric_of(values: np.ndarray, threshold: float = 0.5, **options: str) -> score.Metric:
    return score.metric("gradient", "mean cosine", np.mean, values, threshold=threshold, **options)


def test_a_metric_has_the_interval_of_its_statistic() -> None:
    values = np.random.default_rng(0).normal(1, 1, 400)
    one = metric_of(np.append(values, np.nan))
    assert one.neurons == 400
    assert one.value == pytest.approx(values.mean())
    np.testing.assert_allclose([one.low, one.high], values.mean() + np.array([-1.96, 1.96]) / 20, atol=0.02)
    assert one.passes
    assert not metric_of(values, better="lower").passes
    unknown = metric_of(np.full(3, np.nan))
    assert unknown.neurons == 0
    assert not unknown.passes


def test_a_statistic_of_two_columns_resamples_neurons_together() -> None:
    column = np.arange(50.0)
    one = score.metric("direction", "AUC", score.auc, column, column > 30, threshold=0.8)
    assert (one.value, one.low, one.high) == (1, 1, 1)


def test_area_under_the_curve() -> None:
    scores = np.array([0.1, 0.4, 0.4, 0.9])
    # pairs of a positive and a negative: 1 tie, 3 in order
    assert score.auc(scores, np.array([False, False, True, True])) == 3.5 / 4
    assert np.isnan(score.auc(scores, np.ones(4, bool)))


def test_errors_of_directions_and_cosines() -> None:
    found = score.direction_error_deg(np.array([350.0, 90, 10, -170, 0]), np.array([10.0, 270, 20, 170, np.nan]))
    np.testing.assert_allclose(found, [20, 180, 10, 20, np.nan])
    one, other = np.array([[[1.0, 0], [0, 0]], [[0, 0], [0, 0]]]), np.ones((2, 2, 2))
    np.testing.assert_allclose(score.cosine(one, other), [0.5, np.nan])


def test_the_truth_says_where_neurons_are_and_which_prefer_a_direction(truth: SimulatedRetina) -> None:
    known = known_retina.simulated()
    centres = np.concatenate([session.neurons["centre_px"] for _, session in known.values()])
    np.testing.assert_allclose(score.distance_px(centres + np.array([3, 4]), truth), 5)
    directions = score.preferred_deg(truth)
    assert set(directions[np.isfinite(directions)]) == {90, 180}
    kinds = np.array(truth.data_info.neuron_column("true_type"))
    np.testing.assert_array_equal(np.isfinite(directions), np.char.find(kinds, " DS") >= 0)


def test_failures_are_missed_thresholds_and_metrics_that_no_control_misses() -> None:
    good, bad = metric_of(np.ones(5)), metric_of(np.zeros(5))
    assert score.failures([good], {"untrained core": [bad], "shuffled rows": [bad]}) == []
    assert score.failures([good], {"untrained core": [good], "shuffled rows": [bad]}) == []
    (blind,) = score.failures([good], {"untrained core": [good], "shuffled rows": [good]})
    assert blind == "gradient is passed by untrained core and shuffled rows; it cannot tell models apart"
    (missed,) = score.failures([bad])
    assert missed == "gradient is 0 (0 to 0), which should be at least 0.5: mean cosine"
    found = score.table([good], {"shuffled rows": [bad]})
    assert found.loc[0, ["value", "passes", "shuffled rows"]].tolist() == [1, True, 0]


def test_rows_must_be_those_of_the_model(path: Path, truth: SimulatedRetina) -> None:
    trained = truth_model(path, known_retina.info_of_trained_model(path))
    score.check_matched(trained, truth_model(path, trained.data_info))
    with pytest.raises(UserError, match="other neurons than the model, or another order"):
        score.check_matched(trained, truth)


def windows(count: int) -> np.ndarray:
    """Noise as stimuli of 40 frames."""
    movie = as_stimulus(np.concatenate(clips()[1:]))
    return np.stack([movie[5 * start : 5 * start + 40] for start in range(count)])


@pytest.mark.slow
def test_the_model_and_the_truth_answer_at_the_same_frames(path: Path, truth: SimulatedRetina) -> None:
    targets, stimuli = Targets.of(truth, [[0, 3], [7, 7], [13, 1]], ["a", "b", "c"]), windows(3)
    found = score.mean_responses(truth, stimuli, targets)
    responses = truth.respond_rows(jnp.asarray(stimuli), jnp.asarray(targets.rows))
    np.testing.assert_allclose(found, responses[:, -10:].mean(axis=(1, 2)), atol=1e-5)
    np.testing.assert_allclose(score.mean_responses(truth_model(path, lag=30), stimuli, targets), found, atol=1e-6)
    with pytest.raises(UserError, match="has 9 responses, but 10 are needed; show at least 41 frames"):
        score.mean_responses(truth_model(path, lag=31), stimuli, targets)


def test_blocks_of_targets_do_not_change_the_responses(truth: SimulatedRetina, monkeypatch: pytest.MonkeyPatch) -> None:
    targets, stimuli = neurons(truth, "every:2"), windows(7)
    whole = score.mean_responses(truth, stimuli, targets)
    monkeypatch.setattr(blocks, "BLOCK_VALUES", 3 * stimuli[0].size)
    np.testing.assert_allclose(score.mean_responses(truth, stimuli, targets), whole, atol=1e-6)


def test_the_closed_loop_is_relative_to_the_largest_response(truth: SimulatedRetina) -> None:
    targets, stimuli = neurons(truth, [0, 1, 2]), windows(6)
    movies, best = stimuli[:3], np.stack([stimuli[3:], stimuli[:3]])
    found = score.closed_loop(truth, movies, best, targets)
    above = [
        score.mean_responses(truth, one, targets) - score.mean_responses(truth, 0 * one, targets)
        for one in (movies, stimuli[3:])
    ]
    largest = np.maximum(*above)
    np.testing.assert_allclose(found, np.where(largest > 0, above[0] / largest, np.nan), rtol=1e-5)
    assert np.nanmax(found) <= 1
