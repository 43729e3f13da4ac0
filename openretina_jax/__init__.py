"""Deep core + readout models of the retina: train on many recordings at once, probe in silico."""

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from openretina_jax.models.core_readout import CoreReadout


def load(path: str | Path) -> "CoreReadout":
    """A trained model, ready to be called: ``model(stimulus, session=...)``.

    Args:
        path: the folder of a run (its best checkpoint is taken) or of a checkpoint.

    Raises:
        UserError: there is no checkpoint, or it is damaged.
    """
    # imported here because jax takes longer than the rest of the package
    from openretina_jax.models.saved import load_model

    return load_model(path)
