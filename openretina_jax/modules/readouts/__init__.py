"""Readouts: one table for the neurons of all sessions, one row per neuron; a module for each kind."""

from openretina_jax.runtime.registry import Registry

READOUTS = Registry(
    "readout",
    __name__,
    given=(
        "in_shape",
        "n_neurons",
        "n_sessions",
        "session_sizes",
        "mean_activity",
        "rf_location",
        "map_location",
        "rngs",
    ),
)
