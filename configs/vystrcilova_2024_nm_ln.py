"""LN model of a marmoset ganglion cell that watches natural movies (Vystrčilová et al. 2024).

    python scripts/train.py --config=configs/vystrcilova_2024_nm_ln.py
    python scripts/train.py --config=configs/vystrcilova_2024_nm_ln.py:simulated
    python scripts/train.py --config=configs/vystrcilova_2024_nm_ln.py:simulated,quick

Separable kernels of 15 x 15 pixels and 30 frames around the pixel where the cell's spike-triggered average varies most,
and a softplus with an offset and a gain, without which openretina's cannot predict the low rates of spikes. The cell is
number 272 of retina 01; --config.data.cell_index and --config.data.retinas choose another. ":all_cells" takes all cells
of the retina instead, as rows of one table that share nothing: one run fits them all at once.

Without ":simulated" the published recordings are fetched. No score is published; we have not trained it on the
published data. ":simulated" needs no network: a simulated retina, recorded and stored as the published ones; ":quick"
makes the screen small. ":simulated" reaches a test correlation of 0.630 (at most 0.689 with this noise;
docs/scores.md).
"""

import ml_collections

from configs import common, common_sridhar_2025

WORDS = common_sridhar_2025.ONE_CELL_WORDS


def get_config(arg: str | None = None) -> ml_collections.ConfigDict:
    """The configuration; ``arg`` holds words separated by commas."""
    chosen = common.words(arg, WORDS)
    return common_sridhar_2025.separable_ln(chosen, "natural_movie", "01", cell_index=272)
