"""Optimised stimuli, with what says how far they can be trusted."""

import dataclasses
import json
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pandas as pd
from jaxtyping import Bool, Float32, Int

from openretina_jax.errors import UserError
from openretina_jax.runtime.files import whole_file

SUFFIXES = (".h5", ".hdf5", ".npz")


@dataclasses.dataclass(frozen=True, eq=False)
class Stimuli:
    """Stimuli that were optimised, one for each target and seed, in the units of the model.

    Attributes:
        names: name of each target.
        movies: the stimuli.
        activation: objective of each.
        responses: mean response of the target's neurons.
        history: objective at every step; NaN after a stimulus has ended.
        linear: objective of the linear stimulus: the gradient at grey, at the same norm and range.
        natural: objective of the best natural window at the same norm and range; NaN where none were given.
        grey: objective of no stimulus at all.
        norm: norm that was asked for; NaN where there was none.
        low, high: range of every channel that was asked for.
        members: objective of each stimulus for every member of an ensemble alone (None: no ensemble).
        config: settings of the optimisation, as plain values.
    """

    names: tuple[str, ...]
    movies: Float32[np.ndarray, "target seed time height width channel"]
    activation: Float32[np.ndarray, "target seed"]
    responses: Float32[np.ndarray, "target seed new_time"]
    history: Float32[np.ndarray, "target seed step"]
    linear: Float32[np.ndarray, " target"]
    natural: Float32[np.ndarray, " target"]
    grey: Float32[np.ndarray, " target"]
    norm: Float32[np.ndarray, " target"]
    low: Float32[np.ndarray, " channel"]
    high: Float32[np.ndarray, " channel"]
    config: dict[str, Any]
    members: Float32[np.ndarray, "target seed member"] | None = None

    def __len__(self) -> int:
        return len(self.names)

    def __repr__(self) -> str:
        seeds, frames, height, width, channels = self.movies.shape[1:]
        return (
            f"Stimuli({len(self)} targets x {seeds} seeds, {frames} frames of {height} x {width} pixels x {channels} "
            f"channels, {self.config.get('objective', '')})"
        )

    @property
    def best_seed(self) -> Int[np.ndarray, " target"]:
        """Seed of the highest objective of every target."""
        return self.activation.argmax(axis=1)

    @property
    def best(self) -> Float32[np.ndarray, "target time height width channel"]:
        """Stimulus of the highest objective of every target."""
        return self.movies[np.arange(len(self)), self.best_seed]

    @property
    def agreement(self) -> Float32[np.ndarray, " target"]:
        """Mean correlation between the stimuli of different seeds; NaN for a single seed."""
        return agreement(self.movies)

    @property
    def steps(self) -> Int[np.ndarray, "target seed"]:
        """Gradients that each stimulus took."""
        return np.isfinite(self.history).sum(axis=2)

    def table(self) -> pd.DataFrame:
        """One row for every target: objectives beside their baselines, agreement, norm and range that were reached."""
        chosen = np.arange(len(self)), self.best_seed
        table = pd.DataFrame(
            {
                "target": self.names,
                "activation": self.activation[chosen],
                "grey": self.grey,
                "linear": self.linear,
                "natural": self.natural,
                "worst_seed": self.activation.min(axis=1),
                "agreement": self.agreement,
                "steps": self.steps[chosen],
                "norm": np.sqrt(np.square(self.best, dtype=np.float64).sum(axis=(1, 2, 3, 4))),
                "lowest": self.best.min(axis=(1, 2, 3, 4)),
                "highest": self.best.max(axis=(1, 2, 3, 4)),
            }
        )
        if self.members is not None:
            table["weakest_member"] = self.members[chosen].min(axis=1)
        return table

    def save(self, path: str | Path) -> None:
        """Write all arrays to an HDF5 file (.h5) or to an archive of NumPy arrays (.npz), without pickles.

        Raises:
            UserError: the name ends in something else, or the folder cannot be written.
        """
        path = Path(path)
        if path.suffix not in SUFFIXES:
            raise UserError(f"{path} must end in {', '.join(SUFFIXES)}")
        fields = {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}
        text = json.dumps({"names": self.names, "config": self.config})
        arrays = {name: value for name, value in fields.items() if isinstance(value, np.ndarray)}
        with whole_file(path) as stream:
            if path.suffix == ".npz":
                np.savez(stream, about=np.array(text), **arrays)  # type: ignore[arg-type]
                return
            with h5py.File(stream, "w") as file:
                file.attrs["about"] = text
                for name, array in arrays.items():
                    file.create_dataset(name, data=array)

    @classmethod
    def load(cls, path: str | Path) -> "Stimuli":
        """Read what ``save`` wrote.

        Raises:
            UserError: there is no such file, or it holds no stimuli.
        """
        path = Path(path)
        if not path.is_file():
            raise UserError(f"{path} cannot be read as optimised stimuli: there is no such file")
        try:
            if path.suffix == ".npz":
                with np.load(path, allow_pickle=False) as file:
                    arrays = {name: file[name] for name in file.files}
                text = str(arrays.pop("about"))
            else:
                with h5py.File(path) as file:
                    arrays, text = {name: file[name][()] for name in file}, str(file.attrs["about"])
            about = json.loads(text)
            return cls(names=tuple(about["names"]), config=about["config"], **arrays)
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise UserError(f"{path} cannot be read as optimised stimuli: {str(error).splitlines()[0]}") from None


def agreement(movies: Float32[np.ndarray, "target seed *shape"]) -> Float32[np.ndarray, " target"]:
    """Mean correlation between all pairs of seeds; NaN where there is one seed."""
    target, seeds = movies.shape[:2]
    if seeds < 2:
        return np.full(target, np.nan, np.float32)
    flat = movies.reshape(target, seeds, -1)
    flat = flat - flat.mean(axis=2, keepdims=True)
    flat = flat / np.maximum(np.sqrt(np.square(flat).sum(axis=2, keepdims=True)), np.finfo(np.float32).tiny)
    pairs = np.einsum("nsp,nrp->nsr", flat, flat)
    upper: Bool[np.ndarray, "seed seed"] = np.triu(np.ones((seeds, seeds), bool), 1)
    return pairs[:, upper].mean(axis=1).astype(np.float32)
