"""Experiments on trained models, and on simulated retinas whose answers are known.

The most exciting stimuli of fifty neurons:

    model = openretina_jax.load("runs/hoefling_low_res")
    insilico.most_exciting(model, "best:50").save("meis.h5")
"""

from openretina_jax.insilico.ascent import Ascent
from openretina_jax.insilico.constraints import Constraint
from openretina_jax.insilico.diverse import diverse_exciting
from openretina_jax.insilico.experiments import (
    centred,
    cluster_by_stimuli,
    contextual,
    controversial,
    most_discriminative,
    most_exciting,
    most_suppressive,
    natural_windows,
    selective,
)
from openretina_jax.insilico.gradients import contrast_grid, gradients, integrated_gradients, jacobian_spectrum, lsta
from openretina_jax.insilico.layers import layer_model
from openretina_jax.insilico.optimize import optimize_stimuli
from openretina_jax.insilico.receptive_fields import described, mean_gradient, noise_sta, noise_stc
from openretina_jax.insilico.stimuli import Stimuli
from openretina_jax.insilico.targets import Targets, groups, neurons
from openretina_jax.insilico.truth import truth_model
from openretina_jax.insilico.vector_field import vector_field

__all__ = [
    "Ascent",
    "Constraint",
    "Stimuli",
    "Targets",
    "centred",
    "cluster_by_stimuli",
    "contextual",
    "contrast_grid",
    "controversial",
    "described",
    "diverse_exciting",
    "gradients",
    "groups",
    "integrated_gradients",
    "jacobian_spectrum",
    "layer_model",
    "lsta",
    "mean_gradient",
    "most_discriminative",
    "most_exciting",
    "most_suppressive",
    "natural_windows",
    "neurons",
    "noise_sta",
    "noise_stc",
    "optimize_stimuli",
    "selective",
    "truth_model",
    "vector_field",
]
