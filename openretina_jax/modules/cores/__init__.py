"""Cores: from a movie to feature maps; a module for each kind."""

from openretina_jax.runtime.registry import Registry

CORES = Registry("core", __name__, given=("in_channels", "n_sessions", "conditions", "rngs"))
