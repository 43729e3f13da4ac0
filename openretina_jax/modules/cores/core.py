"""The contract of cores, and the layer that they are stacks of."""

import abc
from typing import Any, Literal, NamedTuple

import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float, Float32, Int, Key

from openretina_jax.errors import UserError
from openretina_jax.modules.layers import BatchNorm, Bias, Scale, dropout_channels, make_nonlinearity, max_pool


class ReceptiveField(NamedTuple):
    """Frames and pixels of the stimulus that one number of a feature map depends on; None is without limit.

    Attributes:
        frames, height, width: extent.
        future: frames that come after the map's own; the last map belongs to the last frame. None where there are
            fewer maps than frames, so that a map has no frame of its own.
    """

    frames: int | None
    height: int | None
    width: int | None
    future: int | None = 0

    @property
    def past(self) -> int | None:
        """Frames that come before the map's own."""
        return None if self.frames is None or self.future is None else max(self.frames - 1 - self.future, 0)

    def ending(self, owner: object) -> int:
        """Frames of the field of a core or model that predicts frame by frame by keeping so many.

        Raises:
            UserError: its memory has no end.
        """
        if self.frames is None:
            raise UserError(
                f"{type(owner).__name__} depends on all earlier frames; to predict frame by frame, it must write begin "
                "and advance, which carry its state"
            )
        return self.frames


class Core(nnx.Module):
    """Base of cores: modules that turn a movie into feature maps that all sessions share.

    A subclass writes ``__call__`` and ``receptive_field``, and ``penalties`` if it has any; it inherits
    ``regularizer``, and ``begin`` and ``advance`` for predictions frame by frame. Its constructor takes what it needs
    of ``in_channels``, ``n_sessions``, ``conditions`` and ``rngs`` by these names, which the data fill in; all its
    other arguments are options of a configuration. Weights of penalties are attributes ``gamma_...``, so that members
    of a population can differ in them.

    A core with parameters or conditions of its own for every session sets ``per_session``; then a batch is made of
    equal parts, one after the other, and every call says which session each part belongs to.

    Attributes:
        per_session: whether maps depend on the session.
        rematerialize: whether the backward pass recomputes the maps within a layer instead of storing them; training
            sets it, a core may ignore it.
    """

    per_session: bool = False
    rematerialize: bool = False

    @abc.abstractmethod
    def __call__(
        self,
        stimulus: Float[Array, "batch time height width channel"],
        *,
        train: bool = False,
        key: Key[Array, ""] | None = None,
        session: Int[Array, " part"] | None = None,
    ) -> Float[Array, "batch new_time new_height new_width feature"]:
        """Compute the feature maps of a stimulus; the last one belongs to the last frame.

        Args:
            stimulus: normalised movie windows.
            train: normalise by the batch's statistics, which also move the running ones, and drop channels.
            key: random key, needed in training with dropout.
            session: number of the session of each part of the batch (None: use what all sessions share).
        """

    def begin(self, frame_shape: tuple[int, int, int]) -> Any:
        """Make the history that ``advance`` needs before the first frame: arrays of zeros, in any pytree.

        Here it is the stimulus; a core overrides both to keep what it computed of earlier frames, or where it drops
        maps.

        Args:
            frame_shape: (height, width, channel) of a frame.

        Raises:
            UserError: the core's memory has no end.
        """
        return jnp.zeros((1, self.receptive_field().ending(self) - 1, *frame_shape))

    def advance(
        self, history: Any, frame: Float[Array, "1 1 height width channel"], session: Int[Array, "1"] | None = None
    ) -> tuple[Float[Array, "1 1 new_height new_width feature"], Any]:
        """Compute the map of one more frame, and the history with it.

        Maps of the first frames, which the whole stimulus has none for, mean nothing.

        Args:
            history: that of the frames before, from ``begin`` or the last call.
            frame: normalised frame.
            session: number of the session (None: use what all sessions share).
        """
        stimulus, history = with_history(history, frame)
        return self(stimulus, session=session)[:, -1:], history

    def penalties(self) -> dict[str, Float32[Array, ""]]:
        """Weighted penalties by name, without those whose weight is 0."""
        return {}

    def regularizer(self) -> Float32[Array, ""]:
        """Sum of the weighted penalties."""
        return sum(self.penalties().values(), start=jnp.zeros(()))

    @abc.abstractmethod
    def receptive_field(self, map_frames: int = 1) -> ReceptiveField:
        """Frames and pixels that one number of the output depends on; only padding in time lets it see the future.

        Args:
            map_frames: successive maps that count as one output, for readouts that look back in time.
        """


def with_history(
    history: Float[Array, "1 past *size"], new: Float[Array, "1 1 *size"]
) -> tuple[Float[Array, "1 frames *size"], Float[Array, "1 past *size"]]:
    """Append a frame to those before it; return all of them, and all but the oldest."""
    frames = jnp.concatenate([history.astype(new.dtype), new], axis=1)
    return frames, frames[:, 1:]


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
            train: normalise by the batch's statistics, which also move the running ones, and drop channels.
            key: random key for the dropped channels in training.
            log_speed: logarithm of the temporal kernels' speed for each part of the batch (None: the convolution's).
        """
        # Convolutions on CPUs leave the maps in this memory order, in which elementwise passes over them are several
        # times as fast as in the order of their axes. Accelerators choose their own layout: no difference there.
        x = self.conv(x, log_speed).transpose(2, 3, 4, 1, 0)
        if self.norm is not None:
            x = self.norm(x, train=train, axis=-3)
        if self.scale is not None:
            x = self.scale(x, axis=-3)
        if self.bias is not None:
            x = self.bias(x, axis=-3)
        x = self.nonlinearity(x)
        if train and self.dropout_rate > 0:
            if key is None:
                raise ValueError("training with dropout needs a random key")
            x = dropout_channels(x, self.dropout_rate, key)
        if self.pool:
            x = max_pool(x)
        return x.transpose(4, 3, 0, 1, 2)
