"""Twelve steps of the reference, number for number: alternating sessions, clipping, AdamW and SGD."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from openretina_jax.data.batches import Batch
from openretina_jax.data.dataset import DataInfo
from openretina_jax.models.build import make_core_readout
from openretina_jax.models.core_readout import CoreReadout
from openretina_jax.training.objective import Objective
from openretina_jax.training.optimizers import make_optimizer
from openretina_jax.training.step import Recipe, Trainer, TrainState
from tests import torch_names
from tests.goldens_case import Case, cases
from tests.module_goldens import channels_last

CASES = cases("training")
CORE_OPTIONS = {
    "gamma_input",
    "gamma_hidden",
    "gamma_in_sparse",
    "gamma_temporal",
    "input_padding",
    "hidden_padding",
    "temporal_kernel_sizes",
    "spatial_kernel_sizes",
}


def build(case: Case) -> CoreReadout:
    kwargs = case.kwargs
    channels, _, height, width = kwargs["in_shape"]
    sessions = kwargs["n_neurons_dict"]
    core = {name: value for name, value in kwargs["core"].items() if name in CORE_OPTIONS}
    readout = kwargs["readout"]
    options = {
        "core": {"kind": "simple", "hidden_channels": kwargs["hidden_channels"], **core},
        "readout": {
            "kind": "gaussian_mask",
            "mean_scale": readout["gaussian_mean_scale"],
            "var_scale": readout["gaussian_var_scale"],
            "gamma_mask": readout["mask_l1_reg"],
            "gamma_features": readout["feature_weights_l1_reg"],
            "average_penalty": readout["readout_reg_avg"],
            **{name: readout[name] for name in ("scale", "bias", "positive")},
        },
    }
    info = DataInfo(
        sessions=sessions,
        mean_activity={name: [0.0] * count for name, count in sessions.items()},
        input_shape=(height, width, channels),
        frame_rate_hz=30.0,
        pixel_size_um=None,
        norm_mean=None,
        norm_std=None,
        neurons={},
        source={},
    )
    return make_core_readout(options, info)


def table(case: Case, sessions: list[str], prefix: str) -> dict[str, np.ndarray]:
    """The reference's parameters with the readouts of all sessions as one table, under our names."""
    arrays = torch_names.translated(case.under(prefix))
    core = {name: value for name, value in arrays.items() if name.startswith("core.")}
    rows = {name.rpartition(".")[2] for name in arrays if name.startswith("readout.")}
    return core | {
        f"readout.{row}": np.concatenate([arrays[f"readout.{session}.{row}"] for session in sessions]) for row in rows
    }


def load(model: CoreReadout, values: dict[str, np.ndarray]) -> None:
    flat = []
    for path, variable in nnx.to_flat_state(nnx.state(model)):
        flat.append((path, variable.replace(jnp.asarray(values.pop(".".join(map(str, path)))))))
    assert not values, sorted(values)
    nnx.update(model, nnx.from_flat_state(flat))


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


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_trajectory(case: Case) -> None:
    assert case.entry["kind"] == "trajectory"
    model = build(case)
    sessions = list(case.kwargs["n_neurons_dict"])
    load(model, table(case, sessions, "param"))
    default = {"_target_": "AdamW", "lr": case.kwargs["learning_rate"], "weight_decay": 0.01}
    options = case.entry["kwargs"].get("optimizer") or default
    optimizer = make_optimizer(optimizer_options(options))
    first = batch_of(case, 0, model)
    samples = first.stimulus.shape[1] * (first.stimulus.shape[2] - model.lag)
    recipe = Recipe(
        objective=Objective(samples=float(samples)),
        optimizer=optimizer,
        learning_rate=options["lr"],
        clip=case.entry.get("gradient_clip_norm"),
    )
    trainer = Trainer(model, recipe)
    state = trainer.start(model)
    step = jax.jit(lambda state, batch: trainer.step(state, jnp.zeros(1), lambda _: batch, epoch=0))
    logged: dict[str, list[float]] = {}
    for number in case.entry["batch_index_per_step"]:
        state, metrics = step(state, batch_of(case, number, model))
        count = sum(np.isfinite(case.array(f"input/batch_{number}/targets"))[:, model.lag :].ravel())
        values = {
            "loss": metrics["loss"] * count,
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
    check_state(case, state, sessions)


def check_state(case: Case, state: TrainState, sessions: list[str]) -> None:
    final = {
        ".".join(map(str, path)): np.asarray(value[...])
        for part in (state.params, state.statistics)
        for path, value in nnx.to_flat_state(part)
    }
    tolerance = torch_names.translated(
        {
            name.removeprefix("after/"): np.full(case.array(name).shape, case.entry["arrays"][name].get("atol", 0))
            for name in case.names
            if name.startswith("after/")
        }
    )
    for name, expected in torch_names.translated(case.under("after")).items():
        part, session, *_ = name.split(".")
        path, value = name, final.get(name)
        if part == "readout":
            counts = case.kwargs["n_neurons_dict"]
            first = sum(counts[other] for other in sessions[: sessions.index(session)])
            path = f"readout.{name.rpartition('.')[2]}"
            value = final[path][first : first + counts[session]]
        np.testing.assert_array_less(np.abs(value - expected), tolerance[name] + 1e-5 * np.abs(expected) + 1e-12, name)
