"""Core + readout model of mouse retinal ganglion cells at 18 x 16 pixels (Höfling et al. 2024).

    python scripts/train.py --config=configs/hoefling_low_res.py
    python scripts/train.py --config=configs/hoefling_low_res.py:simulated
    python scripts/train.py --config=configs/hoefling_low_res.py:simulated,quick

Without words after the colon the published recordings are fetched (67 sessions). Expected test correlation there:
0.495, openretina's score; we have not measured ours. ":simulated" needs no network: a simulated retina, recorded and
stored as the published one; ":quick" makes it small and trains for a few epochs. docs/performance.md has scores and
times of the simulated runs on two CPU cores.
"""

import ml_collections

from configs import common


def get_config(arg: str | None = None) -> ml_collections.ConfigDict:
    """The configuration; ``arg`` holds words separated by commas."""
    chosen = common.words(arg, ("simulated", "quick"))
    config = common.training()
    config.data = common.hoefling_data("18x16", pixel_size_um=50.0)
    config.model = {
        "core": {
            "kind": "simple",
            "hidden_channels": (16, 16),
            "temporal_kernel_sizes": (21, 11),
            "spatial_kernel_sizes": (11, 5),
            "input_padding": 0,
            "hidden_padding": (0, 2, 2),
            "gamma_input": 0.0,
            "gamma_temporal": 40.0,
            "gamma_hidden": 0.0,
            "gamma_in_sparse": 0.0,
            "dropout_rate": 0.0,
            "lowering": "auto",
        },
        "readout": {
            "kind": "gaussian_mask",
            "mean_scale": 6.0,
            "var_scale": 4.0,
            "positive": True,
            "scale": True,
            "bias": True,
            "gamma_mask": 1.0,
            "gamma_features": 1.0,
            "average_penalty": False,
        },
    }
    config.data.simulated.enabled = "simulated" in chosen
    if "quick" in chosen:
        config.train.epochs = 10
        config.data.simulated.n_sessions = 3
    return config
