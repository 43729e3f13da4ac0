"""Recordings of the configurations, simulated as small as can be."""

import ml_collections

from openretina_jax.runtime.settings import read_config
from tests.scripts import ROOT

# of Höfling's retina; all tests that need several share these, which take a while
TWO_SESSIONS = {"n_sessions": 2, "neurons_per_session": 9, "resolution": "18x16"}
_BRIEF_TRIALS = {"neurons_per_session": 6, "n_trials": 10, "frames_per_trial": 280, "test_frames": 280}
_SMALLER = {
    "hoefling": {"simulated.n_sessions": 1, "simulated.neurons_per_session": 6},
    "goldin": {"simulated.n_images": 300, "simulated.neurons_per_session": 6, "validation_images": 16},
    "hdf5": {"simulated.clips": 26, "validation_clips": 4, "simulated.neurons_per_session": 6},
    "karamanlis": {
        "simulated.n_blocks": 6,
        "simulated.block_frames": 300,
        "simulated.n_images": 2,
        "simulated.neurons_per_session": 5,
        "validation_clips": 5,
    },
    "maheswaranathan": {"simulated.seconds": 60},
    "sridhar": {f"simulated.{name}": value for name, value in _BRIEF_TRIALS.items()},
    "vystrcilova": {f"simulated.{name}": value for name, value in _BRIEF_TRIALS.items()},
}


def small(variant: str) -> ml_collections.ConfigDict:
    """The configuration of a file in configs/, such as "hdf5_core_readout.py:gru", with small simulated recordings."""
    name, _, words = variant.partition(":")
    config = read_config(f"{ROOT / 'configs' / name}:{','.join(filter(None, ('simulated', 'quick', words)))}")
    if name.startswith("hoefling_high_res"):  # to simulate such movies takes a minute
        config.data.resolution = config.data.simulated.resolution = "18x16"
        config.model.core.simple.spatial_kernel_sizes = (5, 5, 3, 3)
    shrink(config, name)
    return config


def shrink(config: ml_collections.ConfigDict, data: str) -> None:
    """Make the simulated recordings of a configuration small, which are those of the file ``data``."""
    for name, value in _SMALLER[data.partition("_")[0]].items():
        config.data.update_from_flattened_dict({name: value})
