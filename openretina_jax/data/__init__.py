"""Stimuli, sessions and splits; what a model is trained on."""

from typing import TYPE_CHECKING

from openretina_jax.data.arrays import ArrayRecording, ArrayTest, from_arrays, join_recordings
from openretina_jax.data.dataset import Dataset
from openretina_jax.data.frame_times import check_triggers, frames_at, steady_frame_times, triggered_frame_times
from openretina_jax.data.spikes import count_spikes, resample_traces, running_and_frozen, spikes_by_unit
from openretina_jax.data.white_noise import white_noise
from openretina_jax.runtime.lazy import lazy_names

if TYPE_CHECKING:
    from openretina_jax.data.batches import batches_of
    from openretina_jax.data.matlab import read_matlab
    from openretina_jax.data.nwb import read_nwb

__all__ = [
    "ArrayRecording",
    "ArrayTest",
    "Dataset",
    "batches_of",
    "check_triggers",
    "count_spikes",
    "frames_at",
    "from_arrays",
    "join_recordings",
    "read_matlab",
    "read_nwb",
    "resample_traces",
    "running_and_frozen",
    "spikes_by_unit",
    "steady_frame_times",
    "triggered_frame_times",
    "white_noise",
]

# JAX takes longer to import than all else, and files of MATLAB and NWB are rare
__getattr__, _ = lazy_names(
    __name__,
    {
        "batches_of": "openretina_jax.data.batches:batches_of",
        "read_matlab": "openretina_jax.data.matlab:read_matlab",
        "read_nwb": "openretina_jax.data.nwb:read_nwb",
    },
)
