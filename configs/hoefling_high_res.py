"""Core + readout model of mouse retinal ganglion cells at 72 x 64 pixels (Höfling et al. 2024).

    python scripts/train.py --config=configs/hoefling_high_res.py
    python scripts/train.py --config=configs/hoefling_high_res.py:simulated
    python scripts/train.py --config=configs/hoefling_high_res.py:simulated,quick
    python scripts/train.py --config=configs/hoefling_high_res.py:simulated,greyscale,lnp

Four layers with kernels of 15 and 7 pixels, two of them pooled. The published recordings are fetched (67 sessions, the
movies in four times the resolution of configs/hoefling_low_res.py). ":simulated" shows the scenes of the low-resolution
simulation, in pixels of 12.5 µm and with their details, and has the same responses. ":quick" has few sessions and a
narrow core; the other words are those of configs/hoefling_low_res.py. With ``--config.train.order=session
--config.optimizer.accumulate=10`` a step is openretina's: the mean gradient of 10 batches of 64 windows of 50 frames,
about 27 steps an epoch. The shared order has 23. No score is published; we have not trained it on the published data.
On a CPU core ":simulated" takes about a minute an epoch, and reached a test correlation of 0.838 in 73 (at most 0.880
with this noise; docs/scores.md).
"""

import ml_collections

from configs import common

WORDS = common.HOEFLING


def get_config(arg: str | None = None) -> ml_collections.ConfigDict:
    """The configuration; ``arg`` holds words separated by commas."""
    chosen = common.words(arg, WORDS)
    config = common.training()
    config.data = common.hoefling_data("72x64", pixel_size_um=12.5)
    config.model = common.experiment_model(
        hidden_channels=(16, 16, 16, 16),
        temporal_kernel_sizes=(13, 11, 5, 5),
        spatial_kernel_sizes=(15, 15, 7, 7),
        hidden_padding=(0, 5, 5),
        pool_every=2,
    )
    config.train.windows.session.windows_per_step = 64
    common.choose_hoefling(config, chosen)
    if "quick" in chosen:
        config.train.epochs = 3
        config.data.simulated.n_sessions, config.data.simulated.neurons_per_session = 2, 12
        common.set_convolutions(config.model, hidden_channels=(2, 2, 2, 2))
    return config
