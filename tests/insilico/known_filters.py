"""A linear-nonlinear model with filters that are known, and one that answers as clearly as if it were trained."""

import functools
from typing import Any

import jax.numpy as jnp
import numpy as np

from openretina_jax.data.info import DataInfo
from openretina_jax.models.build import make_core_readout
from openretina_jax.models.core_readout import CoreReadout
from tests import tiny

HEIGHT, WIDTH, CHANNELS, FRAMES = 5, 4, 2, 6
SESSIONS = {"right": 2, "left": 1}
NEURONS = sum(SESSIONS.values())


def info(sessions: dict[str, int]) -> DataInfo:
    """Facts of data of these sessions."""
    return DataInfo(
        sessions=sessions,
        mean_activity={name: [1.0] * count for name, count in sessions.items()},
        input_shape=(HEIGHT, WIDTH, CHANNELS),
        frame_rate_hz=30.0,
        pixel_size_um=50.0,
        norm_mean=None,
        norm_std=None,
        neurons={},
        source={},
    )


@functools.cache
def linear() -> CoreReadout:
    """Neurons whose response is the softplus of a filter's output; the model's core is the same for all sessions."""
    readout = {"kind": "separable_lnp", "spatial_size": (HEIGHT, WIDTH), "temporal_frames": FRAMES, "normalize": False}
    model = make_core_readout({"core": {"kind": "identity"}, "readout": readout}, info(SESSIONS))
    space, time = _kernels()
    model.readout.spatial[...] = jnp.asarray(np.moveaxis(space, -1, 1)[:, None])
    model.readout.temporal[...] = jnp.asarray(time[:, None])
    return model


def lively(**core: Any) -> CoreReadout:
    """The model of the small data set with larger weights; ``core`` are options of its core."""
    model = make_core_readout({**tiny.MODEL, "core": {**tiny.MODEL["core"], **core}}, tiny.dataset().info)
    model.core.layers[0].conv.spatial[...] *= 100
    model.readout.features[...] *= 10
    return model


def filters() -> np.ndarray:
    """Filters of all neurons: (neuron, frame, height, width, channel)."""
    space, time = _kernels()
    return np.einsum("nhwc,nt->nthwc", space, time)


@functools.cache
def _kernels() -> tuple[np.ndarray, np.ndarray]:
    """Blobs at different places and of different colours, of norm 1, and time courses that turn around."""
    y, x = np.mgrid[:HEIGHT, :WIDTH]
    blobs = np.stack([np.exp(-((y - 1 - n) ** 2 + (x - 1) ** 2) / 2) for n in range(NEURONS)])
    space = blobs[..., None] * np.array([[1.0, 0.5], [0.4, 1.0], [1.0, -0.7]])[:, None, None]
    frame = np.arange(FRAMES)
    time = np.exp(-((frame - 4) ** 2)) - 0.5 * np.exp(-((frame - 2) ** 2))
    space /= np.sqrt(np.square(space).sum(axis=(1, 2, 3), keepdims=True))
    times = np.array([1.0, -1.0, 1.0])[:, None] * time / np.linalg.norm(time)
    return space.astype(np.float32), times.astype(np.float32)
