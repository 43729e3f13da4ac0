"""Trains the tiny model on meshes of eight devices, and tells what came out: a program for test_sharding.py."""

import json
import re
import sys
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from rich.console import Console

from openretina_jax.data.batches import Timelines
from openretina_jax.data.windows import make_sampler
from openretina_jax.models.build import make_model
from openretina_jax.models.saving import by_name
from openretina_jax.training.loop import fit
from openretina_jax.training.objective import Objective
from openretina_jax.training.optimizers import adamw
from openretina_jax.training.sharding import Sharding
from openretina_jax.training.trainer import Recipe, Trainer
from openretina_jax.training.writers import Writers
from tests import tiny

N_DEVICES, N_NEURONS = 8, sum(tiny.NEURONS.values())
FRAMES, EPOCHS = 16, 2
WINDOWS = {"session": 8, "shared": 4}
RECIPE = Recipe(objective=Objective(samples=100.0), optimizer=adamw(), learning_rate=0.02, clip=1.0, seed=1)
GRU = {
    "kind": "gru",
    "hidden_channels": (4,),
    "temporal_kernel_sizes": (7,),
    "spatial_kernel_sizes": (5,),
    "recurrent_channels": 3,
}
MODELS = {
    "simple": tiny.MODEL | {"core": tiny.MODEL["core"] | {"dropout_rate": 0.2}},
    "gru": tiny.MODEL | {"core": GRU},
    "cloned": tiny.MODEL | {"readout": {"kind": "cloned", "source": tiny.MODEL["readout"]}},
}
COMMUNICATION = re.compile(
    r"= (.*?) (all-reduce|all-gather|all-to-all|collective-permute|reduce-scatter|collective-broadcast)(?:-start)?\("
)


def run(name: str, folder: Path) -> dict[str, Any]:
    """A short run whose name is the order of windows, the model, and the devices along each axis.

    Returns:
        What lies on which device, and what the devices communicate.
    """
    order, kind, data, neuron = name.split(",")
    dataset = tiny.equal_dataset() if kind == "cloned" else tiny.dataset()
    model = make_model(MODELS[kind], dataset.info)
    sharding = Sharding({"data": int(data), "neuron": int(neuron)}, dataset.n_neurons)
    workdir = folder / name
    workdir.mkdir()
    result = fit(
        model=model,
        dataset=dataset,
        workdir=workdir,
        about={},
        recipe=RECIPE,
        order=order,
        window_frames=FRAMES,
        windows_per_step=WINDOWS[order],
        epochs=EPOCHS,
        picture_every=EPOCHS if name == "shared,simple,4,2" else 0,
        console=Console(quiet=True),
        sharding=sharding,
        writers=Writers(workdir),
    )
    np.savez(workdir / "state.npz", **{name: np.asarray(array) for name, array in by_name(result.state).items()})
    if sharding.mesh is None or kind != "simple":
        return {}
    trainer = Trainer(model, RECIPE)
    state = sharding.state(trainer.start(model))
    features = state.params["readout"]["features"][...]
    return {
        "all_responses": result.recordings.responses.size,
        "responses": [shard.data.size for shard in result.recordings.responses.addressable_shards],
        "all_frames": len(result.recordings.frames),
        "frames": lengths(result.recordings.frames),
        "rows_of_features": lengths(features),
        "rows_of_moments": lengths(state.optimizer.mu["readout"]["features"][...]),
        "parameters": [list(shape(array)) for array in jax.tree.leaves(state.params)],
        "kernel": list(shape(state.params["core"]["layers"][0]["conv"]["spatial"][...])),
        "communication": communication(trainer, state, result, sharding, order),
    }


def lengths(array: jax.Array) -> list[int]:
    """First axis of the part of every device."""
    return [len(shard.data) for shard in array.addressable_shards]


def shape(array: jax.Array) -> tuple[int, ...]:
    """That of the part of a device."""
    return array.addressable_shards[0].data.shape


def communication(
    trainer: Trainer, state: Any, result: Any, sharding: Sharding, order: str
) -> list[tuple[str, list[list[int]]]]:
    """Kinds of communication in the program of an epoch, and the shapes of the arrays of each."""
    sampler = make_sampler(order, result.tables, window_frames=FRAMES, windows_per_step=WINDOWS[order], seed=0)
    windows, table = sampler[0], Timelines.of(sampler.timelines)
    arguments = (result.recordings, table, windows.timeline, windows.start, jnp.asarray(0))
    with sharding.active():
        program = trainer.epoch(FRAMES).lower(state, *arguments).compile().as_text()
    found = (COMMUNICATION.search(line) for line in program.splitlines())
    return [(line[2], shapes(line[1])) for line in found if line]


def shapes(text: str) -> list[list[int]]:
    """Shapes in the type of an operation, such as ``(f32[4,2]{1,0}, f32[])``."""
    return [[int(size) for size in sizes.split(",") if size] for sizes in re.findall(r"\w\[([\d,]*)\]", text)]


if __name__ == "__main__":
    print(json.dumps({name: run(name, Path(sys.argv[1])) for name in sys.argv[2:]}))
