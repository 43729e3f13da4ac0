"""Deep core + readout models of the retina: train on many recordings at once, probe in silico."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from openretina_jax.models.core_readout import Model


def load(path: str | Path | Sequence[str | Path]) -> "Model":
    """A trained model, ready to be called: ``model(stimulus, session=...)``.

    Args:
        path: the folder of a run (its best checkpoint is taken), of a checkpoint or of a saved model; several of them
            make an ensemble.

    Raises:
        UserError: there is no checkpoint, it is damaged, or the models do not make an ensemble.
    """
    # imported here because jax takes longer than the rest of the package
    from openretina_jax.models.ensemble import Ensemble
    from openretina_jax.models.saved import load_model

    if isinstance(path, str | Path):
        return load_model(path)
    return Ensemble([load_model(one) for one in path])


def save(model: "Model", folder: str | Path) -> None:
    """Save a model so that ``load`` opens it; an earlier one in the folder is replaced."""
    from openretina_jax.models.saved import save_model

    save_model(model, folder)
