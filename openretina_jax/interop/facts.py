"""What a checkpoint of openretina says of its data, as ``DataInfo``."""

import re
from collections.abc import Mapping
from typing import Any

import numpy as np

from openretina_jax.data.dataset import DataInfo
from openretina_jax.interop.torch_files import Record
from openretina_jax.sources.hoefling_2024.cells import roi_positions

# our names of columns of neurons
COLUMNS = {"group_assignment": "cell_type", "roi_ids": "roi_id", "cell_indices": "cell_index"}
PERFORMANCE = "published_performance"
_TAKEN = (
    "n_neurons_dict",
    "mean_activity_dict",
    "input_shape",
    "sessions_kwargs",
    "stim_mean",
    "stim_std",
    "movie_norm_dict",
    "pretrained_performance",
)
_MOST_COORDINATES = 3  # of a neuron's position; wider arrays are images


def make_data_info(
    theirs: Mapping[str, Any],
    sessions: Mapping[str, int],
    input_shape: tuple[int, int, int],
    source: Mapping[str, Any],
) -> DataInfo:
    """The facts that a model keeps, with all that openretina knew beside in ``source``.

    Per-neuron entries of ``sessions_kwargs`` and ``pretrained_performance`` become columns of neurons.

    Args:
        theirs: the ``data_info`` of openretina; empty if the model had none.
        sessions: number of neurons by session, in the order of the model's rows.
        input_shape: ``(height, width, channel)`` of a frame.
        source: of the checkpoint.
    """
    activity = theirs.get("mean_activity_dict") or {}
    norm = (theirs.get("movie_norm_dict") or {}).get("default", {})
    columns, of_sessions = {}, {}
    for session, count in sessions.items():
        known = (theirs.get("sessions_kwargs") or {}).get(session) or {}
        performance = (theirs.get("pretrained_performance") or {}).get(session)
        columns[session], of_sessions[session] = _neurons(known, performance, count)
    rest = {name: jsonable(value) for name, value in theirs.items() if name not in _TAKEN}
    return DataInfo(
        sessions=dict(sessions),
        mean_activity={
            name: np.asarray(activity.get(name, np.zeros(count)), float).tolist() for name, count in sessions.items()
        },
        input_shape=input_shape,
        frame_rate_hz=number(theirs.get("stimulus_rate_hz"), "Hz"),
        pixel_size_um=number(theirs.get("retina_pixel_size_um"), "um"),
        norm_mean=number(theirs.get("stim_mean", norm.get("norm_mean"))),
        norm_std=number(theirs.get("stim_std", norm.get("norm_std"))),
        neurons=columns,
        source={**source, "data_info": rest, "sessions": of_sessions},
    )


def number(value: Any, unit: str = "") -> float | None:
    """A number, or one that was written as text with its unit; None for anything else."""
    if isinstance(value, str):
        match = re.fullmatch(rf"\s*([\d.]+)\s*(?:{unit})?\s*", value)
        return float(match[1]) if match else None
    array = np.asarray(value) if isinstance(value, np.ndarray | np.generic | int | float) else None
    return None if array is None or array.size != 1 else float(array.ravel()[0])


def jsonable(value: Any) -> Any:
    """A value that JSON can hold; an object of an unknown class is its name."""
    if isinstance(value, Mapping):
        return {str(key): jsonable(entry) for key, entry in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [jsonable(entry) for entry in value]
    if isinstance(value, np.ndarray | np.generic):
        return jsonable(value.tolist())
    if isinstance(value, Record):
        return value.origin
    return value if value is None or isinstance(value, str | int | float | bool) else str(value)


def _neurons(known: Mapping[str, Any], performance: Any, count: int) -> tuple[dict[str, list[Any]], dict[str, Any]]:
    """Columns of the neurons of a session, and what is said of the session as a whole."""
    columns, of_session = {}, {}
    for name, value in known.items():
        array = np.asarray(value) if isinstance(value, list | tuple | np.ndarray) else np.empty(0)
        narrow = array.ndim == 1 or (array.ndim == 2 and array.shape[1] <= _MOST_COORDINATES)
        if narrow and len(array) == count:
            columns[COLUMNS.get(name, name)] = jsonable(array)
        elif name != "roi_mask":  # the image of all ROIs
            of_session[name] = jsonable(value)
    mask = known.get("roi_mask")
    if isinstance(mask, np.ndarray) and mask.ndim == 2 and "roi_id" in columns:
        columns["roi_coords"] = roi_positions(mask, np.asarray(columns["roi_id"], np.int64)).tolist()
    if isinstance(performance, np.ndarray) and performance.shape == (count,):
        columns[PERFORMANCE] = jsonable(np.asarray(performance, float))
    elif performance is not None:
        of_session[PERFORMANCE] = jsonable(performance)
    return columns, of_session
