"""A step of many devices on paper, beside the program that the compiler makes for as many.

    python -m benchmarks.pod --devices=8,64,256 --sessions=67 --neurons=64

Devices are those of a CPU, which XLA divides into as many: what the program sends and holds is what counts here, and no
time is measured. Each number of devices is compiled in a process of its own. ``docs/scaling.md`` has the table that
this program prints.
"""

import argparse
import dataclasses
import json
import os
import subprocess
import sys
from collections.abc import Mapping
from typing import Any

import jax
import pandas as pd
from flax import nnx

from benchmarks.elsewhere import TRAINING_CLIPS, compile_epoch
from benchmarks.run import CLIP_FRAMES, VALIDATION_CLIPS
from openretina_jax.data.info import DataInfo
from openretina_jax.experiment.notebook import changed
from openretina_jax.experiment.recipe import resolved
from openretina_jax.models.build import make_model
from openretina_jax.models.core_readout import CoreReadout
from openretina_jax.modules.layers import NeuronParam

FRAME = (18, 16, 2)  # of Höfling et al. 2024 at low resolution
NUMBER = 4  # bytes
BANDWIDTH, LATENCY_S = 100e9, 15e-6  # of a link between accelerators, and of a message


@dataclasses.dataclass(frozen=True)
class Paper:
    """What a device sends in a step, and what it holds.

    Attributes:
        messages: all-reduces of a step, each of which waits for the one before.
        megabytes: that a device adds up with the others in a step.
        data_mb: recordings, model and optimiser on a device.
    """

    messages: int
    megabytes: float
    data_mb: float

    @property
    def milliseconds(self) -> float:
        """Time of the messages of a step, in which nothing is computed."""
        return 1e3 * (self.messages * LATENCY_S + 2 * 1e6 * self.megabytes / BANDWIDTH)


def on_paper(model: CoreReadout, settings: Mapping[str, Any], data: int, neuron: int, clips: int) -> Paper:
    """Count what ``docs/scaling.md`` says.

    Args:
        model: model of all neurons; every layer of its core has batch normalisation.
        settings: of the run, in shared order.
        data, neuron: devices along both axes.
        clips: of the movie, those for validation included.
    """
    info, window = model.data_info, settings["train"]["windows"]["shared"]
    rows = -(-info.n_neurons // neuron)
    parameters = jax.tree.leaves(nnx.state(model, nnx.Param), is_leaf=lambda leaf: isinstance(leaf, nnx.Variable))
    of_readout = [one[...] for one in parameters if isinstance(one, NeuronParam)]
    a_row = sum(one.size for one in of_readout) // info.n_neurons
    of_core = sum(one[...].size for one in parameters) - a_row * info.n_neurons
    channels = settings["model"]["core"]["hidden_channels"]
    sums = [4 * NUMBER * size for size in channels]  # of batch normalisation: twice forwards, twice backwards
    of_gradients = of_core - sum(channels)  # a layer's two biases, of normalisation and after it, have one gradient
    counts, gradients = NUMBER * (rows + 1), NUMBER * (of_gradients + a_row * rows + rows + 1)  # losses of neurons, too
    messages, sent = 4 * len(channels) + 2, sum(sums) + counts + gradients
    if neuron > 1:  # the gradient of the maps, and three of single numbers: which windows count, loss, and metrics
        maps = model.core(jax.numpy.zeros((1, window["window_frames"], *info.input_shape)))
        messages, sent = messages + 4, sent + NUMBER * maps.size * window["windows_per_step"] // data
    frames = clips * CLIP_FRAMES
    indices = 2 * len(info.sessions) * (frames - VALIDATION_CLIPS * CLIP_FRAMES)
    movie = frames * info.input_shape[0] * info.input_shape[1] * info.input_shape[2]
    state = 3 * (of_core + a_row * rows)  # parameters and both moments
    return Paper(messages, sent / 1e6, NUMBER * (movie + frames * rows + indices + state) / 1e6)


def compiled(devices: int, neuron: int, sessions: int, neurons: int) -> dict[str, Any]:
    """Compile an epoch for the devices of this process, a window for each along data, and count it on paper."""
    windows = devices // neuron
    changes = {"train.windows.shared.windows_per_step": windows, "mesh.neuron": neuron, "train.average_decay": 0.0}
    settings = resolved(changed("hoefling_low_res", changes).to_dict())
    clips = max(TRAINING_CLIPS, 2 * windows)  # two steps at least, or they are no loop
    found = compile_epoch(
        settings, jax.devices(), sessions=sessions, neurons=neurons, input_shape=FRAME, training_clips=clips
    )
    names = {f"session_{number}": neurons for number in range(sessions)}
    means = {name: [0.0] * count for name, count in names.items()}
    info = DataInfo(names, means, FRAME, 30.0, None, None, None, {name: {} for name in names}, {})
    model = make_model(settings["model"], info)
    assert isinstance(model, CoreReadout)
    paper = on_paper(model, settings, windows, neuron, clips + VALIDATION_CLIPS)
    return {
        "devices": devices,
        "along neuron": neuron,
        "messages, paper": paper.messages,
        "messages": sum(found["communications"].values()),
        "sent MB, paper": paper.megabytes,
        "sent MB": found["communicated_bytes"] / 1e6,
        "data MB, paper": paper.data_mb,
        "data MB": found["data_mb"],
        "temporaries MB": found["temporaries_mb"],
        "kinds": " ".join(found["communications"]),
        "messages ms, paper": paper.milliseconds,
    }


def main() -> None:
    """Compile for what the command line names."""
    parser = argparse.ArgumentParser(description="Messages and memory of a step, on paper and as compiled.")
    parser.add_argument("--devices", default="8,64,256", help="numbers of devices")
    parser.add_argument("--neuron", type=int, default=1, help="devices along neuron")
    parser.add_argument("--sessions", type=int, default=67)
    parser.add_argument("--neurons", type=int, default=64, help="neurons of each session")
    parser.add_argument("--here", action="store_true", help="compile in this process, for the devices that it has")
    given = parser.parse_args()
    if given.here:
        print(json.dumps(compiled(jax.device_count(), given.neuron, given.sessions, given.neurons)), flush=True)
        return
    rows = []
    for devices in given.devices.split(","):
        same = [f"--{name}={getattr(given, name)}" for name in ("neuron", "sessions", "neurons")]
        command = [sys.executable, "-m", "benchmarks.pod", "--here", *same]
        environment = os.environ | {"JAX_NUM_CPU_DEVICES": devices, "JAX_PLATFORMS": "cpu"}
        done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True, env=environment)
        rows.append(json.loads(done.stdout.splitlines()[-1]))
    print(pd.DataFrame(rows).T.to_string(header=False, float_format=lambda value: f"{value:,.3f}"))


if __name__ == "__main__":
    main()
