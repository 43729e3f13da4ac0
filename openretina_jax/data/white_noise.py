"""White noise that was shown on a screen, made again from its seed (package ``retinawhitenoise``)."""

from collections.abc import Sequence
from typing import SupportsIndex

import numpy as np
from jaxtyping import Float32, Int8

from openretina_jax.data.conversion import check_choice, whole_number
from openretina_jax.errors import UserError, require

_WHOLE = slice(None)


def white_noise(
    seed: SupportsIndex,
    size: Sequence[SupportsIndex] = (),
    *,
    frames: SupportsIndex,
    trials: SupportsIndex = 1,
    kind: str = "binary",
    rows: slice = _WHOLE,
    columns: slice = _WHOLE,
) -> Int8[np.ndarray, "time *space"] | Float32[np.ndarray, "time *space"]:
    """Make the white noise of the Gollisch lab's stimulus program from its seed.

    Only the wanted part is kept: one trial is whole in memory at a time.

    Args:
        seed: seed of the stimulus, negative in most of its recordings.
        size: ``(width, height)`` in the order of the program's (x, y), ``(width,)`` of bars, or ``()`` of full-field
            flicker.
        frames: frames of a trial.
        trials: number of trials, which go on where the one before ended.
        kind: "binary" (-1 and 1, a byte each) or "gaussian" (mean 0, deviation 1).
        rows: rows to keep.
        columns: columns to keep.

    Returns:
        All trials one after another, ``(time, height, width)``, ``(time, width)`` or ``(time,)``.

    Raises:
        UserError: the package is not installed, or an argument is wrong.
    """
    check_choice("kind", kind, ("binary", "gaussian"))
    xy = tuple(whole_number("size", side, 1) for side in size)
    if len(xy) > 2:
        raise UserError(f"size is {xy}; give (width, height), (width,) of bars, or () of full-field flicker")
    n_frames, n_trials = whole_number("frames", frames, 1), whole_number("trials", trials, 1)
    first = whole_number("seed", seed, -(2**31), 2**31 - 1)
    require("retinawhitenoise", "whitenoise", "white_noise makes stimuli from their seeds")
    from retinawhitenoise import binarystimulus, gaussianstimulus

    kept = ((), (columns,), (rows, columns))[len(xy)]
    empty = np.empty(tuple(reversed(xy)), np.int8)[kept]
    if not empty.size:
        raise UserError(f"rows {rows} and columns {columns} keep none of the pixels {xy}")
    program = binarystimulus if kind == "binary" else gaussianstimulus
    movie = np.empty((n_trials * n_frames, *empty.shape), np.int8 if kind == "binary" else np.float32)
    for trial, shown in enumerate(program.recreate(first, xy, n_frames, n_trials)):
        movie[trial * n_frames : (trial + 1) * n_frames] = shown.T[(_WHOLE, *kept)]
    return movie
