"""What the configurations share: the words after the colon, and settings of training."""

import difflib

import ml_collections
from ml_collections.config_dict import placeholder

from openretina_jax.errors import UserError


def words(arg: str | None, known: tuple[str, ...]) -> set[str]:
    """The words after the colon of ``--config=file.py:one,two``.

    Raises:
        UserError: a word is not known.
    """
    chosen = set(filter(None, (arg or "").split(",")))
    for word in sorted(chosen - set(known)):
        nearest = difflib.get_close_matches(word, known, 1)
        hint = f'did you mean "{nearest[0]}"?' if nearest else f"choose among {', '.join(known)}"
        raise UserError(f'the configuration does not know "{word}"; {hint}')
    return chosen


def hoefling_data(resolution: str, pixel_size_um: float) -> ml_collections.ConfigDict:
    """The recordings of Höfling et al. 2024 with the neurons of the published models."""
    return ml_collections.ConfigDict(
        {
            "resolution": resolution,
            "stimuli_path": placeholder(str),  # a local zip or pickle instead of the published file
            "responses_path": placeholder(str),  # a local zip or HDF5 file instead of the published file
            "simulated": {"enabled": False, "n_sessions": 8, "neurons_per_session": 40, "seed": 0},
            "trace_type": "spikes",  # or "raw", "preprocessed", "detrended"
            "norm_by_std": True,
            "scale_traces": 1.0,
            "quality": {
                "cell_types": tuple(range(1, 33)),
                "chirp_qi": 0.35,
                "d_qi": 0.6,
                "qi_logic": "or",
                "classifier_confidence": 0.25,
                "min_neurons": 1,
            },
            "validation_clips": (0, 4, 10, 11, 18, 30, 45, 62, 67, 77, 79, 80, 81, 83, 95),
            "pixel_size_um": pixel_size_um,
        }
    )


def training() -> ml_collections.ConfigDict:
    """Training of recordings that share a stimulus; with ``train.order = "session"`` all is as in openretina."""
    return ml_collections.ConfigDict(
        {
            "seed": 42,
            "objective": {"loss": "poisson", "samples": 128 * 20},
            "optimizer": {
                "kind": "adamw",
                "learning_rate": 0.01,
                "b1": 0.9,
                "b2": 0.999,
                "epsilon": 1e-8,
                "weight_decay": 0.01,
                "clip_norm": 1.0,
            },
            "patience": {
                "factor": 0.3,
                "plateau_epochs": 5,
                "plateau_threshold": 5e-4,
                "reductions": 3,
                "stop_epochs": 10,
                "stop_threshold": 1e-3,
            },
            "train": {
                "order": "shared",
                "windows": {
                    "session": {"window_frames": 50, "windows_per_step": 128},
                    "shared": {"window_frames": 150, "windows_per_step": 4},
                },
                "epochs": 100,
                "picture_every": 10,
            },
        }
    )
