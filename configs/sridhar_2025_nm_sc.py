"""Spatial contrast model of a marmoset ganglion cell that watches natural movies (Sridhar et al. 2025).

    python scripts/train.py --config=configs/sridhar_2025_nm_sc.py
    python scripts/train.py --config=configs/sridhar_2025_nm_sc.py:simulated
    python scripts/train.py --config=configs/sridhar_2025_nm_sc.py:simulated,quick

Four numbers are trained, by themselves: the weight of the contrast and the nonlinearity. Spatial and temporal filters
come from the spike-triggered averages beside the data. The cell is number 272 of retina 01; --config.data.cell_index
and --config.data.retinas choose another. ":all_cells" takes all reliable cells of the retina instead, as rows of one
table that share nothing: one run fits them all at once.

Without ":simulated" the published recordings are fetched. No score is published; we have not trained it on the
published data. ":simulated" needs no network: a simulated retina, recorded and stored as the published ones; ":quick"
makes the screen small. ":simulated" reaches a test correlation of 0.581 (at most 0.689 with this noise;
docs/scores.md).
"""

import ml_collections

from configs import common, common_sridhar_2025

WORDS = common_sridhar_2025.ONE_CELL_WORDS


def get_config(arg: str | None = None) -> ml_collections.ConfigDict:
    """The configuration; ``arg`` holds words separated by commas."""
    chosen = common.words(arg, WORDS)
    return common_sridhar_2025.spatial_contrast(chosen, "natural_movie", "01", cell_index=272, windows_per_step=128)
