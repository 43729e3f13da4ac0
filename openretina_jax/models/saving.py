"""Trained models from disk: arrays by readable names, and the options they were built from.

A checkpoint is a folder with the arrays (``state``) and their description as JSON (``about/metadata``), which has
hashes of both. Checkpoints of earlier versions have none, and are read without.
"""

import csv
import dataclasses
import gc
import hashlib
import json
import logging
import shutil
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax
import numpy as np
from flax import nnx

from openretina_jax.data.info import DataInfo
from openretina_jax.errors import UserError
from openretina_jax.models.build import make_model
from openretina_jax.models.model import Model
from openretina_jax.runtime.fetch import cache_folder
from openretina_jax.runtime.files import check_local, plain_folder, whole_file
from openretina_jax.runtime.stores import local_copy

# key of the validation score in checkpoints; if another score is monitored, its value (or the negative loss) is there
SCORE = "validation_correlation"

_HASHES = "sha256"  # key of the hashes of description and arrays
_REMEDY = "delete it, or put back the copy that was written"
_DESCRIPTION = Path("about", "metadata")
_LET_GO_S = 0.3  # seconds for the threads of a failed read to end

_log = logging.getLogger(__name__)


class DamagedError(UserError):
    """A checkpoint is not what was written."""


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
    try:
        info = DataInfo.from_json(json.dumps(about["data_info"]))
        model = make_model(about["config"]["model"], with_scores(info, checkpoint.parent.parent / "neurons.csv"))
    except (ArithmeticError, AttributeError, IndexError, KeyError, TypeError, ValueError, RecursionError) as error:
        raise DamagedError(f"{checkpoint / _DESCRIPTION} describes no model: {_in_a_line(error)}; {_REMEDY}") from error
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

    At every moment the folder holds the earlier model or this one: the description is replaced at once, and its hash
    says which of ``state`` and ``state.new`` belongs to it.

    Args:
        model: any model.
        folder: made if missing.

    Raises:
        UserError: the folder holds something else and no saved model, or cannot be written.
    """
    check_local(folder)
    folder = Path(folder).expanduser().resolve()
    description, state, new = folder / _DESCRIPTION, folder / "state", folder / "state.new"
    ours = (new.name, _DESCRIPTION.parts[0])
    if not description.is_file() and (folder.is_file() or any(f.name not in ours for f in _entries(folder))):
        raise UserError(f"{folder} holds no saved model, and is not overwritten; give another folder")
    import orbax.checkpoint as ocp  # takes a quarter of a second: models in memory do without

    arrays = jax.device_get({f"params/{name}": value for name, value in by_name(nnx.state(model)).items()})
    about = with_hashes(
        {"config": {"model": model.options}, "data_info": json.loads(model.data_info.to_json())}, arrays
    )
    try:
        if new.is_dir() and _matches(new, description):  # an earlier save was killed before its last step
            _replace(new, state)
        for left in folder.glob("state.*"):
            shutil.rmtree(left)
        with ocp.StandardCheckpointer() as checkpointer:
            folder.mkdir(parents=True, exist_ok=True)
            checkpointer.save(plain_folder(folder) / new.name, arrays)
        with whole_file(description) as stream:
            stream.write(json.dumps(about).encode())
        _replace(new, state)
    except OSError as error:
        raise UserError(f"{folder} cannot be written ({error.strerror or error}); check the folder and disk") from error


def _entries(folder: Path) -> list[Path]:
    return list(folder.iterdir()) if folder.is_dir() else []


def _replace(new: Path, state: Path) -> None:
    old = state.with_name("state.old")
    if state.is_dir():
        state.replace(old)
    new.replace(state)
    shutil.rmtree(old, ignore_errors=True)


def _matches(arrays: Path, description: Path) -> bool:
    """Whether arrays have the hash that a description holds."""
    try:
        return sha256_of_arrays(_restored(arrays)) == json.loads(description.read_bytes())[_HASHES]["arrays"]
    except Exception:  # half of them were written
        return False


def best_checkpoint(path: Path) -> Path:
    """Find the checkpoint: the path itself, or that of a run with the highest validation score.

    Of a path in an object store, such as ``s3://bucket/run``, it is that of a copy on this machine.

    A damaged one is left out with a warning, as long as there are others.

    Raises:
        UserError: there is none.
    """
    path = local_copy(path, cache_folder()).expanduser()
    if (path / _DESCRIPTION).is_file() or (path / "state").is_dir():
        return path
    folders = [*path.glob("checkpoints/*"), *path.glob("members/*/checkpoints/*")]
    folders = [folder for folder in folders if folder.name.isdigit() and (folder / "state").is_dir()]
    if not folders:
        raise UserError(f"{path} holds no checkpoint; give the --workdir of a run, or one folder of its checkpoints")
    folders.sort(key=lambda folder: (folder.parent, int(folder.name)))  # of equal scores the first must always win
    scores, damaged = {}, []
    for folder in folders:
        try:
            scores[folder] = score_of(folder)
        except DamagedError as error:
            damaged.append(error)
    if not scores:
        raise damaged[0]
    for problem in damaged:
        _log.warning("%s; it is left out", problem)
    return max(scores, key=scores.__getitem__)


def score_of(checkpoint: Path) -> float:
    """Validation score of a checkpoint of a run.

    Raises:
        UserError: it is damaged.
    """
    score = read_about(checkpoint).get(SCORE)
    if not isinstance(score, int | float):
        raise DamagedError(f"{checkpoint / _DESCRIPTION} has no {SCORE}; {_REMEDY}")
    return score


def read_about(checkpoint: Path) -> dict[str, Any]:
    """Read the JSON beside the arrays of a checkpoint: "config", "data_info", "epoch", ...

    Raises:
        UserError: it is missing or damaged, or was changed.
    """
    about, hashes = _description(checkpoint)
    if hashes and hashes.get("about") != _sha256_of_json(about):
        raise DamagedError(f"{checkpoint / _DESCRIPTION} was changed since it was written; {_REMEDY}")
    return about


def read_hashes(checkpoint: Path) -> dict[str, str]:
    """Hashes of the description ("about") and of the "arrays" of a checkpoint; one of an earlier version has none."""
    return _description(checkpoint)[1]


def _description(checkpoint: Path) -> tuple[dict[str, Any], dict[str, str]]:
    """The JSON beside the arrays, and its hashes; an earlier version wrote none."""
    try:
        about = json.loads((checkpoint / _DESCRIPTION).read_bytes())
        if not isinstance(about, dict):
            raise ValueError("its description is no dictionary")
    except (OSError, ValueError, RecursionError) as error:
        raise DamagedError(f"{checkpoint} is not a complete checkpoint: {_in_a_line(error)}; {_REMEDY}") from None
    hashes = about.pop(_HASHES, {})
    return about, hashes if isinstance(hashes, dict) else {"about": ""}


def with_hashes(about: Mapping[str, Any], arrays: Mapping[str, np.ndarray]) -> dict[str, Any]:
    """A description with hashes of itself and of the arrays that it goes with."""
    plain = json.loads(json.dumps(about))
    return plain | {_HASHES: {"about": _sha256_of_json(plain), "arrays": sha256_of_arrays(arrays)}}


def sha256_of_arrays(arrays: Mapping[str, jax.Array | np.ndarray]) -> str:
    """Hash of the names, types, shapes and numbers of arrays."""
    digest = hashlib.sha256()
    for name, array in sorted(arrays.items()):
        values = np.asarray(array)
        digest.update(f"{name} {values.dtype} {values.shape}\n".encode())
        digest.update(values.tobytes())
    return digest.hexdigest()


def _sha256_of_json(value: Any) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()


def _in_a_line(error: BaseException) -> str:
    return " ".join(f"{type(error).__name__}: {error}".split())[:200]


def restore_arrays(checkpoint: Path, like: Any) -> Any:
    """Read the arrays of a checkpoint into the structure of ``like``.

    Raises:
        UserError: the checkpoint is damaged, or belongs to another model; lists everything that does not fit.
    """
    return fitted(checkpoint, read_arrays(checkpoint), like)


def read_arrays(checkpoint: Path) -> Mapping[str, jax.Array | np.ndarray]:
    """Read the arrays of a checkpoint by their names.

    Raises:
        UserError: they are damaged, or not those that were written.
    """
    wanted = _description(checkpoint)[1].get("arrays")
    problem = "they are not those that were written"
    found = [checkpoint / "state", *filter(Path.is_dir, [checkpoint / "state.new"])]  # see ``save_model``
    for folder in found:
        try:
            arrays = _restored(folder)
        except Exception as error:  # damaged files can make the library raise anything
            problem = problem if folder.name == "state.new" else _in_a_line(error)
            arrays = None
        if arrays is None:
            _let_go()
        elif wanted in (None, sha256_of_arrays(arrays)):
            return arrays
    raise DamagedError(f"{checkpoint}: its arrays cannot be read: {problem}; {_REMEDY}")


def _let_go() -> None:
    """Wait for the other reads of a restore that failed: their threads complain to a loop that is closed."""
    hook, sys.unraisablehook = sys.unraisablehook, lambda _: None
    try:
        gc.collect()
        time.sleep(_LET_GO_S)
        gc.collect()
    finally:
        sys.unraisablehook = hook


def _restored(folder: Path) -> Mapping[str, jax.Array | np.ndarray]:
    import orbax.checkpoint as ocp

    with ocp.StandardCheckpointer() as checkpointer:
        return checkpointer.restore(plain_folder(folder))


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
    return jax.tree.unflatten(jax.tree.structure(like), [jax.device_put(saved[name]) for name in wanted])


def by_name(tree: Any) -> Mapping[str, jax.Array]:
    """The arrays of a tree by their paths, such as ``params/core/layers/0/conv/sin``."""
    leaves, _ = jax.tree_util.tree_flatten_with_path(tree)
    names = (jax.tree_util.keystr(path, simple=True, separator="/") for path, _ in leaves)
    return {name.removesuffix("/value"): leaf for name, (_, leaf) in zip(names, leaves, strict=True)}
