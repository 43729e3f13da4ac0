"""Trained models by a path, an address, or the name of a published one."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from openretina_jax.errors import UserError
from openretina_jax.interop import ensembles
from openretina_jax.interop.ensembles import is_ensemble_folder, load_ensemble
from openretina_jax.interop.exported import is_exported
from openretina_jax.interop.openretina import PUBLISHED, load_checkpoint
from openretina_jax.models.ensemble import Ensemble
from openretina_jax.models.model import Model
from openretina_jax.models.saving import load_model
from openretina_jax.runtime.fetch import cache_folder, is_url
from openretina_jax.runtime.stores import local_copy


def load(path: str | Path | Sequence[str | Path], **arguments: Any) -> Model:
    """Open a trained model, ready to be called: ``model(stimulus, session=...)``.

    Args:
        path: the folder of a run (its best checkpoint is taken), of a checkpoint or of a saved model; or a model of
            openretina: its published name such as "hoefling_2024_low_res", the path of a ``.ckpt`` file, or its
            address; or the folder of an ensemble of Höfling et al. 2024. Folders and files may be in an object store
            (``s3://bucket/run``). Several of them make an ensemble.
        arguments: arguments of the constructor of openretina's model that its checkpoint does not hold.

    Raises:
        UserError: there is no such model, it is damaged or has no counterpart here, or the models do not make an
            ensemble.
    """
    if not isinstance(path, str | Path):
        return Ensemble([load(one, **arguments) for one in path])
    path = check_exists(path)
    if Path(path).is_dir() or str(path) in ensembles.PUBLISHED:
        if arguments:
            raise UserError(f"{path} says all that its model needs; leave out {', '.join(arguments)}")
        published = str(path) in ensembles.PUBLISHED
        return load_ensemble(path) if published or is_ensemble_folder(path) else load_model(path)
    if is_exported(path):
        raise UserError(
            f"{path} is an exported program, which has no weights to look at or to train; open it by "
            "openretina_jax.load_exported, or give the model that it was made of"
        )
    return load_checkpoint(path, **arguments)


def check_exists(path: str | Path) -> str | Path:
    """Refuse a path of a model that is no file, folder, published name or address.

    Returns:
        The path itself, or that of a copy on this machine if it is in an object store.

    Raises:
        UserError: names what there is.
    """
    if is_url(str(path)):
        return path
    path, published = local_copy(path, cache_folder()), (*PUBLISHED, *ensembles.PUBLISHED)
    if not (str(path) in published or path.exists()):
        raise UserError(f"{path} does not exist; give a run's folder, a .ckpt file, or one of {', '.join(published)}")
    return path
