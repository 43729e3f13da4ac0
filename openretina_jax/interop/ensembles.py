"""Ensembles of Höfling et al. 2024, as the framework before openretina saved them: three files for each member.

A folder holds for every seed ``config_<seed>.yaml`` (the function that made the model, and its arguments),
``data_info_<seed>.pkl`` (what the model must know of each session), and ``state_dict_<seed>.pth.tar``. Nothing in them
is run.
"""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from openretina_jax.data.info import DataInfo
from openretina_jax.errors import UserError
from openretina_jax.interop.descriptions import data_info_to_ours
from openretina_jax.interop.torch_files import read_torch_file
from openretina_jax.interop.translation import Options, refuse_unknown
from openretina_jax.interop.weights import load_state
from openretina_jax.models.build import make_core_readout
from openretina_jax.models.core_readout import CoreReadout
from openretina_jax.models.ensemble import Ensemble
from openretina_jax.runtime.fetch import FetchedFile, fetch
from openretina_jax.runtime.pickles import load_plain_pickle

_PLACE = "https://gin.g-node.org/eulerlab/rgc-natstim/raw/master/models/nonlinear/9d574ab9fcb85e8251639080c8d402b7"
PUBLISHED: Mapping[str, tuple[str, tuple[str, ...]]] = {  # address of the folder, and its seeds
    "hoefling_2024_ensemble_low_res": (_PLACE, ("00000", "01000", "02000", "03000", "04000")),
}
_FILES = ("config_{}.yaml", "data_info_{}.pkl", "state_dict_{}.pth.tar")
_MAKER = "SFB3d_core_SxF3d_readout"
_DEFAULTS: Mapping[str, Any] = {  # of its arguments
    "hidden_channels": (8,),
    "temporal_kernel_size": (21,),
    "spatial_kernel_size": (11,),
    "layers": 1,
    "stack": None,
    "conv_type": "custom_separable",
    "nonlinearity": "ELU",
    "final_nonlinearity": True,
    "core_bias": False,
    "momentum": 0.1,
    "input_padding": False,
    "hidden_padding": True,
    "batch_norm": True,
    "batch_norm_scale": False,
    "laplace_padding": None,
    "batch_adaptation": True,
    "use_avg_reg": False,
    "gamma_hidden": 0.0,
    "gamma_input": 0.1,
    "gamma_temporal": 0.1,
    "gamma_in_sparse": 0.0,
    "readout_scale": False,
    "readout_bias": True,
    "readout_positive": False,
    "readout_reg_avg": False,
    "gaussian_masks": False,
    "gaussian_mean_scale": 1.0,
    "gaussian_var_scale": 1.0,
    "gamma_readout": 0.1,
    "gamma_masks": 0.0,
}
_WITHOUT_EFFECT = ("initialize_from_roi_masks", "transfer")  # on a trained model


def is_ensemble_folder(folder: str | Path) -> bool:
    """Whether a folder holds such an ensemble."""
    return any(Path(folder).glob(_FILES[0].format("*")))


def load_ensemble(source: str | Path) -> Ensemble:
    """Open an ensemble.

    Args:
        source: a folder, or a published name.

    Raises:
        UserError: a file is missing, damaged or cannot be fetched, or a model has no counterpart here.
    """
    if str(source) in PUBLISHED:
        address, seeds = PUBLISHED[str(source)]
        place = f"{address}/"
    else:
        found = (re.fullmatch(r"config_(\d+)\.yaml", file.name) for file in Path(source).iterdir())
        seeds, place = tuple(sorted(match[1] for match in found if match)), f"{source}/"
    if not seeds:
        raise UserError(f"{source} holds no {_FILES[0].format('<seed>')}; give the folder of an ensemble")
    ways_out = "connect to the network, or give a folder with all files of the ensemble"
    members = [[fetch(place + name.format(seed), ways_out=ways_out) for name in _FILES] for seed in seeds]
    return Ensemble([_member(*files) for files in members])


def _member(config: FetchedFile, data_info: FetchedFile, state: FetchedFile) -> CoreReadout:
    """The model of one seed."""
    arguments = _arguments(config.path)
    arrays = read_torch_file(state.path)
    if not isinstance(arrays, dict) or not all(isinstance(array, np.ndarray) for array in arrays.values()):
        raise UserError(f"{state.source}: is no dictionary of tensors; fetch it again")
    try:
        info = _data_info(load_plain_pickle(data_info.path, {"torch.Size": tuple}), state)
        arrays = _as_openretina_names(arrays, arguments, info.sessions)
        model = make_core_readout({"core": _core(arguments, arrays), "readout": _readout(arguments)}, info)
        problems = load_state(model, arrays)
        if problems:
            raise UserError(f"its parameters do not fit the model that {config.source} describes: {problems[0]}")
    except UserError as error:
        raise UserError(f"{state.source}: {error}") from error
    return model


class _Loader(yaml.SafeLoader):
    """Reads plain values, and the tuples that Python's library writes."""

    def tuple_of(self, node: yaml.SequenceNode) -> tuple[Any, ...]:
        """A tuple of plain values."""
        return tuple(self.construct_sequence(node))


_Loader.add_constructor("tag:yaml.org,2002:python/tuple", _Loader.tuple_of)


def _arguments(file: Path) -> Options:
    """All arguments of the function that made the model."""
    try:
        config = yaml.load(file.read_text(encoding="utf-8"), _Loader)
        maker, given = config["model_fn"], dict(config["model_config"])
    except (yaml.YAMLError, OSError, UnicodeDecodeError, KeyError, TypeError, ValueError) as error:
        reason = " ".join(f"{type(error).__name__}: {error}".split())
        raise UserError(f"{file}: does not say model_fn and model_config ({reason}); fetch it again") from error
    if str(maker).rpartition(".")[2] != _MAKER:
        raise UserError(f"{file}: the model was made by {maker}; only those by {_MAKER} have a counterpart here")
    refuse_unknown(_MAKER, given.keys() - {*_DEFAULTS, *_WITHOUT_EFFECT})
    arguments = {**_DEFAULTS, **given}
    if not arguments["gaussian_masks"]:
        raise UserError(f"{file}: its masks are not Gaussian, with which openretina cannot call the model either")
    layers = arguments["layers"]
    for name in ("hidden_channels", "temporal_kernel_size", "spatial_kernel_size"):
        value = arguments[name]
        arguments[name] = [int(one) for one in (value if isinstance(value, list | tuple) else [value] * layers)][
            :layers
        ]
    stack = arguments["stack"]
    shown = list(range(layers))
    shown = shown if stack is None else [shown[one] for one in ([stack] if isinstance(stack, int) else stack)]
    if shown != [layers - 1]:
        raise UserError(
            f"{file}: the core shows the maps of layers {shown}; here a core shows those of its last layer, as with "
            "stack: -1"
        )
    return arguments


def _core(arguments: Mapping[str, Any], state: Mapping[str, np.ndarray]) -> Options:
    """Options of the core."""
    layers, pixels = arguments["layers"], arguments["spatial_kernel_size"]
    name = str(arguments["nonlinearity"]).lower()
    final = arguments["final_nonlinearity"]
    return {
        "kind": "gru",  # the core of openretina that has normalisation, padding and penalties like this one
        "recurrent_channels": None,
        "hidden_channels": arguments["hidden_channels"],
        "temporal_kernel_sizes": arguments["temporal_kernel_size"],
        "spatial_kernel_sizes": pixels,
        "convolution": arguments["conv_type"],
        "input_padding": [0, pixels[0] // 2, pixels[0] // 2] if arguments["input_padding"] else 0,
        "hidden_padding": [[0, size // 2, size // 2] for size in pixels[1:]] if arguments["hidden_padding"] else 0,
        # without a final nonlinearity the first layer has none either
        "nonlinearity": [name if final or 0 < layer < layers - 1 else "identity" for layer in range(layers)],
        "bias": arguments["core_bias"],
        "batch_norm": arguments["batch_norm"],
        "batch_norm_scale": arguments["batch_norm_scale"],
        "batch_norm_momentum": arguments["momentum"],
        "laplace_padding": arguments["laplace_padding"],
        "average_penalty": arguments["use_avg_reg"],
        "adapt_speed": any(part.startswith("core.log_speed_") for part in state),
        "gamma_input": arguments["gamma_input"],
        "gamma_hidden": arguments["gamma_hidden"],
        "gamma_in_sparse": arguments["gamma_in_sparse"],
        "gamma_temporal": arguments["gamma_temporal"] if arguments["conv_type"] == "custom_separable" else 0.0,
    }


def _readout(arguments: Mapping[str, Any]) -> Options:
    """Options of the readout."""
    return {
        "kind": "gaussian_mask",
        "mean_scale": arguments["gaussian_mean_scale"],
        "var_scale": arguments["gaussian_var_scale"],
        "positive": arguments["readout_positive"],
        "scale": arguments["readout_scale"],
        "bias": arguments["readout_bias"],
        "gamma_mask": arguments["gamma_masks"],
        "gamma_features": arguments["gamma_readout"],
        "average_penalty": arguments["readout_reg_avg"],
    }


def _data_info(theirs: Any, state: FetchedFile) -> DataInfo:
    """What the model must know of its sessions."""
    try:
        sessions = {str(name): int(known["output_dimension"]) for name, known in theirs.items()}
        (shape,) = {tuple(int(size) for size in known["input_dimensions"]) for known in theirs.values()}
        _, channels, _, height, width = shape
        activity = {str(name): np.asarray(known["mean_response"], float) for name, known in theirs.items()}
        coordinates = {str(name): {"roi_coords": np.asarray(known["roi_coords"])} for name, known in theirs.items()}
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise UserError(
            "its data_info does not give output_dimension, mean_response, roi_coords and one input_dimensions for all "
            f"sessions ({type(error).__name__}: {error}); fetch it again"
        ) from error
    facts = {"mean_activity_dict": activity, "sessions_kwargs": coordinates}
    return data_info_to_ours(facts, sessions, (height, width, channels), {"checkpoint": state.record})


def _as_openretina_names(
    state: Mapping[str, np.ndarray], arguments: Mapping[str, Any], sessions: Mapping[str, int]
) -> dict[str, np.ndarray]:
    """The parameters as today's openretina names and constrains them, with the gains and offsets that it always has."""
    speeds = {name: array for name, array in state.items() if name.startswith("core.log_speed_")}
    adapted = arguments["batch_adaptation"] or any(array.any() for array in speeds.values())
    result = {f"readout.{session}.scale_param": np.ones(count, np.float32) for session, count in sessions.items()}
    result |= {f"readout.{session}.bias": np.zeros(count, np.float32) for session, count in sessions.items()}
    for name, array in state.items():
        of_readout = name.startswith("readout.")
        if of_readout and name.endswith(".scale"):
            result[f"{name}_param"] = array
        elif of_readout and name.endswith(".features") and arguments["readout_positive"]:
            result[name] = np.maximum(array, 0)  # as a call does
        elif adapted or name not in speeds:
            result[name] = array
    return result
