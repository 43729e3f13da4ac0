"""The contract of a core's space-time convolutions, and the four kinds."""

import abc
from typing import Any, Literal

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float, Float32

from openretina_jax.errors import UserError
from openretina_jax.modules import initial
from openretina_jax.modules.kernels import lowerings
from openretina_jax.modules.kernels.lowerings import Lowering, convolve, convolve_twice
from openretina_jax.modules.kernels.tiles import Padding
from openretina_jax.modules.layers import Constant
from openretina_jax.modules.regularizers import temporal_laplace
from openretina_jax.modules.temporal_basis import (
    number_of_frequencies,
    temporal_coefficients,
    temporal_functions,
    temporal_kernels,
    temporal_smoothness,
)

PaddingOption = bool | int | Literal["same", "valid"] | tuple[int, int, int]
Size = int | tuple[int, int]
Maps = Float[Array, "batch time height width in"]
NewMaps = Float[Array, "batch new_time new_height new_width out"]
Speeds = Float32[Array, " part"] | None  # one for each of the equal parts of a batch, which follow each other

SUBSAMPLING = 3  # frames per frequency of the temporal basis (Höfling et al. 2024)


def resolve_padding(padding: PaddingOption, kernel: tuple[int, int, int]) -> Padding:
    """Compute the zeros added before and after along (time, height, width).

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


class Convolution(nnx.Module):
    """Base of convolutions of movies, which a ``CoreLayer`` applies.

    A subclass writes ``_make_kernels``, ``__call__`` and ``size``, and ``temporal_penalty`` if it has temporal kernels.
    Biases of a subclass are ``(out,)``, or None.

    Attributes:
        strides: strides along (time, height, width).
        padding: zeros added before and after along each of these, see ``resolve_padding``.

    Args:
        in_channels, out_channels: channels before and after.
        temporal_size, spatial_size: kernel in frames and pixels (one number, or height and width).
        padding: see ``resolve_padding``.
        strides: strides along (time, height, width).
        bias: whether to add one number per output channel.
        rngs: random streams for the initial kernels.
    """

    padding: Padding

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
        height_width = (spatial_size, spatial_size) if isinstance(spatial_size, int) else spatial_size
        self.strides = strides
        self._make_kernels(out_channels, in_channels, (temporal_size, *height_width), padding, bias, rngs)

    @abc.abstractmethod
    def _make_kernels(
        self, out: int, channels: int, size: tuple[int, int, int], padding: PaddingOption, bias: bool, rngs: nnx.Rngs
    ) -> None:
        """Set ``padding``, draw the kernels, and set the biases."""

    @abc.abstractmethod
    def __call__(self, x: Maps, log_speed: Speeds = None) -> NewMaps:
        """Convolve; where temporal kernels have a speed, each part of the batch has its own (None: the module's)."""

    @property
    @abc.abstractmethod
    def size(self) -> tuple[int, int, int]:
        """Frames, height and width of the kernel."""


class SpaceTimeConv(Convolution):
    """Convolution with the kernel ``T[o, i, t] S[o, i, h, w]``, ``T`` in a sine/cosine basis ("custom_separable").

    Source: Höfling et al. 2024, https://doi.org/10.7554/eLife.86860.

    Attributes:
        sin, cos: ``(out, in, frequency)`` coefficients of the temporal kernels.
        spatial: ``(out, in, height, width)`` spatial kernels.
        log_speed: logarithm of the temporal kernels' speed where a call gives none; 0, not trained.

    Args:
        args, options: as for ``Convolution``; coefficients and spatial kernels are drawn from N(0, 0.01).
        subsampling: frames per frequency of the temporal basis.
        lowering: way to compute it, see ``lowerings``.
    """

    def __init__(self, *args: Any, subsampling: int = SUBSAMPLING, lowering: Lowering = "auto", **options: Any):
        self.subsampling, self.lowering = subsampling, lowering
        super().__init__(*args, **options)

    def _make_kernels(
        self, out: int, channels: int, size: tuple[int, int, int], padding: PaddingOption, bias: bool, rngs: nnx.Rngs
    ) -> None:
        self.temporal_size, *height_width = size
        self.padding = resolve_padding(padding, size)
        pair = (out, channels)
        frequencies = number_of_frequencies(self.temporal_size, self.subsampling)
        self.sin = nnx.Param(initial.normal(rngs, (*pair, frequencies), deviation=0.01))
        self.cos = nnx.Param(initial.normal(rngs, (*pair, frequencies), deviation=0.01))
        self.spatial = nnx.Param(initial.normal(rngs, (*pair, *height_width), deviation=0.01))
        self.log_speed = Constant(initial.full((), 0.0))
        self.bias = _zero_bias(out, bias)

    def temporal(self, log_speed: Float32[Array, ""] | None = None) -> Float[Array, "out in time"]:
        """Temporal kernels, played ``exp(log_speed)`` times as fast; the last frame is the most recent."""
        speed = self.log_speed[...] if log_speed is None else log_speed
        return temporal_kernels(self.sin[...], self.cos[...], speed, self.temporal_size, self.subsampling)

    def __call__(self, x: Maps, log_speed: Speeds = None) -> NewMaps:
        """Convolve, each part of the batch with the temporal kernels of its ``log_speed`` (None: the module's own)."""
        speed = self.log_speed[...][None] if log_speed is None else log_speed
        spatial, coefficients = self.spatial[...], temporal_coefficients(self.sin[...], self.cos[...])

        def convolved(part: Array, speed: Array) -> Array:
            functions = temporal_functions(speed, self.temporal_size, self.subsampling)
            kernel = lowerings.SeparableKernel(spatial, coefficients, functions)
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


class SeparableConv(Convolution):
    """A spatial convolution over channels, then a temporal one ("separable").

    Padding, strides and bias apply to both, so ``(0, 2, 2)`` pads space twice. The output is multiplied by
    ``exp(log_speed)``, as in openretina.

    Attributes:
        log_speed: as in ``SpaceTimeConv``.
        spatial: ``(out, in, height, width)``; its bias: spatial_bias.
        temporal: ``(out, out, time)``; its bias: temporal_bias.
    """

    def _make_kernels(
        self, out: int, channels: int, size: tuple[int, int, int], padding: PaddingOption, bias: bool, rngs: nnx.Rngs
    ) -> None:
        self.spatial_padding = resolve_padding(padding, (1, *size[1:]))
        self.temporal_padding = resolve_padding(padding, (size[0], 1, 1))
        self.spatial = nnx.Param(initial.uniform_in(rngs, (out, channels, *size[1:])))
        self.temporal = nnx.Param(initial.uniform_in(rngs, (out, out, size[0])))
        self.log_speed = Constant(initial.full((), 0.0))
        self.spatial_bias = _zero_bias(out, bias)
        self.temporal_bias = _zero_bias(out, bias)

    def __call__(self, x: Maps, log_speed: Speeds = None) -> NewMaps:
        """Convolve space, then time; each part of the batch has its ``log_speed`` (None: the module's own)."""
        gain = jnp.exp(self.log_speed[...][None] if log_speed is None else log_speed)
        # a single gain multiplies the kernels, which are fewer numbers than the maps
        of_kernels = gain if len(gain) == 1 else jnp.ones(1)
        bias = None if self.spatial_bias is None else self.spatial_bias[...]
        paddings = self.spatial_padding, self.temporal_padding
        y = convolve_twice(x, self.spatial[...], of_kernels * self.temporal[...], bias, paddings, self.strides)
        if self.temporal_bias is not None:
            y += (of_kernels * self.temporal_bias[...]).astype(y.dtype)
        if len(gain) == 1:
            return y
        return jnp.repeat(gain, len(y) // len(gain))[:, None, None, None, None].astype(y.dtype) * y

    @property
    def size(self) -> tuple[int, int, int]:
        """Frames, height and width of the kernel."""
        height, width = self.spatial.shape[2:]
        return self.temporal.shape[2], height, width

    @property
    def padding(self) -> Padding:  # type: ignore[override]
        """Padding of both convolutions together."""
        both = zip(self.spatial_padding, self.temporal_padding, strict=True)
        return tuple((s[0] + t[0], s[1] + t[1]) for s, t in both)  # type: ignore[return-value]

    def temporal_penalty(self) -> Float32[Array, ""]:
        """Normalised Laplace penalty of the temporal kernels."""
        return temporal_laplace(self.temporal[...])


class FullConv(Convolution):
    """An unconstrained 3-D convolution ("full"). It has no speed.

    Attributes:
        kernel: ``(out, in, time, height, width)``.
    """

    def _make_kernels(
        self, out: int, channels: int, size: tuple[int, int, int], padding: PaddingOption, bias: bool, rngs: nnx.Rngs
    ) -> None:
        self.padding = resolve_padding(padding, size)
        self.kernel = nnx.Param(initial.uniform_in(rngs, (out, channels, *size)))
        self.bias = _zero_bias(out, bias)

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


class TimeIndependentConv(Convolution):
    """A 2-D convolution of every frame on its own ("time_independent"); ``temporal_size`` has no effect.

    Attributes:
        spatial: ``(out, in, height, width)``.
    """

    def _make_kernels(
        self, out: int, channels: int, size: tuple[int, int, int], padding: PaddingOption, bias: bool, rngs: nnx.Rngs
    ) -> None:
        self.padding = resolve_padding(padding, (1, *size[1:]))
        self.spatial = nnx.Param(initial.uniform_in(rngs, (out, channels, *size[1:])))
        self.bias = _zero_bias(out, bias)

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


CONVOLUTIONS: dict[str, type[Convolution]] = {
    "custom_separable": SpaceTimeConv,
    "separable": SeparableConv,
    "full": FullConv,
    "time_independent": TimeIndependentConv,
}


def draw_xavier(conv: nnx.Module, rngs: nnx.Rngs) -> None:
    """Redraw the kernels of a convolution as ``glorot`` does, but not those of a ``SpaceTimeConv``."""
    if isinstance(conv, SpaceTimeConv):
        return
    for name in ("kernel", "spatial", "temporal"):
        if hasattr(conv, name):
            kernel = getattr(conv, name)
            kernel[...] = initial.glorot(rngs, kernel.shape)


def _zero_bias(channels: int, present: bool) -> nnx.Param | None:
    return nnx.Param(initial.full(channels, 0.0)) if present else None


def _add(y: Array, bias: nnx.Param | None) -> Array:
    return y if bias is None else y + bias[...].astype(y.dtype)
