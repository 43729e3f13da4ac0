"""Core + readout model of salamander ganglion cells that see natural scenes (Maheswaranathan et al. 2023).

    python scripts/train.py --config=configs/maheswaranathan_2023_core_readout.py
    python scripts/train.py --config=configs/maheswaranathan_2023_core_readout.py:whitenoise
    python scripts/train.py --config=configs/maheswaranathan_2023_core_readout.py:simulated
    python scripts/train.py --config=configs/maheswaranathan_2023_core_readout.py:simulated,quick

The published recordings are fetched (50 x 50 pixels, 100 frames per second). Correlation there: 0.642 in the test and
0.309 in validation, openretina's scores; we have not measured ours. Firing is sparse, so the loss has a penalty on the
predicted rate. The name of a core or readout takes it instead: ":gru", ":factorized" (or ":klindt"), ":point_gaussian".

":simulated" needs no network: simulated retinas, recorded and stored as the published ones; an epoch takes a minute and
a half of one core. ":quick" has 20 neurons, a small movie, a small core, and feature weights of both signs. With ten
minutes of movie it reaches a test correlation of 0.796 (at most 0.834 with this noise), and 0.757 with ":as_published",
which lets masks begin in the middle, as openretina does, and scores the parameters as they are; on ten minutes of white
noise 0.744 (at most 0.796; docs/scores.md).
"""

import ml_collections

from configs import common

WORDS = ("simulated", "quick", "whitenoise", "as_published", *common.CORE_WORDS, *common.READOUT_WORDS)


def get_config(arg: str | None = None) -> ml_collections.ConfigDict:
    """The configuration; ``arg`` holds words separated by commas."""
    chosen = common.words(arg, WORDS)
    config = common.training()
    config.data = common.maheswaranathan_data()
    config.data.stimulus = "whitenoise" if "whitenoise" in chosen else "naturalscene"
    config.data.simulated.enabled = "simulated" in chosen
    config.model = common.experiment_model(hidden_channels=(16, 32), spatial_kernel_sizes=(15, 11))
    common.choose_parts(config, chosen)
    config.objective.loss.kind = "l1_poisson"
    # the predicted frames of openretina's step, 64 windows of 50 frames, with half the computation
    common.session_steps(config, windows_per_step=8, window_frames=190, lag=30)
    config.train.epochs = 50
    common.start_at_receptive_fields(config, chosen)
    if "simulated" in chosen:
        config.data.simulated.seconds = 100
    if "quick" in chosen:
        config.train.epochs = 12
        # more steps; losses and penalties balance as in large ones
        config.train.windows.session.update({"window_frames": 50, "windows_per_step": 4})
        config.model.readout.gaussian_mask.positive = False  # few channels: cells of both polarities share them
        config.data.simulated.update({"n_sessions": 1, "neurons_per_session": 20, "seconds": 120, "side": 24})
        common.set_convolutions(config.model, hidden_channels=(8, 16), spatial_kernel_sizes=(9, 5))
    return config
