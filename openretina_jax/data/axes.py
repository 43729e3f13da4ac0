"""Arrays whose axes have names, brought into the order that the package uses."""

import numpy as np

from openretina_jax.errors import UserError

MOVIE = "time height width channel"
RESPONSES = "time neuron"
REPEATS = "trial time neuron"


def arranged(values: np.ndarray, axes: str, wanted: str, what: str) -> np.ndarray:
    """A view of an array with its axes in the wanted order; the axis of channels may be missing, and is then added.

    Args:
        values: the array.
        axes: names of its axes, separated by spaces.
        wanted: names of the axes of the result.
        what: the array's name in messages.

    Raises:
        UserError: the names are not those wanted, or the array has another number of axes.
    """
    names, needed = axes.split(), wanted.split()
    if "channel" in needed and "channel" not in names:
        names, values = [*names, "channel"], values[..., None]
    if sorted(names) != sorted(needed):
        raise UserError(f'{what}: its axes are called "{axes}"; name each of {", ".join(needed)} once, in its order')
    if values.ndim != len(names):
        found = values.shape if "channel" in axes or "channel" not in needed else values.shape[:-1]
        raise UserError(f'{what}: has shape {found}, but must have the {len(axes.split())} axes "{axes}"')
    return values.transpose([names.index(name) for name in needed])
