"""Stimuli, sessions and splits; what a model is trained on."""

from openretina_jax.data.arrays import ArrayRecording, ArrayTest
from openretina_jax.data.dataset import Dataset

__all__ = ["ArrayRecording", "ArrayTest", "Dataset"]
