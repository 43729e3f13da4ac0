"""Experiments that describe every neuron: receptive fields and tuning."""

import dataclasses
from collections.abc import Sequence

import numpy as np

from openretina_jax.experiment.insilico import EXPERIMENTS
from openretina_jax.experiment.insilico.experiment import Experiment, Work
from openretina_jax.insilico import receptive_fields, tuning
from openretina_jax.insilico.targets import neuron_names, rows_of
from openretina_jax.insilico.tuning.tables import check_experiments
from openretina_jax.models.model import Model
from openretina_jax.visualize.gallery.neurons import fields_page, tuning_page


@dataclasses.dataclass(frozen=True, kw_only=True)
class NoiseFields(Experiment):
    """Base of experiments that show noise.

    Attributes:
        frames: frames of the noise.
    """

    frames: int = 20_000


@EXPERIMENTS("receptive_fields")
@dataclasses.dataclass(frozen=True, kw_only=True)
class NoiseReceptiveFields(NoiseFields):
    """Averages noise weighted by the responses, and describes the receptive field of every neuron."""

    def conduct(self, model: Model, work: Work) -> Sequence[str]:
        """Show the noise."""
        rows = rows_of(model, self.neurons)
        averages = receptive_fields.noise_sta(model, frames=self.frames)[rows]
        fields = receptive_fields.described(model, averages, rows)
        work.write_arrays("fields.h5", {"neuron": fields.names, "sta": averages})
        work.write_table(fields.table())
        about = f"Average of {self.frames} frames of Gaussian noise, weighted by the responses of the model."
        work.write_page(fields_page(fields, "Receptive fields", about, model.data_info))
        return []


@EXPERIMENTS("tuning")
@dataclasses.dataclass(frozen=True, kw_only=True)
class Tunings(NoiseFields):
    """Shows artificial stimuli, and describes the tuning of every neuron.

    Attributes:
        frames: frames of the noise that says where the receptive fields are.
        experiments: names of the experiments, such as direction,area; all if empty.
        pixel_size_um: side of a stimulus pixel on the retina (None: as the model knows it).
    """

    experiments: str = ""
    pixel_size_um: float | None = None

    def conduct(self, model: Model, work: Work) -> Sequence[str]:
        """Find the receptive fields, and show the stimuli."""
        rows = rows_of(model, self.neurons)
        chosen = self.experiments.split(",") if self.experiments else None
        screen = tuning.Screen.of(model, pixel_size_um=self.pixel_size_um)
        check_experiments(chosen, screen)
        fields = receptive_fields.described(model, receptive_fields.noise_sta(model, frames=self.frames))
        found = tuning.tunings(
            model,
            centres_px=fields.centre_px,
            experiments=chosen,
            screen=screen,
            progress=work.progress,
        )
        table = tuning.table(model, found).iloc[rows]
        names = [neuron_names(model)[row] for row in rows]
        arrays = {f"{name}/values": one.values for name, one in found.items()}
        arrays |= {f"{name}/curve": one.curve[rows] for name, one in found.items()}
        arrays |= {f"{name}/grey": one.grey[rows] for name, one in found.items()}
        work.write_arrays("tuning.h5", {"neuron": np.array(names, "S"), **arrays})
        work.write_table(table)
        curves = {name: one.of_neurons(rows) for name, one in found.items()}
        work.write_page(tuning_page(curves, names, table, model.data_info.response_unit))
        return []
