"""What openretina loads of a folder in its generic layout; see ``frozen.py``."""

import sys
from pathlib import Path

from frozen import freeze
from openretina.data_io.base_dataloader import multiple_movies_dataloaders
from openretina.data_io.h5_dataset_reader import load_responses, load_stimuli

folder = Path(sys.argv[1])
TESTS = ["random_noise_2", "random_noise_3"]
freeze(
    "hdf5",
    folder,
    {
        f"{mean} {deviation}": multiple_movies_dataloaders(
            neuron_data_dictionary=load_responses(str(folder), TESTS),
            movies_dictionary=load_stimuli(str(folder), TESTS, [2, 4, 3], mean, deviation),
            clip_length=20,
            num_val_clips=3,
        )
        for mean, deviation in ((0.0, 1.0), (0.25, 2.0))
    },
)
