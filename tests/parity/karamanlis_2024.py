"""What openretina makes of small files of Karamanlis et al. 2024; frozen in tests/goldens/sources.

    python -m tests.sources.karamanlis_2024_files FOLDER
    /path/to/reference/python tests/parity/karamanlis_2024.py FOLDER

It writes movies into the folder.
"""

import sys
import warnings
from pathlib import Path

import numpy as np
from openretina.data_io.base_dataloader import multiple_movies_dataloaders
from openretina.data_io.karamanlis_2024.responses import load_all_responses
from openretina.data_io.karamanlis_2024.stimuli import load_all_stimuli

GOLDENS = Path(__file__).parent.parent / "goldens" / "sources"
FRAMES = (0, 149, 150, 437)  # kept whole
CLIP_FRAMES, VALIDATION_CLIPS = 75, 3


def main(folder: str) -> None:
    """Load the mice, once from the files and once from the movies that were kept, and freeze the second."""
    warnings.simplefilter("ignore")
    load_all_stimuli(folder)
    movies = load_all_stimuli(folder)
    responses = load_all_responses(folder, fr_normalization=2.0)
    loaders = multiple_movies_dataloaders(
        responses, movies, clip_length=CLIP_FRAMES, num_val_clips=VALIDATION_CLIPS, batch_size=1
    )
    frozen = {}
    for name in sorted(movies):
        frozen |= {
            f"{name}/responses": responses[name].train,
            f"{name}/repeats": responses[name].test_by_trial,
            f"{name}/training_responses": loaders["train"][name].dataset.responses.numpy(),
            f"{name}/validation_responses": loaders["validation"][name].dataset.responses.numpy(),
        }
    # both sessions saw the same movie
    movie, validation = movies[name], loaders["validation"][name].dataset.movies
    train, test = movie.train[0], movie.test_dict["test"][0]
    frozen |= {
        "train_frames": train[list(FRAMES)],
        "train_means": train.mean(axis=(1, 2)),
        "test_frame": test[17],
        "test_means": test.mean(axis=(1, 2)),
        "validation_means": validation[0].mean((1, 2)).numpy(),
        "normalization": np.array([movie.norm_mean, movie.norm_std]),
    }
    GOLDENS.mkdir(exist_ok=True)
    np.savez_compressed(GOLDENS / "karamanlis_2024.npz", **frozen)
    print({name: array.shape for name, array in frozen.items()})


if __name__ == "__main__":
    main(sys.argv[1])
