"""Optimisers, schedules and the plateau rule of the reference, step by step."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from openretina_jax.training.optimizers import make_optimizer
from openretina_jax.training.patience import Patience, PatienceRules, Plateau
from openretina_jax.training.schedules import SCHEDULES
from tests.goldens_case import Case, cases
from tests.training.test_goldens_training import optimizer_options

# The reference's names of schedules and of their options: ours. Options that are not here belong to Lightning.
SCHEDULE_OPTIONS = {
    "StepLR": ("step", {"step_size": "every", "gamma": "factor"}),
    "MultiStepLR": ("multi_step", {"milestones": "milestones", "gamma": "factor"}),
    "ExponentialLR": ("exponential", {"gamma": "factor"}),
    "CosineAnnealingLR": ("cosine", {"T_max": "epochs", "eta_min": "lowest"}),
    "CosineAnnealingWarmRestarts": (
        "cosine_warm_restarts",
        {"T_0": "first_epochs", "T_mult": "growth", "eta_min": "lowest"},
    ),
    "OneCycleLR": (
        "one_cycle",
        {
            "pct_start": "rise",
            "anneal_strategy": "anneal",
            "cycle_momentum": "cycle_momentum",
            "base_momentum": "base_momentum",
            "max_momentum": "max_momentum",
            "div_factor": "start_divisor",
            "final_div_factor": "end_divisor",
            "three_phase": "three_phases",
            "total_steps": "total_steps",
        },
    ),
}
NOT_OURS = {"_target_", "last_epoch", "max_lr", "monitor", "interval", "frequency"}


class Parameters(nnx.Module):
    """Named arrays as parameters of all sessions."""

    def __init__(self, values: dict[str, np.ndarray]):
        for name, value in values.items():
            setattr(self, name, nnx.Param(jnp.asarray(value)))


def tree(values: dict[str, np.ndarray]) -> nnx.State:
    return nnx.state(Parameters(values))


def options_of(case: Case) -> tuple[dict[str, object], float]:
    """Our options and the learning rate; without options the reference takes AdamW as torch ships it."""
    options = case.kwargs["optimizer"]
    if options is None:
        return {"kind": "adamw"}, case.kwargs["default_learning_rate"]
    if options["_target_"].endswith(".Adam"):  # AdamW without decay
        assert not options.get("weight_decay")
        options = options | {"_target_": "AdamW", "weight_decay": 0.0}
    return optimizer_options(options), options["lr"]


def check_optimizer(case: Case) -> None:
    names = ("a", "b", "c")
    options, rate = options_of(case)
    optimizer = make_optimizer(options)
    params = tree({name: case.array(f"input/param0_{name}") for name in names})
    state = optimizer.init(params)
    update = jax.jit(optimizer.update)
    trajectory: dict[str, list[np.ndarray]] = {name: [] for name in names}
    for step, has_gradient in enumerate(case.array("input/has_grad")):
        gradients = tree({name: case.array(f"input/grads_{name}")[step] for name in names})
        present = tree(dict(zip(names, has_gradient, strict=True)))
        updates, state = update(gradients, state, params, learning_rate=jnp.float32(rate), present=present)
        params = jax.tree.map(jnp.add, params, updates)
        for name in names:
            trajectory[name].append(np.asarray(params[name][...]))
    for name in names:
        case.check(f"output/{name}", np.stack(trajectory[name]))
        np.testing.assert_array_equal(state.count[name][...], case.array("input/has_grad")[:, names.index(name)].sum())


def check_plateau(case: Case) -> None:
    kwargs = case.kwargs
    assert (kwargs["mode"], kwargs["threshold_mode"], kwargs["cooldown"]) == ("max", "abs", 0)
    plateau = Plateau(
        factor=kwargs["factor"],
        epochs=kwargs["patience"],
        threshold=kwargs["threshold"],
        reductions=round(np.log(kwargs["min_lr"] / kwargs["lr"]) / np.log(kwargs["factor"])),
    )
    rules = PatienceRules(plateau)
    update = jax.jit(lambda state, score: rules.update(state, score, kwargs["lr"]))
    state = Patience.start(kwargs["lr"])
    states = [state := update(state, score) for score in case.array("input/metric").astype(np.float32)]
    case.check("lr", [kwargs["lr"], *(float(state.learning_rate) for state in states)])
    case.check("num_bad_epochs", [int(state.plateau_bad) for state in states])
    case.check("best", [float(state.plateau_best) for state in states])


def check_schedule(case: Case) -> None:
    """Entry n of the trajectories is in force after n steps of the scheduler, which are epochs or optimiser steps."""
    options = case.kwargs["scheduler"]
    kind, names = SCHEDULE_OPTIONS[options["_target_"].rpartition(".")[2]]
    assert options.keys() <= names.keys() | NOT_OURS
    ours = {names[name]: value for name, value in options.items() if name in names}
    real = {field.name for field in dataclasses.fields(SCHEDULES[kind]) if field.type is float}
    schedule = SCHEDULES.make(
        {"kind": kind, **{name: float(value) if name in real else value for name, value in ours.items()}}, {}
    )
    initial = options.get("max_lr", case.kwargs["lr"])
    count = jnp.arange(1 + case.kwargs["steps"], dtype=jnp.int32)
    rates = jax.jit(jax.vmap(lambda n: schedule.rates(initial, n, n)))(count)
    case.check("lr", rates.learning_rate)
    # the absolute tolerance is larger than the low rates of some schedules
    np.testing.assert_allclose(rates.learning_rate, case.array("lr"), rtol=1e-5, atol=1e-12)
    if rates.momentum is None:
        assert np.unique(case.array("momentum")).size == 1  # the optimiser's own
    else:
        case.check("momentum", rates.momentum)


CHECKS = {
    "optimizer_adamw": check_optimizer,
    "optimizer_sgd": check_optimizer,
    "optimizer_adam": check_optimizer,
    "optimizer_default": check_optimizer,
    "plateau_default": check_plateau,
    "plateau_config": check_plateau,
    **{
        f"scheduler_{name}": check_schedule
        for name in (
            "cosine_annealing_lr",
            "cosine_annealing_warm_restarts",
            "exponential_lr",
            "multi_step_lr",
            "one_cycle_lr_total60_adamw",
            "one_cycle_lr_total60_sgd",
            "one_cycle_lr_total80_adamw",
            "one_cycle_lr_total80_sgd",
            "step_lr",
        )
    },
}

CASES = cases("optim")


@pytest.mark.parametrize("case", CASES, ids=[case.name for case in CASES])
def test_golden(case: Case) -> None:
    assert case.name in CHECKS, f"{case.name} is not known"
    CHECKS[case.name](case)
