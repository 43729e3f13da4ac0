"""Linear-nonlinear models of known filters, whose tuning can be computed by hand."""

import dataclasses
import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from openretina_jax.data.artificial_patterns import gabor
from openretina_jax.data.info import DataInfo
from openretina_jax.models.model import Model
from openretina_jax.modules.cores.core import ReceptiveField
from openretina_jax.modules.layers import NeuronConstant, fixed_nonlinearity

FRAMES, HEIGHT, WIDTH, CHANNELS = 8, 13, 11, 2
RATE_HZ, PIXEL_UM = 30.0, 50.0
ON, OFF, DIRECTIONAL, ORIENTED = range(4)
CENTRES_PX = np.array([[6.0, 5.0], [5.0, 6.0], [6.0, 5.0], [6.0, 5.0]])
COLOURS = np.array([[1.0, 0.5], [0.2, 1.0], [1.0, 1.0], [1.0, 1.0]])

INFO = DataInfo(
    sessions={"one": 3, "two": 1},
    mean_activity={"one": [1.0] * 3, "two": [1.0]},
    input_shape=(HEIGHT, WIDTH, CHANNELS),
    frame_rate_hz=RATE_HZ,
    pixel_size_um=PIXEL_UM,
    norm_mean=40.0,
    norm_std=20.0,  # contrast 1 is 2 in the units of the model
    neurons={"one": {}, "two": {}},
    source={},
)


class Known(Model):
    """Responses ``f(filter * stimulus)``, with or without padding before the first frame."""

    def __init__(self, filters: np.ndarray, output: str = "relu", *, padded: bool = False, info: DataInfo = INFO):
        super().__init__({}, info)
        self.filters = NeuronConstant(jnp.asarray(filters, jnp.float32))
        self.output, self.padded = output, padded

    @property
    def per_session(self) -> bool:
        return False

    def respond(
        self, stimulus: Array, first: Array, width: int, session: Array | None = None, **training: Any
    ) -> Array:
        del session, training
        frames = self.filters.shape[1]
        if self.padded:
            stimulus = jnp.pad(stimulus, ((0, 0), (0, 0), (frames - 1, 0), (0, 0), (0, 0), (0, 0)))
        count = stimulus.shape[2] - frames + 1

        def of_part(stimulus: Array, first: Array) -> Array:
            filters = jax.lax.dynamic_slice_in_dim(self.filters[...], first, width)
            drive = jnp.zeros((stimulus.shape[0], count, width))
            for lag in range(frames):
                drive += jnp.einsum("bthwc,nhwc->btn", stimulus[:, lag : lag + count], filters[:, lag])
            return fixed_nonlinearity(self.output)(drive)

        return jax.vmap(of_part)(stimulus, first)

    def receptive_field(self) -> ReceptiveField:
        return ReceptiveField(self.filters.shape[1], None, None)


def gaussian(centre_px: Float[np.ndarray, "2"], sigma_px: float) -> Float[np.ndarray, "height width"]:
    rows, columns = (np.arange(size) - place for size, place in zip((HEIGHT, WIDTH), centre_px, strict=True))
    image = np.exp(-0.5 * (rows[:, None] ** 2 + columns**2) / sigma_px**2)
    return image / image.sum()


def kernel(biphasic: float = 0.0) -> Float[np.ndarray, " frame"]:
    """Temporal kernel; the last frame is that of the response."""
    lag = np.arange(FRAMES)[::-1]
    return np.exp(-0.5 * (lag - 2.0) ** 2) - biphasic * np.exp(-0.5 * (lag - 5.0) ** 2)


def spatial(neuron: int) -> Float[np.ndarray, "height width"]:
    """Centre and surround of the ON and the OFF neuron, horizontal stripes of the oriented one."""
    if neuron == ORIENTED:
        return gabor(HEIGHT, WIDTH, orientation_deg=0.0, period_um=400.0, phase_deg=90.0, sigma_um=100.0) / 8
    return {ON: 1, OFF: -1}[neuron] * (gaussian(CENTRES_PX[neuron], 0.9) - 0.6 * gaussian(CENTRES_PX[neuron], 2.2))


def filters(biphasic: float = 0.0) -> Float[np.ndarray, "neuron frame height width channel"]:
    """Filters of an ON, an OFF, a directional and an oriented neuron; the first, second and last are separable.

    The directional one is a spot that moves rightwards by a pixel a frame.
    """
    separable = {one: kernel(biphasic)[:, None, None] * spatial(one) for one in (ON, OFF, ORIENTED)}
    moving = np.stack([gaussian(CENTRES_PX[DIRECTIONAL] + [0, frame - 3.5], 0.8) for frame in range(FRAMES)])
    drawn = np.stack([separable[ON], separable[OFF], moving, separable[ORIENTED]])
    return drawn[..., None] * COLOURS[:, None, None, None]


@functools.cache
def model(output: str = "relu", *, biphasic: float = 0.0, padded: bool = False, seconds: bool = True) -> Known:
    """A model of these filters; nobody may change it."""
    info = INFO if seconds else dataclasses.replace(INFO, frame_rate_hz=None, pixel_size_um=None)
    return Known(filters(biphasic), output, padded=padded, info=info)
