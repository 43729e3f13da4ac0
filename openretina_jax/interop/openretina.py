"""Models of openretina: open their checkpoints, and write ours for openretina."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from openretina_jax.data.sta import filters_of_sta, load_sta
from openretina_jax.errors import UserError
from openretina_jax.interop.descriptions import describe
from openretina_jax.interop.exported import shortest_stimulus
from openretina_jax.interop.torch_files import LightningCheckpoint, read_lightning_checkpoint
from openretina_jax.interop.translation import Options, model_to_theirs
from openretina_jax.interop.weights import assign, load_state, state_dict, state_to_ours
from openretina_jax.models.autoencoder import AutoencoderModel
from openretina_jax.models.build import make_autoencoder, make_core_readout
from openretina_jax.models.core_readout import CoreReadout
from openretina_jax.models.model import Model
from openretina_jax.modules.readouts.receptive_field import patch_corners
from openretina_jax.modules.readouts.spatial_contrast import SpatialContrastReadout
from openretina_jax.runtime.fetch import FetchedFile, HubFile, fetch
from openretina_jax.runtime.files import whole_file

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
        "hoefling_2024_base_low_res": f"{_OLD}/hoefling_2024_base_low_res.ckpt",  # model of the first preprint
    }.items()
}

# readouts that openretina builds from a configuration; the others are parts of models of their own
CONFIGURABLE = ("gaussian_mask", "factorized", "point_gaussian", "lnp")


def load_checkpoint(source: str | Path, **arguments: Any) -> CoreReadout:
    """Open a model of openretina; nothing in the file is run.

    Args:
        source: the name of a published checkpoint, the path of a ``.ckpt`` file, or its address.
        arguments: arguments of the constructor of openretina's model that the checkpoint does not hold.

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
