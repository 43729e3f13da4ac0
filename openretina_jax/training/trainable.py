"""Which parameters are trained."""

import fnmatch
from collections.abc import Callable, Sequence
from typing import Any

from flax import nnx

from openretina_jax.errors import UserError
from openretina_jax.models.parameters import path_name

Trainable = Sequence[str] | Callable[[str], bool] | None


def trainable_filter(model: nnx.Module, trainable: Trainable) -> Callable[[tuple, Any], bool]:
    """The filter for ``nnx.split`` that admits the trained parameters of a model.

    Args:
        model: whose parameters.
        trainable: parts of the model, such as ``("readout", "core.layers[1]")``; names with ``*`` are patterns; or a
            function of a parameter's path; None admits all.

    Raises:
        UserError: a name fits no parameter, or nothing is left to train.
    """
    paths = [path_name(path) for path, value in nnx.to_flat_state(nnx.state(model, nnx.Param))]

    def fits(path: str, name: str) -> bool:
        return path == name or path.startswith((f"{name}.", f"{name}[")) or fnmatch.fnmatchcase(path, _literal(name))

    if trainable is None:
        chosen = set(paths)
    elif callable(trainable):
        chosen = {path for path in paths if trainable(path)}
    else:
        chosen = {path for path in paths if any(fits(path, name) for name in trainable)}
        for name in trainable:
            if not any(fits(path, name) for path in paths):
                raise UserError(f'train.trainable: no parameter is called "{name}"; there are {", ".join(paths)}')
    if not chosen:
        raise UserError("train.trainable leaves no parameter to train")
    return lambda path, value: isinstance(value, nnx.Param) and path_name(path) in chosen


def _literal(name: str) -> str:
    """A pattern whose brackets are those of an index."""
    return name.replace("[", "[[]")
