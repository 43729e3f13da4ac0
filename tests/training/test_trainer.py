"""What a recipe adds to a step: frozen parts, accumulated gradients, averages, short numbers, fresh moments."""

import dataclasses
import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from openretina_jax.data.batches import Batch, DataArrays, Timelines
from openretina_jax.data.windows import EpochWindows
from openretina_jax.errors import UserError
from openretina_jax.evaluation.monitor import LossScore
from openretina_jax.models.build import make_core_readout
from openretina_jax.models.core_readout import CoreReadout
from openretina_jax.training.objective import Poisson, ReconstructionObjective, ResponseObjective
from openretina_jax.training.optimizers import AdamW, Sgd, trainable_filter
from openretina_jax.training.patience import PatienceRules, Plateau
from openretina_jax.training.recipe import Recipe
from openretina_jax.training.schedules import OneCycle, Step
from openretina_jax.training.trainer import Trainer, TrainState, compiler_options
from tests import tiny

FRAMES = 16
RECIPE = Recipe(ResponseObjective(Poisson(samples=100.0)), Sgd(momentum=0.0), learning_rate=0.01)


@functools.cache
def recordings() -> tuple[DataArrays, Timelines, EpochWindows]:
    return tiny.session_windows(FRAMES, windows_per_step=4)


def epoch(recipe: Recipe, model: CoreReadout | None = None, *, done: int = 0, parts: int | None = None) -> TrainState:
    """The state after an epoch, or after its first parts."""
    model = model or tiny.model()
    trainer = Trainer(model, recipe)
    data, table, windows = recordings()
    run = trainer.epoch(FRAMES)
    start = trainer.init()
    state, metrics = run(start, data, table, windows.timeline[:parts], windows.start[:parts], jnp.asarray(done))
    assert np.isfinite(float(metrics["objective"]))
    return state


def leaves(state: nnx.State) -> dict[str, np.ndarray]:
    return {".".join(map(str, path)): np.asarray(value[...]) for path, value in nnx.to_flat_state(state)}


@pytest.mark.slow
def test_a_frozen_core_stays_to_the_bit() -> None:
    model = tiny.model()
    before = leaves(nnx.state(model.core))
    state = epoch(dataclasses.replace(RECIPE, trainable=("readout",)), model)
    assert all(name.startswith("readout") for name in leaves(state.params))
    after = leaves(state.statistics["core"])
    assert before.keys() == after.keys()
    for name, value in before.items():  # running statistics too: a frozen core is in evaluation mode
        np.testing.assert_array_equal(after[name], value, err_msg=name)
    assert (leaves(state.params)["readout.features"] != np.asarray(model.readout.features[...])).any()


def test_trainers_that_take_the_same_steps_share_a_program() -> None:
    weighted = ResponseObjective(Poisson(samples=100.0), np.ones(sum(tiny.NEURONS.values()), np.float32))

    def program(model: CoreReadout | None = None, **others: Any) -> Any:
        return Trainer(model or tiny.model(), dataclasses.replace(RECIPE, **others)).epoch(FRAMES)

    own = program()
    assert program(tiny.model(seed=1)) is own
    between_epochs = {"rules": PatienceRules(Plateau(epochs=0)), "monitor": LossScore(), "reset_optimizer": True}
    assert program(learning_rate=0.5, trainable=("core", "readout"), **between_epochs) is own
    others: list[dict[str, Any]] = [
        {"seed": 1},
        {"clip": 1.0},
        {"optimizer": Sgd(momentum=0.5)},
        {"objective": ResponseObjective(Poisson(samples=10.0))},
        {"objective": weighted},
        {"objective": dataclasses.replace(weighted, weight=2 * weighted.weight)},
        {"schedule": Step(every=2, factor=0.5)},
        {"trainable": ("readout",)},
        {"compute_dtype": "bfloat16"},
    ]
    programs = [own, *(program(**other) for other in others)]
    heavier = tiny.MODEL | {"readout": tiny.MODEL["readout"] | {"gamma_mask": 0.2}}
    programs.append(program(make_core_readout(heavier, tiny.dataset().info, 0)))
    programs.append(Trainer(tiny.model(), RECIPE).epoch(FRAMES + 1))
    assert len(set(map(id, programs))) == len(programs)
    assert program(objective=dataclasses.replace(weighted, weight=weighted.weight.copy())) is programs[5]


def test_parts_can_be_named_by_prefix_pattern_or_function() -> None:
    model = tiny.model()

    def chosen(trainable: Any) -> set[str]:
        return set(leaves(nnx.state(model, trainable_filter(model, trainable))))

    everything = set(leaves(nnx.state(model, nnx.Param)))
    assert chosen(None) == everything
    assert chosen(("core.layers[0].conv", "readout.bias")) == {
        "core.layers.0.conv.sin",
        "core.layers.0.conv.cos",
        "core.layers.0.conv.spatial",
        "readout.bias",
    }
    assert chosen(("core.layers[*].norm*",)) == {"core.layers.0.norm.scale", "core.layers.0.norm.bias"}
    assert chosen(lambda path: path.endswith("spatial")) == {"core.layers.0.conv.spatial"}


@pytest.mark.parametrize(
    ("trainable", "message"),
    [
        (("readuot",), 'no parameter is called "readuot"; there are core.layers'),
        ((), "leaves no parameter to train"),
        (lambda path: False, "leaves no parameter to train"),
    ],
)
def test_parts_that_are_not_there(trainable: Any, message: str) -> None:
    with pytest.raises(UserError, match=message):
        Trainer(tiny.model(), dataclasses.replace(RECIPE, trainable=trainable))


@pytest.mark.slow
def test_accumulated_gradients_are_the_mean_of_the_parts() -> None:
    # one step of gradient descent moves by the rate times the gradient
    model = tiny.model()
    recipe = dataclasses.replace(RECIPE, trainable=("core.layers[0].conv",))

    def moved(parts: slice, accumulate: int) -> dict[str, np.ndarray]:
        trainer = Trainer(model, dataclasses.replace(recipe, accumulate=accumulate))
        data, table, windows = recordings()
        start = trainer.init()
        before = leaves(start.params)
        chosen = windows.timeline[parts], windows.start[parts]
        state, _ = trainer.epoch(FRAMES)(start, data, table, *chosen, jnp.asarray(0))
        assert int(state.step) == 1
        return {name: value - before[name] for name, value in leaves(state.params).items()}

    one, other = moved(slice(0, 1), 1), moved(slice(1, 2), 1)
    for name, both in moved(slice(0, 2), 2).items():
        scale = np.abs(both).max()
        np.testing.assert_allclose(both, (one[name] + other[name]) / 2, rtol=1e-3, atol=1e-4 * scale, err_msg=name)


@pytest.mark.slow
def test_an_incomplete_last_step_is_filled() -> None:
    assert int(epoch(dataclasses.replace(RECIPE, accumulate=2), parts=3).step) == 2


@pytest.mark.slow
def test_the_average_follows_the_parameters() -> None:
    state = epoch(dataclasses.replace(RECIPE, average_decay=0.5), parts=1)
    start = leaves(nnx.state(tiny.model()))
    now = leaves(nnx.merge_state(state.params, state.statistics))
    decay = 0.1  # of the first step
    for name, average in leaves(state.average).items():
        expected = start[name] + (1 - decay) * (now[name] - start[name])
        np.testing.assert_allclose(average, expected, rtol=1e-5, atol=1e-7, err_msg=name)
    assert state.evaluated == (state.average,)


@pytest.mark.slow
def test_bfloat16_computes_alike_and_keeps_float32() -> None:
    short, long = (epoch(dataclasses.replace(RECIPE, compute_dtype=kind), parts=1) for kind in ("bfloat16", "float32"))
    for name, value in leaves(short.params).items():
        assert value.dtype == np.float32, name
    for name, value in leaves(short.statistics).items():
        assert value.dtype == np.float32, name
        np.testing.assert_allclose(value, leaves(long.statistics)[name], rtol=0.05, atol=0.05, err_msg=name)
    features = leaves(short.params)["readout.features"]
    assert (features != leaves(long.params)["readout.features"]).any()


@pytest.mark.slow
def test_moments_are_forgotten_when_validation_lowers_the_rate() -> None:
    rules = PatienceRules(Plateau(epochs=0))
    recipe = Recipe(
        ResponseObjective(Poisson(samples=100.0)), AdamW(), learning_rate=0.01, rules=rules, reset_optimizer=True
    )
    trainer = Trainer(tiny.model(), recipe)
    state = epoch(recipe, parts=1)
    first = trainer.end_epoch(state, jnp.float32(0.5))
    assert float(first.patience.learning_rate) == pytest.approx(0.01)
    assert any(leaf.any() for leaf in jax.tree.leaves(first.optimizer.mu))
    second = trainer.end_epoch(first, jnp.float32(0.4))
    assert float(second.patience.learning_rate) == pytest.approx(0.003)
    assert not any(leaf.any() for leaf in jax.tree.leaves(second.optimizer))


def test_the_schedule_counts_epochs() -> None:
    recipe = dataclasses.replace(RECIPE, schedule=Step(every=2, factor=0.5))
    trainer = Trainer(tiny.model(), recipe)
    state = trainer.init(tiny.model())
    rates = [float(trainer.rates(state, done).learning_rate) for done in range(4)]
    np.testing.assert_allclose(rates, [0.01, 0.01, 0.005, 0.005], rtol=1e-6)


def test_a_cycle_is_as_long_as_the_run() -> None:
    def total_steps(schedule: OneCycle) -> int | None:
        trainer = Trainer(tiny.model(), dataclasses.replace(RECIPE, schedule=schedule)).for_run(40)
        assert isinstance(trainer.recipe.schedule, OneCycle)
        return trainer.recipe.schedule.total_steps

    assert total_steps(OneCycle()) == 40
    assert total_steps(OneCycle(total_steps=7)) == 7


@pytest.mark.slow
def test_speeds_of_absent_sessions_stay() -> None:
    options = tiny.MODEL | {"core": tiny.MODEL["core"] | {"adapt_speed": True}}
    model = make_core_readout(options, tiny.dataset().info)
    recipe = Recipe(ResponseObjective(Poisson(samples=100.0)), AdamW(weight_decay=0.1), learning_rate=0.01)
    _, _, windows = recordings()
    present = int(windows.timeline[0, 0, 0])
    model.core.log_speed[...] = jnp.full(3, 0.1)
    speeds = leaves(epoch(recipe, model, parts=1).params)["core.log_speed"]
    assert (speeds != np.float32(0.1)).tolist() == [number == present for number in range(3)]


class Corner(ReconstructionObjective):
    """The norm of offsets times 0: a number, whose gradient is none."""

    def __call__(self, model: Any, batch: Batch, *, train: bool, key: jax.Array | None) -> Any:
        value = jnp.linalg.norm(0 * model.readout.bias[...])
        return value, {"objective": value}


def test_a_gradient_that_is_not_finite_is_seen_in_its_own_step() -> None:
    recipe = dataclasses.replace(RECIPE, objective=Corner(), trainable=("readout.bias",))
    model = tiny.model()
    trainer = Trainer(model, recipe)
    data, table, windows = recordings()
    chosen = windows.timeline[:1], windows.start[:1]
    _, metrics = trainer.epoch(FRAMES)(trainer.init(), data, table, *chosen, jnp.asarray(0))
    assert float(metrics["objective"]) == 0
    assert int(metrics["finite_steps"]) == 0


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"compute_dtype": "bf16"}, 'config.train.compute_dtype is "bf16"; choose float32 or bfloat16'),
        ({"compute_dtype": "float16"}, 'config.train.compute_dtype is "float16"'),
        ({"accumulate": 0}, "config.optimizer.accumulate is 0; a step has at least 1 part"),
        ({"clip": -1.0}, "config.optimizer.clip_norm is -1.0; take a positive norm, or 0 for no limit"),
    ],
)
def test_recipes_that_are_wrong(wrong: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        dataclasses.replace(RECIPE, **wrong)


def lowered(recipe: Recipe, model: CoreReadout, parts: int = 2) -> Any:
    """The program of an epoch of a few parts, not yet compiled."""
    trainer = Trainer(model, recipe)
    data, table, windows = recordings()
    chosen = jnp.asarray(windows.timeline[:parts]), jnp.asarray(windows.start[:parts])
    arguments, tree = jax.tree.flatten((trainer.init(), data, table, *chosen, jnp.asarray(0)))

    @jax.jit(compiler_options=compiler_options())
    def run(*arguments: jax.Array) -> Any:
        return trainer.steps(FRAMES, *tree.unflatten(arguments))

    return run.lower(*arguments)


@pytest.mark.slow
def test_accumulating_costs_no_more_than_the_parts() -> None:
    # of a loop the body counts once: that of steps for one program, that of parts for the other
    model = tiny.model()
    one, four = (
        lowered(dataclasses.replace(RECIPE, accumulate=count), model, 4).cost_analysis()["flops"] for count in (1, 4)
    )
    assert four < 1.05 * one


@pytest.mark.slow
def test_rematerialised_gradients_are_equal() -> None:
    plain, again = (epoch(dataclasses.replace(RECIPE, rematerialize=chosen), parts=2) for chosen in (False, True))
    for part in ("params", "statistics"):
        for name, value in leaves(getattr(plain, part)).items():
            np.testing.assert_allclose(
                leaves(getattr(again, part))[name], value, rtol=1e-5, atol=1e-5 * np.abs(value).max(), err_msg=name
            )


def deep_model(kind: str) -> CoreReadout:
    """A model whose core has three layers."""
    layers = {"hidden_channels": (8, 8, 8), "temporal_kernel_sizes": (3, 3, 3), "spatial_kernel_sizes": (3, 3, 3)}
    core = {"kind": kind, **layers} | ({"recurrent_channels": 8, "hidden_padding": "same"} if kind == "gru" else {})
    return make_core_readout(tiny.MODEL | {"core": core}, tiny.dataset().info)


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["simple", "gru"])
def test_less_waits_for_a_rematerialised_gradient(kind: str) -> None:
    model = deep_model(kind)

    def waiting(rematerialize: bool) -> int:
        """Bytes that the gradient of a core's maps needs to know."""
        model.core.rematerialize = rematerialize
        graph, params, others = nnx.split(model.core, nnx.Param, ...)
        stimulus = jnp.zeros(model.stimulus_shape(FRAMES, batch=8))

        def maps(params: nnx.State) -> jax.Array:
            return nnx.merge(graph, params, others, copy=True)(stimulus, train=True)

        known = jax.eval_shape(lambda params: jax.vjp(maps, params)[1], params)
        return sum(leaf.size * leaf.dtype.itemsize for leaf in jax.tree.leaves(known))

    assert waiting(True) < 0.5 * waiting(False)


@pytest.mark.slow
def test_rematerialisation_saves_memory() -> None:
    """On CPUs, with a GRU; convolutions recompute most of their own intermediate results there anyway."""
    plain, again = (
        lowered(dataclasses.replace(RECIPE, rematerialize=chosen), deep_model("gru")).compile().memory_analysis()
        for chosen in (False, True)
    )
    assert again.temp_size_in_bytes < 0.9 * plain.temp_size_in_bytes
