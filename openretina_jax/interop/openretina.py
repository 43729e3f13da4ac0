"""Models of openretina: open their checkpoints, and write ours for openretina."""

import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from flax.traverse_util import unflatten_dict

from openretina_jax.data import roi_masks
from openretina_jax.data.dataset import DataInfo
from openretina_jax.data.sta import filters_of_sta, load_sta
from openretina_jax.errors import UserError
from openretina_jax.interop.exported import is_exported, shortest_stimulus
from openretina_jax.interop.names import Options, core_to_ours, model_to_theirs, readout_to_ours, refuse_unknown
from openretina_jax.interop.torch_files import LightningCheckpoint, read_lightning_checkpoint
from openretina_jax.interop.weights import assign, load_state, state_dict, state_to_ours
from openretina_jax.models.autoencoder import AutoencoderModel
from openretina_jax.models.build import make_autoencoder, make_core_readout
from openretina_jax.models.model import CoreReadout, Model
from openretina_jax.models.saving import load_model
from openretina_jax.modules.readouts.receptive_field import patch_corners
from openretina_jax.modules.readouts.spatial_contrast import SpatialContrastReadout
from openretina_jax.runtime.fetch import FetchedFile, HubFile, fetch, is_url
from openretina_jax.runtime.files import whole_file
from openretina_jax.runtime.pickled_values import Record
from openretina_jax.sources.hoefling_2024.cells import roi_mask, roi_positions

_NEW, _OLD = "model_checkpoints/2026-03-09", "model_checkpoints/27-11-2025"
PUBLISHED: Mapping[str, HubFile] = {
    name: HubFile("open-retina/open-retina", path)
    for name, path in {
        "hoefling_2024_low_res": f"{_NEW}/hoefling_2024_cnn_low_res.ckpt",
        "hoefling_2024_high_res": f"{_NEW}/hoefling_2024_cnn_high_res.ckpt",
        "karamanlis_2024_mouse": f"{_NEW}/karamanlis_2024_mouse.ckpt",
        "karamanlis_2024_marmoset": f"{_NEW}/karamanlis_2024_marmoset.ckpt",
        "maheswaranathan_2023": f"{_NEW}/maheswaranathan_2023.ckpt",
        "sridhar_2025": f"{_NEW}/sridhar_2025.ckpt",
        "goldin_2022_axolotl": f"{_NEW}/goldin_2022_axolotl.ckpt",
        "goldin_2022_mouse": f"{_NEW}/goldin_2022_mouse.ckpt",
        "hoefling_2024_base_low_res": f"{_OLD}/hoefling_2024_base_low_res.ckpt",  # of the first preprint
    }.items()
}

CELL = "cell"  # the session of a model of a single cell
# readouts that openretina builds from a configuration; the others are parts of models of their own
CONFIGURABLE = ("gaussian_mask", "factorized", "point_gaussian", "lnp")
# our names of columns of neurons
_COLUMNS = {"group_assignment": "cell_type", "roi_ids": "roi_id", "cell_indices": "cell_index"}
_MOST_COORDINATES = 3  # of a neuron's position; wider arrays are images
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


def open_model(source: str | Path, **arguments: Any) -> Model:
    """Open a trained model of ours or of openretina.

    Args:
        source: the folder of a run, of a checkpoint or of a saved model; or a checkpoint of openretina: the name of a
            published one, the path of a ``.ckpt`` file, or its address.
        arguments: of the constructor of openretina's model, where its checkpoint does not say them.

    Raises:
        UserError: there is no such model, it is damaged, or it has no counterpart here.
    """
    folder = Path(source).is_dir()
    if not folder and is_exported(source):
        raise UserError(
            f"{source} is an exported program, which has no weights to look at or to train; open it by "
            "openretina_jax.load_exported, or give the model that it was made of"
        )
    if not folder and (str(source) in PUBLISHED or is_url(str(source)) or Path(source).is_file()):
        return load_checkpoint(source, **arguments)
    if not folder:
        raise UserError(f"{source} does not exist; give a run's folder, a .ckpt file, or one of {', '.join(PUBLISHED)}")
    if arguments:
        raise UserError(f"{source} is a model of ours, which needs no arguments; leave out {', '.join(arguments)}")
    return load_model(source)


def load_checkpoint(source: str | Path, **arguments: Any) -> CoreReadout:
    """Open a model of openretina; nothing in the file is run.

    Args:
        source: the name of a published checkpoint, the path of a ``.ckpt`` file, or its address.
        arguments: of the constructor of openretina's model, where the checkpoint does not say them.

    Raises:
        UserError: the checkpoint cannot be fetched, is damaged, says too little, or has no counterpart here.
    """
    checkpoint, file = _read(source)
    try:
        said = {**checkpoint.hyper_parameters, **arguments}
        model = make_core_readout(*describe(checkpoint.state, said, {"checkpoint": file.record}))
        problems = load_state(model, checkpoint.state)
        if problems:
            raise UserError(f"its parameters do not fit the model that it describes: {'; '.join(problems)}")
        _place_patch(model)
    except UserError as error:
        raise UserError(f"{file.source}: {error}") from error
    return model


def load_autoencoder(source: str | Path, base: CoreReadout) -> AutoencoderModel:
    """Open a sparse autoencoder of openretina, behind the model whose responses it encodes.

    openretina joins the responses of sessions in the order of their names; here neurons get the order of ``base``.

    Args:
        source: its checkpoint: the path of a ``.ckpt`` file, or its address.
        base: the trained model.

    Raises:
        UserError: the checkpoint is not that of an autoencoder, or has another number of neurons.
    """
    checkpoint, file = _read(source)
    hidden = checkpoint.state.get("encoder.bias", np.zeros(0)).size
    if not hidden:
        raise UserError(f"{file.source}: is no checkpoint of a sparse autoencoder; open it by openretina_jax.load")
    options = {"hidden": hidden}
    autoencoder = make_autoencoder(options, base.data_info)
    values, problems = state_to_ours(autoencoder, checkpoint.state)
    if problems:
        raise UserError(f"{file.source}: its parameters do not fit the model: {'; '.join(problems)}")
    rows = [base.rows(session) for session in sorted(base.data_info.sessions)]
    place = np.argsort(np.concatenate([np.arange(first, first + count) for first, count in rows]))
    values |= {name: values[name][place] for name in ("bias", "encoder")}
    values["decoder"] = values["decoder"][:, place]
    assign(autoencoder, values)
    return AutoencoderModel(base, autoencoder, {"base": base.options, "autoencoder": options})


def to_openretina(model: Model, path: str | Path) -> None:
    """Write the parameters of a model as openretina names them, and the arguments of its ``UnifiedCoreReadout``.

    The file is an ``.npz`` of the state dict, with the arguments as JSON text under "hyper_parameters":
    docs/published_models.md says how openretina opens it. Models that openretina does not build from a configuration
    (spatial contrast, single-cell LNP, clones) are written without arguments.

    Args:
        model: a core + readout model.
        path: the file to write, with the suffix ``.npz``; an earlier one is replaced.

    Raises:
        UserError: openretina has no such model, or lacks what an option asks for; or the file cannot be written.
    """
    path = Path(path)
    if not isinstance(model, CoreReadout):
        raise UserError(f"openretina has no {type(model).__name__} to write to {path}; take a core + readout model")
    if path.suffix != ".npz":
        raise UserError(f"{path}: must end in .npz, the format of the file")
    kind, count = model.options["readout"]["kind"], model.data_info.n_neurons
    if kind == "separable_lnp" and count > 1:
        raise UserError(f'openretina has readout "{kind}" for a single cell, not for {count}; write a model per cell')
    arrays: dict[str, Any] = dict(state_dict(model))
    if kind in CONFIGURABLE:
        arrays["hyper_parameters"] = json.dumps(_arguments(model))
    with whole_file(path) as stream:
        np.savez(stream, **arrays)


def describe(
    state: Mapping[str, np.ndarray], arguments: Mapping[str, Any], source: Mapping[str, Any] | None = None
) -> tuple[Options, DataInfo]:
    """Describe a model of openretina in our terms, as ``make_core_readout`` takes them.

    Args:
        state: its parameters.
        arguments: of its constructor.
        source: of the checkpoint, for ``DataInfo.source``.

    Returns:
        Options of the model, and what it knows of its data.

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
    neurons = said["n_neurons_dict"] if "n_neurons_dict" in _NEEDED[cls] else {CELL: 1}
    info = said.get("data_info") or {}
    if said.get("rf_location") is not None:
        info = {**info, "sessions_kwargs": {CELL: {"rf_location": [list(said["rf_location"])]}}}
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
    """What openretina knows of a model's data; what ``DataInfo`` has no place for is kept in its ``source``.

    Per-neuron entries of ``sessions_kwargs`` and ``pretrained_performance`` become columns of neurons.

    Args:
        theirs: openretina's ``data_info``; empty if the model had none.
        sessions: number of neurons by session, in the order of the model's rows.
        input_shape: ``(height, width, channel)`` of a frame.
        source: of the checkpoint.
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
    """A number, or one written as text with its unit; None for anything else."""
    if isinstance(value, str):
        match = re.fullmatch(rf"\s*([\d.]+)\s*(?:{unit})?\s*", value)
        return float(match[1]) if match else None
    array = np.asarray(value) if isinstance(value, np.ndarray | np.generic | int | float) else None
    return None if array is None or array.size != 1 else float(array.ravel()[0])


def _read(source: str | Path) -> tuple[LightningCheckpoint, FetchedFile]:
    file = fetch(PUBLISHED.get(str(source), source), ways_out="connect to the network, or give the path of the file")
    return read_lightning_checkpoint(file.path), file


def _place_patch(model: CoreReadout) -> None:
    """Place the patch that a single spatial-contrast cell sees: at its given location, or at that of its STA."""
    readout, location = model.readout, model.data_info.neuron_column("rf_location")
    if not isinstance(readout, SpatialContrastReadout) or readout.patch is None:
        return
    if location is None:
        folder, name = readout.sta_folder, readout.sta_pattern
        if folder is None or not Path(folder, name).is_file():
            raise UserError(
                f"the place of its {readout.patch[0]} x {readout.patch[1]} pixels follows from {name}, which is not in "
                f"{folder}; give sta_dir=..., where it is now, or rf_location=(row, column)"
            )
        sta = load_sta(Path(folder, name), readout.flip_sta, readout.image)
        location = [filters_of_sta(sta, readout.frames, readout.sigma_contour, name=name).fit.centre]
    readout.corner[...] = patch_corners(np.asarray(location).astype(int), readout.patch, readout.image)


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
    """Columns of the neurons of a session, and facts of the session as a whole."""
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


def _arguments(model: CoreReadout) -> Options:
    """Arguments of ``UnifiedCoreReadout`` as plain values."""
    info = model.data_info
    height, width, channels = info.input_shape
    translated = model_to_theirs(model.options, channels)
    core, readout = ({"_target_": path, "_convert_": "object", **said} for path, said in translated.values())
    seen, *hidden = core.pop("channels", (channels,))
    return {
        # openretina sends a stimulus of so many frames through the core to learn what the readout sees
        "in_shape": (seen, shortest_stimulus(model), height, width),
        "hidden_channels": hidden or None,
        "n_neurons_dict": dict(info.sessions),
        "core": core,
        "readout": readout,
        "data_info": {
            "n_neurons_dict": dict(info.sessions),
            "input_shape": (channels, height, width),
            "stim_mean": info.norm_mean,
            "stim_std": info.norm_std,
            "stimulus_rate_hz": info.frame_rate_hz,
            "response_rate_hz": info.frame_rate_hz,
            "retina_pixel_size_um": info.pixel_size_um,
        },
    }
