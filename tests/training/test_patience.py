"""When the learning rate falls and when training ends."""

import jax
import numpy as np

from openretina_jax.training.patience import Patience, PatienceRules, Plateau


def run(rules: PatienceRules, scores: list[float], rate: float = 0.01) -> list[Patience]:
    """The state after each epoch."""
    update = jax.jit(lambda state, score: rules.update(state, score, rate))
    state = Patience.start(rate)
    return [state := update(state, np.float32(score)) for score in scores]


def test_training_ends_after_bad_epochs() -> None:
    rules = PatienceRules(stop_epochs=3, stop_threshold=0.1)
    states = run(rules, [0.5, 0.55, 0.65, 0.7, 0.74, 0.6])
    assert [int(state.stop_bad) for state in states] == [0, 1, 0, 1, 2, 3]
    assert [bool(state.stop) for state in states] == [False] * 5 + [True]


def test_best_is_the_highest_score_whatever_the_thresholds() -> None:
    states = run(PatienceRules(Plateau(threshold=0.1), stop_threshold=0.1), [0.5, 0.51, 0.4, 0.51, 0.52])
    np.testing.assert_allclose([state.best for state in states], [0.5, 0.51, 0.51, 0.51, 0.52], rtol=1e-6)
    assert [bool(state.is_best) for state in states] == [True, True, False, False, True]


def test_learning_rate_falls_so_many_times() -> None:
    rules = PatienceRules(Plateau(factor=0.5, epochs=1, reductions=2), stop_epochs=100)
    rates = [float(state.learning_rate) for state in run(rules, [0.5] * 9)]
    np.testing.assert_allclose(rates, [0.01, 0.01, 0.005, 0.005, 0.0025, 0.0025, 0.0025, 0.0025, 0.0025], rtol=1e-6)


def test_scores_below_zero() -> None:
    states = run(PatienceRules(stop_threshold=0.01), [-0.2, -0.1])
    assert [bool(state.is_best) for state in states] == [True, True]
    assert [int(state.stop_bad) for state in states] == [0, 0]


def test_without_a_plateau_rule_the_rate_stays() -> None:
    states = run(PatienceRules(plateau=None), [0.5] * 9)
    assert {float(state.learning_rate) for state in states} == {float(np.float32(0.01))}
