"""Arrays of ``.npy`` files."""

from pathlib import Path

import numpy as np
from jaxtyping import Shaped

from openretina_jax.errors import UserError


def read_npy(file: Path, axes: str, *, remedy: str) -> Shaped[np.ndarray, "..."]:
    """Real numbers of a ``.npy`` file, mapped into memory.

    Args:
        file: as ``numpy.save`` writes it.
        axes: names of the axes, separated by spaces.
        remedy: what the user can do about a file that is missing or another one, for the message.

    Raises:
        UserError: it cannot be read, is not whole, is empty, or holds anything but real numbers with these axes.
    """
    try:
        values = np.lib.format.open_memmap(file, mode="r")
    except OSError as error:
        raise UserError(f"{file}: cannot be read ({error.strerror or error}); {remedy}") from error
    except Exception as error:  # the bytes of a foreign file can make the reader raise anything
        reason = " ".join(str(error).split()) or type(error).__name__
        raise UserError(f"{file}: is not a whole .npy file of numbers ({reason}); {remedy}") from error
    if values.ndim != len(axes.split()) or values.size == 0 or values.dtype.kind not in "biuf":
        raise UserError(
            f"{file}: holds {values.dtype} of shape {values.shape}, but must hold real numbers with the axes "
            f"({axes.replace(' ', ', ')}), none of them empty; {remedy}"
        )
    return values
