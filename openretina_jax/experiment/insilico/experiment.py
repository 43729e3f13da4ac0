"""The contract of experiments, and what they are given to work with."""

import abc
import dataclasses
import functools
import zipfile
from collections.abc import Iterator, Mapping, MutableMapping, Sequence
from pathlib import Path

import h5py
import numpy as np
import pandas as pd

from openretina_jax.data.dataset import Dataset
from openretina_jax.errors import UserError
from openretina_jax.experiment.command_line import show_progress
from openretina_jax.experiment.data import make_dataset
from openretina_jax.experiment.evaluate import data_settings
from openretina_jax.insilico.stimuli import Stimuli
from openretina_jax.insilico.targets import neuron_names
from openretina_jax.models.model import Model
from openretina_jax.runtime.fetch import cache_folder
from openretina_jax.runtime.files import whole_file

TABLE, PAGE = "neurons.csv", "gallery.html"


class Kept(MutableMapping[str, Mapping[str, np.ndarray]]):
    """Arrays by name in a folder, a file for each name, whole or absent: they outlive a process that is killed.

    Args:
        folder: made when something is put there.
    """

    def __init__(self, folder: Path):
        self._folder = folder

    def __getitem__(self, name: str) -> dict[str, np.ndarray]:
        try:
            with np.load(self._folder / f"{name}.npz", allow_pickle=False) as file:
                return {key: file[key] for key in file.files}
        except (OSError, ValueError, zipfile.BadZipFile):  # a disk that failed may leave half a file
            raise KeyError(name) from None

    def __setitem__(self, name: str, arrays: Mapping[str, np.ndarray]) -> None:
        with whole_file(self._folder / f"{name}.npz") as stream:
            np.savez(stream, **arrays)  # type: ignore[arg-type]

    def __delitem__(self, name: str) -> None:
        (self._folder / f"{name}.npz").unlink()

    def __iter__(self) -> Iterator[str]:
        return (file.stem for file in sorted(self._folder.glob("*.npz")))

    def __len__(self) -> int:
        return sum(1 for _ in self)


@dataclasses.dataclass(frozen=True)
class Work:
    """What an experiment is given besides the model.

    Attributes:
        folder: gets the files; it takes its place when the experiment has ended.
        unfinished: keeps what an interrupted experiment has found.
        checkpoint: of the model, the first one of an ensemble.
    """

    folder: Path
    unfinished: Path
    checkpoint: str

    progress = staticmethod(show_progress)

    @functools.cached_property
    def dataset(self) -> Dataset:
        """The data that the model was trained on."""
        return make_dataset(data_settings(self.checkpoint, None), cache_folder() / "simulated", show_progress)

    def kept(self, name: str) -> Kept:
        """Results of one part of the experiment, which an interrupted run finds again."""
        return Kept(self.unfinished / "kept" / name)

    def write_arrays(self, name: str, arrays: Mapping[str, np.ndarray | Sequence[str]]) -> None:
        """Write arrays, or names, into an HDF5 file; "a/b" is an array of the group a."""
        with h5py.File(self.folder / name, "w") as file:
            for key, array in arrays.items():
                file[key] = array if isinstance(array, np.ndarray) else list(array)

    def write_table(self, table: pd.DataFrame, name: str = TABLE) -> None:
        """Write a table."""
        table.to_csv(self.folder / name, index=False)

    def write_page(self, page: str) -> None:
        """Write the page."""
        (self.folder / PAGE).write_text(page, encoding="utf-8")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Experiment(abc.ABC):
    """Base of experiments: frozen dataclasses, whose fields are the options that the command line gives.

    A subclass writes ``conduct``, and whatever fields it needs; those without a default must be given.

    Attributes:
        neurons: chosen neurons, see ``insilico.targets.neurons``.
    """

    neurons: str = "all"

    @abc.abstractmethod
    def conduct(self, model: Model, work: Work) -> Sequence[str]:
        """Experiment on a model, and write what was found.

        Returns:
            What has failed, a line each; the script prints it and ends with status 1.

        Raises:
            UserError: the options do not fit the model.
        """


def load_stimuli(model: Model, path: str) -> tuple[Stimuli, list[int]]:
    """Read the stimuli of an earlier experiment, and find the rows of their neurons.

    Args:
        model: a model of these neurons.
        path: the file, or the folder of the experiment.

    Raises:
        UserError: they cannot be read, have frames of another size, or their targets are not neurons of the model.
    """
    stimuli = Stimuli.load(stimuli_file(path))
    names = {name: row for row, name in enumerate(neuron_names(model))}
    unknown = [name for name in stimuli.names if name not in names]
    if unknown:
        raise UserError(f'{path}: "{unknown[0]}" is no neuron of this model; give stimuli of single neurons, as of mei')
    model.check_stimulus(stimuli.best)
    return stimuli, [names[name] for name in stimuli.names]


def stimuli_file(path: str) -> Path:
    """The file of stimuli that is meant by a file or by the folder of an experiment."""
    return Path(path) / "stimuli.h5" if Path(path).is_dir() else Path(path)
