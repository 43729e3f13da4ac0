"""Spatial contrast models of marmoset ganglion cells that watch white noise (Sridhar et al. 2025).

    python scripts/train.py --config=configs/sridhar_2025_wn_sc_multicell.py
    python scripts/train.py --config=configs/sridhar_2025_wn_sc_multicell.py:simulated
    python scripts/train.py --config=configs/sridhar_2025_wn_sc_multicell.py:simulated,quick

Every cell has four trained numbers, the weight of the contrast and the nonlinearity, and filters from its spike-
triggered average beside the data. The cells are those of retina 04 that respond reliably.

Without ":simulated" the published recordings are fetched. No score is published; we have not trained it on the
published data. ":simulated" needs no network: a simulated retina, recorded and stored as the published ones; ":quick"
makes the screen small. ":simulated" reaches a test correlation of 0.788 (at most 0.827 with this noise;
docs/scores.md).
"""

import ml_collections

from configs import common, common_sridhar_2025

WORDS = common_sridhar_2025.MANY_CELL_WORDS


def get_config(arg: str | None = None) -> ml_collections.ConfigDict:
    """The configuration; ``arg`` holds words separated by commas."""
    chosen = common.words(arg, WORDS)
    return common_sridhar_2025.spatial_contrast(chosen, "white_noise", "04")
