"""Models of openretina in our terms: options and facts about the data from its arguments and parameters."""

import re
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from flax.traverse_util import unflatten_dict

from openretina_jax.data import roi_masks
from openretina_jax.data.info import DataInfo
from openretina_jax.errors import UserError
from openretina_jax.interop.translation import Options, core_to_ours, readout_to_ours, refuse_unknown
from openretina_jax.runtime.pickled_values import Record
from openretina_jax.sources.hoefling_2024.cells import roi_mask, roi_positions

_CELL = "cell"  # the session of a model of a single cell
# our names of columns of neurons
_COLUMNS = {"group_assignment": "cell_type", "roi_ids": "roi_id", "cell_indices": "cell_index"}
_MOST_COORDINATES = 3  # columns of a neuron's position; wider arrays are images
# their entries of data_info that DataInfo has a place for
_PLACED = (
    *("n_neurons_dict", "mean_activity_dict", "input_shape", "sessions_kwargs"),
    *("stim_mean", "stim_std", "movie_norm_dict", "pretrained_performance"),
)
# arguments of every model that are settings of a run here
_TRAINING = (
    *("learning_rate", "optimizer", "lr_scheduler"),
    *("loss", "evaluation_loss", "validation_loss", "correlation_loss"),
)
# arguments that a checkpoint must hold, or the user must give
_NEEDED = {
    "UnifiedCoreReadout": ("in_shape", "n_neurons_dict"),
    "ExampleCoreReadout": ("in_shape", "hidden_channels", "n_neurons_dict"),
    "SpatialContrastCoreReadout": ("in_shape", "n_neurons_dict"),
    "SingleCellSpatialContrast": ("in_shape",),
    "SingleCellSeparatedLNP": ("in_shape", "nonlinearity"),
}
_UNIFIED = {"in_shape", "hidden_channels", "n_neurons_dict", "core", "readout", "data_info"}
# ExampleCoreReadout has the arguments of its core and its readout as its own: "core_" or "readout_" stands before the
# name or nothing does, but for these (None: without effect)
_EXAMPLE_NAMES = {
    "cut_first_n_frames_in_core": "core.cut_first_n_frames",
    "readout_gamma": "readout.mask_l1_reg",  # openretina crosses the two
    "readout_gamma_masks": "readout.feature_weights_l1_reg",
    "readout_reg_avg": "readout.readout_reg_avg",
    "readout_gaussian_masks": None,
}
_EXAMPLE_DEFAULTS = {
    "core._target_": "SimpleCoreWrapper",
    "core.gamma_temporal": 40.0,
    "readout._target_": "MultiGaussianMaskReadout",
    "readout.scale": True,
    "readout.bias": True,
    "readout.gaussian_mean_scale": 6.0,
    "readout.gaussian_var_scale": 4.0,
    "readout.positive": True,
    "readout.mask_l1_reg": 0.4,
    "readout.feature_weights_l1_reg": 0.0,
}


def describe(
    state: Mapping[str, np.ndarray], arguments: Mapping[str, Any], source: Mapping[str, Any] | None = None
) -> tuple[Options, DataInfo]:
    """Describe a model of openretina in our terms, as ``make_core_readout`` takes them.

    Args:
        state: its parameters.
        arguments: arguments of its constructor.
        source: record of the checkpoint, for ``DataInfo.source``.

    Returns:
        Options of the model, and the facts about its data.

    Raises:
        UserError: the class or an argument is unknown, or an argument is missing.
    """
    said = {name: value for name, value in arguments.items() if name not in _TRAINING}
    cls = _class_of(state, said)
    if cls != "UnifiedCoreReadout":  # what Lightning saves of the parts of other classes follows from their arguments
        said = {name: value for name, value in said.items() if name not in ("core", "readout")}
    if "nonlinearity.b" in state:
        said["nonlinearity"] = "parametrized_softplus"
    missing = [name for name in _NEEDED[cls] if said.get(name) is None]
    if missing:
        raise UserError(
            f"the checkpoint of a {cls} does not say {', '.join(missing)}; give what it was made with as keywords of "
            f"openretina_jax.load, such as {missing[0]}=..."
        )
    if cls == "ExampleCoreReadout":
        said = _unified_arguments(said)
    if "core" in said:
        options = _parts(said, cloned=any("._source." in name for name in state))
    else:
        core = {"kind": "identity", "cut_first_frames": said.get("cut_first_n_frames") or 0}
        options = {"core": core, "readout": readout_to_ours(cls, said) | _from_shapes(state, said["in_shape"])}
    neurons = said["n_neurons_dict"] if "n_neurons_dict" in _NEEDED[cls] else {_CELL: 1}
    info = said.get("data_info") or {}
    if said.get("rf_location") is not None:
        info = {**info, "sessions_kwargs": {_CELL: {"rf_location": [list(said["rf_location"])]}}}
    channels, _, *image = said["in_shape"]
    channels, height, width = info.get("input_shape") or (channels, *image)
    sessions = {str(session): int(count) for session, count in neurons.items()}
    return options, data_info_to_ours(info, sessions, (int(height), int(width), int(channels)), source)


def data_info_to_ours(
    theirs: Mapping[str, Any],
    sessions: Mapping[str, int],
    input_shape: tuple[int, int, int],
    source: Mapping[str, Any] | None = None,
) -> DataInfo:
    """Translate openretina's facts about a model's data; those that ``DataInfo`` has no place for go into ``source``.

    Per-neuron entries of ``sessions_kwargs`` and ``pretrained_performance`` become columns of neurons.

    Args:
        theirs: openretina's ``data_info``; empty if the model had none.
        sessions: number of neurons by session, in the order of the model's rows.
        input_shape: ``(height, width, channel)`` of a frame.
        source: record of the checkpoint.
    """
    activity = theirs.get("mean_activity_dict") or {}
    norm = (theirs.get("movie_norm_dict") or {}).get("default", {})
    neurons, of_sessions, masks = {}, {}, {}
    for session, count in sessions.items():
        known = (theirs.get("sessions_kwargs") or {}).get(session) or {}
        performance = (theirs.get("pretrained_performance") or {}).get(session)
        neurons[session], of_sessions[session] = _columns(known, performance, count)
        if _has_mask(known):
            masks[session] = roi_masks.pack(roi_mask(known["roi_mask"]))
    rest = {name: _jsonable(value) for name, value in theirs.items() if name not in _PLACED}
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
        neurons=neurons,
        source={**(source or {}), "data_info": rest, "sessions": of_sessions},
        packed_roi_masks=masks,
    )


def number(value: Any, unit: str = "") -> float | None:
    """Read a number, or one written as text with its unit; None for anything else."""
    if isinstance(value, str):
        match = re.fullmatch(rf"\s*([\d.]+)\s*(?:{unit})?\s*", value)
        return float(match[1]) if match else None
    array = np.asarray(value) if isinstance(value, np.ndarray | np.generic | int | float) else None
    return None if array is None or array.size != 1 else float(array.ravel()[0])


def _class_of(state: Mapping[str, np.ndarray], arguments: Mapping[str, Any]) -> str:
    """The class of openretina that has these parameters and arguments, which Lightning does not save."""
    if isinstance(arguments.get("core"), Mapping) and isinstance(arguments.get("readout"), Mapping):
        return "UnifiedCoreReadout"
    if "temporal_kernel_sizes" in arguments:
        return "ExampleCoreReadout"
    if "sta_file_pattern" in arguments or any(name.endswith(".spatial_filters") for name in state):
        return "SpatialContrastCoreReadout"
    if "spatial_filter" in state:
        return "SingleCellSpatialContrast"
    if "space_conv.weight" in state:
        return "SingleCellSeparatedLNP"
    if {"encoder.weight", "decoder.weight"} <= state.keys():
        raise UserError(
            "the checkpoint is that of a sparse autoencoder, which needs the model whose responses it encodes; take "
            "openretina_jax.interop.load_autoencoder(checkpoint, model)"
        )
    raise UserError(
        f"the checkpoint is of no model of openretina: its parameters are {', '.join(sorted(state)[:5])}, ..., its "
        f"arguments {', '.join(sorted(arguments)) or 'not saved'}"
    )


def _unified_arguments(arguments: Mapping[str, Any]) -> dict[str, Any]:
    """Arguments of ``UnifiedCoreReadout`` for those of ``ExampleCoreReadout``."""
    parts = dict(_EXAMPLE_DEFAULTS)
    for name in arguments.keys() - _UNIFIED:
        part = "readout" if name.startswith("readout_") else "core"
        theirs = _EXAMPLE_NAMES.get(name, f"{part}.{name.removeprefix(f'{part}_')}")
        parts |= {} if theirs is None else {theirs: arguments[name]}
    return {name: value for name, value in arguments.items() if name in _UNIFIED} | unflatten_dict(parts, sep=".")


def _parts(arguments: Mapping[str, Any], cloned: bool) -> Options:
    """Our options for the core and the readout of a ``UnifiedCoreReadout``."""
    refuse_unknown("UnifiedCoreReadout", arguments.keys() - _UNIFIED)
    core, readout = arguments["core"], arguments["readout"]
    hidden = arguments.get("hidden_channels") or core.get("channels", ())[1:]
    options = readout_to_ours(str(readout.get("_target_")), readout)
    options |= _shared(readout, len(arguments["n_neurons_dict"]))
    return {
        "core": core_to_ours(str(core.get("_target_")), core, (arguments["in_shape"][0], *hidden)),
        "readout": {"kind": "cloned", "source": options} if cloned else options,
    }


def _from_shapes(state: Mapping[str, np.ndarray], in_shape: Sequence[int]) -> Options:
    """Options of a model that is a readout alone that follow from the shapes of its parameters."""
    if "space_conv.weight" in state:
        rank, *_, height, width = state["space_conv.weight"].shape
        frames = state["time_conv.weight"].shape[2]
        return {"rank": rank, "spatial_size": [height, width], "temporal_frames": frames}
    temporal = next(array for name, array in state.items() if re.search(r"(^|\.)temporal_filters?$", name))
    if "spatial_filter" not in state:
        return {"temporal_frames": temporal.shape[-1]}
    patch = list(state["spatial_filter"].shape)
    return {"temporal_frames": temporal.shape[-1], "patch": None if patch == list(in_shape[2:]) else patch}


def _shared(readout: Mapping[str, Any], sessions: int) -> Options:
    """Features or positions that neurons of a point readout share, always with neurons of their own session."""
    options: Options = {}
    for theirs, ours in (("shared_features", "feature_ids"), ("shared_grid", "position_ids")):
        ids = (readout.get(theirs) or {}).get("match_ids")
        if ids is not None:
            _, index = np.unique(np.asarray(ids), return_inverse=True)
            options[ours] = [int(i + session * (index.max() + 1)) for session in range(sessions) for i in index]
    return options | {"position_map": False} if "position_ids" in options else options


def _columns(known: Mapping[str, Any], performance: Any, count: int) -> tuple[dict[str, list[Any]], dict[str, Any]]:
    """Columns of the neurons of a session, and facts about the session as a whole."""
    columns, of_session = {}, {}
    for name, value in known.items():
        array = np.asarray(value) if isinstance(value, list | tuple | np.ndarray) else np.empty(0)
        narrow = array.ndim == 1 or (array.ndim == 2 and array.shape[1] <= _MOST_COORDINATES)
        if narrow and len(array) == count:
            columns[_COLUMNS.get(name, name)] = _jsonable(array)
        elif name != "roi_mask":  # the image of all ROIs
            of_session[name] = _jsonable(value)
    if _has_mask(known) and "roi_id" in columns:
        columns["roi_coords"] = roi_positions(known["roi_mask"], np.asarray(columns["roi_id"], np.int64)).tolist()
    if isinstance(performance, np.ndarray) and performance.shape == (count,):
        columns["published_performance"] = _jsonable(np.asarray(performance, float))
    elif performance is not None:
        of_session["published_performance"] = _jsonable(performance)
    return columns, of_session


def _has_mask(known: Mapping[str, Any]) -> bool:
    mask = known.get("roi_mask")
    return isinstance(mask, np.ndarray) and mask.ndim == 2


def _jsonable(value: Any) -> Any:
    """A value that JSON can hold; an object of an unknown class becomes its name."""
    if isinstance(value, Mapping):
        return {str(key): _jsonable(entry) for key, entry in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [_jsonable(entry) for entry in value]
    if isinstance(value, np.ndarray | np.generic):
        return _jsonable(value.tolist())
    if isinstance(value, Record):
        return value.origin
    return value if value is None or isinstance(value, str | int | float | bool) else str(value)
