"""The balance of data and penalties, and what unrecorded responses do."""

import dataclasses
import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from openretina_jax.data.batches import Batch, DataArrays, Timelines
from openretina_jax.data.timelines import Tables
from openretina_jax.errors import UserError
from openretina_jax.models.build import make_core_readout
from openretina_jax.models.core_readout import CoreReadout
from openretina_jax.modules.cores.core import ReceptiveField
from openretina_jax.training.objective import LOSSES, ResponseObjective, rows_in, targets, within_clip
from tests import tiny

FRAMES, SAMPLES = 14, 50.0
WITHIN_CLIPS, OVER_BORDERS = (0, 9, 58), (20, 0, 40)  # starts of windows
N_NEURONS = sum(tiny.NEURONS.values())


@functools.cache
def batch(*sessions: str, starts: tuple[int, ...] = WITHIN_CLIPS) -> Batch:
    """The same windows for sessions that saw the movie as it is; "all" puts both of them on one timeline."""
    tables = Tables(tiny.dataset())
    both = tables.shared_training()[0]
    lines = {"all": both} | {
        line.name: dataclasses.replace(both, first_neuron=line.first_neuron, n_neurons=line.n_neurons, n_sessions=1)
        for line in tables.training()
    }
    chosen = [lines[name] for name in sessions]
    start = jnp.tile(jnp.asarray(starts), (len(chosen), 1))
    number = jnp.broadcast_to(jnp.arange(len(chosen))[:, None], start.shape)
    return tiny.gather(DataArrays.of(tables), Timelines.of(chosen), number, start, window_frames=FRAMES)


def objective(loss: str) -> ResponseObjective:
    return ResponseObjective(LOSSES.make({"kind": loss, "samples": SAMPLES}, {}))


@functools.cache
def model(*, average_penalty: bool = False) -> CoreReadout:
    """A model with parameters that make every term matter."""
    model = tiny.model()
    rng = np.random.default_rng(0)
    for variable in (model.readout.mask_mean, model.readout.mask_log_var, model.readout.features):
        variable[...] = jnp.asarray(0.3 + 0.3 * rng.random(variable.shape), jnp.float32)
    model.readout.average_penalty = average_penalty
    return model


@functools.cache
def compiled(loss: str, average_penalty: bool) -> tuple[nnx.State, Callable[..., Any], Callable[..., Any]]:
    """The model's parameters, the function of them and a batch that gives the objective, and its gradient."""
    graph, params, statistics = nnx.split(model(average_penalty=average_penalty), nnx.Param, ...)

    def value(params: nnx.State, batch: Batch) -> tuple[jax.Array, dict[str, jax.Array]]:
        model = nnx.merge(graph, params, statistics, copy=True)
        return objective(loss)(model, batch, train=True, key=None)

    return params, jax.jit(value), jax.jit(jax.grad(value, has_aux=True))


def evaluate(batch: Batch, loss: str = "poisson", *, average_penalty: bool = False) -> dict[str, float]:
    params, value, _ = compiled(loss, average_penalty)
    _, metrics = value(params, batch)
    return {name: float(number) for name, number in metrics.items()}


def gradients(batch: Batch, loss: str = "poisson") -> nnx.State:
    params, _, gradient = compiled(loss, False)
    return gradient(params, batch)[0]


def predictions(batch: Batch) -> tuple[np.ndarray, np.ndarray]:
    """What the model predicts in training, and the recorded responses, ``(window, time, neuron)``."""
    graph, state = nnx.split(model())

    @jax.jit
    def predict(stimulus: jax.Array) -> jax.Array:
        model = nnx.merge(graph, state, copy=True)
        return model.readout(model.core(stimulus, train=True), batch.first_neuron[0], batch.neuron_mask.shape[1])

    predicted = np.asarray(predict(batch.stimulus[0]), np.float64)
    return predicted, np.asarray(batch.responses[0], np.float64)[:, -predicted.shape[1] :]


def unrecorded(batch: Batch) -> Batch:
    """A batch without some frames of neuron 0, a whole window of neuron 1, and all of neuron 2."""
    responses = np.array(batch.responses)
    responses[0, 1, -4:, 0] = responses[0, 2, :, 1] = responses[0, :, :, 2] = np.nan
    return dataclasses.replace(batch, responses=jnp.asarray(responses))


@pytest.mark.slow
@pytest.mark.parametrize("loss", ["poisson", "correlation"])
def test_windows_that_come_twice_change_nothing(loss: str) -> None:
    given = batch("right_1")
    twice = dataclasses.replace(
        given,
        stimulus=jnp.concatenate([given.stimulus] * 2, axis=1),
        responses=jnp.concatenate([given.responses] * 2, axis=1),
        own_order=jnp.concatenate([given.own_order] * 2, axis=1),
        clip_time=jnp.concatenate([given.clip_time] * 2, axis=1),
    )
    once = evaluate(given, loss)
    for name, value in evaluate(twice, loss).items():
        np.testing.assert_allclose(value, once[name], rtol=1e-4, err_msg=name)


@pytest.mark.slow
@pytest.mark.parametrize(("sessions", "average_penalty"), [(("right_1", "right_2"), False), (("all",), True)])
def test_sessions_that_share_a_step_are_averaged(sessions: tuple[str, ...], average_penalty: bool) -> None:
    one, other = (evaluate(batch(name), average_penalty=average_penalty) for name in ("right_1", "right_2"))
    both = evaluate(batch(*sessions), average_penalty=average_penalty)
    assert one["penalty_core"] > 0
    assert one["penalty_readout"] != pytest.approx(other["penalty_readout"], rel=1e-3)
    for name in ("objective", "penalty_core", "penalty_readout"):
        assert both[name] == pytest.approx((one[name] + other[name]) / 2, rel=1e-4), name
    weights = [tiny.NEURONS[name] for name in ("right_1", "right_2")]
    for name in ("loss", "correlation"):
        assert both[name] == pytest.approx(np.average([one[name], other[name]], weights=weights), rel=1e-4), name


@pytest.mark.slow
def test_gradients_of_sessions_that_share_a_step_are_averaged() -> None:
    one, other, both = (gradients(batch(name)) for name in ("right_1", "right_2", "all"))
    for a, b, mean in zip(*map(jax.tree.leaves, (one, other, both)), strict=True):
        scale = float(jnp.abs(mean).max())
        np.testing.assert_allclose(mean, (a + b) / 2, rtol=1e-3, atol=1e-5 * scale)


def test_terms_of_the_objective() -> None:
    metrics = evaluate(batch("right_1"))
    predicted, recorded = predictions(batch("right_1"))
    per_frame = predicted - recorded * np.log(predicted)
    assert metrics["loss"] == pytest.approx(per_frame.mean(), rel=1e-4)
    data = SAMPLES * per_frame.mean(axis=(0, 1)).sum()
    assert metrics["objective"] == pytest.approx(data + metrics["penalty_core"] + metrics["penalty_readout"], rel=1e-4)
    assert metrics["penalty_core"] == pytest.approx(float(model().core.regularizer()), rel=1e-4)
    assert metrics["penalty_readout"] == pytest.approx(
        float(model().readout.penalty(0, jnp.zeros(3, int), 1)), rel=1e-4
    )


def test_unrecorded_frames_are_left_out() -> None:
    gaps = unrecorded(batch("right_1"))
    metrics = evaluate(gaps)
    predicted, recorded = predictions(gaps)
    there = np.isfinite(recorded)
    per_frame = np.where(there, predicted - np.where(there, recorded, 0) * np.log(predicted), 0)
    assert metrics["loss"] == pytest.approx(per_frame.sum() / there.sum(), rel=1e-4)
    data = SAMPLES * (per_frame.sum(axis=(0, 1)) / np.maximum(there.sum(axis=(0, 1)), 1)).sum()
    assert metrics["objective"] == pytest.approx(data + metrics["penalty_core"] + metrics["penalty_readout"], rel=1e-4)


@pytest.mark.parametrize("loss", ["poisson", "correlation"])
def test_gradients_do_not_see_unrecorded_frames(loss: str) -> None:
    gaps = unrecorded(batch("right_1"))
    found = gradients(gaps, loss)
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(found))
    # only the penalty pulls at a neuron without responses
    readout = model().readout
    np.testing.assert_allclose(found["readout"]["features"][...][2], readout.gamma_features, rtol=1e-5)
    np.testing.assert_array_equal(found["readout"]["bias"][...][2], 0)
    np.testing.assert_array_equal(found["readout"]["bias"][...][3:], 0)


@pytest.mark.parametrize("loss", ["poisson", "correlation"])
def test_gradients_do_not_see_predictions_that_overflow_where_nothing_counts(loss: str) -> None:
    """A slice also predicts for its neighbours what their session never saw, and exp may have no number for that."""
    options = {"core": {"kind": "identity"}, "readout": {"kind": "lnp", "bias": True}}
    graph, params, statistics = nnx.split(make_core_readout(options, tiny.dataset().info), nnx.Param, ...)
    bias = params["readout"]["bias"]
    bias[...] = bias[...].at[jnp.asarray([2, 3])].set(1e3)  # a neuron without responses, and one of another session
    gaps = unrecorded(batch("right_1", "left"))  # slices of four rows

    def value(params: nnx.State) -> jax.Array:
        model = nnx.merge(graph, params, statistics, copy=True)
        return objective(loss)(model, gaps, train=True, key=None)[0]

    found, gradient = jax.jit(jax.value_and_grad(value))(params)
    assert np.isfinite(found)
    for leaf in jax.tree.leaves(gradient["readout"]):
        assert np.isfinite(leaf).all()
        assert leaf[:2].any()
        np.testing.assert_array_equal(leaf[2:8], 0)


def test_correlation_loss() -> None:
    gaps = unrecorded(batch("right_1"))
    metrics = evaluate(gaps, "correlation")
    predicted, recorded = predictions(gaps)
    correlation = np.full((3, 3), np.nan)
    for window, neuron in np.ndindex(3, 3):
        there = np.isfinite(recorded[window, :, neuron])
        if there.any():
            pair = predicted[window, there, neuron], recorded[window, there, neuron]
            correlation[window, neuron] = np.corrcoef(*pair)[0, 1]
    assert np.isnan(correlation).sum() == 4
    assert metrics["correlation"] == pytest.approx(np.nanmean(correlation), rel=1e-3)
    assert metrics["loss"] == pytest.approx(-np.nanmean(correlation), rel=1e-3)
    data = -SAMPLES * np.nanmean(correlation[:, :2], axis=0).sum()
    assert metrics["objective"] == pytest.approx(data + metrics["penalty_core"] + metrics["penalty_readout"], rel=1e-3)


def test_frames_whose_history_is_another_sessions_are_left_out() -> None:
    """After the border of two clips a window serves the neurons of its own order; later in the clip all of them."""
    gathered = batch("all", starts=OVER_BORDERS)
    metrics = evaluate(gathered)
    predicted, recorded = predictions(gathered)
    lag = FRAMES - predicted.shape[1]
    own = np.arange(8) < tiny.NEURONS["right_1"]
    time = (np.array(OVER_BORDERS)[:, None] + np.arange(lag, FRAMES)) % tiny.CLIP_LENGTH
    used = own | (time >= lag)[:, :, None]
    assert 0 < used.mean() < 1
    per_frame = predicted - recorded * np.log(predicted)
    assert metrics["loss"] == pytest.approx(per_frame[used].mean(), rel=1e-4)


@pytest.mark.parametrize(("past", "future"), [(6, 0), (3, 4), (9, 0), (None, 2), (None, None)])
def test_frames_that_depend_on_one_clip(past: int | None, future: int | None) -> None:
    frames = None if past is None or future is None else past + 1 + future
    found = within_clip(batch("all", starts=OVER_BORDERS).clip_time, ReceptiveField(frames, 1, 1, future))[0]
    for start, row in zip(OVER_BORDERS, np.asarray(found), strict=True):
        clip = (start + np.arange(FRAMES)) // tiny.CLIP_LENGTH
        for time, counts in enumerate(row):
            begin = 0 if past is None else max(time - past, 0)
            end = FRAMES if future is None else time + future + 1
            assert counts == (len(np.unique(clip[begin:end])) == 1)


@pytest.mark.parametrize(
    "options",
    [{"input_padding": "same"}, pytest.param({"kind": "gru", "recurrent_channels": 2}, marks=pytest.mark.slow)],
)
def test_no_neuron_is_trained_on_what_it_did_not_see(options: dict[str, Any]) -> None:
    """Predictions that count for neurons of another order do not change with frames of another clip."""
    parts = {"core": tiny.MODEL["core"] | options, "readout": tiny.MODEL["readout"]}
    model, gathered = make_core_readout(parts, tiny.dataset().info, 0), batch("all", starts=OVER_BORDERS)
    _, counted = targets(gathered, FRAMES - model.lag, model.receptive_field())
    foreign = np.asarray(counted[0]) & (np.arange(8) >= tiny.NEURONS["right_1"])
    assert foreign.any()
    graph, state = nnx.split(model)

    @jax.jit
    @jax.grad
    def slope(stimulus: jax.Array, weight: jax.Array) -> jax.Array:
        model = nnx.merge(graph, state, copy=True)
        return (model.respond(stimulus, gathered.first_neuron, 8)[0] * weight).sum()

    first_clip = np.array([start + np.arange(FRAMES) < (start // 24 + 1) * 24 for start in OVER_BORDERS])
    for clip in (first_clip, ~first_clip):
        weight = jnp.asarray(foreign & clip[:, model.lag :, None], jnp.float32)
        reached = np.abs(slope(gathered.stimulus, weight)[0]).max(axis=(2, 3, 4))
        assert reached[~clip].max() <= 1e-5 * reached.max()


def test_unknown_loss() -> None:
    with pytest.raises(UserError, match="loss kind 'poison' is unknown; choose among correlation, l1_correlation"):
        objective("poison")


def test_rows_in_a_step() -> None:
    tables = Tables(tiny.dataset())
    recordings, table = DataArrays.of(tables), Timelines.of(tables.training())
    for numbers, rows in (([0], range(3)), ([2], range(8, 12)), ([2, 0], [0, 1, 2, 8, 9, 10, 11])):
        start = jnp.zeros((len(numbers), 1), int)
        given = tiny.gather(recordings, table, jnp.asarray(numbers)[:, None], start, window_frames=FRAMES)
        found = rows_in(given, N_NEURONS)
        assert np.flatnonzero(found).tolist() == list(rows)
