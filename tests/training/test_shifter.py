"""Training and evaluation of models whose readout is shifted: one program, and shifts that follow the eye."""

import dataclasses
import functools
import logging
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import openretina_jax
from openretina_jax.data import from_arrays
from openretina_jax.data.batches import batches_of
from openretina_jax.data.masked import correlation, mean_of
from openretina_jax.data.windows import make_sampler
from openretina_jax.errors import UserError
from openretina_jax.evaluation.evaluate import evaluate
from openretina_jax.models.build import make_model
from openretina_jax.runtime import programs
from openretina_jax.training.checkpoint import Checkpoints
from openretina_jax.training.feed import Feed
from openretina_jax.training.loop import fit
from openretina_jax.training.objective import Poisson, ResponseObjective
from openretina_jax.training.optimizers import AdamW
from openretina_jax.training.recipe import Recipe
from openretina_jax.training.trainer import Trainer
from tests import tiny
from tests.eye_movements import KERNEL, recorded
from tests.models.test_behaviour import MODEL, OPTIONS
from tests.training.test_loop import Compilations

RECIPE = Recipe(ResponseObjective(Poisson(samples=100.0)), AdamW(), learning_rate=0.02, seed=1)


@pytest.mark.slow
@pytest.mark.parametrize("order", ["session", "shared"])
def test_one_program_trains_all_sessions(order: str, tmp_path: Path) -> None:
    """All of them get shifts of their own, whatever the order of windows."""
    data = tiny.with_behaviour()
    trainer = Trainer(make_model(OPTIONS, data.info), RECIPE)
    sampler = functools.partial(make_sampler, order, seed=0, window_frames=16, windows_per_step=2)
    feed = Feed(data, sampler, with_behaviour=True)
    programs.forget()
    seen, logger = Compilations(), logging.getLogger("jax")
    logger.addHandler(seen)
    with jax.log_compiles():
        result = fit(trainer, feed, Checkpoints(tmp_path / "checkpoints", {}), epochs=2)
    logger.removeHandler(seen)
    assert (seen.epochs[0].count("run"), seen.epochs[0].count("score_split")) == (1, 1)
    model: Any = trainer.model(result.state)
    assert np.abs(np.asarray(model.shifter.output[...])).max(axis=(1, 2)).min() > 1e-3


@pytest.mark.slow
def test_the_penalty_is_that_of_squared_shifts() -> None:
    """Its mean over sessions in the step; sessions that are not in it keep their rows."""
    weighted = OPTIONS | {"shifter": OPTIONS["shifter"] | {"gamma": 0.5}}
    model, other = (make_model(options, MODEL.data_info) for options in (weighted, OPTIONS))
    for one in (model, other):
        one.shifter.output[...] = MODEL.shifter.output[...]
    batch = next(
        batches_of(tiny.with_behaviour(), order="session", window_frames=16, windows_per_step=2, with_behaviour=True)
    )
    _, metrics = ResponseObjective()(model, batch, train=False, key=None)
    shift = model.shift(batch.behaviour[0], batch.session[0])
    assert float(metrics["penalty_shifter"]) == pytest.approx(
        0.5 * float(jnp.square(shift).sum(axis=-1).mean()), rel=1e-5
    )
    _, without = ResponseObjective()(other, batch, train=False, key=None)
    assert float(metrics["objective"] - without["objective"]) == pytest.approx(
        float(metrics["penalty_shifter"]), rel=1e-2
    )

    trainer = Trainer(model, RECIPE)
    state, _ = jax.jit(trainer.step)(trainer.init(), batch)
    moved = np.abs(np.asarray(state.params["shifter"]["output"][...] - model.shifter.output[...])).max(axis=(1, 2))
    assert (moved > 0).tolist() == [number == int(batch.session[0]) for number in range(3)]


@pytest.mark.slow
def test_trials_are_predicted_one_by_one() -> None:
    """Scores are of the mean over trials of predictions; those of single trials take each trial's own."""
    data = tiny.with_behaviour()
    evaluation = evaluate(MODEL, data, ["test", "validation"])
    movie = data.stimuli["test"].normalized()[None]
    for session, found in zip(data.sessions, evaluation.responses["test"], strict=True):
        assert found.by_trial is not None
        shown = movie[:, :, :, ::-1] if session.mirrored else movie
        for trial, eye in enumerate(session.test_behaviour["test"]):
            known = np.where(np.isnan(eye), np.float32(data.info.behaviour[session.name]["mean"]), eye)
            expected = MODEL(shown, session=session.name, behaviour=known[None])
            np.testing.assert_allclose(found.by_trial[trial], expected, rtol=1e-3, atol=1e-5)
        np.testing.assert_allclose(found.predicted, found.by_trial.mean(axis=0), rtol=1e-5)
        recorded = session.repeats["test"].copy()
        recorded[:, 8:10] = np.nan
        np.testing.assert_array_equal(found.recorded[:, 0], recorded[:, MODEL.lag :])
        table = evaluation.of_split("test").query(f"session == '{session.name}'")
        single = correlation(found.trials, found.by_trial[:, 0], axis=1)
        np.testing.assert_allclose(table["correlation_single_trials"], mean_of(single), rtol=1e-6)
        np.testing.assert_allclose(table["correlation_1"], single[1], rtol=1e-6)
        np.testing.assert_allclose(
            table["correlation"], correlation(mean_of(found.trials), found.predicted[0]), rtol=1e-5
        )
    assert evaluation.responses["validation"][0].by_trial is None


def test_data_without_the_behaviour_of_the_model() -> None:
    with pytest.raises(UserError, match="the data have 0 channels of behaviour, the model reads 2"):
        evaluate(MODEL, tiny.dataset())


def test_missing_trials_of_a_neuron_leave_out_their_predictions() -> None:
    data = tiny.with_behaviour()
    repeats = data.sessions[0].repeats["test"].copy()
    repeats[1, :, 0] = np.nan
    session = dataclasses.replace(data.sessions[0], repeats={"test": repeats})
    data = dataclasses.replace(data, sessions=(session, *data.sessions[1:]))
    found = evaluate(MODEL, data, ["test"]).responses["test"][0]
    known = slice(10 - MODEL.lag, None)  # before, the behaviour is missing in all trials
    predicted, by_trial = found.predicted[:, known], found.by_trial[:, :, known]
    np.testing.assert_allclose(predicted[..., 0], by_trial[[0, 2], ..., 0].mean(axis=0), rtol=1e-5)
    np.testing.assert_allclose(predicted[..., 1], by_trial[..., 1].mean(axis=0), rtol=1e-5)


@pytest.mark.slow
@pytest.mark.usefixtures("optimized")
@pytest.mark.parametrize(("readout", "channels", "epochs"), [("point_gaussian", 2, 8), ("gaussian_mask", 4, 12)])
def test_shifts_follow_the_eye(readout: str, channels: int, epochs: int, tmp_path: Path) -> None:
    """Held-out trials are predicted far better than without, and the shift is that of the eye but for a constant."""
    recordings = {f"retina_{seed}": recorded(seed) for seed in range(2)}
    data = from_arrays({name: one.recording for name, one in recordings.items()}, frame_rate_hz=30.0)
    settings: dict[str, Any] = {
        "model.readout.kind": readout,
        "model.core.simple.hidden_channels": (channels,),
        "model.core.simple.temporal_kernel_sizes": (len(KERNEL),),
        "model.core.simple.spatial_kernel_sizes": (5,),
        "model.core.simple.hidden_padding": 0,
        "train.windows.session.windows_per_step": 8,
        "train.epochs": epochs,
        "optimizer.learning_rate": 0.02,  # twice the template's: half as many epochs
        "logging.tensorboard": False,
    }
    scores = {}
    for kind in ("mlp", None):
        chosen = {"model.shifter.kind": kind} if kind else {}
        model = openretina_jax.train(data, tmp_path / str(kind), config="template", settings=settings | chosen)
        table = evaluate(model, data).neurons
        scores[kind] = table[["correlation", "correlation_single_trials"]].mean()
        for name, one in recordings.items() if kind else ():
            shift = np.asarray(model.shifts(one.recording.behaviour.astype(np.float32), name))
            follows = [np.corrcoef(shift[:, axis], one.eye[:, axis])[0, 1] for axis in range(2)]
            print(f"{readout}, {name}: correlation of shift and eye {follows[0]:.3f} and {follows[1]:.3f}")
            assert min(follows) > 0.98
            np.testing.assert_allclose(shift.std(axis=0), one.eye.std(axis=0), rtol=0.15)
    print(f"{readout}: with a shifter {dict(scores['mlp'].round(3))}, without {dict(scores[None].round(3))}")
    assert scores["mlp"]["correlation_single_trials"] > scores[None]["correlation_single_trials"] + 0.15
    assert scores["mlp"]["correlation"] > scores[None]["correlation"] + 0.03
