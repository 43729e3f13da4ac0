"""Tuning of all neurons of a model to artificial stimuli, and indices of the tuning curves.

Every experiment shows its stimuli after grey and returns a ``Tuning``. One pass of the core serves all neurons, unless
the stimulus must lie on the receptive field (``area``, ``annuli``). Responses are less the response to grey.

    tuned = tuning.direction(model)
    tuned.indices["preferred_deg"]
    found = tuning.tunings(model, centres_px=centres)
    tuning.table(model, found)  # indices of all experiments, one row for every neuron
"""

from openretina_jax.insilico.presentation import Screen
from openretina_jax.insilico.tuning.full_field import chirp, colour, contrast, flashes, temporal_frequency
from openretina_jax.insilico.tuning.motion import direction, orientation, spatial_frequency, speed
from openretina_jax.insilico.tuning.receptive_field import annuli, area, nonlinearity
from openretina_jax.insilico.tuning.result import Tuning
from openretina_jax.insilico.tuning.tables import table, tunings

__all__ = [
    "Screen",
    "Tuning",
    "annuli",
    "area",
    "chirp",
    "colour",
    "contrast",
    "direction",
    "flashes",
    "nonlinearity",
    "orientation",
    "spatial_frequency",
    "speed",
    "table",
    "temporal_frequency",
    "tunings",
]
