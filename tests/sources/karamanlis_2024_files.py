"""Small files of the form of Karamanlis et al. 2024, equal on every machine.

    python -m tests.sources.karamanlis_2024_files FOLDER

writes two sessions of mice and one of a marmoset, for ``tests/parity/karamanlis_2024.py``.
"""

import sys
from pathlib import Path
from typing import Any

import h5py
import numpy as np

N_BLOCKS, BLOCK_FRAMES, N_TRIALS, FROZEN_FRAMES, N_NEURONS = 4, 150, 3, 90, 3
N_IMAGES, HEIGHT, WIDTH = 2, 640, 850
CLIP_FRAMES, VALIDATION_CLIPS = 75, 3


def session_values(seed: int = 0) -> dict[str, np.ndarray]:
    """The arrays of one session; the images end within the screen in some frames, to the right and below."""
    stimulus, answers = np.random.default_rng(0), np.random.default_rng((1, seed))

    def fixations(n_frames: int) -> np.ndarray:
        number = stimulus.integers(1, N_IMAGES + 1, n_frames)
        return np.column_stack([number, stimulus.integers(400, 500, n_frames), stimulus.integers(300, 360, n_frames)])

    def photographs() -> np.ndarray:
        blocks = stimulus.integers(0, 256, (N_IMAGES, WIDTH // 5, HEIGHT // 5), dtype=np.uint8)
        return blocks.repeat(5, axis=1).repeat(5, axis=2)

    return {
        "runningImages": photographs(),
        "frozenImages": photographs(),
        "runningfixations": fixations(N_BLOCKS * BLOCK_FRAMES).reshape(N_BLOCKS, BLOCK_FRAMES, 3).astype(float),
        "frozenfixations": fixations(FROZEN_FRAMES).astype(float),
        "runningbin": answers.integers(0, 4, (N_BLOCKS, BLOCK_FRAMES, N_NEURONS)).astype(float),
        "frozenbin": answers.integers(0, 4, (N_TRIALS, FROZEN_FRAMES, N_NEURONS)).astype(float),
    }


def write_session(folder: Path, name: str, values: dict[str, Any], stimulus: str = "fixationmovie") -> Path:
    """A session's folder with one file."""
    (folder / name).mkdir(parents=True, exist_ok=True)
    file = folder / name / f"{name}_{stimulus}_data.mat"
    with h5py.File(file, "w") as opened:
        for key, value in values.items():
            opened[key] = value
    return file


def write_sessions(folder: Path) -> Path:
    """Sessions of both species."""
    for seed, name in enumerate(("a_mouse_left", "b_mouse_right", "c_marmoset")):
        write_session(folder, name, session_values(seed))
    return folder


if __name__ == "__main__":
    write_sessions(Path(sys.argv[1]))
