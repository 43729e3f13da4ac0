"""What openretina loads of small files of Höfling et al. 2024; frozen in tests/goldens/sources.

    python -m tests.sources.hoefling_2024_files FOLDER
    /path/to/reference/python tests/parity/hoefling_2024.py FOLDER

Of every frame the weighted sum of its pixels is kept, which no other frame or orientation has.
"""

import sys
import warnings

import numpy as np
from frozen import GOLDENS
from openretina.data_io.hoefling_2024.dataloaders import natmov_dataloaders_v2
from openretina.data_io.hoefling_2024.responses import filter_responses, make_final_responses
from openretina.data_io.hoefling_2024.stimuli import movies_from_pickle
from openretina.utils.h5_handling import load_h5_into_dict

VALIDATION_CLIPS = [0, 4, 10, 11, 18, 30, 45, 62, 67, 77, 79, 80, 81, 83, 95]


def main(folder: str) -> None:
    """Load all sessions as the configuration ``hoefling_2024_core_readout_low_res`` does."""
    warnings.simplefilter("ignore")
    kept = filter_responses(
        load_h5_into_dict(f"{folder}/responses.h5"),
        filter_cell_types=True,
        cell_types_list=list(range(1, 33)),
        chirp_qi=0.35,
        d_qi=0.6,
        qi_logic="or",
        filter_counts=False,
        classifier_confidence=0.25,
    )
    responses = make_final_responses(kept, response_type="natural", trace_type="spikes", norm_by_std=True)
    loaders = natmov_dataloaders_v2(
        responses, movies_from_pickle(f"{folder}/movies.pkl"), validation_clip_indices=VALIDATION_CLIPS
    )
    frozen = {}
    for split, sessions in loaders.items():
        for session, loader in sessions.items():
            data = loader.dataset
            movie = np.asarray(data.movies)
            weights = np.arange(1, 1 + movie[0, 0].size).reshape(movie[0, 0].shape)
            frozen[f"{split}/{session}/movie"] = np.einsum("cthw,hw->tc", movie, weights)
            frozen[f"{split}/{session}/responses"] = np.asarray(data.responses)
            frozen[f"{session}/cell_types"] = np.asarray(data.group_assignment)
            frozen[f"{session}/positions"] = np.asarray(data.roi_coords)
    np.savez_compressed(GOLDENS / "hoefling_2024.npz", **frozen)
    print({name: array.shape for name, array in frozen.items()})


if __name__ == "__main__":
    main(sys.argv[1])
