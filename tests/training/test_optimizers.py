"""Rows that are absent from a step stay as they are, and the others do not notice."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from openretina_jax.errors import UserError
from openretina_jax.modules.layers import NeuronParam, Number
from openretina_jax.training.optimizers import clip_by_norm, make_optimizer, presence

STEPS, ROWS = 8, 5
RNG = np.random.default_rng(0)
PRESENT = RNG.random((STEPS, ROWS)) < 0.6
PRESENT[:, 4] = False  # never
GRADIENTS = {
    "table": RNG.standard_normal((STEPS, ROWS, 2)).astype(np.float32),
    "gain": RNG.standard_normal((STEPS, ROWS)).astype(np.float32),
    "kernel": RNG.standard_normal((STEPS, 3)).astype(np.float32),
}
START = {name: RNG.standard_normal(values.shape[1:]).astype(np.float32) for name, values in GRADIENTS.items()}

OPTIONS: list[dict[str, Any]] = [
    {"kind": "adamw", "weight_decay": 0.1},
    {"kind": "sgd", "momentum": 0.9, "dampening": 0.2, "weight_decay": 0.1},
    {"kind": "sgd", "momentum": 0.9, "nesterov": True},
    {"kind": "sgd"},
]


class Parameters(nnx.Module):
    """Two parameters with rows, one without."""

    def __init__(self, table: np.ndarray, gain: np.ndarray, kernel: np.ndarray):
        self.table, self.gain = NeuronParam(jnp.asarray(table)), NeuronParam(jnp.asarray(gain))
        self.kernel = nnx.Param(jnp.asarray(kernel))


def tree(**values: np.ndarray) -> nnx.State:
    return nnx.state(Parameters(**values))


def leaves(state: Any) -> list[np.ndarray]:
    return [np.asarray(leaf) for leaf in jax.tree.leaves(state)]


class Run:
    """Steps of an optimiser on some rows."""

    def __init__(self, options: dict[str, Any], rows: list[int]):
        optimizer = make_optimizer(options)
        self.rows = rows
        self.params = tree(**self._of_rows(START))
        self.state = optimizer.init(self.params)
        self._update = jax.jit(optimizer.update)

    def step(self, number: int, present: np.ndarray) -> None:
        gradients = tree(**self._of_rows({name: values[number] for name, values in GRADIENTS.items()}))
        updates, self.state = self._update(
            gradients,
            self.state,
            self.params,
            learning_rate=jnp.float32(0.1),
            present=presence(self.params, jnp.asarray(present), sessions=jnp.zeros(1, bool)),
        )
        self.params = jax.tree.map(jnp.add, self.params, updates)

    def _of_rows(self, values: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        return {name: value if name == "kernel" else value[self.rows] for name, value in values.items()}


@pytest.mark.parametrize("options", OPTIONS, ids=str)
def test_a_row_counts_its_own_steps(options: dict[str, Any]) -> None:
    together, alone = Run(options, list(range(ROWS))), Run(options, [1])
    for number in range(STEPS):
        together.step(number, PRESENT[number])
        if PRESENT[number, 1]:
            alone.step(number, np.ones(1, bool))
    for name in ("table", "gain"):
        np.testing.assert_allclose(together.params[name][...][1], alone.params[name][...][0], rtol=1e-6)
        np.testing.assert_array_equal(together.state.count[name][...], PRESENT.sum(axis=0))
        np.testing.assert_array_equal(together.params[name][...][4], START[name][4])
    assert together.state.count["kernel"][...] == STEPS


@pytest.mark.parametrize("options", OPTIONS, ids=str)
def test_absent_rows_stay_to_the_bit(options: dict[str, Any]) -> None:
    run = Run(options, list(range(ROWS)))
    run.step(0, np.ones(ROWS, bool))
    before = leaves((run.params, run.state))
    run.step(1, np.array([True, False, True, False, False]))
    for old, new in zip(before, leaves((run.params, run.state)), strict=True):
        if old.ndim and len(old) == ROWS:
            np.testing.assert_array_equal(new[[1, 3, 4]], old[[1, 3, 4]])


@pytest.mark.parametrize("options", OPTIONS, ids=str)
def test_present_rows_move(options: dict[str, Any]) -> None:
    run = Run(options, list(range(ROWS)))
    run.step(0, np.array([True, False, False, False, False]))
    for name in ("table", "gain"):
        assert (np.asarray(run.params[name][...])[0] != START[name][0]).all()
    assert (np.asarray(run.params["kernel"][...]) != START["kernel"]).all()


def test_long_gradients_are_shortened() -> None:
    gradients = {"a": jnp.array([3.0, 0.0]), "b": jnp.array([[4.0]])}
    clipped = clip_by_norm(gradients, jnp.float32(5), 0.5)
    np.testing.assert_allclose(clipped["a"], [0.3, 0], rtol=1e-6)
    np.testing.assert_allclose(clipped["b"], [[0.4]], rtol=1e-6)


@pytest.mark.parametrize("limit", [5.1, None, 0.0, jnp.float32(0)])
def test_short_gradients_stay(limit: Number | None) -> None:
    """And all gradients where there is no limit, or a limit of 0."""
    gradients = {"a": jnp.array([3.0, 4.0])}
    np.testing.assert_array_equal(clip_by_norm(gradients, jnp.float32(5), limit)["a"], gradients["a"])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"kind": "adam"}, "optimizer kind 'adam' is unknown; choose among adamw, sgd"),
        ({}, "optimizer kind None is unknown"),
        ({"kind": "sgd", "b1": 0.9}, 'optimizer "sgd" has no option "b1"'),
        ({"kind": "sgd", "momentum": 0.9, "dampening": 0.1, "nesterov": True}, "dampening is 0.1, but must be 0"),
    ],
)
def test_options_that_are_wrong(options: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        make_optimizer(options)


def test_the_first_step_is_not_dampened() -> None:
    """As in torch: only what comes on top of an earlier gradient is."""
    run = Run({"kind": "sgd", "momentum": 0.9, "dampening": 0.2}, list(range(ROWS)))
    run.step(0, np.array([True, False, True, True, True]))
    run.step(1, np.ones(ROWS, bool))
    first, second = GRADIENTS["gain"][:2]
    buffer = np.where(np.arange(ROWS) == 1, second, 0.9 * first + 0.8 * second)
    np.testing.assert_allclose(run.state.momentum["gain"][...], buffer, rtol=1e-5)


def test_without_momentum_nothing_is_dampened() -> None:
    """As in torch, which then keeps no buffer at all."""
    plain, dampened = (
        Run({"kind": "sgd", "momentum": 0.0, **options}, list(range(ROWS))) for options in ({}, {"dampening": 0.2})
    )
    for number in range(3):
        for run in (plain, dampened):
            run.step(number, np.ones(ROWS, bool))
    for expected, value in zip(leaves(plain.params), leaves(dampened.params), strict=True):
        np.testing.assert_array_equal(value, expected)
