"""Which model a checkpoint of openretina holds: our options, sessions and facts, from what it says of itself."""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from openretina_jax.errors import UserError
from openretina_jax.interop.options import check_known, core_options, readout_options

Options = dict[str, Any]
CELL = "cell"  # the session of a model of a single cell

# how a model was trained, and what Lightning saves a second time
_TRAINING = (
    "learning_rate",
    "loss",
    "evaluation_loss",
    "validation_loss",
    "correlation_loss",
    "optimizer",
    "lr_scheduler",
)
_UNIFIED = ("in_shape", "hidden_channels", "n_neurons_dict", "core", "readout", "data_info")
# arguments of the class without a configuration of its parts: those of the core and of the readout, and defaults
_EXAMPLE_CORE = {
    "temporal_kernel_sizes": "temporal_kernel_sizes",
    "spatial_kernel_sizes": "spatial_kernel_sizes",
    "core_gamma_input": "gamma_input",
    "core_gamma_hidden": "gamma_hidden",
    "core_gamma_in_sparse": "gamma_in_sparse",
    "core_gamma_temporal": "gamma_temporal",
    "core_input_padding": "input_padding",
    "core_hidden_padding": "hidden_padding",
    "cut_first_n_frames_in_core": "cut_first_n_frames",
    "dropout_rate": "dropout_rate",
    "maxpool_every_n_layers": "maxpool_every_n_layers",
    "downsample_input_kernel_size": "downsample_input_kernel_size",
    "convolution_type": "convolution_type",
    "color_squashing_weights": "color_squashing_weights",
}
_EXAMPLE_READOUT = {
    "readout_scale": "scale",
    "readout_bias": "bias",
    "readout_gaussian_mean_scale": "gaussian_mean_scale",
    "readout_gaussian_var_scale": "gaussian_var_scale",
    "readout_positive": "positive",
    "readout_gamma": "mask_l1_reg",  # the names are crossed in openretina
    "readout_gamma_masks": "feature_weights_l1_reg",
    "readout_reg_avg": "readout_reg_avg",
}
_EXAMPLE_DEFAULTS = {
    "core_gamma_temporal": 40.0,
    "readout_scale": True,
    "readout_bias": True,
    "readout_gaussian_mean_scale": 6.0,
    "readout_gaussian_var_scale": 4.0,
    "readout_positive": True,
    "readout_gamma": 0.4,
    "readout_gamma_masks": 0.0,
}


@dataclasses.dataclass(frozen=True)
class Description:
    """A model of openretina in our words.

    Attributes:
        options: see ``make_core_readout``.
        sessions: neurons by session.
        input_shape: ``(height, width, channel)`` of a frame.
        data_info: what openretina knew of the data.
        centre: row and column around which the patch of a single cell lies (None: not said).
    """

    options: Options
    sessions: Mapping[str, int]
    input_shape: tuple[int, int, int]
    data_info: Mapping[str, Any]
    centre: tuple[int, int] | None = None


def describe(state: Mapping[str, np.ndarray], arguments: Mapping[str, Any]) -> Description:
    """The model whose parameters and constructor's arguments these are.

    Lightning does not say the class of a model: it follows from the names.

    Raises:
        UserError: the class or an argument is unknown, or an argument is missing.
    """
    if isinstance(arguments.get("core"), Mapping) and isinstance(arguments.get("readout"), Mapping):
        return _unified(state, arguments)
    if "temporal_kernel_sizes" in arguments:
        return _example(arguments)
    if "sta_file_pattern" in arguments or any(name.endswith(".spatial_filters") for name in state):
        return _spatial_contrast(state, arguments)
    if "spatial_filter" in state:
        return _spatial_contrast_cell(state, arguments)
    if "space_conv.weight" in state:
        return _lnp_cell(state, arguments)
    if {"encoder.weight", "decoder.weight"} <= state.keys():
        raise UserError(
            "the checkpoint is that of a sparse autoencoder, which needs the model whose responses it encodes; take "
            "openretina_jax.interop.load_autoencoder(checkpoint, model)"
        )
    raise UserError(
        f"the checkpoint is of no model of openretina: its parameters are {', '.join(sorted(state)[:5])}, ..., its "
        f"arguments {', '.join(sorted(arguments)) or 'not saved'}"
    )


def _needed(cls: str, arguments: Mapping[str, Any], *names: str) -> list[Any]:
    """Arguments that a checkpoint must say.

    Raises:
        UserError: names those that it does not.
    """
    missing = [name for name in names if arguments.get(name) is None]
    if missing:
        raise UserError(
            f"the checkpoint of a {cls} does not say {', '.join(missing)}; give what it was made with as keywords of "
            f"openretina_jax.load, such as {missing[0]}=..."
        )
    return [arguments[name] for name in names]


def _unified(state: Mapping[str, np.ndarray], arguments: Mapping[str, Any]) -> Description:
    check_known("UnifiedCoreReadout", arguments, (*_UNIFIED, *_TRAINING))
    in_shape, neurons, core, readout = _needed(
        "UnifiedCoreReadout", arguments, "in_shape", "n_neurons_dict", "core", "readout"
    )
    sessions = _sessions(neurons)
    channels = (in_shape[0], *(arguments.get("hidden_channels") or core.get("channels", ())[1:]))
    options = readout_options(_target(readout), readout) | _shared(readout, len(sessions))
    if any("._source." in name for name in state):
        options = {"kind": "cloned", "source": options}
    described = {"core": core_options(_target(core), core, channels), "readout": options}
    return Description(described, sessions, *_data(arguments))


def _example(arguments: Mapping[str, Any]) -> Description:
    known = (*_EXAMPLE_CORE, *_EXAMPLE_READOUT, *_UNIFIED, *_TRAINING, "readout_gaussian_masks")
    check_known("ExampleCoreReadout", arguments, known)
    in_shape, hidden, neurons = _needed(
        "ExampleCoreReadout", arguments, "in_shape", "hidden_channels", "n_neurons_dict"
    )
    said = {**_EXAMPLE_DEFAULTS, **arguments}
    core = {theirs: said[name] for name, theirs in _EXAMPLE_CORE.items() if name in said}
    readout = {theirs: said[name] for name, theirs in _EXAMPLE_READOUT.items() if name in said}
    options = {
        "core": core_options("SimpleCoreWrapper", core, (in_shape[0], *hidden)),
        "readout": readout_options("MultiGaussianMaskReadout", readout),
    }
    return Description(options, _sessions(neurons), *_data(arguments))


def _spatial_contrast(state: Mapping[str, np.ndarray], arguments: Mapping[str, Any]) -> Description:
    readout = readout_options("SpatialContrastCoreReadout", _own(arguments))
    _, neurons = _needed("SpatialContrastCoreReadout", arguments, "in_shape", "n_neurons_dict")
    temporal = next(value for name, value in state.items() if name.endswith(".temporal_filters"))
    options = {
        "core": {"kind": "identity", "cut_first_frames": arguments.get("cut_first_n_frames") or 0},
        "readout": {**readout, "temporal_frames": temporal.shape[-1]},
    }
    return Description(options, _sessions(neurons), *_data(arguments))


def _spatial_contrast_cell(state: Mapping[str, np.ndarray], arguments: Mapping[str, Any]) -> Description:
    readout = readout_options("SingleCellSpatialContrast", _own(arguments))
    ((_, _, height, width),) = _needed("SingleCellSpatialContrast", arguments, "in_shape")
    patch = state["spatial_filter"].shape
    readout |= {
        "patch": None if patch == (height, width) else list(patch),
        "temporal_frames": len(state["temporal_filter"]),
    }
    centre = arguments.get("rf_location")
    return Description(
        {"core": {"kind": "identity"}, "readout": readout},
        {CELL: 1},
        *_data(arguments),
        centre=None if centre is None else (int(centre[0]), int(centre[1])),
    )


def _lnp_cell(state: Mapping[str, np.ndarray], arguments: Mapping[str, Any]) -> Description:
    if "nonlinearity.b" in state:
        arguments = {**arguments, "nonlinearity": "parametrized_softplus"}
    readout = readout_options("SingleCellSeparatedLNP", _own(arguments))
    _needed("SingleCellSeparatedLNP", arguments, "in_shape", "nonlinearity")
    rank, *_, height, width = state["space_conv.weight"].shape
    readout |= {
        "rank": rank,
        "spatial_size": [height, width],
        "temporal_frames": state["time_conv.weight"].shape[2],
    }
    shape, info = _data(arguments)
    location = arguments.get("rf_location")
    if location is not None:
        info = {**info, "sessions_kwargs": {CELL: {"rf_location": [list(location)]}}}
    return Description({"core": {"kind": "identity"}, "readout": readout}, {CELL: 1}, shape, info)


def _own(arguments: Mapping[str, Any]) -> dict[str, Any]:
    """Arguments of a model that is a readout alone: without those of training, and the parts that Lightning saves."""
    return {name: value for name, value in arguments.items() if name not in (*_TRAINING, "core", "readout")}


def _data(arguments: Mapping[str, Any]) -> tuple[tuple[int, int, int], Mapping[str, Any]]:
    """Shape of a frame in our order, and openretina's data_info."""
    info = arguments.get("data_info") or {}
    in_shape = arguments["in_shape"]
    channels, height, width = info.get("input_shape") or (in_shape[0], *in_shape[2:])
    return (int(height), int(width), int(channels)), info


def _sessions(neurons: Mapping[str, Any]) -> dict[str, int]:
    return {str(session): int(count) for session, count in neurons.items()}


def _target(part: Mapping[str, Any]) -> str:
    return str(part.get("_target_"))


def _shared(readout: Mapping[str, Any], sessions: int) -> Options:
    """Neurons of a point readout that share features or positions: with those of their own session."""

    def ids(name: str) -> list[int] | None:
        given: Sequence[Any] | None = (readout.get(name) or {}).get("match_ids")
        if given is None:
            return None
        _, index = np.unique(np.asarray(given), return_inverse=True)
        return [int(number + session * (index.max() + 1)) for session in range(sessions) for number in index]

    features, positions = ids("shared_features"), ids("shared_grid")
    options: Options = {} if features is None else {"feature_ids": features}
    return options if positions is None else options | {"position_ids": positions, "position_map": False}
