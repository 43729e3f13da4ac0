"""Core + readout model of recordings of your own, in a folder of the layout that docs/your_own_data.md describes.

    python scripts/check_data.py --config=configs/hdf5_core_readout.py:normalized --config.data.path=my_data \
        '--config.data.test_names=("movie_b",)'
    python scripts/train.py --config=configs/hdf5_core_readout.py:normalized --config.data.path=my_data \
        '--config.data.test_names=("movie_b",)'
    python scripts/train.py --config=configs/hdf5_core_readout.py:simulated
    python scripts/train.py --config=configs/hdf5_core_readout.py:simulated,quick

":normalized" takes pixels minus the mean of each training movie, divided by its deviation; without it they are taken as
they are (``norm_mean`` 0, ``norm_std`` 1), as in openretina, for movies that are normalised already. The name of a core
or readout takes it instead of the convolutional core with Gaussian masks: ":gru", ":factorized" (or ":klindt"),
":point_gaussian". ":calcium" is for responses that may be negative: the squared error, and a readout without a
nonlinearity at its end. openretina reaches a correlation of 0.27 on its own demonstration data. ":simulated" reaches a
test correlation of 0.772 (at most 0.932 with this noise; docs/scores.md), and openretina_jax.train, whose settings
follow the data, 0.892 on the same recordings. configs/template.py is a start for a file of your own.
"""

import ml_collections

from configs import common

WORDS = ("simulated", "quick", "normalized", "calcium", *common.CORE_WORDS, *common.READOUT_WORDS)


def get_config(arg: str | None = None) -> ml_collections.ConfigDict:
    """The configuration; ``arg`` holds words separated by commas."""
    chosen = common.words(arg, WORDS)
    config = common.training()
    config.data = common.hdf5_data()
    if "normalized" not in chosen:
        config.data.norm_mean, config.data.norm_std = 0.0, 1.0
    config.data.validation_clips = 20
    config.data.simulated.enabled = "simulated" in chosen
    config.model = common.experiment_model(
        hidden_channels=(8, 8, 8),
        temporal_kernel_sizes=(8, 8, 8),
        spatial_kernel_sizes=(8, 8, 8),
        hidden_padding="same",
    )
    common.leave_output_to_loss(config.model)
    common.choose_parts(config, chosen)
    if "calcium" in chosen:
        common.choose_calcium(config)
    common.session_steps(config, windows_per_step=64, window_frames=50, lag=7)
    config.train.epochs = 50
    if "quick" in chosen:
        config.train.epochs = 10
        config.data.validation_clips = 10
        config.data.simulated.update({"n_sessions": 1, "clips": 150})
        config.train.windows.session.windows_per_step = 16
    return config
