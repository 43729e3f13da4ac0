"""Linear-nonlinear-Poisson models of salamander ganglion cells (Maheswaranathan et al. 2023).

    python scripts/train.py --config=configs/maheswaranathan_2023_lnp.py
    python scripts/train.py --config=configs/maheswaranathan_2023_lnp.py:simulated
    python scripts/train.py --config=configs/maheswaranathan_2023_lnp.py:simulated,quick
    python scripts/train.py --config=configs/maheswaranathan_2023_lnp.py:simulated,quick,whitenoise,separable_lnp

Every neuron weighs the pixels of one frame, that of the response, as in openretina's configuration of this name. Cells
answer later, so that it predicts natural scenes in part and white noise not at all; ":separable_lnp" gives every neuron
a kernel of 31 frames, too.

Without ":simulated" the published recordings are fetched. No score is published, and we have not trained it on the
published data. ":simulated" reaches a test correlation of 0.460 with natural scenes, and with ":separable_lnp", which
begins at spike-triggered averages, 0.680 (at most 0.828 with this noise), or with white noise 0.617 (at most 0.819;
docs/scores.md).
"""

import ml_collections

from configs import common

WORDS = ("simulated", "quick", "whitenoise", "separable_lnp")


def get_config(arg: str | None = None) -> ml_collections.ConfigDict:
    """The configuration; ``arg`` holds words separated by commas."""
    chosen = common.words(arg, WORDS)
    config = common.training()
    config.data = common.maheswaranathan_data()
    config.data.stimulus = "whitenoise" if "whitenoise" in chosen else "naturalscene"
    config.data.simulated.enabled = "simulated" in chosen
    config.model = common.experiment_model()
    config.model.core.kind, config.model.readout.kind = "identity", "lnp"
    config.model.core.identity.cut_first_frames = 30
    if "separable_lnp" in chosen:
        config.model.core.identity.cut_first_frames = 0
        config.model.readout.kind = "separable_lnp"
        readout = config.model.readout.separable_lnp
        readout.spatial_size, readout.temporal_frames = (50, 50), 31
        readout.nonlinearity = "parametrized_softplus"
        readout.start_at_sta = readout.start_at_mean = True
    config.optimizer.learning_rate = 0.001 if "separable_lnp" in chosen else 0.005
    common.session_steps(config, windows_per_step=4 if "quick" in chosen else 64, window_frames=50, lag=30)
    config.train.epochs = 60
    if "quick" in chosen:
        config.train.epochs = 20
        config.data.simulated.update({"n_sessions": 1, "neurons_per_session": 20, "seconds": 120, "side": 24})
        config.model.readout.separable_lnp.spatial_size = (24, 24)
    return config
