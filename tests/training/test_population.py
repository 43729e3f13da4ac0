"""A population: each member is what a single run with its seed and values would be."""

import dataclasses
import functools
import json
import logging
import math
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pandas as pd
import pytest

import openretina_jax
from openretina_jax.data.windows import make_sampler
from openretina_jax.errors import UserError
from openretina_jax.experiment.callbacks import Pictures
from openretina_jax.experiment.recipe import check_varying, resolved, with_values, without_kind
from openretina_jax.models.build import make_core_readout
from openretina_jax.models.core_readout import CoreReadout
from openretina_jax.models.ensemble import Ensemble
from openretina_jax.models.saving import best_checkpoint, by_name, load_model, read_about
from openretina_jax.runtime.settings import read_config
from openretina_jax.training.callbacks import Callback
from openretina_jax.training.callbacks.csv import CsvTable
from openretina_jax.training.checkpoint import Checkpoints
from openretina_jax.training.feed import Feed
from openretina_jax.training.loop import FitResult, fit
from openretina_jax.training.objective import Poisson, ResponseObjective
from openretina_jax.training.optimizers import AdamW
from openretina_jax.training.patience import PatienceRules, Plateau
from openretina_jax.training.population import (
    WHOLE,
    MemberCheckpoints,
    Population,
    draw,
    largest_chunk,
    member_state,
    varying_numbers,
)
from openretina_jax.training.recipe import Recipe
from openretina_jax.training.trainer import Trainer, TrainState
from tests import tiny

FRAMES = 16
SEEDS = [0, 1, 2, 3]
VALUES = {
    "seed": SEEDS,
    "optimizer.learning_rate": [0.01, 0.02, 0.005, 0.03],
    "optimizer.weight_decay": [0.0, 0.1, 0.2, 0.01],
    "schedule.factor": [0.5, 0.3, 0.2, 0.1],
    "core.gamma_temporal": [0.0, 1.0, 10.0, 0.1],
    "readout.gamma_features": [0.5, 0.0, 0.2, 0.1],
}


def recipes(size: int, **others: list[float]) -> list[Recipe]:
    """One per member, with its values."""
    table = VALUES | others
    return [recipe({name: column[number] for name, column in table.items()}) for number in range(size)]


def recipe(values: dict[str, Any]) -> Recipe:
    return Recipe(
        ResponseObjective(Poisson(samples=100.0)),
        AdamW(weight_decay=values["optimizer.weight_decay"]),
        learning_rate=values["optimizer.learning_rate"],
        rules=PatienceRules(Plateau(factor=values["schedule.factor"], epochs=0), stop_epochs=2),
        clip=1.0,
        penalty_weights={name: value for name, value in values.items() if "gamma" in name},
        seed=values["seed"],
    )


def options(dropout: float = 0.2) -> dict[str, Any]:
    return tiny.MODEL | {"core": tiny.MODEL["core"] | {"dropout_rate": dropout}}


def models(size: int) -> list[CoreReadout]:
    return [make_core_readout(options(), tiny.dataset().info, seed) for seed in SEEDS[:size]]


def population(size: int = 4, chunk: int | None = 2, **others: list[float]) -> Population:
    return Population(models(size), recipes(size, **others), chunk)


@functools.cache
def arguments() -> tuple[Any, ...]:
    data, table, windows = tiny.session_windows(FRAMES, windows_per_step=2)
    return data, table, jnp.asarray(windows.timeline[:3]), jnp.asarray(windows.start[:3]), jnp.asarray(0)


def assert_close(one: TrainState, other: TrainState, tolerance: float = 1e-4) -> None:
    one, other = by_name(dataclasses.replace(one, numbers={})), by_name(other)
    assert list(one) == list(other)
    for name, array in one.items():
        scale = max(float(jnp.abs(jnp.asarray(other[name], float)).max(initial=0)), 1e-3)
        np.testing.assert_allclose(array, other[name], rtol=tolerance, atol=tolerance * scale, err_msg=name)


@pytest.mark.slow
def test_members_are_single_runs() -> None:
    trainer = population(2, 1)
    state, metrics = trainer.epoch(FRAMES)(trainer.init(), *arguments())
    score = jnp.asarray([0.4, 0.3])
    judged = trainer.end_epoch(trainer.end_epoch(state, score), score - 0.01)
    for number, (model, recipe) in enumerate(zip(models(2), recipes(2), strict=True)):
        alone = Trainer(model, recipe)
        own, own_metrics = alone.epoch(FRAMES)(alone.init(), *arguments())
        assert_close(member_state(state, number), own)
        for name, value in own_metrics.items():
            np.testing.assert_allclose(metrics[name][number], value, rtol=1e-4, err_msg=name)
        own = alone.end_epoch(alone.end_epoch(own, score[number]), score[number] - 0.01)
        assert_close(member_state(judged, number), own)
        rate = recipe.learning_rate * recipe.rules.plateau.factor
        np.testing.assert_allclose(trainer.rates(judged, 2).learning_rate[number], rate, rtol=1e-6)


def test_init_compiles_once_for_all_members(caplog: pytest.LogCaptureFixture) -> None:
    trainer = population()
    with jax.log_compiles(), caplog.at_level(logging.WARNING, "jax"):
        state = trainer.init()
    assert sum(record.getMessage().startswith("Compiling") for record in caplog.records) == 1
    alone, last = Trainer(models(4)[3], recipes(4)[3]).init(), member_state(state, 3)
    last = dataclasses.replace(last, numbers={})
    for name, array in by_name(alone).items():
        np.testing.assert_array_equal(by_name(last)[name], array, err_msg=name)
        assert by_name(last)[name].dtype == array.dtype


def test_the_numbers_in_which_recipes_differ() -> None:
    assert set(varying_numbers(recipes(4))) == {
        "seed",
        "learning_rate",
        "optimizer/weight_decay",
        "rules/plateau/factor",
        "penalty_weights/core.gamma_temporal",
        "penalty_weights/readout.gamma_features",
    }
    assert varying_numbers(recipes(1)) == {}
    with pytest.raises(UserError, match="differ in more than numbers"):
        varying_numbers([*recipes(1), dataclasses.replace(recipes(1)[0], accumulate=2)])


@pytest.fixture(scope="module")
def trained() -> tuple[Population, Any]:
    """A population of two, computed at once, and its compiled epoch."""
    trainer = population(2, 2)
    return trainer, trainer.epoch(FRAMES)


def copied(state: TrainState) -> TrainState:
    return jax.tree.map(jnp.copy, state)


def stopped(state: TrainState, which: list[bool]) -> TrainState:
    return dataclasses.replace(state, patience=dataclasses.replace(state.patience, stop=jnp.asarray(which)))


@pytest.mark.slow
def test_a_stopped_member_stays_to_the_bit(trained: tuple[Population, Any]) -> None:
    trainer, epoch = trained
    before = stopped(trainer.init(), [True, False])
    after, metrics = epoch(copied(before), *arguments())
    after = trainer.end_epoch(after, jnp.asarray([0.9, 0.9]))
    for name, array in by_name(member_state(after, 0)).items():
        np.testing.assert_array_equal(array, by_name(member_state(before, 0))[name], err_msg=name)
    assert after.step.tolist() == [0, 3]
    assert after.patience.is_best.tolist() == [False, True]
    assert np.isnan(metrics["objective"]).tolist() == [True, False]
    assert metrics["finite_steps"].tolist() == [3, 3]


@pytest.mark.slow
def test_when_all_have_stopped_nothing_is_computed(trained: tuple[Population, Any]) -> None:
    trainer, epoch = trained
    before = stopped(trainer.init(), [True, True])
    after, metrics = epoch(copied(before), *arguments())
    for name, array in by_name(after).items():
        np.testing.assert_array_equal(array, by_name(before)[name], err_msg=name)
    assert np.isnan(metrics["objective"]).all()
    assert metrics["finite_steps"].tolist() == [3, 3]


@pytest.mark.slow
def test_a_member_that_fails_ends_alone(trained: tuple[Population, Any]) -> None:
    trainer, epoch = trained
    before = trainer.init()
    bias = before.params["readout"]["bias"]
    bias[...] = bias[...].at[1].set(jnp.nan)
    after, metrics = epoch(copied(before), *arguments())
    assert after.patience.stop.tolist() == [False, True]
    assert after.step.tolist() == [3, 0]
    assert metrics["finite_steps"].tolist() == [3, 0]
    judged = trainer.end_epoch(after, jnp.asarray([math.nan, 0.5]))  # a score may be no number either
    assert judged.patience.stop.tolist() == [True, True]
    assert not judged.patience.is_best.any()


def test_draws_are_reproducible_and_stay_when_there_are_more() -> None:
    vary = {"a": {"log_uniform": (1e-3, 1e-1)}, "b": {"uniform": [-1, 1]}, "c": {"one_of": (1, 2.5)}}
    few, many = draw(vary, 8, seed=1), draw(vary | {"d": {"uniform": (0, 1)}}, 400, seed=1)
    assert few == {name: values[:8] for name, values in many.items() if name != "d"}
    assert few != draw(vary, 8, seed=2)
    assert all(1e-3 <= value <= 1e-1 for value in many["a"])
    assert 0.4 < np.mean(np.asarray(many["a"]) < 1e-2) < 0.6
    assert all(-1 <= value <= 1 for value in many["b"])
    assert abs(np.mean(many["b"])) < 0.1
    assert set(many["c"]) == {1.0, 2.5}
    assert all(value == float(np.float32(value)) for values in many.values() for value in values)


@pytest.mark.parametrize(
    "distribution",
    [
        {"normal": [0, 1]},
        {"uniform": [1, 0]},
        {"uniform": [1]},
        {"log_uniform": [0, 1]},
        {"one_of": []},
        {"one_of": ["a"]},
        0.1,
    ],
)
def test_wrong_distributions(distribution: Any) -> None:
    with pytest.raises(UserError, match=r'"rate" is .*, but must be \{"uniform": \[low, high\]\}'):
        draw({"rate": distribution}, 2, 0)


CONFIG = Path(__file__).parents[2] / "configs" / "hoefling_low_res.py"


def settings(**kinds: str) -> dict[str, Any]:
    config = read_config(CONFIG)
    for part, kind in kinds.items():
        config[part].kind = kind
    return resolved(config.to_dict())


@pytest.mark.parametrize(
    "name",
    ["optimizer.accumulate", "optimizer.rate", "train.epochs", "model.core.dropout_rate", "schedule.epochs"],
)
def test_settings_that_cannot_vary(name: str) -> None:
    with pytest.raises(UserError, match=f'"{name}" is no number .*; choose among .*optimizer.learning_rate'):
        check_varying([name], settings(), tiny.model())


def test_settings_that_can_vary() -> None:
    can = [
        "optimizer.learning_rate",
        "optimizer.clip_norm",
        "optimizer.b1",
        "train.average_decay",
        "model.core.gamma_input",
    ]
    check_varying([*can, "schedule.factor", "objective.loss.samples", "stopping.threshold"], settings(), tiny.model())
    with pytest.raises(UserError, match=r"schedule\.factor"):
        check_varying(["schedule.factor"], settings(schedule="exponential"), tiny.model())


def test_values_enter_nested_settings() -> None:
    settings = {"seed": 0, "a": {"b": {"c": 1, "d": 2}}}
    assert with_values(settings, {"a.b.c": 3.0, "seed": 4}) == {"seed": 4, "a": {"b": {"c": 3.0, "d": 2}}}
    assert settings["a"]["b"]["c"] == 1


def test_chunks_are_equal() -> None:
    assert [largest_chunk(8, fitting) for fitting in (0, 1, 3, 5, 8, 100)] == [1, 1, 2, 4, 8, 8]
    with pytest.raises(UserError, match=r"config\.population\.chunk is 3, but must divide the population of 4 members"):
        population(4, 3)


def run(workdir: Path, trainer: Trainer, epochs: int = 3) -> FitResult:
    """A short run of a population, or of a model alone."""
    workdir.mkdir(exist_ok=True)
    about = {"config": {"model": options()}, "data_info": json.loads(tiny.dataset().info.to_json())}
    sampler = functools.partial(make_sampler, "session", window_frames=FRAMES, windows_per_step=4, seed=SEEDS[0])
    data = Feed(tiny.dataset(), sampler)
    followers: list[Callback] = [CsvTable(workdir)]
    if isinstance(trainer, Population):
        followers += [MemberCheckpoints(workdir, [about | {"member": number} for number in range(len(trainer))])]
        followers += [Pictures(trainer, data, every=3)]
    return fit(trainer, data, Checkpoints(workdir / WHOLE, about), epochs=epochs, callbacks=followers)


@pytest.mark.slow
def test_the_life_of_a_population(tmp_path: Path) -> None:
    whole = run(tmp_path / "whole", population(2, 1))
    assert (whole.finished, whole.epochs) == (True, 3)
    alone = run(tmp_path / "alone", Trainer(models(1)[0], recipes(1)[0]))
    folders = [tmp_path / "whole" / "members" / str(number) for number in range(2)]
    scores = []
    for number, folder in enumerate(folders):
        (checkpoint,) = (folder / "checkpoints").iterdir()
        about = read_about(checkpoint)
        assert about["member"] == number
        scores.append(about["validation_correlation"])
    assert whole.best_epoch == read_about(best_checkpoint(folders[int(np.argmax(scores))]))["epoch"]
    np.testing.assert_allclose(
        load_model(folders[0]).readout.features[...],
        alone.state.params["readout"]["features"][...],
        rtol=1e-3,
        atol=1e-4,
    )
    loaded = openretina_jax.load(folders)
    assert isinstance(loaded, Ensemble)
    best = load_model(tmp_path / "whole")
    np.testing.assert_array_equal(best.readout.bias[...], loaded.members.readout.bias[...][int(np.argmax(scores))])

    # stopped after an epoch, with a member's checkpoint that is ahead as after a kill
    first = run(tmp_path / "parts", population(2, 1), epochs=1)
    assert first.epochs == 1
    again = run(tmp_path / "parts", population(2, 1))
    assert again.state.numbers.keys() == whole.state.numbers.keys()
    for name, array in by_name(whole.state).items():
        np.testing.assert_array_equal(array, by_name(again.state)[name], err_msg=name)


@pytest.mark.slow
def test_a_population_ends_when_all_its_members_have(tmp_path: Path) -> None:
    result = run(tmp_path, population(2, 2, **{"optimizer.learning_rate": [0.0, 0.0]}), epochs=10)
    assert (result.finished, result.epochs) == (True, 3)
    scores = pd.read_csv(tmp_path / "metrics.csv", index_col="epoch")  # they differ by rounding
    assert result.best_epoch == scores[["validation/members/0", "validation/members/1"]].max(axis=1).idxmax()


@pytest.mark.parametrize(
    ("name", "short"),
    [
        ("optimizer.adamw.b1", "optimizer.b1"),
        ("optimizer.learning_rate", "optimizer.learning_rate"),
        ("model.readout.cloned.source.gamma_mask", "model.readout.source.gamma_mask"),
        ("objective.loss.l1_poisson.gamma", "objective.loss.gamma"),
        ("train.average_decay", "train.average_decay"),
    ],
)
def test_names_with_and_without_the_chosen_kind(name: str, short: str) -> None:
    assert without_kind(name) == short


def test_models_with_other_penalties_make_an_ensemble() -> None:
    readout = tiny.MODEL["readout"]
    models = [
        make_core_readout(tiny.MODEL | {"readout": readout | {"gamma_mask": gamma}}, tiny.dataset().info)
        for gamma in (0.1, 0.2)
    ]
    assert Ensemble(models).n_members == 2
    other = make_core_readout(tiny.MODEL | {"readout": readout | {"mean_scale": 3.0}}, tiny.dataset().info)
    with pytest.raises(UserError, match="member 1 of the ensemble has other options"):
        Ensemble([models[0], other])
