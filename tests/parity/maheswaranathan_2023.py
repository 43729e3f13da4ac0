"""What openretina loads of ``maheswaranathan_2023`` files; see ``frozen.py``."""

import sys
from pathlib import Path

from frozen import freeze
from openretina.data_io.base_dataloader import multiple_movies_dataloaders
from openretina.data_io.maheswaranathan_2023.responses import load_all_responses
from openretina.data_io.maheswaranathan_2023.stimuli import load_all_stimuli

folder = Path(sys.argv[1])
freeze(
    "maheswaranathan_2023",
    folder,
    {
        f"{stimulus} {response_type}": multiple_movies_dataloaders(
            neuron_data_dictionary=load_all_responses(folder, response_type=response_type, stim_type=stimulus),
            movies_dictionary=load_all_stimuli(folder, stim_type=stimulus),
            train_chunk_size=50,
            batch_size=64,
            clip_length=90,
            num_val_clips=2,
        )
        for stimulus, response_type in (
            ("naturalscene", "firing_rate_10ms"),
            ("whitenoise", "firing_rate_10ms"),
            ("naturalscene", "firing_rate_20ms"),
        )
    },
)
