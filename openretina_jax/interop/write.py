"""Models of ours for openretina: its arguments and its state dict in one file of numpy."""

import json
from pathlib import Path
from typing import Any

import numpy as np

from openretina_jax.errors import UserError
from openretina_jax.interop.exported import shortest_stimulus
from openretina_jax.interop.state import state_dict
from openretina_jax.interop.translation import translate_model
from openretina_jax.models.model import CoreReadout, Model
from openretina_jax.runtime.files import whole_file

ARGUMENTS = "hyper_parameters"
# readouts that openretina builds from a configuration; the others are parts of models of their own
CONFIGURABLE = ("gaussian_mask", "factorized", "point_gaussian", "lnp")


def to_openretina(model: Model, path: str | Path) -> None:
    """Write the parameters of a model as openretina names them, and the arguments of its ``UnifiedCoreReadout``.

    The file is an ``.npz`` of the state dict, with the arguments as JSON text under "hyper_parameters":
    docs/published_models.md says how openretina opens it. Models that openretina does not build from a configuration
    (spatial contrast, single-cell LNP, clones) are written without arguments.

    Args:
        model: a core + readout model.
        path: the file to write, which ends in ``.npz``; an earlier one is replaced.

    Raises:
        UserError: openretina has no such model, or cannot do what an option says; or the file cannot be written.
    """
    path = Path(path)
    if not isinstance(model, CoreReadout):
        raise UserError(f"a {type(model).__name__} cannot be written for openretina; take a core + readout model")
    if path.suffix != ".npz":
        raise UserError(f"{path}: must end in .npz, the format of the file")
    arrays: dict[str, Any] = dict(state_dict(model))
    if model.options["readout"]["kind"] in CONFIGURABLE:
        arrays[ARGUMENTS] = json.dumps(_arguments(model))
    with whole_file(path) as stream:
        np.savez(stream, **arrays)


def _arguments(model: CoreReadout) -> dict[str, Any]:
    """Arguments of ``UnifiedCoreReadout`` as plain values."""
    info = model.data_info
    height, width, channels = info.input_shape
    translated = translate_model(model.options, channels)
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
