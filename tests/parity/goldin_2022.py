"""What openretina loads of ``goldin_2022`` files; see ``frozen.py``."""

import sys
from pathlib import Path

from frozen import freeze
from openretina.data_io.base_dataloader import multiple_movies_dataloaders
from openretina.data_io.goldin_2022.responses import load_all_responses
from openretina.data_io.goldin_2022.stimuli import load_all_stimuli

folder = Path(sys.argv[1])
freeze(
    "goldin_2022",
    folder,
    {
        species: multiple_movies_dataloaders(
            neuron_data_dictionary=load_all_responses(folder, specie=species),
            movies_dictionary=load_all_stimuli(folder, specie=species),
            train_chunk_size=1,
            batch_size=16,
            clip_length=1,
            num_val_clips=10,
            allow_over_boundaries=False,
        )
        for species in ("mouse", "axolotl")
    },
)
