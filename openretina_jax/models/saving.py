"""Trained models from disk: arrays by readable names, and the options they were built from."""

import csv
import dataclasses
import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import orbax.checkpoint as ocp
from flax import nnx

from openretina_jax.data.dataset import DataInfo
from openretina_jax.errors import UserError
from openretina_jax.models.build import make_model
from openretina_jax.models.model import Model

SCORE = "validation_correlation"  # in checkpoints; of another score that is monitored, its value or negative loss


def load_model(path: str | Path) -> Model:
    """Load a trained model, ready to be called.

    Args:
        path: the folder of a run (its best checkpoint is taken; of a population, the best member's), of a checkpoint,
            or of a saved model.

    Raises:
        UserError: there is no checkpoint, or it is damaged.
    """
    checkpoint = best_checkpoint(Path(path))
    about = read_about(checkpoint)
    info = with_scores(DataInfo.from_json(json.dumps(about["data_info"])), checkpoint.parent.parent / "neurons.csv")
    model = make_model(about["config"]["model"], info)
    saved = read_arrays(checkpoint)
    # validation scores the moving average where there is one; without it, the trained parameters and the statistics
    parts = ("average",) if any(name.startswith("average/") for name in saved) else ("params", "statistics")
    variables = {name.partition("/")[2]: array for name, array in saved.items() if name.startswith(parts)}
    nnx.update(model, fitted(checkpoint, variables, nnx.state(model)))
    return model


def with_scores(info: DataInfo, table: Path) -> DataInfo:
    """Add the scores of a run's neurons to their metadata, so that experiments can choose the best.

    A run that has not ended has no table yet; a table of other neurons is not of this run.
    """
    try:
        with table.open(newline="", encoding="utf-8") as file:
            rows = list(csv.DictReader(file))
        scores = [float(row[SCORE]) if row[SCORE] else None for row in rows]
        sessions = [row["session"] for row in rows]
    except (OSError, ValueError, KeyError):
        return info
    if sessions != [name for name, count in info.sessions.items() for _ in range(count)]:
        return info
    of_neuron = iter(scores)
    neurons = {
        name: {**info.neurons.get(name, {}), SCORE: [next(of_neuron) for _ in range(count)]}
        for name, count in info.sessions.items()
    }
    return dataclasses.replace(info, neurons=neurons)


def save_model(model: Model, folder: str | Path) -> None:
    """Save a model that ``load_model`` opens; an earlier one in the folder is replaced, other files beside it stay.

    Args:
        model: any model.
        folder: made if missing.

    Raises:
        UserError: the folder holds something else, and no saved model.
    """
    folder = Path(folder).resolve()
    earlier = list(folder.iterdir()) if folder.is_dir() else []
    if folder.is_file() or (earlier and not (folder / "about" / "metadata").is_file()):
        raise UserError(f"{folder} holds no saved model, and is not overwritten; give another folder")
    temporary = folder.with_name(f".{folder.name}.tmp")
    shutil.rmtree(temporary, ignore_errors=True)
    with ocp.StandardCheckpointer() as checkpointer:
        checkpointer.save(temporary / "state", {f"params/{n}": v for n, v in by_name(nnx.state(model)).items()})
    about = {"config": {"model": model.options}, "data_info": json.loads(model.data_info.to_json())}
    (temporary / "about").mkdir()
    (temporary / "about" / "metadata").write_text(json.dumps(about))
    for other in earlier:
        if other.name not in ("state", "about"):
            other.rename(temporary / other.name)
    shutil.rmtree(folder, ignore_errors=True)
    temporary.rename(folder)


def best_checkpoint(path: Path) -> Path:
    """Find the checkpoint: the path itself, or that of a run with the highest validation score.

    Raises:
        UserError: there is none.
    """
    if (path / "state").is_dir():
        return path
    folders = [*path.glob("checkpoints/*"), *path.glob("members/*/checkpoints/*")]
    folders = [folder for folder in folders if folder.name.isdigit() and (folder / "state").is_dir()]
    if not folders:
        raise UserError(f"{path} holds no checkpoint; give the --workdir of a run, or one folder of its checkpoints")
    folders.sort(key=lambda folder: (folder.parent, int(folder.name)))  # of equal scores the first must always win
    return max(folders, key=lambda folder: read_about(folder)[SCORE])


def read_about(checkpoint: Path) -> dict[str, Any]:
    """Read the JSON beside the arrays of a checkpoint: "config", "data_info", "epoch", ...

    Raises:
        UserError: it is missing or damaged.
    """
    try:
        return json.loads((checkpoint / "about" / "metadata").read_text())
    except (OSError, ValueError) as error:
        raise UserError(f"{checkpoint} is not a complete checkpoint: {error}") from None


def restore_arrays(checkpoint: Path, like: Any) -> Any:
    """Read the arrays of a checkpoint into the structure of ``like``.

    Raises:
        UserError: the checkpoint is damaged, or belongs to another model; lists everything that does not fit.
    """
    return fitted(checkpoint, read_arrays(checkpoint), like)


def read_arrays(checkpoint: Path) -> Mapping[str, jax.Array | np.ndarray]:
    """Read the arrays of a checkpoint by their names.

    Raises:
        UserError: the checkpoint is damaged.
    """
    try:
        with ocp.StandardCheckpointer() as checkpointer:
            return checkpointer.restore((checkpoint / "state").absolute())
    except (OSError, ValueError) as error:
        raise UserError(f"{checkpoint} cannot be read: {str(error).splitlines()[0]}") from None


def fitted(checkpoint: Path, saved: Mapping[str, jax.Array | np.ndarray], like: Any) -> Any:
    """Put named arrays into the structure of ``like``.

    Raises:
        UserError: lists everything that is missing, left over, or of another shape.
    """
    wanted = by_name(like)
    problems = [f"{name} is missing" for name in wanted if name not in saved]
    problems += [f"{name} is left over" for name in saved if name not in wanted]
    problems += [
        f"{name} has shape {saved[name].shape}, not {value.shape}"
        for name, value in wanted.items()
        if name in saved and saved[name].shape != value.shape
    ]
    if problems:
        raise UserError(f"{checkpoint} belongs to another model: {'; '.join(sorted(problems))}")
    return jax.tree.unflatten(jax.tree.structure(like), [jnp.asarray(saved[name]) for name in wanted])


def by_name(tree: Any) -> Mapping[str, jax.Array]:
    """The arrays of a tree by their paths, such as ``params/core/layers/0/conv/sin``."""
    leaves, _ = jax.tree_util.tree_flatten_with_path(tree)
    names = (jax.tree_util.keystr(path, simple=True, separator="/") for path, _ in leaves)
    return {name.removesuffix("/value"): leaf for name, (_, leaf) in zip(names, leaves, strict=True)}
