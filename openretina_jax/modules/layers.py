"""Small layers: batch normalisation, dropout of channels, pooling, and nonlinearities by name."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float, Key

from openretina_jax.errors import UserError

NONLINEARITIES: dict[str, Callable[[Array], Array]] = {
    "softplus": jax.nn.softplus,
    "elu": jax.nn.elu,
    "exp": jnp.exp,
    "relu": jax.nn.relu,
    "sigmoid": jax.nn.sigmoid,
    "tanh": jnp.tanh,
    "identity": lambda x: x,
}


def nonlinearity(name: str) -> Callable[[Array], Array]:
    """The function of that name.

    Raises:
        UserError: there is none.
    """
    if name not in NONLINEARITIES:
        raise UserError(f'nonlinearity "{name}" is unknown; choose among {", ".join(NONLINEARITIES)}')
    return NONLINEARITIES[name]


class BatchNorm(nnx.Module):
    """Batch normalisation over all axes but the last (channels), as in torch.

    The batch is normalised by its biased variance, the running variance averages the unbiased one; statistics are
    float32 whatever the input's type. Source: Ioffe and Szegedy 2015, https://arxiv.org/abs/1502.03167.

    Attributes:
        scale, bias: ``(channel,)`` parameters, or None.
        mean, variance: ``(channel,)`` running statistics, used outside training.
    """

    def __init__(self, channels: int, *, momentum: float = 0.1, epsilon: float = 1e-5, affine: bool = True):
        self.momentum, self.epsilon = momentum, epsilon
        self.scale = nnx.Param(jnp.ones(channels)) if affine else None
        self.bias = nnx.Param(jnp.zeros(channels)) if affine else None
        self.mean = nnx.BatchStat(jnp.zeros(channels))
        self.variance = nnx.BatchStat(jnp.ones(channels))

    def __call__(self, x: Float[Array, "*batch channel"], *, train: bool = False) -> Float[Array, "*batch channel"]:
        """Normalise; in training by the batch's own statistics, which also move the running ones."""
        if train:
            axes = tuple(range(x.ndim - 1))
            wide = x.astype(jnp.float32)
            mean, variance = wide.mean(axes), wide.var(axes)
            count = x.size // x.shape[-1]
            self._average(mean, variance * count / max(count - 1, 1))
        else:
            mean, variance = self.mean[...], self.variance[...]
        gain = jax.lax.rsqrt(variance + self.epsilon)
        if self.scale is not None:
            gain = self.scale[...] * gain
        offset = -mean * gain if self.bias is None else self.bias[...] - mean * gain
        return x * gain.astype(x.dtype) + offset.astype(x.dtype)

    def _average(self, mean: Array, variance: Array) -> None:
        for running, new in ((self.mean, mean), (self.variance, variance)):
            running[...] = running[...] + self.momentum * (jax.lax.stop_gradient(new) - running[...])


def dropout_channels(
    x: Float[Array, "batch time height width channel"], rate: float, key: Key[Array, ""]
) -> Float[Array, "batch time height width channel"]:
    """Set whole channels of a window to zero with probability ``rate`` and scale up the others."""
    keep = jax.random.bernoulli(key, 1 - rate, (x.shape[0], 1, 1, 1, x.shape[-1]))
    return jnp.where(keep, x / (1 - rate), 0)


def max_pool(
    x: Float[Array, "batch time height width channel"],
) -> Float[Array, "batch time half_height half_width channel"]:
    """Maximum over 2x2 pixels; an odd last row or column is dropped."""
    return nnx.max_pool(x, (1, 2, 2), strides=(1, 2, 2))


def average_pool(
    x: Float[Array, "batch time height width channel"], size: tuple[int, int, int]
) -> Float[Array, "batch new_time new_height new_width channel"]:
    """Mean over blocks of (time, height, width); incomplete blocks at the end are dropped."""
    return nnx.avg_pool(x, size, strides=size)
