"""The frozen filters of spatial contrast models, from files of spike-triggered averages."""

import jax.numpy as jnp
import numpy as np

from openretina_jax.data.sta import load_filters
from openretina_jax.errors import UserError
from openretina_jax.models.core_readout import Model
from openretina_jax.modules.readouts.spatial_contrast import SpatialContrastReadout
