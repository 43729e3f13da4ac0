"""Small models on which experiments are tried."""

import functools

import jax.numpy as jnp
import numpy as np
from jaxtyping import Float

from openretina_jax.data.info import DataInfo
from openretina_jax.models.build import make_core_readout
from openretina_jax.models.core_readout import CoreReadout

FRAMES, HEIGHT, WIDTH, CHANNELS = 6, 5, 4, 2
SESSIONS = {"one": 3, "two": 2}

INFO = DataInfo(
    sessions=SESSIONS,
    mean_activity={"one": [1.0, 2.0, 3.0], "two": [4.0, 5.0]},
    input_shape=(HEIGHT, WIDTH, CHANNELS),
    frame_rate_hz=30.0,
    pixel_size_um=50.0,
    norm_mean=None,
    norm_std=None,
    neurons={
        "one": {"cell_type": [28, 1, 28], "validation_correlation": [0.1, 0.7, None]},
        "two": {"cell_type": [1, 3], "validation_correlation": [0.9, 0.3]},
    },
    source={},
    pixel_low=[-2.0, -1.0],
    pixel_high=[3.0, 4.0],
    frame_norm=float(np.sqrt(HEIGHT * WIDTH * CHANNELS)),
)


@functools.cache
def lnp() -> CoreReadout:
    """An LNP model with random space-time filters; nobody may change it."""
    options = {
        "core": {"kind": "identity"},
        "readout": {
            "kind": "separable_lnp",
            "spatial_size": (HEIGHT, WIDTH),
            "temporal_frames": FRAMES,
            "rank": 2,
            "normalize": False,
        },
    }
    return make_core_readout(options, INFO)


def filters(model: CoreReadout) -> Float[np.ndarray, "neuron frame height width channel"]:
    """Filters of an LNP model, from its kernels."""
    spatial, temporal = np.asarray(model.readout.spatial[...]), np.asarray(model.readout.temporal[...])
    return np.einsum("nrt,nrchw->nthwc", temporal, spatial)


@functools.cache
def convolutional(seed: int = 0, readout: str = "gaussian_mask") -> CoreReadout:
    """A core of one layer and a readout."""
    core = {
        "kind": "simple",
        "hidden_channels": (3,),
        "temporal_kernel_sizes": (FRAMES,),
        "spatial_kernel_sizes": (3,),
    }
    model = make_core_readout({"core": core, "readout": {"kind": readout}}, INFO, seed)
    if readout == "gaussian_mask":  # all masks would lie in the middle
        model.readout.mask_mean[...] = jnp.asarray(np.random.default_rng(seed).uniform(-0.5, 0.5, (5, 2)), jnp.float32)
    return model
