"""Followers of a training run, a file each: tables, trackers, the live display, profiles."""

from openretina_jax.training.callbacks.callback import CALLBACKS, Callback, Callbacks, Epoch

__all__ = ["CALLBACKS", "Callback", "Callbacks", "Epoch"]
