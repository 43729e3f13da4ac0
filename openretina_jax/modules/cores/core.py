"""What every core offers."""

from typing import NamedTuple

import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float, Float32, Int, Key


class ReceptiveField(NamedTuple):
    """What one number of a feature map depends on, in frames and pixels of the stimulus; None is without limit.

    Attributes:
        frames, height, width: its extent.
        future: how many of the frames come after the map's own; the last map belongs to the last frame. None where
            there are fewer maps than frames, so that a map has no frame of its own.
    """

    frames: int | None
    height: int | None
    width: int | None
    future: int | None = 0

    @property
    def past(self) -> int | None:
        """How many of the frames come before the map's own."""
        return None if self.frames is None or self.future is None else max(self.frames - 1 - self.future, 0)


class Core(nnx.Module):
    """Turns a movie into feature maps that all sessions share.

    A core with parameters or conditions of its own for every session sets ``per_session``; then a batch is made of
    equal parts, one after the other, and every call says which session each part belongs to.

    Attributes:
        per_session: see above.
        rematerialize: whether a gradient computes the maps within a layer again instead of keeping them.
    """

    per_session: bool = False
    rematerialize: bool = False

    def __call__(
        self,
        stimulus: Float[Array, "batch time height width channel"],
        *,
        train: bool = False,
        key: Key[Array, ""] | None = None,
        session: Int[Array, " part"] | None = None,
    ) -> Float[Array, "batch new_time new_height new_width feature"]:
        """Feature maps of the stimulus; the last one belongs to the last frame.

        Args:
            stimulus: normalised movie windows.
            train: use (and average) the batch's own statistics, and drop channels.
            key: random key, needed in training with dropout.
            session: number of the session of each part of the batch (None: what is common to all sessions).
        """
        raise TypeError(f"{type(self).__name__} must define __call__")

    def penalties(self) -> dict[str, Float32[Array, ""]]:
        """Every penalty whose weight is not 0, weighted, by name."""
        return {}

    def regularizer(self) -> Float32[Array, ""]:
        """Sum of the weighted penalties."""
        return sum(self.penalties().values(), start=jnp.zeros(()))

    def receptive_field(self, map_frames: int = 1) -> ReceptiveField:
        """Frames and pixels that one number of the output depends on; padding in time is what makes it see the future.

        Args:
            map_frames: successive maps that count as one output, for readouts that look back in time.
        """
        raise TypeError(f"{type(self).__name__} must define receptive_field")
