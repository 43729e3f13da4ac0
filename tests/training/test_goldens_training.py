"""Twelve steps of the reference, number for number: alternating sessions, clipping, AdamW and SGD."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from openretina_jax.data.batches import Batch
from openretina_jax.models.core_readout import CoreReadout
from openretina_jax.training.objective import Poisson, ResponseObjective
from openretina_jax.training.optimizers import make_optimizer
from openretina_jax.training.recipe import Recipe
from openretina_jax.training.trainer import Trainer, TrainState
from tests import reference
from tests.goldens_case import Case, cases, every_case
from tests.module_goldens import channels_last, close

CASES = cases("training")


def batch_of(case: Case, number: int, model: CoreReadout) -> Batch:
    """A batch whose slice of the table is as wide as the widest session."""
    session = case.entry["session_of_batch"][number]
    first, count = model.rows(session)
    total = model.data_info.n_neurons
    sizes = list(model.data_info.sessions.values())
    width = max(sizes)
    start = min(first, total - width)
    targets = np.full((1, *case.array(f"input/batch_{number}/targets").shape[:2], width), np.nan, np.float32)
    targets[0, :, :, first - start : first - start + count] = case.array(f"input/batch_{number}/targets")
    columns = np.arange(start, start + width)
    return Batch(
        stimulus=channels_last(case.array(f"input/batch_{number}/x"))[None],
        responses=jnp.asarray(targets),
        first_neuron=jnp.asarray([start]),
        neuron_mask=jnp.asarray([(columns >= first) & (columns < first + count)]),
        own_order=jnp.ones((1, targets.shape[1], width), bool),
        clip_time=jnp.zeros(targets.shape[:3], jnp.int32),
        n_sessions=jnp.ones(1, jnp.int32),
        session=jnp.asarray([list(model.data_info.sessions).index(session)]),
        neuron_session=jnp.asarray([np.repeat(np.arange(len(sizes)), sizes)[columns]]),
    )


def optimizer_options(entry: dict[str, Any]) -> dict[str, Any]:
    kind = entry["_target_"].rpartition(".")[2].lower()
    if kind == "sgd":
        names = ("momentum", "dampening", "weight_decay", "nesterov")
        return {"kind": "sgd", **{name: entry[name] for name in names}}
    b1, b2 = entry.get("betas", (0.9, 0.999))
    return {
        "kind": "adamw",
        "b1": b1,
        "b2": b2,
        "epsilon": entry.get("eps", 1e-8),
        "weight_decay": entry["weight_decay"],
    }


@every_case(CASES)
def test_trajectory(case: Case) -> None:
    assert case.entry["kind"] == "trajectory"
    model = reference.make_core_readout(case.kwargs)
    reference.load_model(model, case.under("param"))
    default = {"_target_": "AdamW", "lr": case.kwargs["learning_rate"], "weight_decay": 0.01}
    options = case.entry["kwargs"].get("optimizer") or default
    optimizer = make_optimizer(optimizer_options(options))
    first = batch_of(case, 0, model)
    samples = first.stimulus.shape[1] * (first.stimulus.shape[2] - model.lag)
    recipe = Recipe(
        objective=ResponseObjective(Poisson(samples=float(samples))),
        optimizer=optimizer,
        learning_rate=options["lr"],
        clip=case.entry.get("gradient_clip_norm"),
    )
    trainer = Trainer(model, recipe)
    state = trainer.init()
    step = jax.jit(trainer.step)
    logged: dict[str, list[float]] = {}
    for number in case.entry["batch_index_per_step"]:
        state, metrics = step(state, batch_of(case, number, model))
        count = sum(np.isfinite(case.array(f"input/batch_{number}/targets"))[:, model.lag :].ravel())
        values = {
            "loss": float(metrics["loss"]) * count,
            "total_loss": metrics["objective"],
            "regularization_core": metrics["penalty_core"],
            "regularization_readout": metrics["penalty_readout"],
            "evaluation_loss": metrics["correlation"],
            "grad_norm": jnp.hypot(metrics["gradient_norm_core"], metrics["gradient_norm_readout"]),
        }
        for name, value in values.items():
            logged.setdefault(name, []).append(float(value))
    for name, values in logged.items():
        case.check(name, np.asarray(values))
    check_state(case, state, model)


def check_state(case: Case, state: TrainState, model: CoreReadout) -> None:
    final = {
        path: value for part in (state.params, state.statistics) for path, value in reference.variables(part).items()
    }
    for name, (path, rows, expected) in reference.places_in_model(model, case.under("after")).items():
        close(case, f"after/{name}", final[path][rows], expected)
