"""Runs an experiment on a model from disk; its folder is written whole, and an interrupted experiment goes on."""

import ast
import contextlib
import dataclasses
import inspect
import json
import logging
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
from beartype.door import is_bearable
from filelock import FileLock, Timeout
from flax import nnx

from openretina_jax import load
from openretina_jax.errors import UserError
from openretina_jax.experiment.insilico import EXPERIMENTS
from openretina_jax.experiment.insilico.experiment import Experiment, Work
from openretina_jax.experiment.train import use_compilation_cache
from openretina_jax.models.model import Model
from openretina_jax.models.saving import by_name, sha256_of_arrays
from openretina_jax.runtime.files import check_writable, put_in_place
from openretina_jax.runtime.registry import construct, signature

ABOUT = "experiment.json"
_REMEDY = "give another --folder"
_log = logging.getLogger(__name__)


def run(kind: str, checkpoints: Sequence[str], folder: Path, texts: Mapping[str, str], *, overwrite: bool) -> list[str]:
    """Run an experiment and write what it finds.

    Until it has ended its results are in a folder beside, "<folder>.unfinished", from which the same call goes on.

    Args:
        kind: of ``EXPERIMENTS``, or "package.module:Class".
        checkpoints: whatever ``openretina_jax.load`` opens; several make an ensemble.
        folder: made, whole or not at all.
        texts: options of the experiment, as words of a command line.
        overwrite: whether a folder of an earlier experiment is replaced.

    Returns:
        What has failed, a line each.

    Raises:
        UserError: the experiment, the model, the neurons or the folder are not as they must be, an interrupted
            experiment had other settings, or this one was interrupted.
    """
    experiment = make_experiment(kind, texts)
    if folder.exists() and not overwrite:
        raise UserError(f"{folder} exists; {_REMEDY}, or --overwrite")
    if folder.exists() and not (folder / ABOUT).is_file():
        raise UserError(f"{folder} holds no experiment, and is not overwritten; {_REMEDY}")
    check_writable(folder, remedy=_REMEDY)
    use_compilation_cache()
    model = load(checkpoints[0] if len(checkpoints) == 1 else list(checkpoints))
    unfinished = folder.with_name(f"{folder.name}.unfinished")
    about = {
        "experiment": kind,
        "checkpoints": list(checkpoints),
        "options": dataclasses.asdict(experiment),
        "model": _fingerprint(model),
    }
    unfinished.mkdir(exist_ok=True)
    lock = FileLock(unfinished / ".lock", timeout=0)
    try:
        lock.acquire()
    except Timeout:
        raise UserError(f"another process is at work on {folder}; {_REMEDY}") from None
    try:
        _begin(unfinished, about, overwrite=overwrite)
        work = unfinished / "files"
        shutil.rmtree(work, ignore_errors=True)
        work.mkdir()
        failures = experiment.conduct(model, Work(work, unfinished, checkpoints[0]))
        (work / ABOUT).write_text(json.dumps(about, indent=2))
        put_in_place(work, folder)
        shutil.rmtree(unfinished / "kept", ignore_errors=True)
    except KeyboardInterrupt:
        raise UserError(
            f"stopped; the same command goes on from what is in {unfinished}"
            if _holds_results(unfinished)
            else "stopped before anything was found"
        ) from None
    finally:
        if not _holds_results(unfinished):
            shutil.rmtree(unfinished, ignore_errors=True)
        lock.release()
    return list(failures)


def describe(kind: str) -> str:
    """Describe what an experiment does, and its options with their defaults.

    Raises:
        UserError: there is no such experiment.
    """
    maker = EXPERIMENTS[kind]
    about, lines = inspect.getdoc(maker) or "", []
    for one in reversed(maker.__mro__):
        lines += inspect.cleandoc("\n" + (one.__doc__ or "").partition("Attributes:\n")[2]).splitlines()
    defaults = [
        f"--{field.name}" + ("" if field.default is dataclasses.MISSING else f"={field.default}")
        for field in dataclasses.fields(maker)
    ]
    return "\n".join(
        [f"\n{kind}: {about.partition(chr(10))[0]}", *(f"  {line}" for line in lines if line), "", "defaults:"]
        + [f"  {line}" for line in defaults]
    )


def make_experiment(kind: str, texts: Mapping[str, str]) -> Experiment:
    """Make an experiment from the words of a command line.

    Raises:
        UserError: there is no such experiment, or it has no such options.
    """
    maker = EXPERIMENTS[kind]
    hints = signature(maker)[1]
    options = {name: _value(text, hints.get(name, str)) for name, text in texts.items()}
    experiment = construct(maker, f'experiment "{kind}"', options, {})
    if not isinstance(experiment, Experiment):
        raise UserError(f'experiment "{kind}" makes a {type(experiment).__name__}, but must be an Experiment')
    return experiment


def _value(text: str, hint: Any) -> Any:
    """The text itself where the option takes text, else the number or tuple that it writes, as floats if need be."""
    written: Any = text
    if text in ("true", "false"):
        written = text == "true"
    else:
        with contextlib.suppress(ValueError, SyntaxError):
            written = ast.literal_eval(text)
    return next((value for value in (text, written, _floats(written)) if is_bearable(value, hint)), written)


def _floats(value: Any) -> Any:
    if isinstance(value, tuple):
        return tuple(map(_floats, value))
    return float(value) if type(value) is int else value


def _begin(unfinished: Path, about: Mapping[str, Any], *, overwrite: bool) -> None:
    """Go on with an interrupted experiment of the same settings, or begin."""
    file = unfinished / ABOUT
    plain = json.loads(json.dumps(about))
    if file.is_file() and _holds_results(unfinished):
        earlier = json.loads(file.read_text())
        if earlier == plain:
            _log.info("going on with what is in %s", unfinished)
            return
        if not overwrite:
            raise UserError(
                f"{unfinished} is of an interrupted experiment with {_difference(earlier, plain)}; give its settings "
                f"to go on with it, --overwrite to begin anew, or another --folder"
            )
        shutil.rmtree(unfinished / "kept", ignore_errors=True)
    file.write_text(json.dumps(about))


def _holds_results(unfinished: Path) -> bool:
    return any(unfinished.glob("kept/*/*.npz"))


def _difference(earlier: Mapping[str, Any], now: Mapping[str, Any]) -> str:
    """The first setting in which two experiments differ."""
    for name, value in {**earlier, **earlier["options"]}.items():
        other = {**now, **now["options"]}.get(name)
        if name != "options" and other != value:
            return "another model" if name == "model" else f"{name} {value}, not {other}"
    return "other options"


def _fingerprint(model: Model) -> str:
    """Digest of all numbers of a model."""
    arrays = {
        name: jax.random.key_data(leaf) if jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key) else leaf
        for name, leaf in by_name(nnx.state(model)).items()
    }
    return sha256_of_arrays(arrays)[:16]
