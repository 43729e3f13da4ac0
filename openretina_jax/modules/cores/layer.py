"""The layer that all convolutional cores are made of."""

from typing import Any, Literal

from flax import nnx
from jaxtyping import Array, Float, Float32, Key

from openretina_jax.modules.layers import BatchNorm, Bias, Scale, dropout_channels, make_nonlinearity, max_pool

Norm = Literal["affine", "plain"]


class CoreLayer(nnx.Module):
    """Convolution, batch normalisation, bias, nonlinearity, and optional dropout and 2x2 pooling.

    Attributes:
        conv: the convolution (without bias).
        norm: batch normalisation, or None.
        scale, bias: gain or offset after it, or None.
        nonlinearity: function or module.

    Args:
        conv: the convolution.
        channels: its output channels.
        norm: batch normalisation with a gain and an offset ("affine"), without ("plain"), or none.
        momentum: weight of a new batch in the running statistics.
        scale, bias: whether a gain or an offset follows.
        nonlinearity: name of the nonlinearity.
        dropout_rate: probability that training drops a channel of a window.
        pool: whether 2x2 maximum pooling ends the layer.
    """

    def __init__(
        self,
        conv: Any,
        channels: int,
        *,
        norm: Norm | None = "affine",
        momentum: float = 0.1,
        scale: bool = False,
        bias: bool = True,
        nonlinearity: str = "elu",
        dropout_rate: float = 0.0,
        pool: bool = False,
    ):
        self.conv = conv
        self.norm = None if norm is None else BatchNorm(channels, momentum=momentum, affine=norm == "affine")
        self.scale = Scale(channels) if scale else None
        self.bias = Bias(channels) if bias else None
        self.nonlinearity = make_nonlinearity(nonlinearity)
        self.dropout_rate, self.pool = dropout_rate, pool

    def __call__(
        self,
        x: Float[Array, "batch time height width in"],
        *,
        train: bool = False,
        key: Key[Array, ""] | None = None,
        log_speed: Float32[Array, " part"] | None = None,
    ) -> Float[Array, "batch new_time new_height new_width out"]:
        """Apply the layer.

        Args:
            x: input maps.
            train: use (and average) the batch's own statistics, and drop channels.
            key: draws the dropped channels in training.
            log_speed: speed of the temporal kernels for each part of the batch (None: the convolution's own).
        """
        # Convolutions on CPUs leave the batch last. A pass over the maps in that order is several times as fast as one
        # in the order of their axes; on accelerators, where the compiler chooses the order, it is the same.
        x = self.conv(x, log_speed).transpose(1, 2, 3, 4, 0)
        if self.norm is not None:
            x = self.norm(x, train=train, axis=-2)
        if self.scale is not None:
            x = self.scale(x, axis=-2)
        if self.bias is not None:
            x = self.bias(x, axis=-2)
        x = self.nonlinearity(x).transpose(4, 0, 1, 2, 3)
        if train and self.dropout_rate > 0:
            if key is None:
                raise ValueError("training with dropout needs a random key")
            x = dropout_channels(x, self.dropout_rate, key)
        return max_pool(x) if self.pool else x
