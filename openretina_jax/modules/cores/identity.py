"""A core that passes the stimulus on, for models that consist of a readout."""

import jax.numpy as jnp
from jaxtyping import Array, Float, Int, Key

from openretina_jax.errors import UserError
from openretina_jax.modules.cores import CORES
from openretina_jax.modules.cores.core import Core, ReceptiveField
from openretina_jax.modules.layers import WeightedChannelSum


@CORES("identity")
class IdentityCore(Core):
    """Passes the stimulus on unchanged, or as a grey channel.

    Args:
        in_channels: channels of the stimulus.
        cut_first_frames: frames to drop.
        color_weights: turn a colour stimulus into one grey channel with these weights (None: not).

    Raises:
        UserError: the weights do not fit the channels.
    """

    def __init__(self, in_channels: int, *, cut_first_frames: int = 0, color_weights: tuple[float, ...] | None = None):
        self.cut_first_frames = cut_first_frames
        self.grey = grey_channel(in_channels, color_weights)

    def __call__(
        self,
        stimulus: Float[Array, "batch time height width channel"],
        *,
        train: bool = False,
        key: Key[Array, ""] | None = None,
        session: Int[Array, " part"] | None = None,
    ) -> Float[Array, "batch new_time height width feature"]:
        """Return the stimulus without its first frames."""
        del train, key, session
        x = stimulus if self.grey is None else self.grey(stimulus)
        return x[:, self.cut_first_frames :]

    def begin(self, frame_shape: tuple[int, int, int]) -> None:
        """Make no history: a map depends on one frame."""
        del frame_shape

    def advance(
        self, history: None, frame: Float[Array, "1 1 height width channel"], session: Int[Array, "1"] | None = None
    ) -> tuple[Float[Array, "1 1 height width feature"], None]:
        """Return the frame as a map, see ``Core``."""
        del history, session
        return (frame if self.grey is None else self.grey(frame)), None

    def receptive_field(self, map_frames: int = 1) -> ReceptiveField:
        """One pixel, and as many frames as maps."""
        return ReceptiveField(map_frames, 1, 1)


def grey_channel(in_channels: int, color_weights: tuple[float, ...] | None) -> WeightedChannelSum | None:
    """Make the layer that turns a colour stimulus grey, or None."""
    if color_weights is None:
        return None
    if in_channels not in (1, len(color_weights)):
        raise UserError(f"color_weights has {len(color_weights)} entries for a stimulus of {in_channels} channels")
    return WeightedChannelSum(jnp.asarray(color_weights))
