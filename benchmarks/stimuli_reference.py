"""The reference's side of a measurement of optimised stimuli; runs where openretina is installed, without us.

The recipe of its command for visualising neurons: gradient ascent at a rate of 100, a penalty on what leaves the range,
and after every step the norm, then the range. The objective is the mean of the last responses.
"""

import json
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from omegaconf import OmegaConf
from openretina.insilico.stimulus_optimization.objective import IncreaseObjective, SliceMeanReducer
from openretina.insilico.stimulus_optimization.optimization_stopper import OptimizationStopper
from openretina.insilico.stimulus_optimization.optimizer import optimize_stimulus
from openretina.insilico.stimulus_optimization.regularizer import (
    ChangeNormJointlyClipRangeSeparately,
    RangeRegularizationLoss,
)
from openretina.models.core_readout import UnifiedCoreReadout

RATE, START, PENALTY = 100.0, 0.1, 0.1


def prepare(task: Mapping[str, Any]) -> tuple[Callable[[], Any], dict[str, Any]]:
    """The search for one neuron after the other, as in ``stimuli_ours``; ``sessions`` says where each neuron is."""
    torch.set_num_threads(task["threads"])
    torch.manual_seed(0)
    state = dict(np.load(Path(task["folder"]) / "model.npz"))
    arguments = json.loads(str(state.pop("hyper_parameters")))
    model = UnifiedCoreReadout(**OmegaConf.create(arguments))
    model.load_state_dict({name: torch.from_numpy(array) for name, array in state.items()}, strict=False)
    model.eval()
    bounds = list(zip(task["low"], task["high"], strict=True))
    within = ChangeNormJointlyClipRangeSeparately(min_max_values=bounds, norm=task["norm"])
    penalty = RangeRegularizationLoss(min_max_values=bounds, max_norm=task["norm"], factor=PENALTY)
    shape = model.stimulus_shape(time_steps=task["frames"], num_batches=1)
    with torch.no_grad():
        count = model(torch.zeros(shape), data_key=task["sessions"][0][0]).shape[1]
    reducer = SliceMeanReducer(axis=0, start=count - task["window"], length=task["window"])

    def stimulus_of(session: str, number: int) -> np.ndarray:
        stimulus = torch.randn(shape, requires_grad=True)
        stimulus.data = within.process(stimulus.data * START)
        optimize_stimulus(
            stimulus,
            partial(torch.optim.SGD, lr=RATE),
            IncreaseObjective(model, neuron_indices=number, data_key=session, response_reducer=reducer),
            OptimizationStopper(max_iterations=task["steps"]),
            stimulus_regularization_loss=penalty,
            stimulus_postprocessor=within,
        )
        return np.moveaxis(stimulus[0].numpy(), 0, -1)  # channel last

    def work() -> None:
        found = np.stack([stimulus_of(session, number) for session, number in task["sessions"]])
        np.save(Path(task["folder"]) / "openretina.npy", found)

    return work, {}
