"""Conversion of what users pass: lists, masked arrays, data frames and arrays on disk become plain numpy arrays."""

import math
import numbers
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from openretina_jax.errors import UserError

Numbers = Any  # an array, or what ``real_numbers`` makes one of: a masked array, data frame, nested lists


def real_numbers(what: str, values: Any) -> np.ndarray:
    """Make an array of real numbers, without a copy where it is one already, also on disk (``np.memmap``).

    Masked entries become NaN, booleans bytes of 0 and 1.

    Args:
        what: name of the values in messages.
        values: array, masked array, data frame, dataset of h5py, or nested lists.

    Raises:
        UserError: the values are empty, not real numbers, or nested lists of different lengths.
    """
    if isinstance(values, np.ma.MaskedArray):
        masked = np.ma.getmaskarray(values)
        values = np.where(masked, np.nan, values.data) if masked.any() else values.data
    elif hasattr(values, "to_numpy"):  # pandas and its relatives
        values = values.to_numpy()
    elif not isinstance(values, np.ndarray) and hasattr(values, "shape") and hasattr(values, "dtype"):
        values = values[()]  # h5py
    try:
        array = np.asanyarray(values)
    except ValueError as error:
        raise UserError(
            f"{what}: must be an array of numbers, but is a list of {len(values)} parts of different lengths; if these "
            "are spike times, count the spikes in every frame first, such as with numpy.histogram"
        ) from error
    if array.dtype.kind not in "biuf" or 0 in array.shape or array.ndim == 0:
        raise UserError(f"{what}: must hold real numbers, but is {array.dtype} of shape {array.shape}")
    return array.view(np.uint8) if array.dtype == bool else array


def column(what: str, values: Any, count: int) -> np.ndarray:
    """Make a column of neuron metadata, of numbers or words that JSON can hold; dates become words.

    Raises:
        UserError: there is not one entry per neuron, or an entry is neither a number nor a word.
    """
    array = np.asarray(values.to_numpy() if hasattr(values, "to_numpy") else values)
    if array.ndim == 0 or len(array) != count:
        found = f"{len(array)} entries" if array.ndim else "a single one"
        raise UserError(f"{what} has {found} for {count} neurons; give one for each")
    if array.dtype.kind in "mM":
        return array.astype(str)
    if array.dtype.kind in "SO":
        array = np.array([_word(what, entry) for entry in array.ravel().tolist()]).reshape(array.shape)
    if array.dtype.kind not in "biufU":
        raise UserError(f"{what} holds {array.dtype}; give numbers or words")
    return array


def _word(what: str, entry: Any) -> Any:
    if isinstance(entry, bytes):  # h5py and MATLAB
        try:
            return entry.decode()
        except UnicodeDecodeError as error:
            raise UserError(f"{what} holds words that are not UTF-8 ({error}); write them again as UTF-8") from error
    if isinstance(entry, str | bool | int | float):
        return entry
    if entry is None:
        return ""
    raise UserError(f"{what} holds {type(entry).__name__} ({entry!r}); give numbers or words")


def whole_number(what: str, value: Any, least: int, most: int | None = None) -> int:
    """Check that a value is a whole number (numpy's too) in a range, and return it.

    Raises:
        UserError: it is not a whole number, or out of the range.
    """
    if isinstance(value, bool) or not isinstance(value, numbers.Integral) or int(value) < least:
        raise UserError(f"{what} is {value!r}; it must be a whole number of at least {least}")
    if most is not None and int(value) > most:
        raise UserError(f"{what} is {value!r}; it must be at most {most}")
    return int(value)


def number(what: str, value: Any, *, positive: bool = False) -> float:
    """Check that a value is a finite number (numpy's too), and return it.

    Raises:
        UserError: it is not a finite number, or not above 0 although ``positive``.
    """
    good = isinstance(value, numbers.Real) and not isinstance(value, bool) and math.isfinite(value)
    if not good or (positive and not value > 0):
        rule = "above 0" if positive else "a finite number"
        raise UserError(f"{what} is {value!r}; it must be {rule}")
    return float(value)


def check_choice(what: str, value: Any, choices: Iterable[str]) -> None:
    """Check that a value is one of some words.

    Raises:
        UserError: it is not.
    """
    known = list(choices)
    if value not in known:
        raise UserError(f'{what} is "{value}"; choose among {", ".join(known)}')


def count_or_clips(what: str, value: Any) -> int | tuple[int, ...]:
    """Check a number of clips, or indices of clips, and return them.

    Raises:
        UserError: the value is neither, or an index comes twice.
    """
    if isinstance(value, numbers.Integral):
        return whole_number(what, value, 0)
    if isinstance(value, str) or not isinstance(value, Sequence | np.ndarray):
        raise UserError(f"{what} is {value!r}; give a number of clips, or a list of their numbers")
    clips = tuple(whole_number(f"{what}: a clip", clip, 0) for clip in value)
    if twice := sorted({clip for clip in clips if clips.count(clip) > 1}):
        raise UserError(f"{what} names clip {twice[0]} twice; name each clip once")
    return clips
