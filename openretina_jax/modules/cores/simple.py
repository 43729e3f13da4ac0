"""The core that is a stack of space-time convolutions."""

from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float, Float32, Int, Key

from openretina_jax.errors import UserError
from openretina_jax.modules import initial
from openretina_jax.modules.convolutions import CONVOLUTIONS, PaddingOption
from openretina_jax.modules.cores import CORES
from openretina_jax.modules.cores.core import Core, CoreLayer, ReceptiveField, with_history
from openretina_jax.modules.cores.identity import grey_channel
from openretina_jax.modules.kernels.lowerings import Lowering
from openretina_jax.modules.layers import SessionParam, average_pool
from openretina_jax.modules.regularizers import group_sparsity, is_active, spatial_laplace
from openretina_jax.runtime import devices

POOL = (1, 2, 2)  # frames and pixels of a maximum pooling


@CORES("simple")
class SimpleCore(Core):
    """Stack of space-time convolutions (Höfling et al. 2024, https://doi.org/10.7554/eLife.86860).

    Attributes:
        layers: the ``CoreLayer`` list.
        grey: layer that makes a colour stimulus grey, or None.
        log_speed: ``(session,)`` logarithm of the speed of temporal kernels in each session, or None.
        penalized: names of the penalties; the weight of each is an attribute ``gamma_<name>``.

    Args:
        in_channels: channels of the stimulus.
        hidden_channels: output channels of each layer.
        temporal_kernel_sizes, spatial_kernel_sizes: frames and pixels of each layer's kernel.
        convolution: "custom_separable", "separable", "full" or "time_independent".
        input_padding, hidden_padding: padding of the first and of the other layers, see ``resolve_padding``; a tuple of
            triples or names is one padding for each of the other layers.
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
        adapt_speed: whether every session has its own speed of temporal kernels ("custom_separable": they are
            stretched; "separable": the output is scaled).
        nonlinearity: name of the nonlinearity of all layers, or one name for each.
        lowering: how "custom_separable" is computed, see ``lowerings``.
        n_sessions: number of sessions.
        rngs: random streams for the initial parameters.

    Raises:
        UserError: options contradict each other.
    """

    penalized: tuple[str, ...] = ("input", "temporal", "hidden", "in_sparse")

    def __init__(
        self,
        in_channels: int,
        *,
        hidden_channels: tuple[int, ...],
        temporal_kernel_sizes: tuple[int, ...],
        spatial_kernel_sizes: tuple[int | tuple[int, int], ...],
        convolution: str = "custom_separable",
        input_padding: PaddingOption = False,
        hidden_padding: PaddingOption | tuple[PaddingOption, ...] = "same",
        gamma_input: float = 0.0,
        gamma_temporal: float = 0.0,
        gamma_hidden: float = 0.0,
        gamma_in_sparse: float = 0.0,
        dropout_rate: float = 0.0,
        pool_every: int | None = None,
        downsample_input: tuple[int, int, int] | None = None,
        color_weights: tuple[float, ...] | None = None,
        cut_first_frames: int = 0,
        adapt_speed: bool = False,
        nonlinearity: str | tuple[str, ...] = "elu",
        lowering: Lowering = "auto",
        n_sessions: int = 1,
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
        if adapt_speed and convolution in ("full", "time_independent"):
            raise UserError(f'adapt_speed is set, but "{convolution}" has no speed; set it to False')
        names = (nonlinearity,) * layers if isinstance(nonlinearity, str) else nonlinearity
        if len(names) != layers:
            raise UserError(f"nonlinearity {names} has {len(names)} entries for {layers} layers")
        self.gamma_input, self.gamma_temporal = gamma_input, gamma_temporal
        self.gamma_hidden, self.gamma_in_sparse = gamma_hidden, gamma_in_sparse
        self.cut_first_frames, self.downsample_input = cut_first_frames, downsample_input
        self.grey = grey_channel(in_channels, color_weights)
        self.per_session = adapt_speed
        self.log_speed = SessionParam(initial.full(n_sessions, 0.0)) if adapt_speed else None
        paddings = (input_padding, *_for_each(hidden_padding, layers - 1))
        options: dict[str, Any] = {"lowering": lowering} if convolution == "custom_separable" else {}
        channels = (in_channels if color_weights is None else 1, *hidden_channels)
        self.layers = nnx.List(
            self._layer(
                CONVOLUTIONS[convolution](
                    channels[n],
                    channels[n + 1],
                    temporal_kernel_sizes[n],
                    spatial_kernel_sizes[n],
                    padding=paddings[n],
                    rngs=rngs,
                    **options,
                ),
                channels[n + 1],
                nonlinearity=names[n],
                dropout_rate=dropout_rate,
                pool=pool_every is not None and n % pool_every == 0,
            )
            for n in range(layers)
        )

    def _layer(self, conv: Any, channels: int, **options: Any) -> CoreLayer:
        return CoreLayer(conv, channels, **options)

    def __call__(
        self,
        stimulus: Float[Array, "batch time height width channel"],
        *,
        train: bool = False,
        key: Key[Array, ""] | None = None,
        session: Int[Array, " part"] | None = None,
    ) -> Float[Array, "batch new_time new_height new_width feature"]:
        """Compute feature maps, see ``Core``."""
        return self.layer_outputs(stimulus, train=train, key=key, session=session)[-1][:, self.cut_first_frames :]

    def layer_outputs(
        self,
        stimulus: Float[Array, "batch time height width channel"],
        *,
        train: bool = False,
        key: Key[Array, ""] | None = None,
        session: Int[Array, " part"] | None = None,
    ) -> list[Float[Array, "batch layer_time layer_height layer_width layer_feature"]]:
        """Compute the maps after every layer, with their first frames; arguments as for a call."""
        return self._stack(self._input(stimulus), train=train, key=key, session=session)

    def begin(self, frame_shape: tuple[int, int, int]) -> Any:
        """Make the history before the first frame: of each layer the inputs that its temporal kernel looks back to."""

        def inputs(core: SimpleCore, stimulus: Array) -> list[Array]:
            first = core._input(stimulus)
            return [first, *core._stack(first)[:-1]]

        stimulus = jax.ShapeDtypeStruct((1, self._layers_past + 1, *frame_shape), jnp.float32)
        return [
            jnp.zeros((1, layer.conv.size[0] - 1, *x.shape[2:]), x.dtype)
            for layer, x in zip(self.layers, devices.eval_shape(inputs, self, stimulus), strict=True)
        ]

    def advance(
        self, history: Any, frame: Float[Array, "1 1 height width channel"], session: Int[Array, "1"] | None = None
    ) -> tuple[Float[Array, "1 1 new_height new_width feature"], Any]:
        """Compute the map of one more frame: one frame of every layer, see ``Core``."""
        new = []

        def look_back(n: int, x: Array) -> Array:
            x, past = with_history(history[n], x)
            new.append(past)
            return x

        return self._stack(self._input(frame), session=session, before_layer=look_back)[-1], new

    @property
    def _layers_past(self) -> int:
        """Frames before its own that a map of the last layer depends on."""
        return sum(layer.conv.size[0] - 1 for layer in self.layers)

    def _input(self, stimulus: Array) -> Array:
        """Input of the first layer."""
        x = stimulus if self.grey is None else self.grey(stimulus)
        return x if self.downsample_input is None else average_pool(x, self.downsample_input)

    def _stack(
        self,
        x: Array,
        *,
        train: bool = False,
        key: Array | None = None,
        session: Array | None = None,
        condition: Array | None = None,
        before_layer: Callable[[int, Array], Array] = lambda _, x: x,
    ) -> list[Array]:
        """Outputs of all layers; ``before_layer`` takes the number of a layer and its input, and may change it."""
        log_speed = None if self.log_speed is None or session is None else self.log_speed[...][session]
        keys = [None] * len(self.layers) if key is None else list(jax.random.split(key, len(self.layers)))
        outputs = []
        for n, (layer, layer_key) in enumerate(zip(self.layers, keys, strict=True)):
            with jax.named_scope(f"layers[{n}]"):
                x = self._apply(layer, before_layer(n, x), {"key": layer_key, "log_speed": log_speed}, train=train)
            x = self._after_layer(n, x, condition)
            outputs.append(x)
            if 0 in x.shape:  # a kernel was larger than the maps: no layer can follow, and the model is refused
                break
        return outputs

    def _after_layer(self, n: int, x: Array, condition: Array | None) -> Array:
        """Output of a layer, as the next one takes it."""
        del n, condition
        return x

    def _apply(self, layer: nnx.Module, x: Array, arrays: Mapping[str, Array | None], **options: bool) -> Array:
        """Apply a layer; with ``rematerialize`` the backward pass recomputes its inside."""

        def apply(layer: Any, x: Array, arrays: Mapping[str, Array | None]) -> Array:
            return layer(x, **arrays, **options)

        return (nnx.remat(apply) if self.rematerialize else apply)(layer, x, arrays)

    def penalties(self) -> dict[str, Float32[Array, ""]]:
        """Weighted penalties by name, without those whose weight is 0."""
        weights = {name: getattr(self, f"gamma_{name}") for name in self.penalized}
        return {
            name: gamma * getattr(self, f"_{name}_penalty")() for name, gamma in weights.items() if is_active(gamma)
        }

    def receptive_field(self, map_frames: int = 1) -> ReceptiveField:
        """Frames and pixels that one number of the output depends on."""
        steps = [(self.downsample_input,) * 2] if self.downsample_input else []
        for layer in self.layers:
            steps += [(layer.conv.size, layer.conv.strides)] + ([(POOL, POOL)] if layer.pool else [])
        extent, jump = [1, 1, 1], [1, 1, 1]
        for size, strides in steps:
            extent = [e + (s - 1) * j for e, s, j in zip(extent, size, jump, strict=True)]
            jump = [j * s for j, s in zip(jump, strides, strict=True)]
        frames, height, width = extent
        future = sum(layer.conv.padding[0][1] for layer in self.layers) if jump[0] == 1 else None
        return ReceptiveField(frames + (map_frames - 1) * jump[0], height, width, future)

    def _input_penalty(self) -> Array:
        return spatial_laplace(spatial_kernels(self.layers[0]))

    def _temporal_penalty(self) -> Array:
        # openretina smooths all layers whose kernels have a basis, but only the first one otherwise
        first_only = not hasattr(self.layers[0].conv, "sin")
        return sum(layer.conv.temporal_penalty() for layer in (self.layers[:1] if first_only else self.layers))

    def _hidden_penalty(self) -> Array:
        return sum((group_sparsity(spatial_kernels(layer)) for layer in self.layers[1:]), start=jnp.zeros(()))

    def _in_sparse_penalty(self) -> Array:
        return sum((group_sparsity(spatial_kernels(layer)) for layer in self.layers), start=jnp.zeros(()))


def spatial_kernels(layer: CoreLayer) -> Float[Array, "out in height width"]:
    """Spatial kernels of a layer; a full kernel counts every frame as an input."""
    if hasattr(layer.conv, "spatial"):
        return layer.conv.spatial[...]
    kernel = layer.conv.kernel[...]
    return kernel.reshape(kernel.shape[0], -1, *kernel.shape[3:])


def _for_each(padding: PaddingOption | tuple[PaddingOption, ...], layers: int) -> tuple[PaddingOption, ...]:
    """Padding of each layer, from one for all or one for each."""
    if not isinstance(padding, tuple) or all(type(entry) is int for entry in padding):
        return (padding,) * layers  # type: ignore[return-value]
    if len(padding) != layers:
        raise UserError(f"hidden_padding {padding} has {len(padding)} entries for {layers} layers after the first")
    return padding
