"""What ``scripts/insilico.py`` does: an experiment on a model from disk, its arrays, table and page into a folder."""

import dataclasses
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pandas as pd

from openretina_jax import load
from openretina_jax.errors import UserError
from openretina_jax.experiment.command_line import show_progress
from openretina_jax.experiment.data import make_dataset
from openretina_jax.experiment.evaluate import data_settings
from openretina_jax.experiment.train import use_compilation_cache
from openretina_jax.insilico import experiments, receptive_fields, tuning
from openretina_jax.insilico.ascent import Ascent
from openretina_jax.insilico.constraints import Constraint, of_training
from openretina_jax.insilico.optimize import stimulus_frames
from openretina_jax.insilico.stimuli import Stimuli
from openretina_jax.insilico.targets import groups, rows_of
from openretina_jax.models.model import Model
from openretina_jax.runtime.fetch import cache_folder
from openretina_jax.runtime.files import check_writable, whole_folder

_REMEDY = "give another --folder"
TABLE = "neurons.csv"


@dataclasses.dataclass(frozen=True)
class Options:
    """Settings of an experiment that the command line gives.

    Attributes:
        chosen: neurons, see ``insilico.targets.neurons``.
        window: last frames of the response that count.
        steps, seeds: gradients of a stimulus, and stimuli of each target.
        norm, low, high: constraint of stimuli (None: from the training movies).
        natural: whether the best natural window is scored beside each stimulus, for which the data are read.
        frames: of the noise for receptive fields.
    """

    chosen: str = "all"
    window: int = 10
    steps: int = 50
    seeds: int = 1
    norm: float | None = None
    low: float | None = None
    high: float | None = None
    natural: bool = False
    frames: int = 20_000


def run(experiment: str, checkpoints: Sequence[str], folder: Path, options: Options, *, overwrite: bool) -> None:
    """Run an experiment and write what it finds.

    Args:
        experiment: one of ``EXPERIMENTS``.
        checkpoints: whatever ``openretina_jax.load`` opens; several make an ensemble.
        folder: made, whole or not at all.
        options: of the experiment.
        overwrite: whether a folder of an earlier experiment is replaced.

    Raises:
        UserError: the experiment, the model, the neurons or the folder are not as they must be.
    """
    if folder.exists() and not overwrite:
        raise UserError(f"{folder} exists; {_REMEDY}, or --overwrite")
    if folder.exists() and not (folder / TABLE).is_file():
        raise UserError(f"{folder} holds no experiment, and is not overwritten; {_REMEDY}")
    check_writable(folder, remedy=_REMEDY)
    use_compilation_cache()
    model = load(checkpoints[0] if len(checkpoints) == 1 else list(checkpoints))
    with whole_folder(folder, remedy=_REMEDY) as work:
        EXPERIMENTS[experiment](model, checkpoints[0], work, options)


def _climbing(model: Model, checkpoint: str, options: Options) -> dict[str, Any]:
    """Options of ``optimize_stimuli``."""
    frames = stimulus_frames(model, options.window)
    if options.norm is options.low is options.high is None:
        constraint = of_training(model.data_info, frames)
    else:
        channels = model.data_info.input_shape[2]
        constraint = Constraint.of(channels, norm=options.norm, low=options.low, high=options.high)
    natural = None
    if options.natural:
        dataset = make_dataset(data_settings(checkpoint, None), cache_folder() / "simulated", show_progress)
        natural = experiments.natural_windows(dataset, frames)
    return {
        "constraint": constraint,
        "window": options.window,
        "natural": natural,
        "seeds": options.seeds,
        "ascent": Ascent(steps=options.steps),
        "progress": show_progress,
    }


def _write_stimuli(stimuli: Stimuli, work: Path, title: str) -> None:
    """The stimuli, their table and their page."""
    from openretina_jax.visualize.gallery import gallery_page  # imports matplotlib

    stimuli.save(work / "stimuli.h5")
    stimuli.table().to_csv(work / TABLE, index=False)
    (work / "gallery.html").write_text(gallery_page(stimuli, title), encoding="utf-8")


def _mei(model: Model, checkpoint: str, work: Path, options: Options) -> None:
    found = experiments.most_exciting(model, options.chosen, **_climbing(model, checkpoint, options))
    _write_stimuli(found, work, "Most exciting stimuli")


def _mdi(model: Model, checkpoint: str, work: Path, options: Options) -> None:
    found = experiments.most_suppressive(model, options.chosen, **_climbing(model, checkpoint, options))
    _write_stimuli(found, work, "Most suppressive stimuli")


def _mds(model: Model, checkpoint: str, work: Path, options: Options) -> None:
    types = groups(model)
    rows = set(rows_of(model, options.chosen))
    members = {
        name: [int(row) for row, weight in zip(types.rows[n], types.weights[n], strict=True) if weight and row in rows]
        for n, name in enumerate(types.names)
    }
    members = {name: found for name, found in members.items() if found}
    found = experiments.most_discriminative(model, members, **_climbing(model, checkpoint, options))
    _write_stimuli(found, work, "Most discriminative stimuli of cell types")


def _surround(model: Model, checkpoint: str, work: Path, options: Options) -> None:
    climbing = _climbing(model, checkpoint, options)
    centre = experiments.most_exciting(model, options.chosen, **climbing)
    centre.save(work / "centre.h5")
    ascent = {"ascent": climbing["ascent"], "progress": show_progress}
    found = experiments.contextual(model, centre, options.chosen, sign=-1, **ascent)
    _write_stimuli(found, work, "Most suppressive surrounds of the most exciting stimuli")


def _receptive_fields(model: Model, checkpoint: str, work: Path, options: Options) -> None:
    del checkpoint
    rows = rows_of(model, options.chosen)
    averages = receptive_fields.noise_sta(model, frames=options.frames)[rows]
    fields = receptive_fields.described(model, averages, options.chosen)
    _write_arrays(work / "fields.h5", {"sta": averages})
    fields.table().to_csv(work / TABLE, index=False)


def _tuning(model: Model, checkpoint: str, work: Path, options: Options) -> None:
    del checkpoint
    averages = receptive_fields.noise_sta(model, frames=options.frames)
    fields = receptive_fields.described(model, averages)
    found = tuning.tunings(model, centres_px=fields.centre_px, progress=show_progress)
    table: pd.DataFrame = tuning.table(model, found)
    table.iloc[rows_of(model, options.chosen)].to_csv(work / TABLE, index=False)
    arrays = {f"{name}/{part}": getattr(one, part) for name, one in found.items() for part in ("values", "curve")}
    _write_arrays(work / "tuning.h5", arrays)


def _write_arrays(path: Path, arrays: dict[str, Any]) -> None:
    with h5py.File(path, "w") as file:
        for name, array in arrays.items():
            file.create_dataset(name, data=np.asarray(array))


EXPERIMENTS: dict[str, Callable[[Model, str, Path, Options], None]] = {
    "mei": _mei,
    "mdi": _mdi,
    "mds": _mds,
    "surround": _surround,
    "receptive_fields": _receptive_fields,
    "tuning": _tuning,
}
