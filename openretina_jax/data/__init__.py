"""Stimuli, sessions and splits; what a model is trained on."""

from typing import TYPE_CHECKING

from openretina_jax.data.arrays import ArrayRecording, ArrayTest, from_arrays
from openretina_jax.data.dataset import Dataset
from openretina_jax.runtime.lazy import lazy_names

if TYPE_CHECKING:
    from openretina_jax.data.batches import batches_of

__all__ = ["ArrayRecording", "ArrayTest", "Dataset", "batches_of", "from_arrays"]

# imports JAX, which takes longer than all else
__getattr__, _ = lazy_names(__name__, {"batches_of": "openretina_jax.data.batches:batches_of"})
