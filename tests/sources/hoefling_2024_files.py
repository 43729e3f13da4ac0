"""Small files of the form of Höfling et al. 2024.

    python -m tests.sources.hoefling_2024_files FOLDER

writes the movies and sessions of ``tests/parity/hoefling_2024.py``.
"""

import pickle
import sys
from pathlib import Path
from typing import Any

import h5py
import numpy as np

N_NEURONS = 4


def session_values(seed: int = 0, n_neurons: int = N_NEURONS, *, eye: str = "right", order: int = 0) -> dict[str, Any]:
    """One session in the newer form; every neuron passes the default filter."""
    rng = np.random.default_rng(seed)
    roi_mask = np.ones((64, 64), np.int8)
    for roi in range(1, n_neurons + 1):
        roi_mask[4 * roi : 4 * roi + 2, 8:10] = -roi
    values: dict[str, Any] = {
        "group_assignment": np.arange(1, n_neurons + 1),
        "chirp_qi": np.full(n_neurons, 0.5),
        "d_qi": np.full(n_neurons, 0.1),
        "group_confidences": np.tile([0.1, 0.6], (n_neurons, 1)),
        "roi_ids": np.arange(1, n_neurons + 1),
        "roi_mask": roi_mask,
        "eye": eye,
        "scan_sequence_idx": order,
    }
    for prefix, n_triggers, interval in (("natural", 123, 5.0), ("chirp", 4, 16.5), ("mb", 8, 4.1)):
        n_samples = int(n_triggers * interval / 0.25) + 20
        values |= {
            f"{prefix}_spikes": rng.gamma(1.0, size=(n_neurons, n_samples)).astype(np.float32),
            f"{prefix}_raw_traces": rng.normal(size=(n_neurons, n_samples)),
            f"{prefix}_smoothed_traces": rng.normal(size=(n_neurons, n_samples)),
            f"{prefix}_preprocessed_traces": rng.normal(size=(n_neurons, n_samples)),
            f"{prefix}_trigger_times": np.tile(1.5 + interval * np.arange(n_triggers), (n_neurons, 1)),
            f"{prefix}_traces_t0": rng.uniform(0, 0.1, n_neurons),
            f"{prefix}_traces_dt": np.full((n_neurons, 1), 0.25),
        }
    return values


def write_recordings(file: Path, sessions: dict[str, dict[str, Any]]) -> Path:
    """HDF5 file of sessions; words and whole numbers are attributes, as in the published file."""
    with h5py.File(file, "w") as opened:
        for name, values in sessions.items():
            group = opened.create_group(name)
            for key, value in values.items():
                if isinstance(value, np.ndarray):
                    group[key] = value
                else:
                    group.attrs[key] = value
    return file


def stimuli_values(seed: int = 0, n_orders: int = 3) -> dict[str, Any]:
    """Movies of 2 x 3 pixels and two channels."""
    rng = np.random.default_rng(seed)
    return {
        "train": rng.normal(size=(2, 108 * 150, 2, 3)).astype(np.float32),
        "test": rng.normal(size=(2, 5 * 150, 2, 3)).astype(np.float32),
        "random_sequences": np.stack([rng.permutation(108) for _ in range(n_orders)], axis=1).astype(np.uint8),
        "movie_stats": {"dichromatic": {"mean": np.array([36.5]), "sd": np.array([34.0])}},
    }


def write_stimuli(file: Path, values: dict[str, Any]) -> Path:
    """Pickle of movies."""
    file.write_bytes(pickle.dumps(values))
    return file


def write_files(folder: Path) -> tuple[Path, Path]:
    """Movies, and sessions of both eyes, of which some neurons do not pass the filter of the published models."""
    sessions = {}
    for seed, (name, eye) in enumerate(
        (("session_1_right", "right"), ("session_1_left", "left"), ("session_2_ventral2_20200626", "left"))
    ):
        values = session_values(seed, n_neurons=7, eye=eye, order=seed)
        values["group_assignment"][1] = 33  # an amacrine cell
        values["chirp_qi"][2], values["d_qi"][2] = 0.3, 0.7  # good enough
        values["chirp_qi"][3] = 0.3
        values["group_confidences"][4 + seed] = 0.2
        sessions[name] = values
    return write_stimuli(folder / "movies.pkl", stimuli_values()), write_recordings(folder / "responses.h5", sessions)


if __name__ == "__main__":
    write_files(Path(sys.argv[1]))
