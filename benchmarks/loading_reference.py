"""The reference's side of a measurement of loading; runs where openretina is installed, and imports nothing else."""

import os
import warnings
from collections.abc import Callable, Mapping
from typing import Any

from openretina.data_io.base_dataloader import multiple_movies_dataloaders
from openretina.data_io.hoefling_2024.dataloaders import natmov_dataloaders_v2
from openretina.data_io.hoefling_2024.responses import filter_responses, make_final_responses
from openretina.data_io.hoefling_2024.stimuli import movies_from_pickle
from openretina.data_io.karamanlis_2024.responses import load_all_responses
from openretina.data_io.karamanlis_2024.stimuli import load_all_stimuli
from openretina.utils.h5_handling import load_h5_into_dict

BATCH = {"batch_size": 64, "train_chunk_size": 50, "allow_over_boundaries": True}


def prepare(task: Mapping[str, Any]) -> tuple[Callable[[], Any], dict[str, Any]]:
    """Loading as openretina's training command does it, as in ``loading_ours``."""
    warnings.simplefilter("ignore")
    os.environ["OPENRETINA_CACHE_DIRECTORY"] = task["cache"]
    loaders = {"hoefling_2024": hoefling_2024, "karamanlis_2024": karamanlis_2024}[task["source"]]

    def work() -> Any:
        training = loaders(task["settings"])["train"]
        return next(iter(next(iter(training.values()))), None)  # short recordings do not fill a batch

    return work, {}


def hoefling_2024(settings: Mapping[str, Any]) -> Any:
    """Data loaders of the natural movies."""
    movies = movies_from_pickle(settings["stimuli_path"])
    kept = filter_responses(
        load_h5_into_dict(settings["responses_path"]),
        filter_cell_types=True,
        cell_types_list=list(settings["quality"]["cell_types"]),
        chirp_qi=0.35,
        d_qi=0.6,
        qi_logic="or",
        filter_counts=True,
        count_threshold=10,
        classifier_confidence=0.25,
        verbose=False,
    )
    responses = make_final_responses(kept, response_type="natural")
    return natmov_dataloaders_v2(
        responses, movies, validation_clip_indices=settings["validation_clips"], clip_length=150, **BATCH
    )


def karamanlis_2024(settings: Mapping[str, Any]) -> Any:
    """Data loaders of the fixation movies."""
    options = {"base_data_path": settings["path"], "stim_type": settings["stimulus"], "specie": settings["species"]}
    movies = load_all_stimuli(downsampled_size=tuple(settings["size"]), **options)
    responses = load_all_responses(**options)
    return multiple_movies_dataloaders(
        responses,
        movies,
        clip_length=settings["clip_length"],
        num_val_clips=settings["validation_clips"],
        seed=settings["split_seed"],
        **BATCH,
    )
