"""Experiments whose results are optimised stimuli."""

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np

from openretina_jax.errors import UserError, nearest
from openretina_jax.experiment.insilico import EXPERIMENTS
from openretina_jax.experiment.insilico.experiment import Experiment, Work
from openretina_jax.insilico import diverse, experiments
from openretina_jax.insilico.ascent import Ascent
from openretina_jax.insilico.constraints import Constraint, of_training
from openretina_jax.insilico.layers import layer_model
from openretina_jax.insilico.optimize import stimulus_frames
from openretina_jax.insilico.stimuli import Stimuli
from openretina_jax.insilico.targets import Targets, groups, rows_of
from openretina_jax.models.core_readout import CoreReadout
from openretina_jax.models.model import Model
from openretina_jax.visualize.gallery.stimuli import stimuli_page


@dataclasses.dataclass(frozen=True, kw_only=True)
class ConstrainedStimuli(Experiment):
    """Base of experiments whose stimuli have a norm and a range.

    Attributes:
        window: last frames of the response that count.
        steps: gradients of a stimulus.
        seeds: stimuli of each target.
        norm, low, high: constraint of stimuli (None: all of them from the training movies).
    """

    window: int = 10
    steps: int = 50
    seeds: int = 1
    norm: float | None = None
    low: float | tuple[float, ...] | None = None
    high: float | tuple[float, ...] | None = None

    def frames_of_stimuli(self, model: Model) -> int:
        """Frames of a stimulus."""
        if self.window < 1:
            raise UserError(f"window is {self.window}; it must be 1 or more")
        return stimulus_frames(model, self.window)

    def constraint(self, model: Model) -> Constraint:
        """Norm and range of a stimulus."""
        if self.norm is self.low is self.high is None:
            return of_training(model.data_info, self.frames_of_stimuli(model))
        channels = model.data_info.input_shape[2]
        bounds: dict[str, Any] = {}
        for name, value in (("low", self.low), ("high", self.high)):
            if isinstance(value, tuple) and len(value) != channels:
                raise UserError(f"{name} is {value}; give one number, or one for each of the {channels} channels")
            bounds[name] = list(value) if isinstance(value, tuple) else value
        return Constraint.of(channels, norm=self.norm, **bounds)


@dataclasses.dataclass(frozen=True, kw_only=True)
class OptimisedStimuli(ConstrainedStimuli):
    """Base of experiments that optimise stimuli.

    Attributes:
        natural: whether the best natural window is scored beside each stimulus, for which the data are read.
    """

    natural: bool = False

    def climbing(self, model: Model, work: Work, part: str = "stimuli") -> dict[str, Any]:
        """Options of ``optimize_stimuli``, for one part of an experiment."""
        frames = self.frames_of_stimuli(model)
        return {
            "constraint": self.constraint(model),
            "window": self.window,
            "natural": experiments.natural_windows(work.dataset, frames) if self.natural else None,
            "seeds": self.seeds,
            "ascent": Ascent(steps=self.steps),
            "progress": work.progress,
            "kept": work.kept(part),
        }


def _write(stimuli: Stimuli, work: Work, title: str, **columns: Any) -> list[str]:
    """Write the stimuli, their table and their page."""
    stimuli.save(work.folder / "stimuli.h5")
    work.write_table(stimuli.table().assign(**columns))
    work.write_page(stimuli_page(stimuli, title))
    return []


@EXPERIMENTS("mei")
@dataclasses.dataclass(frozen=True, kw_only=True)
class MostExciting(OptimisedStimuli):
    """Finds the stimulus that excites every neuron most."""

    def conduct(self, model: Model, work: Work) -> Sequence[str]:
        """Find them."""
        found = experiments.most_exciting(model, self.neurons, **self.climbing(model, work))
        return _write(found, work, "Most exciting stimuli")


@EXPERIMENTS("mdi")
@dataclasses.dataclass(frozen=True, kw_only=True)
class MostSuppressive(OptimisedStimuli):
    """Finds the stimulus that suppresses every neuron most."""

    def conduct(self, model: Model, work: Work) -> Sequence[str]:
        """Find them."""
        found = experiments.most_suppressive(model, self.neurons, **self.climbing(model, work))
        return _write(found, work, "Most suppressive stimuli")


@EXPERIMENTS("dei")
@dataclasses.dataclass(frozen=True, kw_only=True)
class DiverseExciting(OptimisedStimuli):
    """Finds several stimuli of every neuron that excite it nearly as much as its best one, as different as possible.

    Attributes:
        count: stimuli of each neuron.
        share: share of the best response that each must reach.
    """

    count: int = diverse.COUNT
    share: float = diverse.SHARE

    def conduct(self, model: Model, work: Work) -> Sequence[str]:
        """Find the most exciting stimuli, and from there the diverse ones."""
        best = experiments.most_exciting(model, self.neurons, **self.climbing(model, work))
        best.save(work.folder / "best.h5")
        found = diverse.diverse_exciting(
            model,
            self.neurons,
            count=self.count,
            share=self.share,
            best=best,
            progress=work.progress,
            kept=work.kept("diverse"),
        )
        top = best.activation.max(axis=1)
        reached = (found.activation.min(axis=1) - best.grey) / (top - best.grey)
        return _write(found, work, "Diverse exciting stimuli", best=top, least_share=reached)


@EXPERIMENTS("mds")
@dataclasses.dataclass(frozen=True, kw_only=True)
class MostDiscriminative(OptimisedStimuli):
    """Finds for cell types the stimulus that excites a type and no other (Burg et al. 2024).

    Attributes:
        on: types that get a stimulus, with commas between them (None: every type in turn).
        off: types that are not to respond (None: all others).
    """

    on: str | None = None
    off: str | None = None

    def conduct(self, model: Model, work: Work) -> Sequence[str]:
        """Find them."""
        members = _types(model, self.neurons)
        on = list(members) if self.on is None else _named(self.on, members)
        off = list(members) if self.off is None else _named(self.off, members)
        chosen = {name: rows for name, rows in members.items() if name in {*on, *off}}
        found = experiments.most_discriminative(model, chosen, on, **self.climbing(model, work))
        return _write(found, work, "Most discriminative stimuli of cell types")


@EXPERIMENTS("types")
@dataclasses.dataclass(frozen=True, kw_only=True)
class TypesMostExciting(OptimisedStimuli):
    """Finds the stimulus that excites the neurons of a cell type most, all moved to the middle of the screen."""

    def conduct(self, model: Model, work: Work) -> Sequence[str]:
        """Find them."""
        if not isinstance(model, CoreReadout):
            raise UserError(f"neurons of a {type(model).__name__} cannot be moved; give a single core + readout model")
        members = _types(model, self.neurons)
        targets = Targets.of(model, list(members.values()), [f"type {name}" for name in members])
        found = experiments.most_exciting(experiments.centred(model), targets, **self.climbing(model, work))
        sizes = [len(rows) for rows in members.values()]
        return _write(found, work, "Most exciting stimuli of cell types", neurons=sizes)


@EXPERIMENTS("surround")
@dataclasses.dataclass(frozen=True, kw_only=True)
class Surround(OptimisedStimuli):
    """Finds the surround that suppresses the response to the most exciting stimulus in the centre most.

    Attributes:
        enhance: whether the surround is to enhance the response instead.
    """

    enhance: bool = False

    def conduct(self, model: Model, work: Work) -> Sequence[str]:
        """Find the most exciting stimuli, and then their surrounds."""
        centre = experiments.most_exciting(model, self.neurons, **self.climbing(model, work, "centre"))
        centre.save(work.folder / "centre.h5")
        found = experiments.contextual(
            model,
            centre,
            self.neurons,
            sign=1 if self.enhance else -1,
            seeds=self.seeds,
            ascent=Ascent(steps=self.steps),
            progress=work.progress,
            kept=work.kept("surround"),
        )
        kind = "enhancing" if self.enhance else "suppressive"
        return _write(found, work, f"Most {kind} surrounds of the most exciting stimuli")


@EXPERIMENTS("layer")
@dataclasses.dataclass(frozen=True, kw_only=True)
class LayerMostExciting(OptimisedStimuli):
    """Finds the stimulus that excites every channel of a layer of the core most, at the middle of the screen.

    Attributes:
        layer: number of the layer, from 0 on. Its channels are chosen as neurons are: "all", "layer_0:0,3".
    """

    layer: int = 0

    def conduct(self, model: Model, work: Work) -> Sequence[str]:
        """Find them."""
        channels = layer_model(model, self.layer)
        found = experiments.most_exciting(channels, self.neurons, **self.climbing(channels, work))
        return _write(found, work, f"Most exciting stimuli of the channels of layer {self.layer}")


def _types(model: Model, chosen: str) -> dict[str, list[int]]:
    """Rows of the chosen neurons of every cell type that has any."""
    types, rows = groups(model), set(rows_of(model, chosen))
    members = {
        name: [row for row in np.asarray(types.rows[number])[types.weights[number] > 0].tolist() if row in rows]
        for number, name in enumerate(types.names)
    }
    return {name: found for name, found in members.items() if found}


def _named(words: str, members: dict[str, list[int]]) -> list[str]:
    """Types of a list with commas."""
    names = [word.strip() for word in words.split(",")]
    for name in names:
        if name not in members:
            raise UserError(f'no chosen neuron is of type "{name}"; {nearest(name, members)}')
    return names
