"""Trained models by whatever names them."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from openretina_jax.interop.openretina import open_model
from openretina_jax.models.ensemble import Ensemble
from openretina_jax.models.model import Model


def load(path: str | Path | Sequence[str | Path], **arguments: Any) -> Model:
    """Open a trained model, ready to be called: ``model(stimulus, session=...)``.

    Args:
        path: the folder of a run (its best checkpoint is taken), of a checkpoint or of a saved model; or a model of
            openretina: its published name such as "hoefling_2024_low_res", the path of a ``.ckpt`` file, or its
            address. Several of them make an ensemble.
        arguments: of the constructor of openretina's model, where its checkpoint does not say them.

    Raises:
        UserError: there is no such model, it is damaged, or the models do not make an ensemble.
    """
    if isinstance(path, str | Path):
        return open_model(path, **arguments)
    return Ensemble([open_model(one, **arguments) for one in path])
