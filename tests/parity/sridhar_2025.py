"""What openretina makes of small files of Sridhar et al. 2025; frozen in tests/goldens/sources.

python -m tests.sources.sridhar_2025_files FOLDER
/path/to/reference/python tests/parity/sridhar_2025.py FOLDER
"""

import sys
from pathlib import Path

import numpy as np
from openretina.data_io.sridhar_2025.dataloader_utils import get_trial_wise_validation_split
from openretina.data_io.sridhar_2025.dataloaders import frame_movie_loader, white_noise_loader

GOLDENS = Path(__file__).parent.parent / "goldens" / "sources"
RETINAS = ("01", "02", "03", "04")
EXCLUDED = {"01": [0, 1], "02": [], "03": [0], "04": [3]}
CROPS = dict.fromkeys(RETINAS, (3, 3, 4, 4))
BOTH_SEEDS = "fixations/complete_fixations_seed_2022and2023_s4_fixed.txt"
FIXATIONS = dict.fromkeys(RETINAS, BOTH_SEEDS) | {"02": "fixations/complete_fixations_seed2022_s4.txt"}
NOISE = {"01": "1", "02": "1", "03": "1", "04": "2"}
OVERHEAD, CHUNK = 4, 7  # frames
N_KEPT = 3  # windows of a split

COMMON = {
    "big_crops": CROPS,
    "excluded_cells": EXCLUDED,
    "num_of_frames": OVERHEAD + 1,
    "time_chunk_size": CHUNK,
    "batch_size": 2,
}
NATURAL = COMMON | {
    "fixation_files": FIXATIONS,
    "img_dir_name": "stimuli_padded_4",
    "full_img_h": 38,
    "full_img_w": 42,
    "img_h": 20,
    "img_w": 24,
    "padding": 6,
}


def natural(folder: Path, retinas: tuple[str, ...] = RETINAS, **options: object) -> dict:
    """The loaders of the natural movie."""
    files = {retina: f"responses/cell_responses_{retina}_fixation_movie.pkl" for retina in retinas}
    fixations = {retina: FIXATIONS[retina] for retina in retinas}
    given = NATURAL | {"fixation_files": fixations} | options
    return frame_movie_loader(files=files, basepath=folder / "natural_movie", **given)


def noise(folder: Path, retinas: tuple[str, ...] = RETINAS, **options: object) -> dict:
    """The loaders of white noise."""
    given = COMMON | {"cell_index": None} | options
    return white_noise_loader(
        basepath=folder / "white_noise",
        files={retina: f"responses/cell_responses_{retina}_wn.pkl" for retina in retinas},
        train_image_path={retina: f"non_repeating_stimuli_{NOISE[retina]}" for retina in retinas},
        test_image_path={retina: f"repeating_stimuli_{NOISE[retina]}" for retina in retinas},
        **given,
    )


def windows(dataset: object) -> dict[str, np.ndarray]:
    """Some windows of a split, and where they lie: trial and first frame."""
    per_trial = (dataset.num_of_imgs - OVERHEAD - getattr(dataset, "extra_frame", 0)) // CHUNK
    items = np.unique(np.linspace(0, len(dataset) - 1, N_KEPT).astype(int))
    trials = [0 if dataset._test else dataset.indices[item // per_trial] for item in items]
    shown = [dataset[int(item)] for item in items]
    return {
        "places": np.array([(trial, item % per_trial * CHUNK) for trial, item in zip(trials, items, strict=True)]),
        "inputs": np.stack([window.inputs[0].numpy() for window in shown]).astype(np.float16),
        "targets": np.stack([window.targets.numpy() for window in shown]).astype(np.float16),
    }


def freeze(loaders: dict) -> dict[str, np.ndarray]:
    """What is kept of the loaders of all splits."""
    frozen = {}
    for split, of_retina in loaders.items():
        for retina, loader in of_retina.items():
            dataset, name = loader.dataset, f"{retina}/{split}"
            frozen |= {f"{name}/{key}": value for key, value in windows(dataset).items()}
            if split == "test":
                trials = dataset.test_responses_by_trial.numpy()
                frozen[f"{name}/responses"] = dataset.responses.numpy()
                frozen[f"{name}/trials"] = trials.astype(np.float16)
                frozen[f"{name}/frames"] = dataset.movies[0, ::10].numpy().astype(np.float16)
                frozen[f"{name}/locations"] = np.asarray(dataset.locations)
            else:
                frozen[f"{name}/trials"] = np.sort(dataset.indices)
    return frozen


def main(folder: Path) -> None:
    """Load with the defaults, and with options, and freeze both."""
    one = ("04",)
    kinds = {
        "natural_movie": natural(folder),
        "white_noise": noise(folder),
        "natural_movie one cell": natural(folder, ("01",), cell_index=2, subsample=2, flip_imgs=True),
        "natural_movie one seed": natural(folder, ("01",), stimulus_seed=2022),
        "white_noise some trials": noise(folder, one, extra_frame=3, num_of_trials_to_use=11, start_using_trial=2),
        "white_noise chosen trials": noise(folder, one, hard_coded=([0, 1, 2, 4, 9], [3, 5])),
    }
    frozen = {f"{kind}/{name}": value for kind, loaders in kinds.items() for name, value in freeze(loaders).items()}
    for n_trials in (5, 10, 11, 20, 21, 25, 30):
        for fraction in (0.5, 0.8, 0.9):
            for seed in (None, 7):
                split = get_trial_wise_validation_split(np.zeros((1, 1, n_trials)), fraction, seed)
                frozen[f"split/{n_trials}/{fraction}/{seed or 1000}"] = np.sort(split[1])
    GOLDENS.mkdir(exist_ok=True)
    np.savez_compressed(GOLDENS / "sridhar_2025.npz", **frozen)
    print({name: value.shape for name, value in frozen.items()})


if __name__ == "__main__":
    main(Path(sys.argv[1]))
