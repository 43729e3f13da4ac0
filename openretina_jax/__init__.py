"""Deep core + readout models of the retina: train on many recordings at once, probe in silico."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ml_collections import ConfigDict

    from openretina_jax.data.dataset import Dataset
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


def train(
    dataset: "Dataset",
    workdir: str | Path,
    config: "str | Path | ConfigDict",
    settings: Mapping[str, Any] | None = None,
) -> "Model":
    """Train a model on a data set in memory, as scripts/train.py does, or go on with a run that was stopped.

    Args:
        dataset: such as that of ``Dataset.from_arrays``; ``config.data`` is not used.
        workdir: folder of the run: checkpoints, scores of the neurons, pictures. A run of the same data set and
            configuration goes on from its last checkpoint.
        config: a file of configs/, maybe with words after a colon, or what its ``get_config`` returns.
        settings: entries of the configuration to change, such as ``{"train.epochs": 20}``.

    Returns:
        The model of the best epoch.

    Raises:
        UserError: the configuration does not fit the data, or the workdir holds another run.
    """
    from openretina_jax.config import train_on

    return train_on(dataset, config, Path(workdir), settings or {})
