"""Responses to a movie that is changed in one way."""

import dataclasses
import functools
from collections.abc import Sequence

from openretina_jax.errors import UserError
from openretina_jax.experiment.insilico import EXPERIMENTS
from openretina_jax.experiment.insilico.experiment import Experiment, Work
from openretina_jax.insilico import perturbations
from openretina_jax.insilico.experiments import natural_windows
from openretina_jax.insilico.perturbations import Perturbation
from openretina_jax.insilico.targets import rows_of
from openretina_jax.models.model import Model
from openretina_jax.visualize.gallery.perturbations import perturbation_page


@EXPERIMENTS("perturb")
@dataclasses.dataclass(frozen=True, kw_only=True)
class Perturb(Experiment):
    """Changes a stretch of the training movie in one way after the other, and compares the responses.

    Attributes:
        frames: length of the stretch.
        clip_frames: length of the clips that are shown in another order.
        seed: of the choice of the stretch, and of the order.
    """

    frames: int = 600
    clip_frames: int = 60
    seed: int = 0

    def conduct(self, model: Model, work: Work) -> Sequence[str]:
        """Show the movies."""
        if not 0 < self.clip_frames <= self.frames:
            raise UserError(
                f"clip_frames is {self.clip_frames}; it must be 1 to {self.frames}, the frames of the movie"
            )
        rows = rows_of(model, self.neurons)
        (movie,) = natural_windows(work.dataset, self.frames, 1, seed=self.seed)
        changes = self.changes(movie.shape[3])
        effects = perturbations.effect(model, movie, changes)
        count = model.data_info.n_neurons
        effects = effects[[number % count in set(rows) for number in range(len(effects))]]
        work.write_table(effects, "effects.csv")
        work.write_page(perturbation_page(effects, len(movie)))
        return []

    def changes(self, channels: int) -> dict[str, Perturbation]:
        """Changes of a movie of so many channels, by name."""
        found: dict[str, Perturbation] = {
            "blurred by 1 px": functools.partial(perturbations.blurred, sigma_px=1.0),
            "blurred by 2 px": functools.partial(perturbations.blurred, sigma_px=2.0),
            "low-passed by 2 frames": functools.partial(perturbations.low_passed, sigma_frames=2.0),
            "half the contrast": functools.partial(perturbations.contrast_scaled, factor=0.5),
            "twice the contrast": functools.partial(perturbations.contrast_scaled, factor=2.0),
            "mirrored": perturbations.mirrored,
            "backwards": perturbations.time_reversed,
            "clips in another order": perturbations.cut_order(self.frames, self.clip_frames, seed=self.seed),
        }
        if channels > 1:
            found["channels swapped"] = perturbations.swapped_channels
            for channel in range(channels):
                found[f"channel {channel} alone"] = functools.partial(perturbations.one_channel, channel=channel)
        return found
