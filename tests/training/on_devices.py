"""Trains the tiny model on meshes of eight devices, and tells what came out: a program for test_sharding.py."""

import functools
import json
import re
import sys
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from openretina_jax.data.batches import Timelines
from openretina_jax.data.windows import EpochWindows, make_sampler
from openretina_jax.experiment.callbacks import Pictures
from openretina_jax.models.build import make_model
from openretina_jax.models.saving import by_name
from openretina_jax.training.callbacks import Callback
from openretina_jax.training.callbacks.csv import CsvTable
from openretina_jax.training.checkpoint import Checkpoints
from openretina_jax.training.feed import Feed
from openretina_jax.training.loop import fit
from openretina_jax.training.objective import Poisson, ResponseObjective
from openretina_jax.training.optimizers import AdamW
from openretina_jax.training.recipe import Recipe
from openretina_jax.training.sharding import Sharding
from openretina_jax.training.trainer import Trainer
from tests import tiny

N_DEVICES, N_NEURONS = 8, sum(tiny.NEURONS.values())
FRAMES, EPOCHS = 16, 2
WINDOWS = {"session": 8, "shared": 4}
RECIPE = Recipe(
    objective=ResponseObjective(Poisson(samples=100.0)), optimizer=AdamW(), learning_rate=0.02, clip=1.0, seed=1
)
GRU = {
    "kind": "gru",
    "hidden_channels": (4,),
    "temporal_kernel_sizes": (7,),
    "spatial_kernel_sizes": (5,),
    "recurrent_channels": 3,
}
MODELS = {
    "simple": tiny.MODEL | {"core": tiny.MODEL["core"] | {"dropout_rate": 0.2}},
    "gru and cloned": {"core": GRU, "readout": {"kind": "cloned", "source": tiny.MODEL["readout"]}},
    "shifter": tiny.MODEL | {"shifter": {"kind": "mlp"}},
    "points": tiny.MODEL | {"readout": {"kind": "point_gaussian"}},
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
    datasets = {"gru and cloned": tiny.equal_dataset, "shifter": tiny.with_behaviour}
    dataset = datasets.get(kind, tiny.dataset)()
    model = make_model(MODELS[kind], dataset.info)
    sharding = Sharding({"data": int(data), "neuron": int(neuron)}, dataset.n_neurons)
    workdir = folder / name
    workdir.mkdir()
    sampler = functools.partial(make_sampler, order, window_frames=FRAMES, windows_per_step=WINDOWS[order], seed=1)
    feed = Feed(dataset, sampler, with_behaviour=model.reads_behaviour, sharding=sharding)
    trainer = Trainer(model, RECIPE)
    followers: list[Callback] = [CsvTable(workdir)]
    if name == "session,simple,4,2":
        followers.append(Pictures(trainer, feed, every=EPOCHS))
    result = fit(trainer, feed, Checkpoints(workdir / "checkpoints", {}), epochs=EPOCHS, callbacks=followers)
    np.savez(workdir / "state.npz", **{name: np.asarray(array) for name, array in by_name(result.state).items()})
    if sharding.mesh is None or kind != "simple":
        return {}
    state, frames = sharding.state(trainer.init()), feed.recordings.frames
    features = state.params["readout"]["features"][...]
    return {
        "all_responses": feed.recordings.responses.size,
        "responses": [shard.data.size for shard in feed.recordings.responses.addressable_shards],
        "all_frames": len(frames),
        "frames": lengths(frames),
        "places_of_frames": len({part.data.unsafe_buffer_pointer() for part in frames.addressable_shards}),
        "rows_of_features": lengths(features),
        "rows_of_moments": lengths(state.optimizer.mu["readout"]["features"][...]),
        "parameters": [list(shape(array)) for array in jax.tree.leaves(state.params)],
        "kernel": list(shape(state.params["core"]["layers"][0]["conv"]["spatial"][...])),
        "communication": communication(trainer, state, feed),
    }


def lengths(array: jax.Array) -> list[int]:
    """First axis of the part of every device."""
    return [len(shard.data) for shard in array.addressable_shards]


def shape(array: jax.Array) -> tuple[int, ...]:
    """That of the part of a device."""
    return array.addressable_shards[0].data.shape


def communication(trainer: Trainer, state: Any, feed: Feed) -> list[tuple[str, list[list[int]]]]:
    """Kinds of communication in the program of an epoch, and the shapes of the arrays of each."""
    windows, table = feed.sampler[0], Timelines.of(feed.sampler.timelines)
    # as ``fit`` gives them, so that the program is there already
    arguments = (feed.recordings, table, windows.timeline, windows.start, jnp.asarray(0), None)
    with feed.sharding.active():
        program = trainer.epoch(FRAMES).lower(state, *arguments).compile().as_text()
    found = (COMMUNICATION.search(line) for line in program.splitlines())
    return [(line[2], shapes(line[1])) for line in found if line]


def shapes(text: str) -> list[list[int]]:
    """Shapes in the type of an operation, such as ``(f32[4,2]{1,0}, f32[])``."""
    return [[int(size) for size in sizes.split(",") if size] for sizes in re.findall(r"\w\[([\d,]*)\]", text)]


def cores() -> list[tuple[int, int, tuple[int, ...]]]:
    """Devices along each axis that share steps of so many timelines and windows of each."""
    found = []
    for timelines, windows in ((1, 8), (2, 3), (1, 6), (5, 7), (11, 13)):
        epoch = EpochWindows(*np.zeros((2, 1, timelines, windows), np.int32))
        mesh = Sharding({"data": -1, "neuron": 1}, N_NEURONS).for_windows(epoch).mesh
        found.append((timelines, windows, (1, 1) if mesh is None else tuple(mesh.shape.values())))
    return found


if __name__ == "__main__":
    told: dict[str, Any] = {name: run(name, Path(sys.argv[1])) for name in sys.argv[2:]}
    print(json.dumps(told | {"cores": cores()}))
