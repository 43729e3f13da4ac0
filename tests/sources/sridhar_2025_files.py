"""Small simulated files of Sridhar et al. 2025.

    python -m tests.sources.sridhar_2025_files FOLDER

writes those that the frozen output of openretina was made from.
"""

import sys
from pathlib import Path

from openretina_jax.simulation.publications.sridhar_2025 import SimulationConfig, simulate

STIMULI = ("natural_movie", "white_noise")
EXCLUDED = {"01": (0, 1), "02": (), "03": (0,), "04": (3,)}


def small(stimulus: str) -> SimulationConfig:
    """Four retinas, trials of both seeds, and screens of 20 x 24 pixels of which models see 14 x 16."""
    return SimulationConfig(
        stimulus=stimulus,
        neurons_per_session=4,
        n_trials=20,
        frames_per_trial=25,
        test_frames=40,
        test_trials=20,
        height=20,
        width=24,
        padding=6,
        margin_rows=3,
        margin_columns=4,
        n_images=30,
        centre_sd_px=1.5,
    )


def write(folder: Path, stimulus: str) -> Path:
    """The folder of the simulated files."""
    return simulate(folder, small(stimulus))["path"]


if __name__ == "__main__":
    for shown in STIMULI:
        print(write(Path(sys.argv[1]), shown))
