"""Schedules at any epoch, at the corners of their curves, and inside an optimiser."""

import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from hypothesis import given, settings
from hypothesis import strategies as st

from openretina_jax.errors import UserError
from openretina_jax.training.optimizers import make_optimizer
from openretina_jax.training.schedules import (
    SCHEDULES,
    Cosine,
    CosineWarmRestarts,
    Exponential,
    MultiStep,
    OneCycle,
    Schedule,
    Step,
)

INITIAL = 0.02
LAST_EPOCH = np.iinfo(np.int32).max


def learning_rates(schedule: Schedule, *counts: int) -> np.ndarray:
    """Rates after these numbers of epochs and of steps."""
    count = jnp.asarray(counts, jnp.int32)
    return np.asarray(jax.vmap(lambda n: schedule.rates(INITIAL, n, n).learning_rate)(count))


def momenta(schedule: Schedule, *counts: int) -> np.ndarray:
    count = jnp.asarray(counts, jnp.int32)
    return np.asarray(jax.vmap(lambda n: schedule.rates(INITIAL, n, n).momentum)(count))


@settings(deadline=None, max_examples=30)
@given(st.integers(1, 20), st.floats(0.01, 1.0), st.integers(0, 1000))
def test_step_counts_whole_intervals(every: int, factor: float, epoch: int) -> None:
    expected = INITIAL * factor ** (epoch // every)
    np.testing.assert_allclose(learning_rates(Step(every, factor), epoch), [expected], rtol=1e-4, atol=1e-37)


@settings(deadline=None, max_examples=30)
@given(st.lists(st.integers(1, 50), max_size=4), st.integers(0, 60))
def test_multi_step_counts_milestones(milestones: list[int], epoch: int) -> None:
    """In any order; one that stands twice counts twice, as in torch."""
    expected = INITIAL * 0.5 ** sum(epoch >= milestone for milestone in milestones)
    np.testing.assert_allclose(learning_rates(MultiStep(tuple(milestones), 0.5), epoch), [expected], rtol=1e-5)


def test_exponential_is_right_after_many_epochs() -> None:
    expected = [INITIAL * 0.9999**epoch for epoch in (0, 1, 1_000, 50_000)]
    np.testing.assert_allclose(learning_rates(Exponential(0.9999), 0, 1, 1_000, 50_000), expected, rtol=1e-5)


@settings(deadline=None, max_examples=30)
@given(st.integers(1, 1000), st.integers(0, LAST_EPOCH))
def test_cosine_is_right_at_any_epoch(epochs: int, epoch: int) -> None:
    lowest = 1e-3
    phase = math.pi * (epoch % (2 * epochs)) / epochs
    expected = lowest + (INITIAL - lowest) * (1 + math.cos(phase)) / 2
    np.testing.assert_allclose(learning_rates(Cosine(epochs, lowest), epoch), [expected], rtol=1e-5)


@pytest.mark.slow
@settings(deadline=None, max_examples=30)
@given(st.integers(1, 30), st.integers(1, 4), st.integers(0, 8))
def test_every_restart_is_at_the_initial_rate(first_epochs: int, growth: int, restarts: int) -> None:
    schedule = CosineWarmRestarts(first_epochs, growth, 1e-4)
    start = sum(first_epochs * growth**cycle for cycle in range(restarts))
    length = first_epochs * growth**restarts
    before, *cycle = learning_rates(schedule, max(start - 1, 0), start, start + length // 2, start + length - 1)
    assert cycle[0] == np.float32(INITIAL)
    assert before <= cycle[0] >= cycle[1] >= cycle[2] >= np.float32(1e-4)
    middle = 1e-4 + (INITIAL - 1e-4) * (1 + math.cos(math.pi * (length // 2) / length)) / 2
    np.testing.assert_allclose(cycle[1], middle, rtol=1e-5)


@pytest.mark.parametrize("growth", [1, 2, 7])
def test_restarts_reach_the_last_epoch_that_can_be_counted(growth: int) -> None:
    [rate] = learning_rates(CosineWarmRestarts(3, growth), LAST_EPOCH)
    assert 0 <= rate <= np.float32(INITIAL)


@pytest.mark.slow
@settings(deadline=None, max_examples=30)
@given(st.integers(4, 5000), st.sampled_from(["cos", "linear"]), st.booleans(), st.floats(1.0, 100.0))
def test_one_cycle_ends_where_it_should(total: int, anneal: Any, three_phases: bool, divisor: float) -> None:
    schedule = OneCycle(
        anneal=anneal, three_phases=three_phases, start_divisor=divisor, end_divisor=1e4, total_steps=total
    )
    first, last, after = learning_rates(schedule, 0, total - 1, total + 10)
    assert first == pytest.approx(INITIAL / divisor, rel=1e-5)
    assert last == pytest.approx(INITIAL / divisor / 1e4, rel=1e-5)
    assert after == last
    np.testing.assert_allclose(momenta(schedule, 0, total - 1), [0.95, 0.95], rtol=1e-6)


@pytest.mark.parametrize("three_phases", [False, True])
def test_one_cycle_peaks_at_the_end_of_the_rise(three_phases: bool) -> None:
    schedule = OneCycle(rise=0.25, three_phases=three_phases, total_steps=80)
    rates, cycled = learning_rates(schedule, *range(80)), momenta(schedule, *range(80))
    assert rates.argmax() == cycled.argmin() == 19
    assert rates[19] == np.float32(INITIAL)
    assert cycled[19] == np.float32(0.85)
    if three_phases:  # back at the first rate after as many steps
        np.testing.assert_allclose(rates[:39], rates[:39][::-1], rtol=1e-5)
        np.testing.assert_allclose(cycled[38:], 0.95, rtol=1e-6)
    assert (np.diff(rates[19:]) < 0).all()


@pytest.mark.parametrize("rise", [0.0, 0.1, 1.0])
@pytest.mark.parametrize("total", [1, 10])
def test_one_cycle_without_a_proper_rise_or_fall_is_finite(rise: float, total: int) -> None:
    schedule = OneCycle(rise=rise, total_steps=total)
    rates = learning_rates(schedule, *range(total))
    assert ((rates > 0) & (rates <= np.float32(INITIAL))).all()


def test_rates_are_like_the_state_of_a_run() -> None:
    """Strong float32 scalars, whatever comes in: a weak type would compile a second program."""
    for initial in (INITIAL, jnp.float32(INITIAL)):
        for schedule in (Step(3), MultiStep((2,)), Exponential(0.9), Cosine(3), CosineWarmRestarts(3, 2)):
            rates = schedule.rates(initial, jnp.int32(2), jnp.int32(7))
            assert rates.momentum is None
            assert (rates.learning_rate.dtype, rates.learning_rate.weak_type) == (jnp.float32, False)
        rates = OneCycle(total_steps=9).rates(initial, jnp.int32(2), jnp.int32(7))
        assert rates.momentum is not None
        assert (rates.learning_rate.weak_type, rates.momentum.weak_type) == (False, False)
        assert OneCycle(cycle_momentum=False, total_steps=9).rates(initial, jnp.int32(0), jnp.int32(7)).momentum is None


class Parameters(nnx.Module):
    def __init__(self, weight: np.ndarray):
        self.weight = nnx.Param(jnp.asarray(weight))


@pytest.mark.parametrize("cycle_momentum", [True, False])
def test_the_cycled_momentum_is_that_of_AdamW(cycle_momentum: bool) -> None:
    """Against a plain emulation in float64, which a fixed b1 misses."""
    steps, decay, b2, epsilon = 20, 0.1, 0.99, 1e-8
    rng = np.random.default_rng(1)
    gradients, weight = rng.standard_normal((steps, 6)), rng.standard_normal(6)
    schedule = OneCycle(total_steps=steps, cycle_momentum=cycle_momentum)

    optimizer = make_optimizer({"kind": "adamw", "b2": b2, "weight_decay": decay, "epsilon": epsilon})
    params = nnx.state(Parameters(weight.astype(np.float32)))
    state = optimizer.init(params)

    @jax.jit
    def run(params: nnx.State, state: Any, gradient: jax.Array, step: jax.Array) -> tuple[nnx.State, Any]:
        rates = schedule.rates(INITIAL, jnp.int32(0), step)
        updates, state = optimizer.update(
            jax.tree.map(lambda _: gradient, params), state, params, **rates._asdict(), present=present
        )
        return jax.tree.map(jnp.add, params, updates), state

    present = jax.tree.map(lambda _: jnp.ones((), bool), params)
    for step, gradient in enumerate(gradients):
        params, state = run(params, state, jnp.asarray(gradient, jnp.float32), jnp.int32(step))

    def emulate(cycle: bool) -> np.ndarray:
        w, m, v = weight.copy(), np.zeros(6), np.zeros(6)
        for step, g in enumerate(gradients):
            peak = 0.3 * steps - 1
            rising = step <= peak
            part = step / peak if rising else (step - peak) / (steps - 1 - peak)
            share = (1 + math.cos(math.pi * part)) / 2
            low, high = (INITIAL / 25, INITIAL) if rising else (INITIAL / 25e4, INITIAL)
            rate = high + (low - high) * share if rising else low + (high - low) * share
            b1 = 0.9
            if cycle:
                b1 = 0.85 + 0.1 * share if rising else 0.95 - 0.1 * share
            m, v = b1 * m + (1 - b1) * g, b2 * v + (1 - b2) * g**2
            direction = m / (1 - b1 ** (step + 1)) / (np.sqrt(v / (1 - b2 ** (step + 1))) + epsilon)
            w -= rate * (direction + decay * w)
        return w

    result = np.asarray(params["weight"][...])
    np.testing.assert_allclose(result, emulate(cycle_momentum), rtol=1e-5, atol=1e-6)
    assert np.abs(result - emulate(not cycle_momentum)).max() > 1e-3


@pytest.mark.parametrize("nesterov", [False, True])
def test_the_cycled_momentum_is_that_of_Sgd(nesterov: bool) -> None:
    gradients = np.array([1.0, -2.0, 0.5])
    cycled = (0.9, 0.5, 0.7)
    optimizer = make_optimizer({"kind": "sgd", "momentum": 0.1, "nesterov": nesterov})
    params = nnx.state(Parameters(np.zeros(1, np.float32)))
    state, present = optimizer.init(params), jax.tree.map(lambda _: jnp.ones((), bool), params)
    weight = buffer = 0.0
    for momentum, gradient in zip(cycled, gradients, strict=True):
        updates, state = optimizer.update(
            nnx.state(Parameters(np.array([gradient], np.float32))),
            state,
            params,
            learning_rate=jnp.float32(0.1),
            momentum=jnp.float32(momentum),
            present=present,
        )
        params = jax.tree.map(jnp.add, params, updates)
        buffer = momentum * buffer + gradient
        weight -= 0.1 * (gradient + momentum * buffer if nesterov else buffer)
        np.testing.assert_allclose(params["weight"][...], [weight], rtol=1e-5)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"kind": "cosin"}, "schedule kind 'cosin' is unknown; choose among constant, cosine"),
        ({}, "schedule kind None is unknown"),
        ({"kind": "step", "evry": 3}, '"evry"; did you mean "every"'),
        ({"kind": "step", "every": 0}, "every is 0, but must be at least 1"),
        ({"kind": "step", "every": 2.5}, "every is 2.5, but must be"),
        ({"kind": "multi_step", "milestones": [0, 3]}, r"milestones is \(0, 3\), but must be"),
        ({"kind": "exponential", "factor": 0.0}, "factor is 0.0, but must be above 0"),
        ({"kind": "cosine", "epochs": 0}, "epochs is 0, but must be at least 1"),
        ({"kind": "cosine_warm_restarts", "first_epochs": 0}, "first_epochs is 0"),
        ({"kind": "cosine_warm_restarts", "first_epochs": 3, "growth": 0}, "growth is 0"),
        ({"kind": "one_cycle", "anneal": "cosine"}, "anneal is 'cosine', but must be .*linear"),
        ({"kind": "one_cycle", "rise": 1.5}, "rise is 1.5, but must be between 0 and 1"),
        ({"kind": "one_cycle", "max_momentum": 1.0}, "max_momentum is 1.0, but must be"),
        ({"kind": "one_cycle", "end_divisor": 0.0}, "end_divisor is 0.0, but must be above 0"),
        ({"kind": "one_cycle", "total_steps": 0}, "total_steps is 0, but must be"),
    ],
)
def test_options_that_are_wrong(options: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message) as error:
        SCHEDULES.make(options, {})
    assert "\n" not in str(error.value)


def test_options_may_come_from_json() -> None:
    assert SCHEDULES.make({"kind": "multi_step", "milestones": [3, 5]}, {}) == MultiStep((3, 5))
    for kind in SCHEDULES.kinds():
        assert type(SCHEDULES.make({"kind": kind}, {})) is SCHEDULES[kind]


def test_one_cycle_must_know_the_run() -> None:
    with pytest.raises(UserError, match="needs total_steps"):
        learning_rates(OneCycle(), 0)
