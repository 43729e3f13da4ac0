"""Readouts: one table for the neurons of all sessions, one row per neuron; a module for each kind."""

from openretina_jax.runtime.registry import Registry

READOUTS = Registry("readout", __name__)
