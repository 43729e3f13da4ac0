"""Data functions of the reference and what we have in their place."""

import contextlib
import re
from pathlib import Path

import h5py
import numpy as np
import pytest

from openretina_jax.data.dataset import Dataset, Session
from openretina_jax.data.stimulus import Stimulus
from openretina_jax.sources.hoefling_2024.cells import roi_position, roi_positions
from openretina_jax.sources.hoefling_2024.selection import QualityFilter, SessionGroup
from openretina_jax.sources.hoefling_2024.sessions import shown_frames, split_presentation
from openretina_jax.sources.hoefling_2024.traces import (
    CHIRP,
    MOVING_BAR,
    NATURAL,
    TraceConversion,
    upsample,
    upsampled_responses,
)
from tests.goldens_case import cases

# Functions of the reference whose counterparts are windows and splits, tested in a file of their own.
WINDOWS = {
    "generate_movie_splits",
    "get_all_movie_combinations",
    "gen_shifts_with_boundaries",
    "gen_start_indices",
    "MovieSampler",
    "natmov_dataloaders_v2",
    "cyclers",
}

STATISTICS = {"frame_fingerprints"}  # counts frames, tested in test_quality.py

# Functions that split and normalise movies of single sessions, tested in a file of their own.
MOVIES = {
    "NeuronDataSplit",
    "multiple_movies_dataloaders",
    "multiple_movies_dataloaders (validation clips)",
    "normalize_train_test_movies",
}

# Functions of the reference that we have no counterpart of, or not yet, and why.
LATER = {
    "h5_dataset_reader": "reads the generic HDF5 data set",
    "video_analysis": "analyses learned kernels, not data",
    "_compute_test_batch_size": "timelines are predicted whole and one by one, without batches of test windows",
}

PRESENTATIONS = {1: CHIRP, 2: MOVING_BAR, 5: NATURAL}


def function(case):
    """Name of the function or class of the reference."""
    return case.entry["path"].rpartition(".")[2]


@contextlib.contextmanager
def recordings_in_memory(fields):
    with h5py.File("goldens.h5", "w", driver="core", backing_store=False) as file:
        for name, arrays in fields.items():
            for key, values in arrays.items():
                file[f"{name}/{key}"] = values
        yield {name: SessionGroup(Path("goldens.h5"), file[name]) for name in fields}


def check_compute_test_responses(case):
    responses = case.array("input/responses").T.astype(np.float32)
    training, repeats = split_presentation(responses, case.kwargs["clip_length"])
    case.check("output/train", training.T)
    case.check("output/test", repeats.mean(axis=0).T)
    case.check("output/test_by_trial", repeats.transpose(2, 1, 0))


def check_upsample_traces(case):
    responses = upsample(
        *(case.array(f"input/{name}").astype(np.float64) for name in ("traces", "tracestimes", "triggertimes")),
        PRESENTATIONS[case.kwargs["stim_id"]],
        frame_rate_hz=float(case.kwargs["target_fr"]),
        norm_by_std=case.kwargs["norm_by_std"],
    )
    case.check("output", responses.T)


def check_upsample_all_responses(case):
    presentation = {"chirp": CHIRP, "mb": MOVING_BAR, "natural": NATURAL}[case.kwargs["response_type"]]
    responses = upsampled(case, presentation, TraceConversion())
    assert len(responses) == case.entry["n_frames"]
    stride = round(len(responses) / case.array("output").shape[1])  # the case holds every nth frame
    case.check("output", responses.T[:, ::stride])


def check_make_final_responses(case):
    (stride,) = re.findall(r"v\[:, ::(\d+)\]", case.entry["doc"])
    for variant, options in case.kwargs["variants"].items():
        training, repeats = split_presentation(upsampled(case, NATURAL, TraceConversion(**options)))
        test = repeats.mean(axis=0)
        for name, responses in (("train", training), ("test", test)):
            case.check(f"output/{variant}/{name}", responses.T[:, :: int(stride)])
            case.check(f"output/{variant}/{name}_mean", responses.T.mean(axis=1, dtype=np.float64))
            case.check(f"output/{variant}/{name}_shape", responses.T.shape)
        case.check(f"output/{variant}/test_by_trial_shape", repeats.transpose(2, 1, 0).shape)


def upsampled(case, presentation, conversion):
    arrays = {f"{presentation.prefix}_{name}": values for name, values in case.under("input").items()}
    arrays[f"{presentation.prefix}_trigger_times"] = case.array("input/trigger_times")[None]
    n_neurons = len(arrays[f"{presentation.prefix}_traces_times"])
    field = {"group_assignment": np.ones(n_neurons, int)} | arrays
    with recordings_in_memory({"field": field}) as recordings:
        return upsampled_responses(recordings["field"], presentation, np.ones(n_neurons, bool), conversion)


def check_filter_responses(case):
    fields = {name: case.under(f"input/{name}") for name in case.kwargs["field_order"]}
    with recordings_in_memory(fields) as recordings:
        for variant, options in case.kwargs["variants"].items():
            quality = quality_filter(**options)
            passing = {name: list(quality.stages(recording).values())[-1] for name, recording in recordings.items()}
            case.check(f"output/{variant}/n_fields", sum(mask.any() for mask in passing.values()))
            for name, mask in passing.items():
                kept = case.under(f"output/{variant}/{name}")
                assert bool(kept) == bool(mask.any())
                for key in kept:
                    values = fields[name][key]
                    axis = 0 if len(values) == len(mask) else 1
                    filtered = values if key == "roi_mask" else np.compress(mask, values, axis)
                    case.check(f"output/{variant}/{name}/{key}", filtered)


def quality_filter(
    *,
    filter_cell_types=False,
    cell_types_list=None,
    chirp_qi=0.35,
    d_qi=0.6,
    qi_logic="or",
    filter_counts=True,
    count_threshold=10,
    classifier_confidence=0.25,
):
    """Our filter for the arguments of the reference, with its defaults."""
    return QualityFilter(
        cell_types=tuple(np.atleast_1d(cell_types_list).tolist()) if filter_cell_types else None,
        chirp_qi=chirp_qi,
        d_qi=d_qi,
        qi_logic=qi_logic,
        classifier_confidence=classifier_confidence or 0.0,
        min_neurons=count_threshold + 1 if filter_counts else 1,
    )


def check_neuron_data_split_hoefling(case):
    clips, length = case.kwargs["num_clips"], case.kwargs["clip_length"]
    validation_clips = case.kwargs["val_clip_idx"]
    orders = {
        "sequence": case.array("input/random_sequences")[:, case.kwargs["scan_sequence_idx"]],
        "no_sequence": np.arange(clips),
    }
    responses = case.array("input/train").T
    for variant in ("sequence", "base_sequence", "no_sequence"):
        shown = shown_frames(orders["no_sequence" if variant == "no_sequence" else "sequence"], length)
        if variant == "base_sequence":  # time runs as in the movie
            in_order = np.argsort(shown)
            shown, ordered = shown[in_order], responses[in_order]
        else:
            ordered = responses
        validation = [ordered[shown // length == clip] for clip in validation_clips]
        case.check(f"output/{variant}/train", ordered[~np.isin(shown // length, validation_clips)])
        case.check(f"output/{variant}/validation", np.concatenate(validation))
    case.check("output/roi_coords", roi_positions(case.array("input/roi_mask"), case.array("input/roi_ids")))


def check_roi2readout(case):
    mask, options = case.array("input/mask"), case.kwargs["output_params"]
    case.check("output", roi_position(mask))
    position = roi_position(
        mask,
        roi_pixel_um=float(options["roi_mask_pixelsize"]),
        readout_pixel_um=float(options["readout_mask_pixelsize"]),
        offset=(options["y_offset"], options["x_offset"]),
    )
    case.check("output_params", position)


def check_compute_data_info(case):
    responses = {name: values.T.astype(np.float32) for name, values in case.under("input").items()}
    channels, height, width = case.entry["result"]["input_shape"]
    time = max(map(len, responses.values()))
    frames = np.zeros((time, height, width, channels), np.float32)
    stimulus = Stimulus("train", frames, 30.0, case.kwargs["norm_mean"], case.kwargs["norm_std"])
    sessions = [
        Session(name, "train", values, np.arange(time, dtype=np.int32), repeats={})
        for name, values in responses.items()
    ]
    info = Dataset({"train": stimulus}, tuple(sessions), clip_length=time, validation_clips={}).info
    assert info.sessions == case.entry["result"]["n_neurons_dict"]
    assert info.input_shape == (height, width, channels)
    assert (info.norm_mean, info.norm_std) == (case.entry["result"]["stim_mean"], case.entry["result"]["stim_std"])
    for name, activity in info.mean_activity.items():
        case.check(f"mean_activity/{name}", activity)


CHECKS = {
    "compute_test_responses": check_compute_test_responses,
    "upsample_traces": check_upsample_traces,
    "upsample_all_responses": check_upsample_all_responses,
    "make_final_responses": check_make_final_responses,
    "filter_responses": check_filter_responses,
    "NeuronDataSplitHoefling": check_neuron_data_split_hoefling,
    "roi2readout": check_roi2readout,
    "compute_data_info": check_compute_data_info,
}


COVERED = [case for case in cases("data") if function(case) in CHECKS]


@pytest.mark.parametrize("case", COVERED, ids=[case.name for case in COVERED])
def test_golden(case):
    CHECKS[function(case)](case)


def test_every_case_is_known():
    known = {*CHECKS, *WINDOWS, *MOVIES, *STATISTICS, *LATER}
    assert {case.name for case in cases("data") if function(case) not in known} == set()
