"""Stimuli, sessions and splits; what a model is trained on."""

from openretina_jax.data.assembly import ArrayRecording, ArrayTest, from_arrays
from openretina_jax.data.dataset import Dataset

__all__ = ["ArrayRecording", "ArrayTest", "Dataset", "from_arrays"]
