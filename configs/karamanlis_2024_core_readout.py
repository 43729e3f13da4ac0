"""Core + readout model of retinal ganglion cells of mice or marmosets at 60 x 80 pixels (Karamanlis et al. 2024).

    python scripts/train.py --config=configs/karamanlis_2024_core_readout.py
    python scripts/train.py --config=configs/karamanlis_2024_core_readout.py:marmoset
    python scripts/train.py --config=configs/karamanlis_2024_core_readout.py:simulated
    python scripts/train.py --config=configs/karamanlis_2024_core_readout.py:simulated,quick

Three layers with kernels of 21, 15 and 11 pixels. Without ":simulated" the published recordings are fetched, and their
fixation movies rendered once (docs/data.md says where they are kept). openretina publishes models of both species, but
no score; we have not trained on the published data, for which a GPU is advised: 1000 frames take about 12 s of one
processor core. A step predicts 1280 frames of every neuron, as openretina's does, but from 8 windows of 190 frames
instead of 64 of 50, which is half the work.

":simulated" has 160 neurons that saw one movie of under three minutes. Its steps are smaller, and serve both sessions;
an epoch is 10,000 frames, four minutes of one core. We have not run it to the end. ":quick" has small images and a
small core. With five minutes of movie it reaches a test correlation of 0.860 (at most 0.938 with this noise), and 0.823
with ":as_published", which lets masks begin in the middle, as openretina does, and scores the parameters as they are;
marmosets 0.797 (at most 0.929; docs/scores.md). The name of a core or readout takes it instead, such as
":gru,factorized".
"""

import ml_collections

from configs import common

SPECIES = ("mouse", "marmoset")
WORDS = ("simulated", "quick", "as_published", *SPECIES, *common.CORE_WORDS, *common.READOUT_WORDS)


def get_config(arg: str | None = None) -> ml_collections.ConfigDict:
    """The configuration; ``arg`` holds words separated by commas."""
    chosen = common.words(arg, WORDS)
    species = "marmoset" if "marmoset" in chosen else "mouse"
    config = common.training()
    config.data = common.data(
        "karamanlis_2024",
        species=species,
        simulated={
            "n_sessions": 2,
            "neurons_per_session": 80,
            "seed": 0,
            "species": species,
            "n_blocks": 20,
            "block_frames": 600,
            "n_images": 20,
        },
    )
    config.data.simulated.enabled = "simulated" in chosen
    config.model = common.experiment_model(
        hidden_channels=(16, 32, 64),
        temporal_kernel_sizes=(11, 11, 11),
        spatial_kernel_sizes=(21, 15, 11),
        hidden_padding=(0, 5, 5),
    )
    common.choose_parts(config, chosen)
    # the predicted frames of openretina's step, 64 windows of 50 frames, with half the computation
    common.session_steps(config, windows_per_step=8, window_frames=190, lag=30)
    config.train.epochs = 50
    common.start_at_receptive_fields(config, chosen)
    if "simulated" in chosen:  # sessions saw the same movie; small steps are for CPUs
        config.train.order = "shared"
        config.train.windows.shared.update({"window_frames": 110, "windows_per_step": 4})
        if "as_published" not in chosen:
            config.optimizer.learning_rate = 0.005
        config.data.validation_clips = 10
    if "quick" in chosen:
        config.data.size = (24, 32)
        common.set_convolutions(
            config.model,
            hidden_channels=(8, 8, 8),
            spatial_kernel_sizes=(9, 7, 5),
            hidden_padding=((0, 3, 3), (0, 2, 2)),
        )
    return config
