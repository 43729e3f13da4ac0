"""Small models of every kind, for pictures."""

import dataclasses
from typing import Any

import numpy as np
from flax import nnx

from openretina_jax.data.info import DataInfo
from openretina_jax.models.build import make_model
from openretina_jax.models.model import Model
from openretina_jax.modules.readouts.readout import Readout
from tests import tiny

SESSIONS = {"a": 3, "b": 3}  # of equal size, as the readout "cloned" needs

# options without which a kind cannot be made, or that make its picture worth looking at
CORES: dict[str, dict[str, Any]] = {
    "simple": {"hidden_channels": (4, 3), "temporal_kernel_sizes": (6, 3), "spatial_kernel_sizes": (5, 3)},
    "gru": {
        "hidden_channels": (4, 3),
        "temporal_kernel_sizes": (6, 3),
        "spatial_kernel_sizes": (5, 3),
        "recurrent_channels": 2,
    },
}
READOUTS: dict[str, dict[str, Any]] = {
    "separable_lnp": {"spatial_size": (5, 4), "temporal_frames": 7, "rank": 2},
    "spatial_contrast": {"temporal_frames": 7},
    "cloned": {"source": {"kind": "gaussian_mask"}},
}


class UnknownReadout(Readout):
    """A kind that nobody has drawn."""

    n_neurons = 6

    def __call__(self, maps: Any, first: Any = 0, width: int | None = None, *, key: Any = None) -> Any:
        return maps[:, :, 0, 0, : self.n_neurons]


def info() -> DataInfo:
    """Facts of a data set with two sessions."""
    activity = {name: [0.0] * count for name, count in SESSIONS.items()}
    return dataclasses.replace(tiny.dataset().info, sessions=SESSIONS, mean_activity=activity)


def options(core: str = "identity", readout: str = "gaussian_mask") -> dict[str, dict[str, Any]]:
    """Options of a model with these kinds of parts."""
    parts = {"core": {"kind": core, **CORES.get(core, {})}, "readout": {"kind": readout, **READOUTS.get(readout, {})}}
    if readout == "spatial_contrast":
        parts["core"]["color_weights"] = (0.5, 0.5)
    return parts


def make(core: str = "identity", readout: str = "gaussian_mask", /, **changes: Any) -> Model:
    """A model with random numbers in all of its parameters; ``changes`` are options of the readout."""
    parts = options(core, readout)
    return randomised(make_model(parts | {"readout": parts["readout"] | changes}, info()))


def randomised(model: Model) -> Model:
    """The model, with random numbers in all of its parameters."""
    random = np.random.default_rng(0)
    for _, variable in nnx.to_flat_state(nnx.state(model, nnx.Param)):
        variable[...] = random.normal(size=variable.shape).astype(np.float32)
    return model
