"""Trains the tiny model on meshes of eight devices, and tells what came out: a program for test_sharding.py."""

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console

from openretina_jax.models.build import make_model
from openretina_jax.models.saved import by_name
from openretina_jax.training.loop import fit
from openretina_jax.training.objective import Objective
from openretina_jax.training.optimizers import adamw
from openretina_jax.training.sharding import Sharding
from openretina_jax.training.step import Recipe
from tests import tiny

RECIPE = Recipe(objective=Objective(samples=100.0), optimizer=adamw(), learning_rate=0.02, clip=1.0, seed=1)
WINDOWS = {"session": 8, "shared": 4}


def train(name: str, folder: Path) -> dict[str, Any]:
    """A short run whose name is the order of windows, the kind of core, and the devices along each axis."""
    order, core, data, neuron = name.split(",")
    cores = {"simple": tiny.MODEL["core"], "gru": GRU}
    model = make_model(tiny.MODEL | {"core": cores[core]}, tiny.dataset().info)
    sharding = Sharding({"data": int(data), "neuron": int(neuron)}, tiny.dataset().n_neurons)
    workdir = folder / name
    workdir.mkdir()
    result = fit(
        model=model,
        dataset=tiny.dataset(),
        workdir=workdir,
        about={},
        recipe=RECIPE,
        order=order,
        window_frames=16,
        windows_per_step=WINDOWS[order],
        epochs=2,
        picture_every=2,
        console=Console(quiet=True),
        sharding=sharding,
    )
    np.savez(workdir / "state.npz", **{name: np.asarray(array) for name, array in by_name(result.state).items()})
    shards = [shard.data.nbytes for shard in result.recordings.responses.addressable_shards]
    return {"responses": result.recordings.responses.nbytes, "shards": shards}


GRU = {
    "kind": "gru",
    "hidden_channels": (4,),
    "temporal_kernel_sizes": (7,),
    "spatial_kernel_sizes": (5,),
    "recurrent_channels": 3,
}


if __name__ == "__main__":
    results = {name: train(name, Path(sys.argv[1])) for name in sys.argv[2:]}
    print(json.dumps(results))
