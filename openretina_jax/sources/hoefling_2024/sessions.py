"""Mouse retinal ganglion cells watching natural movies (Höfling et al. 2024, doi:10.7554/eLife.86860).

A session is one field of the retina, recorded by two-photon calcium imaging. It saw 108 clips of 5 s, each once, in
one of 20 random orders, and a test movie of five clips three times: before, between and after the two halves of the
clips. The published files are a pickle with the movies and an HDF5 file with one group per session.
"""

import dataclasses
import logging
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Bool, Float32, Int32, Integer

from openretina_jax.data.conversion import check_choice
from openretina_jax.data.dataset import Dataset, Session
from openretina_jax.data.info import divided_unit
from openretina_jax.data.normalization import Normalization
from openretina_jax.data.stimulus import Stimulus
from openretina_jax.errors import UserError
from openretina_jax.runtime.fetch import HubFile, fetch, unpacked
from openretina_jax.runtime.pickles import load_plain_pickle
from openretina_jax.sources import SOURCES
from openretina_jax.sources.hoefling_2024.cells import CELL_TYPE_NAMES, roi_mask, roi_positions
from openretina_jax.sources.hoefling_2024.selection import QualityFilter, SessionGroup, open_sessions, select_neurons
from openretina_jax.sources.hoefling_2024.traces import (
    CHIRP,
    FRAME_RATE_HZ,
    MOVING_BAR,
    NATURAL,
    TraceConversion,
    upsampled_responses,
)

_REPOSITORY = "open-retina/open-retina"
STIMULI_18X16 = HubFile(
    _REPOSITORY, "euler_lab/hoefling_2024/stimuli/rgc_natstim_18x16_joint_normalized_2024-01-11.zip"
)
STIMULI_72X64 = HubFile(
    _REPOSITORY, "euler_lab/hoefling_2024/stimuli/rgc_natstim_72x64_joint_normalized_2024-10-11.zip"
)
PUBLISHED_STIMULI = {"18x16": STIMULI_18X16, "72x64": STIMULI_72X64}
RESPONSES = HubFile(_REPOSITORY, "euler_lab/hoefling_2024/responses/rgc_natstim_2024-08-14.zip")

CHANNELS = ("green", "UV")
CLIP_FRAMES = 150
N_CLIPS = 108
TEST_CLIPS = 5
# grey levels of the published movies, with a mean and a deviation for each channel, as the first models were trained
NORMALIZATION_18X16 = Normalization((37.417128327480455, 36.13151406772875), (28.904812895781816, 39.84109959857139))
NORMALIZATION_72X64 = Normalization((37.19756061097937, 36.76101593081903), (30.26892576088715, 42.65469417011324))
# and with one for both, which the file of 72 x 64 pixels holds too
JOINT_NORMALIZATION_72X64 = Normalization(36.979288270899204, 36.98463253226166)
VALIDATION_CLIPS = (0, 4, 10, 11, 18, 30, 45, 62, 67, 77, 79, 80, 81, 83, 95)

_STIMULI_SUFFIXES = (".pkl", ".pickle")
_RESPONSES_SUFFIXES = (".h5", ".hdf5")
_LABELLED_LEFT_BUT_RIGHT = "session_2_ventral2_20200626"

_log = logging.getLogger(__name__)


@SOURCES("hoefling_2024")
def load_hoefling_2024(
    stimuli_path: HubFile | str | Path | None = None,
    responses_path: HubFile | str | Path | None = None,
    *,
    resolution: str = "18x16",
    quality: QualityFilter | None = None,
    trace_type: str = "spikes",
    norm_by_std: bool = True,
    scale_traces: float = 1.0,
    validation_clips: tuple[int, ...] = VALIDATION_CLIPS,
    pixel_size_um: float = 50.0,
) -> Dataset:
    """Load natural movies and the responses to them.

    Args:
        stimuli_path: a pickle of the movies, or a zip archive of it (None: the published one).
        responses_path: an HDF5 file of the responses, or a zip archive of it (None: the published one).
        resolution: "18x16" or "72x64", the pixels of the published movies that are taken without ``stimuli_path``.
        quality: which neurons are kept (None: those of the published models).
        trace_type, norm_by_std, scale_traces: the signal that is taken for a response, see ``TraceConversion``.
        validation_clips: clips of the training movie kept for validation.
        pixel_size_um: side of a stimulus pixel on the retina: 50 for 18 x 16 pixels, 12.5 for 72 x 64.

    Returns:
        Stimuli "train" and "test", frames of ``(time, height, width, channel)`` with the channels green and UV, and
        every session that has neurons left.

    Raises:
        UserError: the files cannot be fetched, are damaged or do not belong together.
    """
    check_choice("config.data.resolution", resolution, PUBLISHED_STIMULI)
    quality = quality or QualityFilter()
    conversion = TraceConversion(trace_type, norm_by_std, scale_traces)
    stimuli_file = fetch(stimuli_path or PUBLISHED_STIMULI[resolution])
    responses_file = fetch(responses_path or RESPONSES)
    stimuli, clip_orders = read_stimuli(unpacked(stimuli_file, _STIMULI_SUFFIXES))
    with open_sessions(unpacked(responses_file, _RESPONSES_SUFFIXES)) as groups:
        sessions = [_session(group, kept, clip_orders, conversion) for group, kept in select_neurons(groups, quality)]
    return Dataset(
        stimuli=stimuli,
        sessions=tuple(sessions),
        clip_length=CLIP_FRAMES,
        validation_clips={"train": validation_clips},
        pixel_size_um=pixel_size_um,
        source={
            "publication": "hoefling_2024",
            "stimuli": stimuli_file.record,
            "responses": responses_file.record,
            "quality": dataclasses.asdict(quality),
            "traces": dataclasses.asdict(conversion),
        },
        channels=CHANNELS if stimuli["train"].frames.shape[3] == len(CHANNELS) else None,
        response_unit=divided_unit("SD", 1 / scale_traces) if norm_by_std else "a.u.",
    )


def load_artificial_responses(
    stimulus: str,
    responses_path: HubFile | str | Path | None = None,
    *,
    quality: QualityFilter | None = None,
    trace_type: str = "spikes",
    norm_by_std: bool = True,
    scale_traces: float = 1.0,
) -> dict[str, Float32[np.ndarray, "time neuron"]]:
    """Load the responses of the same neurons to the stimuli by which they were classified, by session.

    A chirp has 990 frames. A moving bar has 123 frames, and bars in eight directions follow each other. Both were
    shown several times; the repeats follow each other along the time axis.

    Args:
        stimulus: "chirp" or "moving_bar".
        responses_path, quality, trace_type, norm_by_std, scale_traces: as in ``load_hoefling_2024``.

    Raises:
        UserError: as in ``load_hoefling_2024``.
    """
    presentations = {"chirp": CHIRP, "moving_bar": MOVING_BAR}
    check_choice("stimulus", stimulus, presentations)
    conversion = TraceConversion(trace_type, norm_by_std, scale_traces)
    with open_sessions(unpacked(fetch(responses_path or RESPONSES), _RESPONSES_SUFFIXES)) as groups:
        return {
            group.name: upsampled_responses(group, presentations[stimulus], kept, conversion)
            for group, kept in select_neurons(groups, quality or QualityFilter())
        }


def read_stimuli(file: Path) -> tuple[dict[str, Stimulus], Integer[np.ndarray, "clip order"]]:
    """Read the movies, and the orders in which the training clips were shown, one column each.

    If the file has no orders, the only one is that of the movie.

    Raises:
        UserError: the pickle is damaged or holds something else, or its movies are not as long as those shown.
    """
    content = load_plain_pickle(file)
    if not isinstance(content, dict) or not {"train", "test"} <= content.keys():
        found = ", ".join(map(str, content)) if isinstance(content, dict) else type(content).__name__
        raise UserError(f'{file.name}: must hold the movies "train" and "test", but holds {found}')
    mean, std = (_movie_statistic(file, content, name) for name in ("mean", "sd"))
    clip_orders = _clip_orders(file, content.get("random_sequences"))
    stimuli = {}
    for name, clips in (("train", N_CLIPS), ("test", TEST_CLIPS)):
        # a view, or a copy whose original is freed at once: the large movies take half a gigabyte
        frames = _frames(file, name, content.pop(name), clips * CLIP_FRAMES)
        stimuli[name] = Stimulus(name, frames, FRAME_RATE_HZ, mean, std)
    shapes = {name: stimulus.frames.shape[1:] for name, stimulus in stimuli.items()}
    if shapes["train"] != shapes["test"]:
        raise UserError(
            f"{file.name}: frames (height, width, channel) of the training movie are {shapes['train']}, of the test "
            f"movie {shapes['test']}; they must be equal"
        )
    return stimuli, clip_orders


def split_presentation(
    responses: Float32[np.ndarray, "time neuron"], clip_frames: int = CLIP_FRAMES
) -> tuple[Float32[np.ndarray, "train_time neuron"], Float32[np.ndarray, "trial test_time neuron"]]:
    """Split responses into those to the training clips, in the order shown, and to the three repeats of the test."""
    test, half = TEST_CLIPS * clip_frames, N_CLIPS // 2 * clip_frames
    borders = np.cumsum([test, half, test, half])
    first, training_1, second, training_2, third = np.split(responses, borders)
    return np.concatenate([training_1, training_2]), np.stack([first, second, third])


def shown_frames(
    clip_order: Integer[np.ndarray, " clip"], clip_frames: int = CLIP_FRAMES
) -> Int32[np.ndarray, " time"]:
    """List the frames of the training movie in the order shown, from the order of its clips."""
    starts = clip_order.astype(np.int32) * np.int32(clip_frames)
    return (starts[:, None] + np.arange(clip_frames, dtype=np.int32)).ravel()


def _session(
    group: SessionGroup,
    kept: Bool[np.ndarray, " neuron"],
    clip_orders: Integer[np.ndarray, "clip order"],
    conversion: TraceConversion,
) -> Session:
    eye = group.choice("eye", ("left", "right"))
    order = group.integer("scan_sequence_idx")
    if not 0 <= order < clip_orders.shape[1]:
        raise group.error(
            f'"scan_sequence_idx" is {order}, but the stimulus has orders 0 to {clip_orders.shape[1] - 1}; the '
            "stimulus belongs to other recordings"
        )
    responses, repeats = split_presentation(upsampled_responses(group, NATURAL, kept, conversion))
    return Session(
        name=group.name,
        stimulus="train",
        responses=responses,
        frame_index=shown_frames(clip_orders[:, order]),
        repeats={"test": repeats},
        mirrored=eye == "left" and group.name != _LABELLED_LEFT_BUT_RIGHT,
        neurons=_neurons(group, kept),
        metadata={"eye": eye, "scan_sequence_idx": order},
        roi_mask=roi_mask(group.numbers("roi_mask", "row column")),
    )


def _neurons(group: SessionGroup, kept: Bool[np.ndarray, " neuron"]) -> dict[str, np.ndarray]:
    cell_type = group.per_neuron("group_assignment")[kept].astype(np.int64)
    roi_id = group.per_neuron("roi_ids")[kept].astype(np.int64)
    positions = roi_positions(group.numbers("roi_mask", "row column"), roi_id)
    lost = roi_id[np.isnan(positions).any(axis=1)]
    if lost.size:
        _log.warning("%s: ROIs %s are not in the mask; their positions are NaN", group.name, lost.tolist())
    return {
        "cell_type": cell_type,
        "cell_type_name": np.array([CELL_TYPE_NAMES.get(kind, "unknown") for kind in cell_type.tolist()]),
        "roi_id": roi_id,
        "roi_coords": positions,
        "chirp_qi": group.per_neuron("chirp_qi")[kept],
        "d_qi": group.per_neuron("d_qi")[kept],
        "classifier_confidence": group.per_neuron("group_confidences", "neuron cell_type")[kept].max(axis=1),
    }


def _movie_statistic(file: Path, content: dict[str, Any], name: str) -> float | None:
    """Mean or standard deviation, over both channels, of the movie before its normalisation; None if unknown."""
    try:
        value = float(np.asarray(content["movie_stats"]["dichromatic"][name]).item())
    except KeyError:
        return None
    except (TypeError, ValueError) as error:
        raise UserError(f'{file.name}: "{name}" in movie_stats must be one number ({error})') from error
    return value if np.isfinite(value) else None


def _frames(
    file: Path, name: str, movie: np.ndarray, n_frames: int
) -> Float32[np.ndarray, "time height width channel"]:
    if not isinstance(movie, np.ndarray) or movie.ndim != 4 or movie.dtype.kind not in "iuf":
        found = f"{movie.shape} ({movie.dtype})" if isinstance(movie, np.ndarray) else type(movie).__name__
        raise UserError(f'{file.name}: movie "{name}" must be numbers (channel, time, height, width), but is {found}')
    if movie.shape[1] != n_frames:
        raise UserError(
            f'{file.name}: movie "{name}" has {movie.shape[1]} frames, but the recordings were made with {n_frames}; '
            "the stimulus belongs to other recordings or was cut"
        )
    return movie.transpose(1, 2, 3, 0).astype(np.float32, copy=False)


def _clip_orders(file: Path, orders: Any) -> Integer[np.ndarray, "clip order"]:
    if orders is None:
        return np.arange(N_CLIPS)[:, None]
    try:
        orders = np.asarray(orders)
    except ValueError as error:
        raise UserError(f"{file.name}: random_sequences must be one array, but its parts differ ({error})") from error
    if orders.ndim != 2 or orders.dtype.kind not in "iu" or len(orders) != N_CLIPS:
        raise UserError(
            f"{file.name}: random_sequences has shape {orders.shape} ({orders.dtype}), but must hold the order of "
            f"{N_CLIPS} clips in every column"
        )
    wrong = np.flatnonzero((np.sort(orders, axis=0) != np.arange(N_CLIPS)[:, None]).any(axis=0))
    if wrong.size:
        raise UserError(
            f"{file.name}: random_sequences {wrong.tolist()} are not permutations of the {N_CLIPS} clips: some clips "
            "occur twice"
        )
    return orders.astype(np.int64)
