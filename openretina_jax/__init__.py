"""Deep core + readout models of the retina: train on many recordings at once, probe in silico."""

import importlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from types import ModuleType

    from ml_collections import ConfigDict

    from openretina_jax.data.dataset import Dataset
    from openretina_jax.interop.exported import ExportedModel
    from openretina_jax.models.model import Model
    from openretina_jax.training.callbacks import Callback


def __getattr__(name: str) -> "ModuleType":
    """Import ``openretina_jax.insilico`` when it is first used, since jax takes longer than the rest of the package."""
    if name == "insilico":
        return importlib.import_module("openretina_jax.insilico")
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def load(path: str | Path | Sequence[str | Path], **arguments: Any) -> "Model":
    """A trained model, ready to be called: ``model(stimulus, session=...)``.

    Args:
        path: the folder of a run (its best checkpoint is taken), of a checkpoint or of a saved model; or a model of
            openretina: its published name such as "hoefling_2024_low_res", the path of a ``.ckpt`` file, or its
            address. Several of them make an ensemble.
        arguments: of the constructor of openretina's model, where its checkpoint does not say them.

    Raises:
        UserError: there is no such model, it is damaged, or the models do not make an ensemble.
    """
    # imported here because jax takes longer than the rest of the package
    from openretina_jax.interop.openretina import open_model
    from openretina_jax.models.ensemble import Ensemble

    if isinstance(path, str | Path):
        return open_model(path, **arguments)
    return Ensemble([open_model(one, **arguments) for one in path])


def save(model: "Model", folder: str | Path) -> None:
    """Save a model so that ``load`` opens it; an earlier one in the folder is replaced.

    Raises:
        UserError: the folder holds anything else than a saved model.
    """
    from openretina_jax.models.saving import save_model

    save_model(model, folder)


def train(
    dataset: "Dataset",
    workdir: str | Path,
    config: "str | Path | ConfigDict",
    settings: Mapping[str, Any] | None = None,
    callbacks: "Sequence[Callback]" = (),
) -> "Model":
    """Train a model on a data set in memory, as scripts/train.py does, or go on with a run that was stopped.

    Args:
        dataset: such as that of ``data.from_arrays``; ``config.data`` is not used.
        workdir: folder of the run: checkpoints, scores of the neurons, pictures. A run of the same data set and
            configuration goes on from its last checkpoint.
        config: a file of configs/, maybe with words after a colon, or what its ``get_config`` returns.
        settings: entries of the configuration to change, such as ``{"train.epochs": 20}``.
        callbacks: followers of the run besides those of the configuration, see ``training.callbacks.Callback``.

    Returns:
        The model of the best epoch.

    Raises:
        UserError: the configuration does not fit the data, or the workdir holds another run.
    """
    from openretina_jax.experiment.train import train_on

    return train_on(dataset, config, Path(workdir), settings or {}, callbacks)


def export(model: "Model", path: str | Path) -> None:
    """Write a model as one program that needs nothing but JAX, for CPUs, GPUs and TPUs, and movies of any length."""
    from openretina_jax.interop.exported import export

    export(model, path)


def load_exported(path: str | Path) -> "ExportedModel":
    """A program that ``export`` wrote, ready to be called as the model was.

    Raises:
        UserError: there is no such file, or it is damaged.
    """
    from openretina_jax.interop.exported import load_exported

    return load_exported(path)
