"""The four space-time convolutions of a core, and their common options."""

from typing import Any, Literal

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float, Float32

from openretina_jax.errors import UserError
from openretina_jax.modules.kernels import lowerings
from openretina_jax.modules.kernels.lowerings import Lowering, convolve, convolve_twice
from openretina_jax.modules.kernels.tiles import Padding
from openretina_jax.modules.layers import Constant
from openretina_jax.modules.regularizers import temporal_laplace
from openretina_jax.modules.temporal_basis import (
    number_of_frequencies,
    temporal_coefficients,
    temporal_functions,
    temporal_smoothness,
)
from openretina_jax.runtime.devices import precision

PaddingOption = bool | int | Literal["same", "valid"] | tuple[int, int, int]
Size = int | tuple[int, int]
Maps = Float[Array, "batch time height width in"]
NewMaps = Float[Array, "batch new_time new_height new_width out"]
Speeds = Float32[Array, " part"] | None  # of equal parts of a batch, one after the other

# of kernels (out, in, ...): uniform within 1/sqrt(fan in), torch's default, and the normals of Glorot and Bengio 2010
UNIFORM = nnx.initializers.variance_scaling(1 / 3, "fan_in", "uniform", in_axis=1, out_axis=0)
XAVIER = nnx.initializers.variance_scaling(1.0, "fan_avg", "normal", in_axis=1, out_axis=0)
SUBSAMPLING = 3  # frames per frequency of the temporal basis (Höfling et al. 2024)


def resolve_padding(padding: PaddingOption, kernel: tuple[int, int, int]) -> Padding:
    """Frames and pixels added before and after each of (time, height, width).

    Args:
        padding: ``"same"`` or True keeps the size (an even kernel pads one more at the end), ``"valid"`` or False adds
            nothing, a number pads all three axes, a triple each axis.
        kernel: size of the kernel.

    Raises:
        UserError: the option is none of these.
    """
    if padding is True or padding == "same":
        return tuple(((k - 1) // 2, k // 2) for k in kernel)  # type: ignore[return-value]
    if padding is False or padding == "valid":
        padding = 0
    if isinstance(padding, int):
        padding = (padding,) * 3
    if isinstance(padding, str) or len(padding) != 3:
        raise UserError(f'padding {padding!r} is not "same", "valid", a number or a triple (time, height, width)')
    return tuple((p, p) for p in padding)  # type: ignore[return-value]


class SpaceTimeConv(nnx.Module):
    """Convolution with the kernel ``T[o, i, t] S[o, i, h, w]``, ``T`` in a sine/cosine basis ("custom_separable").

    Source: Höfling et al. 2024, https://doi.org/10.7554/eLife.86860.

    Attributes:
        sin, cos: ``(out, in, frequency)`` coefficients of the temporal kernels.
        spatial: ``(out, in, height, width)`` spatial kernels.
        log_speed: speed of the temporal kernels where a call gives none; 0, not trained.
        bias: ``(out,)``, or None.

    Args:
        in_channels, out_channels: channels before and after.
        temporal_size, spatial_size: kernel in frames and pixels (one number, or height and width).
        padding: see ``resolve_padding``.
        strides: of (time, height, width).
        bias: whether to add one number per output channel.
        subsampling: frames per frequency of the temporal basis.
        lowering: how it is computed, see ``lowerings``.
        rngs: random streams; coefficients and spatial kernels are drawn from N(0, 0.01).
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        temporal_size: int,
        spatial_size: Size,
        *,
        padding: PaddingOption = False,
        strides: tuple[int, int, int] = (1, 1, 1),
        bias: bool = False,
        subsampling: int = SUBSAMPLING,
        lowering: Lowering = "auto",
        rngs: nnx.Rngs,
    ):
        self.temporal_size, self.subsampling = temporal_size, subsampling
        height_width = _height_width(spatial_size)
        self.padding = resolve_padding(padding, (temporal_size, *height_width))
        self.strides, self.lowering = strides, lowering
        pair = (out_channels, in_channels)
        frequencies = number_of_frequencies(temporal_size, subsampling)
        self.sin = nnx.Param(0.01 * rngs.params.normal((*pair, frequencies)))
        self.cos = nnx.Param(0.01 * rngs.params.normal((*pair, frequencies)))
        self.spatial = nnx.Param(0.01 * rngs.params.normal((*pair, *height_width)))
        self.log_speed = Constant(jnp.zeros(()))
        self.bias = _zero_bias(out_channels, bias)

    def temporal(self, log_speed: Float32[Array, ""] | None = None) -> Float[Array, "out in time"]:
        """Temporal kernels, played ``exp(log_speed)`` times as fast; the last frame is the most recent."""
        speed = self.log_speed[...] if log_speed is None else log_speed
        coefficients = temporal_coefficients(self.sin[...], self.cos[...])
        return jnp.matmul(coefficients, self._functions(speed), precision=precision())

    def _functions(self, log_speed: Float32[Array, ""]) -> Float[Array, "function time"]:
        return temporal_functions(log_speed, self.temporal_size, self.subsampling)

    def __call__(self, x: Maps, log_speed: Speeds = None) -> NewMaps:
        """Convolve, each part of the batch with the temporal kernels of its ``log_speed`` (None: the module's own)."""
        speed = self.log_speed[...][None] if log_speed is None else log_speed
        spatial, coefficients = self.spatial[...], temporal_coefficients(self.sin[...], self.cos[...])

        def convolved(part: Array, speed: Array) -> Array:
            kernel = lowerings.SeparableKernel(spatial, coefficients, self._functions(speed))
            return lowerings.apply(self.lowering, part, kernel, self.padding, self.strides)

        if len(speed) == 1:
            y = convolved(x, speed[0])
        else:
            y = jax.vmap(convolved)(x.reshape(len(speed), -1, *x.shape[1:]), speed)
            y = y.reshape(x.shape[0], *y.shape[2:])
        return _add(y, self.bias)

    @property
    def size(self) -> tuple[int, int, int]:
        """Frames, height and width of the kernel."""
        height, width = self.spatial.shape[2:]
        return self.temporal_size, height, width

    def temporal_penalty(self) -> Float32[Array, ""]:
        """Squared coefficients, weighted towards the fast ones."""
        return temporal_smoothness(self.sin[...], self.cos[...])


class SeparableConv(nnx.Module):
    """A spatial convolution over channels, then a temporal one ("separable").

    Padding, strides and bias apply to both, so ``(0, 2, 2)`` pads space twice. The output is multiplied by
    ``exp(log_speed)``. Arguments as in ``SpaceTimeConv``.

    Attributes:
        log_speed: as in ``SpaceTimeConv``.
        spatial: ``(out, in, height, width)``; spatial_bias: ``(out,)``, or None.
        temporal: ``(out, out, time)``; temporal_bias: ``(out,)``, or None.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        temporal_size: int,
        spatial_size: Size,
        *,
        padding: PaddingOption = False,
        strides: tuple[int, int, int] = (1, 1, 1),
        bias: bool = False,
        rngs: nnx.Rngs,
    ):
        height_width = _height_width(spatial_size)
        self.spatial_padding = resolve_padding(padding, (1, *height_width))
        self.temporal_padding = resolve_padding(padding, (temporal_size, 1, 1))
        self.strides = strides
        self.spatial = nnx.Param(UNIFORM(rngs.params(), (out_channels, in_channels, *height_width)))
        self.temporal = nnx.Param(UNIFORM(rngs.params(), (out_channels, out_channels, temporal_size)))
        self.log_speed = Constant(jnp.zeros(()))
        self.spatial_bias = _zero_bias(out_channels, bias)
        self.temporal_bias = _zero_bias(out_channels, bias)

    def __call__(self, x: Maps, log_speed: Speeds = None) -> NewMaps:
        """Convolve space, then time; each part of the batch has its ``log_speed`` (None: the module's own)."""
        gain = jnp.exp(self.log_speed[...][None] if log_speed is None else log_speed)
        own = gain if len(gain) == 1 else jnp.ones(1)  # of kernels, which are less to multiply than maps
        bias = None if self.spatial_bias is None else self.spatial_bias[...]
        paddings = self.spatial_padding, self.temporal_padding
        y = convolve_twice(x, self.spatial[...], own * self.temporal[...], bias, paddings, self.strides)
        if self.temporal_bias is not None:
            y += (own * self.temporal_bias[...]).astype(y.dtype)
        if len(gain) == 1:
            return y
        return jnp.repeat(gain, len(y) // len(gain))[:, None, None, None, None].astype(y.dtype) * y

    @property
    def size(self) -> tuple[int, int, int]:
        """Frames, height and width of the kernel."""
        height, width = self.spatial.shape[2:]
        return self.temporal.shape[2], height, width

    @property
    def padding(self) -> Padding:
        """That of both together, see ``resolve_padding``."""
        both = zip(self.spatial_padding, self.temporal_padding, strict=True)
        return tuple((s[0] + t[0], s[1] + t[1]) for s, t in both)  # type: ignore[return-value]

    def temporal_penalty(self) -> Float32[Array, ""]:
        """Normalised Laplace penalty of the temporal kernels."""
        return temporal_laplace(self.temporal[...])


class FullConv(nnx.Module):
    """An unconstrained 3-D convolution ("full"). It has no speed. Arguments as in ``SpaceTimeConv``.

    Attributes:
        kernel: ``(out, in, time, height, width)``; bias: ``(out,)``, or None.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        temporal_size: int,
        spatial_size: Size,
        *,
        padding: PaddingOption = False,
        strides: tuple[int, int, int] = (1, 1, 1),
        bias: bool = False,
        rngs: nnx.Rngs,
    ):
        size = (temporal_size, *_height_width(spatial_size))
        self.padding, self.strides = resolve_padding(padding, size), strides
        self.kernel = nnx.Param(UNIFORM(rngs.params(), (out_channels, in_channels, *size)))
        self.bias = _zero_bias(out_channels, bias)

    def __call__(self, x: Maps, log_speed: Speeds = None) -> NewMaps:
        """Convolve; ``log_speed`` has no effect."""
        del log_speed
        kernel = self.kernel[...].transpose(2, 3, 4, 1, 0).astype(x.dtype)
        return _add(convolve(x, kernel, self.padding, self.strides), self.bias)

    @property
    def size(self) -> tuple[int, int, int]:
        """Frames, height and width of the kernel."""
        frames, height, width = self.kernel.shape[2:]
        return frames, height, width


class TimeIndependentConv(nnx.Module):
    """A 2-D convolution of every frame on its own ("time_independent"). Arguments as in ``SpaceTimeConv``.

    ``temporal_size`` must be given for the common signature and is not used.

    Attributes:
        spatial: ``(out, in, height, width)``; bias: ``(out,)``, or None.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        temporal_size: int,
        spatial_size: Size,
        *,
        padding: PaddingOption = False,
        strides: tuple[int, int, int] = (1, 1, 1),
        bias: bool = False,
        rngs: nnx.Rngs,
    ):
        del temporal_size
        height_width = _height_width(spatial_size)
        self.padding, self.strides = resolve_padding(padding, (1, *height_width)), strides
        self.spatial = nnx.Param(UNIFORM(rngs.params(), (out_channels, in_channels, *height_width)))
        self.bias = _zero_bias(out_channels, bias)

    def __call__(self, x: Maps, log_speed: Speeds = None) -> NewMaps:
        """Convolve every frame; ``log_speed`` has no effect."""
        del log_speed
        kernel = self.spatial[...].transpose(2, 3, 1, 0)[None].astype(x.dtype)
        return _add(convolve(x, kernel, self.padding, self.strides), self.bias)

    @property
    def size(self) -> tuple[int, int, int]:
        """Frames, height and width of the kernel."""
        height, width = self.spatial.shape[2:]
        return 1, height, width


CONVOLUTIONS: dict[str, Any] = {
    "custom_separable": SpaceTimeConv,
    "separable": SeparableConv,
    "full": FullConv,
    "time_independent": TimeIndependentConv,
}


def draw_xavier(conv: nnx.Module, rngs: nnx.Rngs) -> None:
    """Draw the plain kernels of a convolution anew, from ``XAVIER``; those in a basis stay."""
    if isinstance(conv, SpaceTimeConv):
        return
    for name in ("kernel", "spatial", "temporal"):
        if hasattr(conv, name):
            kernel = getattr(conv, name)
            kernel[...] = XAVIER(rngs.params(), kernel.shape)


def _height_width(size: Size) -> tuple[int, int]:
    return (size, size) if isinstance(size, int) else size


def _zero_bias(channels: int, present: bool) -> nnx.Param | None:
    return nnx.Param(jnp.zeros(channels)) if present else None


def _add(y: Array, bias: nnx.Param | None) -> Array:
    return y if bias is None else y + bias[...].astype(y.dtype)
