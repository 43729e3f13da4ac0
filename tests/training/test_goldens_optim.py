"""Optimisers and the plateau rule of the reference, step by step."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from openretina_jax.training.optimizers import make_optimizer
from openretina_jax.training.patience import Patience, PatienceRules
from tests.goldens_case import Case, cases
from tests.training.test_goldens_training import optimizer_options

# Cases of the reference that we have no counterpart of yet, and why.
LATER = {
    f"scheduler_{name}": "a schedule chosen in the configuration; so far there is the plateau rule"
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
}


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
    rules = PatienceRules(
        factor=kwargs["factor"],
        plateau_epochs=kwargs["patience"],
        plateau_threshold=kwargs["threshold"],
        reductions=round(np.log(kwargs["min_lr"] / kwargs["lr"]) / np.log(kwargs["factor"])),
    )
    update = jax.jit(lambda state, score: rules.update(state, score, kwargs["lr"]))
    state = Patience.start(kwargs["lr"])
    states = [state := update(state, score) for score in case.array("input/metric").astype(np.float32)]
    case.check("lr", [kwargs["lr"], *(float(state.learning_rate) for state in states)])
    case.check("num_bad_epochs", [int(state.plateau_bad) for state in states])
    case.check("best", [float(state.plateau_best) for state in states])


CHECKS = {
    "optimizer_adamw": check_optimizer,
    "optimizer_sgd": check_optimizer,
    "optimizer_adam": check_optimizer,
    "optimizer_default": check_optimizer,
    "plateau_default": check_plateau,
    "plateau_config": check_plateau,
}

COVERED = [case for case in cases("optim") if case.name in CHECKS]


@pytest.mark.parametrize("case", COVERED, ids=[case.name for case in COVERED])
def test_golden(case: Case) -> None:
    CHECKS[case.name](case)


def test_every_case_is_known() -> None:
    assert {case.name for case in cases("optim")} - {*CHECKS, *LATER} == set()
