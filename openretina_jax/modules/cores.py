"""The shared core: a stack of convolutions that turns a movie into feature maps."""

from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float, Float32, Key

from openretina_jax.errors import UserError
from openretina_jax.modules.convolutions import CONVOLUTIONS, PaddingOption
from openretina_jax.modules.layers import BatchNorm, average_pool, dropout_channels, max_pool
from openretina_jax.modules.lowerings import Lowering
from openretina_jax.modules.regularizers import group_sparsity, spatial_laplace
from openretina_jax.modules.variables import Constant


class CoreLayer(nnx.Module):
    """Convolution, batch normalisation, bias, ELU, and optional dropout and 2x2 pooling.

    Attributes:
        conv: the convolution (without bias).
        norm: batch normalisation.
        bias: ``(channel,)``, added after it.
    """

    def __init__(self, conv: Any, channels: int, *, dropout_rate: float, pool: bool):
        self.conv = conv
        self.norm = BatchNorm(channels)
        self.bias = nnx.Param(jnp.zeros(channels))
        self.dropout_rate, self.pool = dropout_rate, pool

    def __call__(self, x: Array, *, train: bool, key: Array | None) -> Array:
        """Apply the layer; ``key`` draws the dropped channels in training."""
        x = self.norm(self.conv(x), train=train) + self.bias[...].astype(x.dtype)
        x = jax.nn.elu(x)
        if train and self.dropout_rate > 0:
            if key is None:
                raise ValueError("training with dropout needs a random key")
            x = dropout_channels(x, self.dropout_rate, key)
        return max_pool(x) if self.pool else x


class SimpleCore(nnx.Module):
    """Stack of space-time convolutions (Höfling et al. 2024, https://doi.org/10.7554/eLife.86860).

    Attributes:
        layers: the ``CoreLayer`` list.
        color_weights: weights of the input channels in the grey value, or None.

    Args:
        in_channels: channels of the stimulus.
        hidden_channels: output channels of each layer.
        temporal_kernel_sizes, spatial_kernel_sizes: frames and pixels of each layer's kernel.
        convolution: "custom_separable", "separable", "full" or "time_independent".
        input_padding, hidden_padding: padding of the first and of the other layers, see ``resolve_padding``.
        gamma_input: weight of the Laplace penalty on the first layer's spatial kernels.
        gamma_temporal: weight of the penalty on fast temporal kernels, all layers.
        gamma_hidden: weight of the group sparsity of all layers but the first.
        gamma_in_sparse: weight of the group sparsity of all layers.
        dropout_rate: probability that training drops a channel of a window after a layer.
        pool_every: 2x2 max pooling after layers 0, n, 2n, ... (None: never).
        downsample_input: mean over blocks of (time, height, width) before the first layer (None: not).
        color_weights: turn a colour stimulus into one grey channel with these weights (None: not); a stimulus of one
            channel passes unchanged.
        cut_first_frames: output frames to drop.
        lowering: how "custom_separable" is computed, see ``lowerings``.
        rngs: random streams for the initial parameters.

    Raises:
        UserError: options that contradict each other.
    """

    def __init__(
        self,
        in_channels: int,
        *,
        hidden_channels: tuple[int, ...],
        temporal_kernel_sizes: tuple[int, ...],
        spatial_kernel_sizes: tuple[int, ...],
        convolution: str = "custom_separable",
        input_padding: PaddingOption = False,
        hidden_padding: PaddingOption = "same",
        gamma_input: float = 0.0,
        gamma_temporal: float = 0.0,
        gamma_hidden: float = 0.0,
        gamma_in_sparse: float = 0.0,
        dropout_rate: float = 0.0,
        pool_every: int | None = None,
        downsample_input: tuple[int, int, int] | None = None,
        color_weights: tuple[float, ...] | None = None,
        cut_first_frames: int = 0,
        lowering: Lowering = "auto",
        rngs: nnx.Rngs,
    ):
        layers = len(hidden_channels)
        if layers == 0:
            raise UserError("a core needs at least one layer: hidden_channels is empty")
        for name, sizes in (("temporal", temporal_kernel_sizes), ("spatial", spatial_kernel_sizes)):
            if len(sizes) != layers:
                raise UserError(f"{name}_kernel_sizes {sizes} has {len(sizes)} entries for {layers} layers")
        if convolution not in CONVOLUTIONS:
            raise UserError(f'convolution "{convolution}" is unknown; choose among {", ".join(CONVOLUTIONS)}')
        if gamma_temporal and convolution in ("full", "time_independent"):
            raise UserError(
                f'gamma_temporal is {gamma_temporal}, but "{convolution}" has no temporal kernels; set it to 0'
            )
        if color_weights is not None and in_channels not in (1, len(color_weights)):
            raise UserError(f"color_weights has {len(color_weights)} entries for a stimulus of {in_channels} channels")
        self.gammas = (  # not a dictionary: what is fixed in a model must be hashable for nnx.jit
            ("input", gamma_input),
            ("temporal", gamma_temporal),
            ("hidden", gamma_hidden),
            ("in_sparse", gamma_in_sparse),
        )
        self.cut_first_frames, self.downsample_input = cut_first_frames, downsample_input
        self.color_weights = None if color_weights is None else Constant(jnp.asarray(color_weights))
        options = {"lowering": lowering} if convolution == "custom_separable" else {}
        channels = (in_channels if color_weights is None else 1, *hidden_channels)
        self.layers = nnx.List(
            CoreLayer(
                CONVOLUTIONS[convolution](
                    channels[n],
                    channels[n + 1],
                    temporal_kernel_sizes[n],
                    spatial_kernel_sizes[n],
                    padding=hidden_padding if n else input_padding,
                    rngs=rngs,
                    **options,
                ),
                channels[n + 1],
                dropout_rate=dropout_rate,
                pool=pool_every is not None and n % pool_every == 0,
            )
            for n in range(layers)
        )

    def __call__(
        self,
        stimulus: Float[Array, "batch time height width channel"],
        *,
        train: bool = False,
        key: Key[Array, ""] | None = None,
    ) -> Float[Array, "batch new_time new_height new_width feature"]:
        """Feature maps of the stimulus.

        Args:
            stimulus: normalised movie windows.
            train: use (and average) the batch's own statistics, and drop channels.
            key: random key, needed in training with dropout.
        """
        x = stimulus
        if self.color_weights is not None and x.shape[-1] > 1:
            x = (x * self.color_weights[...].astype(x.dtype)).sum(axis=-1, keepdims=True)
        if self.downsample_input is not None:
            x = average_pool(x, self.downsample_input)
        keys = [None] * len(self.layers) if key is None else list(jax.random.split(key, len(self.layers)))
        for layer, layer_key in zip(self.layers, keys, strict=True):
            x = layer(x, train=train, key=layer_key)
        return x[:, self.cut_first_frames :]

    def penalties(self) -> dict[str, Float32[Array, ""]]:
        """Every penalty whose weight is not 0, weighted, by name."""
        return {name: gamma * getattr(self, f"_{name}_penalty")() for name, gamma in self.gammas if gamma}

    def regularizer(self) -> Float32[Array, ""]:
        """Sum of the weighted penalties."""
        return sum(self.penalties().values(), start=jnp.zeros(()))

    def _input_penalty(self) -> Array:
        return spatial_laplace(_spatial_kernels(self.layers[0]))

    def _temporal_penalty(self) -> Array:
        # the reference smooths the first layer only where kernels are plain numbers, all layers where they have a basis
        first_only = not hasattr(self.layers[0].conv, "sin")
        return sum(layer.conv.temporal_penalty() for layer in (self.layers[:1] if first_only else self.layers))

    def _hidden_penalty(self) -> Array:
        return sum((group_sparsity(_spatial_kernels(layer)) for layer in self.layers[1:]), start=jnp.zeros(()))

    def _in_sparse_penalty(self) -> Array:
        return sum((group_sparsity(_spatial_kernels(layer)) for layer in self.layers), start=jnp.zeros(()))


def _spatial_kernels(layer: CoreLayer) -> Array:
    """Spatial kernels ``(out, in, height, width)``; a full kernel counts every frame as an input."""
    if hasattr(layer.conv, "spatial"):
        return layer.conv.spatial[...]
    kernel = layer.conv.kernel[...]
    return kernel.reshape(kernel.shape[0], -1, *kernel.shape[3:])


class IdentityCore(nnx.Module):
    """Passes the stimulus on, for models that are a readout alone.

    Args:
        cut_first_frames: frames to drop.
    """

    def __init__(self, *, cut_first_frames: int = 0):
        self.cut_first_frames = cut_first_frames

    def __call__(
        self,
        stimulus: Float[Array, "batch time height width channel"],
        *,
        train: bool = False,
        key: Key[Array, ""] | None = None,
    ) -> Float[Array, "batch new_time height width channel"]:
        """The stimulus without its first frames."""
        del train, key
        return stimulus[:, self.cut_first_frames :]

    def regularizer(self) -> Float32[Array, ""]:
        """Nothing to penalise."""
        return jnp.zeros(())
