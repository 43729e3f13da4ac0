"""Stimuli, sessions and splits; what a model is trained on."""

from typing import Any

from openretina_jax.data.assembly import ArrayRecording, ArrayTest, from_arrays
from openretina_jax.data.dataset import Dataset

__all__ = ["ArrayRecording", "ArrayTest", "Dataset", "batches_of", "from_arrays"]


def __getattr__(name: str) -> Any:
    if name == "batches_of":  # imports JAX, which takes longer than all else
        from openretina_jax.data.batches import batches_of

        return batches_of
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
