"""A core of space-time convolutions and a convolutional gated recurrent unit (GRU)."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jaxtyping import Array, Float, Int, Key

from openretina_jax.errors import UserError
from openretina_jax.modules.convolutions import FullConv, SpaceTimeConv, draw_xavier
from openretina_jax.modules.cores import CORES
from openretina_jax.modules.cores.core import CoreLayer, Norm, ReceptiveField
from openretina_jax.modules.cores.simple import SimpleCore, spatial_kernels
from openretina_jax.modules.layers import FiLM, SessionConstant
from openretina_jax.modules.recurrent import ConvGru, ConvGruCell
from openretina_jax.modules.regularizers import group_sparsity, spatial_laplace
from openretina_jax.runtime.devices import eval_shape, precision


@CORES("gru")
class GruCore(SimpleCore):
    """Stack of space-time convolutions with, as options, a 1x1 projection, conditions, and a convolutional GRU.

    GRU: Sinz et al. 2018, https://papers.nips.cc/paper/7950; conditions (FiLM): Perez et al. 2018,
    https://arxiv.org/abs/1709.07871. Group sparsity covers all layers ("hidden"), or the whole space-time kernels of
    the first ("in_sparse"), unlike in ``SimpleCore``.

    Attributes:
        projection: 1x1 convolution after the first layer, or None.
        films: modulation of each layer's output by the condition, or None.
        conditions: ``(session, condition)`` condition of every session, or None.
        gru: the recurrent unit, or None.

    Args:
        in_channels: channels of the stimulus.
        projection: whether a 1x1 convolution follows the first layer.
        batch_norm: whether layers have batch normalisation.
        batch_norm_scale: whether it is followed by a gain.
        bias: whether it is followed by an offset.
        batch_norm_momentum: weight of a new batch in the running statistics.
        laplace_padding: pixels of zeros around kernels in the Laplace penalty (None: half the filter).
        average_penalty: divide the Laplace penalty's numerator and denominator by their numbers of entries.
        recurrent_channels: channels of the GRU (None: no GRU).
        input_kernel, recurrent_kernel: its pixels for the input and for the state.
        groups: its groups of channels.
        gamma_recurrent: weight of the penalty on the biases and kernels of its state.
        pad_input: whether the GRU keeps the size of the maps.
        condition_size: numbers of a condition that modulates every layer with batch normalisation (None: not).
        conditions: ``(session, condition)`` condition of every session (None: zeros).
        rngs: random streams for the initial parameters; plain kernels are Xavier's normals.
        options: all other options are those of ``SimpleCore``.

    Raises:
        UserError: options contradict each other.
    """

    penalized = (*SimpleCore.penalized, "recurrent")

    def __init__(
        self,
        in_channels: int,
        *,
        projection: bool = False,
        batch_norm: bool = True,
        batch_norm_scale: bool = True,
        bias: bool = True,
        batch_norm_momentum: float = 0.1,
        laplace_padding: int | None = 0,
        average_penalty: bool = False,
        recurrent_channels: int | None = None,
        input_kernel: int = 3,
        recurrent_kernel: int = 3,
        groups: int = 1,
        gamma_recurrent: float = 0.0,
        pad_input: bool = True,
        condition_size: int | None = None,
        conditions: Float[np.ndarray, "session condition"] | None = None,
        n_sessions: int = 1,
        rngs: nnx.Rngs,
        **options: Any,
    ):
        if condition_size is not None and not batch_norm:
            raise UserError("condition_size is set, but conditions act on batch normalisation; set batch_norm to True")
        self._norm: Norm | None = ("affine" if bias and batch_norm_scale else "plain") if batch_norm else None
        self._scale = batch_norm and batch_norm_scale and not bias
        self._bias = batch_norm and bias and not batch_norm_scale
        self._momentum = batch_norm_momentum
        super().__init__(in_channels, n_sessions=n_sessions, rngs=rngs, **options)
        for layer in self.layers:
            draw_xavier(layer.conv, rngs)
        self.gamma_recurrent = gamma_recurrent
        self.laplace_padding, self.average_penalty = laplace_padding, average_penalty
        channels = options["hidden_channels"]
        self.projection = FullConv(channels[0], channels[0], 1, 1, rngs=rngs) if projection else None
        if self.projection is not None:
            draw_xavier(self.projection, rngs)
        self.per_session = self.per_session or condition_size is not None
        self.films = _films(channels, condition_size, rngs)
        self.conditions = _conditions(n_sessions, condition_size, conditions)
        gru = None
        if recurrent_channels is not None:
            cell = ConvGruCell(
                channels[-1],
                recurrent_channels,
                input_kernel=input_kernel,
                recurrent_kernel=recurrent_kernel,
                groups=groups,
                gamma=1.0,
                pad_input=pad_input,
                rngs=rngs,
            )
            gru = ConvGru(cell)
        self.gru = gru

    def _layer(self, conv: Any, channels: int, **options: Any) -> CoreLayer:
        return CoreLayer(
            conv,
            channels,
            norm=self._norm,
            momentum=self._momentum,
            scale=self._scale,
            bias=self._bias,
            **options,
        )

    def __call__(
        self,
        stimulus: Float[Array, "batch time height width channel"],
        *,
        train: bool = False,
        key: Key[Array, ""] | None = None,
        session: Int[Array, " part"] | None = None,
        condition: Float[Array, "batch condition"] | None = None,
    ) -> Float[Array, "batch new_time new_height new_width feature"]:
        """Compute feature maps, see ``Core``.

        Args:
            stimulus, train, key, session: as for every core.
            condition: condition of each window (None: that of its session; without a session, zeros).
        """
        outputs = self.layer_outputs(stimulus, train=train, key=key, session=session, condition=condition)
        return outputs[-1][:, self.cut_first_frames :]

    def layer_outputs(
        self,
        stimulus: Float[Array, "batch time height width channel"],
        *,
        train: bool = False,
        key: Key[Array, ""] | None = None,
        session: Int[Array, " part"] | None = None,
        condition: Float[Array, "batch condition"] | None = None,
    ) -> list[Float[Array, "batch layer_time layer_height layer_width layer_feature"]]:
        """Compute the maps after every layer, the last of which is the GRU; arguments as for a call."""
        outputs = self._stack(self._input(stimulus), train=train, key=key, session=session, condition=condition)
        if self.gru is not None:
            with jax.named_scope("gru"):
                outputs.append(self._apply(self.gru, outputs[-1], {}))
        return outputs

    def begin(self, frame_shape: tuple[int, int, int]) -> Any:
        """Make the history before the first frame: that of the layers, the GRU's state, and how many frames there were.

        The GRU begins with the first map that the whole stimulus has.
        """
        layers = super().begin(frame_shape)
        if self.gru is None:
            return {"layers": layers}
        stimulus = jax.ShapeDtypeStruct((1, self._layers_past + 1, *frame_shape), jnp.float32)
        state = eval_shape(lambda core, stimulus: core.layer_outputs(stimulus)[-1][:, 0], self, stimulus)
        return {"layers": layers, "state": jnp.zeros(state.shape, state.dtype), "frames": jnp.int32(0)}

    def advance(
        self, history: Any, frame: Float[Array, "1 1 height width channel"], session: Int[Array, "1"] | None = None
    ) -> tuple[Float[Array, "1 1 new_height new_width feature"], Any]:
        """Compute the map of one more frame, see ``Core``."""
        x, layers = super().advance(history["layers"], frame, session)
        if self.gru is None:
            return x, {"layers": layers}
        whole = history["frames"] >= self._layers_past
        state = jnp.where(whole, self.gru.cell(x[:, 0], history["state"]), history["state"])
        return state[:, None], {"layers": layers, "state": state, "frames": history["frames"] + 1}

    def _stack(
        self, x: Array, *, session: Array | None = None, condition: Array | None = None, **options: Any
    ) -> list[Array]:
        if self.conditions is not None and condition is None:
            parts = jnp.zeros((1, self.conditions.shape[1])) if session is None else self.conditions[...][session]
            condition = jnp.repeat(parts, x.shape[0] // len(parts), axis=0)
        return super()._stack(x, session=session, condition=condition, **options)

    def _after_layer(self, n: int, x: Array, condition: Array | None) -> Array:
        if self.films is not None:
            x = self.films[n](x, condition)
        if n == 0 and self.projection is not None:
            with jax.named_scope("projection"):
                x = self.layers[0].nonlinearity(self.projection(x))
        return x

    def receptive_field(self, map_frames: int = 1) -> ReceptiveField:
        """Frames and pixels that one number of the output depends on; with a GRU, all earlier frames and all pixels."""
        field = super().receptive_field(map_frames)
        return field if self.gru is None else field._replace(frames=None, height=None, width=None)

    def _input_penalty(self) -> Array:
        kernels = spatial_kernels(self.layers[0])
        return spatial_laplace(kernels, padding=self.laplace_padding, average=self.average_penalty)

    def _hidden_penalty(self) -> Array:
        return sum((group_sparsity(spatial_kernels(layer), epsilon=0.0) for layer in self.layers), start=jnp.zeros(()))

    def _in_sparse_penalty(self) -> Array:
        conv = self.layers[0].conv
        kernels = spatial_kernels(self.layers[0])
        if isinstance(conv, SpaceTimeConv):
            kernels = jnp.einsum("oit,oihw->oithw", conv.temporal(jnp.zeros(())), kernels, precision=precision())
            kernels = kernels.reshape(*kernels.shape[:3], -1)
        return group_sparsity(kernels)

    def _recurrent_penalty(self) -> Array:
        return jnp.zeros(()) if self.gru is None else self.gru.penalty()


def _films(channels: tuple[int, ...], condition_size: int | None, rngs: nnx.Rngs) -> nnx.List | None:
    """Make the modulation of every layer's output."""
    if condition_size is None:
        return None
    return nnx.List(FiLM(count, condition_size, rngs=rngs) for count in channels)


def _conditions(
    n_sessions: int, condition_size: int | None, conditions: Float[np.ndarray, "session condition"] | None
) -> SessionConstant | None:
    """Make the table of conditions."""
    if condition_size is None:
        return None
    given = np.zeros((n_sessions, condition_size), np.float32) if conditions is None else conditions
    if given.shape[1] != condition_size:
        raise UserError(f"condition_size is {condition_size}, but sessions have {given.shape[1]} conditions")
    return SessionConstant(jnp.asarray(given))
