"""Targets in blocks of one size, so that an experiment compiles once and its memory is bounded.

The stimuli of a block hold at most ``BLOCK_VALUES`` numbers. The memory of an experiment beyond its result is that of a
forward and a backward pass over them.
"""

from collections.abc import Iterator, Sequence

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Float32

from openretina_jax.errors import UserError
from openretina_jax.insilico.targets import Targets, mean_of_members
from openretina_jax.models.model import Model
from openretina_jax.runtime import devices

Chosen = str | Sequence[int] | Targets  # neurons, see ``targets.neurons``, or targets
BLOCK_VALUES = 2**22  # 16 MiB
MEMORY_FRAMES = 30  # history of models whose memory has no end
Window = tuple[int, int | None]  # first and end of some responses, as in a slice


def checked(
    model: Model, stimuli: Float[np.ndarray, "stimulus time height width channel"], window: int
) -> Float32[np.ndarray, "stimulus time height width channel"]:
    """Return stimuli as float32.

    Raises:
        UserError: they do not fit the model, or have fewer responses than the window.
    """
    model.check_stimulus(stimuli)
    count = n_responses(model, stimuli.shape[1])
    if not len(stimuli) or count < window:
        raise UserError(
            f"{len(stimuli)} stimuli of {stimuli.shape[1]} frames have {count} responses each, but {window} are "
            "needed; give longer stimuli"
        )
    return np.asarray(stimuli, np.float32)


def n_responses(model: Model, frames: int) -> int:
    """Number of responses to that many frames."""
    lag, field = model.lag, model.receptive_field().frames
    if frames < (lag + 1 if field is None else min(lag + 1, field)):
        return 0
    probe = jax.ShapeDtypeStruct(model.stimulus_shape(frames), jnp.float32)
    return devices.eval_shape(model, probe).shape[1]


def history_frames(model: Model) -> int:
    """Number of frames before a response that it depends on; ``MEMORY_FRAMES`` for models whose memory has no end."""
    past = model.receptive_field().past
    return max(model.lag, MEMORY_FRAMES if past is None else past)


def check_every_frame(model: Model, frames: int) -> None:
    """Check that a model answers as often as it sees frames.

    Raises:
        UserError: it answers less often.
    """
    if n_responses(model, frames) != frames - model.lag:
        raise UserError(
            "the model does not answer every frame, so that its responses have no frame of their own; use mean_gradient"
        )


def blocks(count: int, values: int, at_once: int = BLOCK_VALUES) -> Iterator[tuple[np.ndarray, slice]]:
    """Iterate over the indices below ``count`` in blocks of one length, so that a program compiles once for all.

    Args:
        count: number of items.
        values: numbers in the stimulus of each item.
        at_once: most numbers in a block; a block has an item at least.

    Yields:
        Indices of a block, the last of which is filled up with the last item, and the slice of results that it gives.
    """
    size = min(count, max(1, at_once // values))
    for start in range(0, count, size):
        yield np.minimum(np.arange(start, start + size), count - 1), slice(start, min(start + size, count))


def members(model: Model, targets: Targets) -> tuple[np.ndarray, np.ndarray, np.ndarray | None]:
    """Read rows, weights and sessions of targets, as ``score`` takes them."""
    return np.asarray(targets.rows), np.asarray(targets.weights), targets.session_for(model)


def score(
    model: Model, stimuli: Array, rows: Array, weights: Array, session: Array | None, window: Window
) -> tuple[Float[Array, " target"], Float[Array, "target new_time"]]:
    """Compute the mean response in the window of each target to its stimulus, and all its responses."""
    responses = mean_of_members(model.respond_rows(stimuli, rows, session), weights)
    return responses[:, slice(*window)].mean(axis=1), responses
