"""The program of an epoch, compiled for accelerators that this machine does not have."""

import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.experimental import topologies
from jax.sharding import Mesh, NamedSharding, PartitionSpec
from jaxtyping import Array

from benchmarks.ours import random_dataset
from benchmarks.programs import of_a_step
from benchmarks.run import CLIP_FRAMES, VALIDATION_CLIPS
from openretina_jax.data.batches import DataArrays, Timelines
from openretina_jax.data.timelines import Tables
from openretina_jax.data.windows import make_sampler
from openretina_jax.errors import UserError
from openretina_jax.experiment.recipe import make_recipe
from openretina_jax.models.build import make_model
from openretina_jax.runtime import devices
from openretina_jax.runtime.devices import DATA, NEURON, matmul_precision
from openretina_jax.training.sharding import Sharding, by_kind
from openretina_jax.training.trainer import Trainer, TrainState

TRAINING_CLIPS = 93  # of Höfling et al. 2024


def devices_elsewhere(platform: str, topology: str, description: Path | None = None) -> Sequence[jax.Device]:
    """Devices to compile for, whose compiler must be installed: the extra ``tpu`` or ``cuda``.

    Args:
        platform: "tpu" or "cuda".
        topology: how TPUs are connected, such as "v5e:2x4"; of GPUs the number of slices, of hosts in each and of GPUs
            in each of those, such as "1x1x8".
        description: of the GPU, a ``target_config`` file of XLA (None: there is a GPU here).

    Raises:
        UserError: the compiler is missing, or does not know such devices.
    """
    options = {"topology": topology} if platform == "cuda" else {}
    if description is not None:
        try:
            options["target_config"] = description.read_text(encoding="utf-8")
        except OSError as error:
            raise UserError(f"{description}: cannot be read ({error.strerror or error})") from error
    try:
        return topologies.get_topology_desc(platform=platform, topology_name=topology, **options).devices
    except (RuntimeError, NotImplementedError) as error:
        raise UserError(
            f'there is no compiler for "{topology}" of {platform} ({" ".join(str(error).split())}); look at the name, '
            f'and install the compiler with pip install -e ".[{platform}]"'
        ) from error


def compile_epoch(
    settings: Mapping[str, Any],
    available: Sequence[jax.Device],
    *,
    sessions: int,
    neurons: int,
    input_shape: tuple[int, int, int],
    training_clips: int = TRAINING_CLIPS,
) -> dict[str, Any]:
    """Compile the training of an epoch as a run on these devices would, on random recordings.

    Args:
        settings: of the run, as runs keep them; ``mesh`` says how the devices share the work.
        available: the devices.
        sessions: of the recordings; all saw the same clips.
        neurons: of each session.
        input_shape: ``(height, width, channel)`` of a frame.
        training_clips: clips of the movie that are trained on.

    Returns:
        What was compiled, and for each device megabytes of ``data`` (recordings, model and state), and of
        ``temporaries``; how often devices communicate in a step by the kind of communication, and how many bytes each
        then has of the result; how many ``kernels`` a step has, and ``kernel_bytes``, what those read and write that
        are not the library's.

    Raises:
        UserError: the devices cannot share the windows of a step.
    """
    sizes = {"clip_frames": CLIP_FRAMES, "training_clips": training_clips, "validation_clips": VALIDATION_CLIPS}
    dataset = random_dataset(sizes | {"sessions": sessions, "neurons": neurons, "input_shape": input_shape})
    model = make_model(settings["model"], dataset.info)
    train = settings["train"]
    tables = Tables(dataset, per_session=model.per_session)
    order = make_sampler(train["order"], tables, seed=0, **train["windows"][train["order"]])
    sharding = Sharding(settings["mesh"], model.data_info.n_neurons, available)
    sharding = sharding.for_windows(order[0])
    trainer = Trainer(model, make_recipe(settings, model)).for_run(order.steps_per_epoch)
    state, windows = trainer.init(), (order[0].timeline, order[0].start, np.zeros((), np.int32))
    arguments = state, DataArrays.of(tables), Timelines.of(order.timelines), *windows

    @jax.jit(donate_argnums=range(len(jax.tree.leaves(state))))
    def run(*leaves: Any) -> Any:
        return trainer.steps(order.window_frames, *jax.tree.unflatten(jax.tree.structure(arguments), leaves))

    leaves = on_devices(*arguments, place=placement(available, sharding))
    began = time.perf_counter()
    with (
        devices.compiling_for(available[0].platform),
        sharding.active(),
        matmul_precision(train["matmul_precision"]),
    ):
        compiled: Any = run.lower(*leaves).compile()
    memory = compiled.memory_analysis()
    return {
        "device": available[0].device_kind,
        "devices": 1 if sharding.mesh is None else sharding.mesh.size,
        "shape": {"steps": order.steps_per_epoch, "windows": order[0].start[0].size, "frames": order.window_frames},
        "compile_seconds": time.perf_counter() - began,
        "data_mb": memory.argument_size_in_bytes / 1e6,
        "temporaries_mb": memory.temp_size_in_bytes / 1e6,
        **of_a_step(compiled.as_text()),
    }


def placement(available: Sequence[jax.Device], sharding: Sharding) -> Callable[..., jax.ShapeDtypeStruct]:
    """A function of an array and mesh axes: the array as the devices would hold it, longer where they must share it."""
    mesh = sharding.mesh or Mesh(np.array(available[:1]).reshape(1, 1), (DATA, NEURON))

    def place(value: Any, *axes: str | None) -> jax.ShapeDtypeStruct:
        shape, where = list(jnp.shape(value)), NamedSharding(mesh, PartitionSpec(*axes))
        for number, axis in enumerate(axes):
            shape[number] += -shape[number] % (1 if axis is None else mesh.shape[axis])
        return jax.ShapeDtypeStruct(shape, jnp.result_type(value), sharding=where)

    return place


def on_devices(
    state: TrainState, recordings: DataArrays, *others: Any, place: Callable[..., jax.ShapeDtypeStruct]
) -> list[jax.ShapeDtypeStruct]:
    """All arrays, one after the other, as ``Sharding`` spreads them."""
    of_state = []

    def note(value: Array, per_neuron: bool) -> Array:
        of_state.append(place(value, NEURON) if per_neuron else place(value))
        return value

    by_kind(note, state)
    return of_state + [
        place(value, None, NEURON) if value is recordings.responses else place(value)
        for value in jax.tree.leaves((recordings, others))
    ]
