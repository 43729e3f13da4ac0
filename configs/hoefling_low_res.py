"""Core + readout model of mouse retinal ganglion cells at 18 x 16 pixels (Höfling et al. 2024).

    python scripts/train.py --config=configs/hoefling_low_res.py
    python scripts/train.py --config=configs/hoefling_low_res.py:simulated
    python scripts/train.py --config=configs/hoefling_low_res.py:simulated,quick
    python scripts/train.py --config=configs/hoefling_low_res.py:simulated,gru,factorized

Without words after the colon the published recordings are fetched (67 sessions). Expected test correlation there:
0.495, openretina's score (its LNP model: 0.25); we have not measured ours. ":simulated" needs no network: a simulated
retina, recorded and stored as the published one; ":quick" makes it small and trains for a few epochs. The name of a
core or readout takes it instead of the convolutional core with Gaussian masks, as --config.model.core.kind=gru does;
":gru" keeps its windows within clips, since sessions differ in the clip that it would remember. ":lnp" and
":separable_lnp" are models of a readout alone. ":greyscale" averages the two colours first (openretina's core + readout
model: 0.471). docs/performance.md has scores and times of the simulated runs on two CPU cores.

What is scored and saved is a moving average of the parameters over about 100 steps. To train as openretina does, take
--config.train.order=session --config.train.average_decay=0.
"""

import ml_collections

from configs import common

WORDS = common.HOEFLING


def get_config(arg: str | None = None) -> ml_collections.ConfigDict:
    """The configuration; ``arg`` holds words separated by commas."""
    chosen = common.words(arg, WORDS)
    config = common.training()
    config.train.average_decay = 0.99
    config.data = common.hoefling_data("18x16", pixel_size_um=50.0)
    config.model = common.experiment_model()
    common.choose_hoefling(config, chosen)
    if "quick" in chosen:
        config.train.epochs = 10
        config.data.simulated.n_sessions = 3
    return config
