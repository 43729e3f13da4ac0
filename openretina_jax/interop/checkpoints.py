"""Trained models of openretina as ours."""

from pathlib import Path
from typing import Any

import numpy as np

from openretina_jax.data.sta import filters_of_sta, load_sta
from openretina_jax.errors import UserError
from openretina_jax.interop.description import describe
from openretina_jax.interop.facts import make_data_info
from openretina_jax.interop.lightning import LightningCheckpoint, read_lightning_checkpoint
from openretina_jax.interop.published import PUBLISHED
from openretina_jax.interop.state import give, load_state
from openretina_jax.interop.weights import take
from openretina_jax.models.autoencoder import AutoencoderModel
from openretina_jax.models.build import make_autoencoder, make_core_readout
from openretina_jax.models.model import CoreReadout, Model
from openretina_jax.models.saving import load_model
from openretina_jax.modules.readouts.readout import Readout
from openretina_jax.modules.readouts.receptive_field import patch_corners
from openretina_jax.modules.readouts.spatial_contrast import SpatialContrastReadout
from openretina_jax.runtime.fetch import FetchedFile, fetch, is_url

WAYS_OUT = "connect to the network, or give the path of the file"


def open_model(source: str | Path, **arguments: Any) -> Model:
    """A trained model, from a folder of ours or from openretina.

    Args:
        source: the folder of a run, of a checkpoint or of a saved model; or a checkpoint of openretina: the name of a
            published one, the path of a ``.ckpt`` file, or its address.
        arguments: of the constructor of openretina's model, where its checkpoint does not say them.

    Raises:
        UserError: there is no such model, it is damaged, or it has no counterpart here.
    """
    if Path(source).is_dir() or not _of_openretina(str(source)):
        if arguments:
            raise UserError(f"{source} is a folder of ours, which says all; leave out {', '.join(arguments)}")
        if not Path(source).exists():
            raise UserError(
                f"{source} does not exist; give a run's folder, a .ckpt file, or one of {', '.join(PUBLISHED)}"
            )
        return load_model(source)
    return load_checkpoint(source, **arguments)


def load_checkpoint(source: str | Path, **arguments: Any) -> CoreReadout:
    """The model of a checkpoint of openretina; nothing in the file is run.

    Args:
        source: the name of a published checkpoint, the path of a ``.ckpt`` file, or its address.
        arguments: of the constructor of openretina's model, where the checkpoint does not say them.

    Raises:
        UserError: it cannot be had, is damaged, says too little, or has no counterpart here.
    """
    checkpoint, file = _read(source)
    try:
        described = describe(checkpoint.state, {**checkpoint.hyper_parameters, **arguments})
        info = make_data_info(
            described.data_info, described.sessions, described.input_shape, {"checkpoint": file.record}
        )
        model = make_core_readout(described.options, info)
        problems = load_state(model, checkpoint.state)
        place_patch(model.readout, described.centre)
    except UserError as error:
        raise UserError(f"{file.source}: {error}") from error
    if problems:
        raise UserError(f"{file.source}: its parameters do not fit the model that it describes: {'; '.join(problems)}")
    return model


def load_autoencoder(source: str | Path, base: CoreReadout) -> AutoencoderModel:
    """A sparse autoencoder of openretina behind the model whose responses it encodes.

    openretina joins the responses of sessions in the order of their names; the neurons are brought into that of
    ``base``.

    Args:
        source: its checkpoint: the path of a ``.ckpt`` file, or its address.
        base: the trained model.

    Raises:
        UserError: the checkpoint is none of an autoencoder, or has another number of neurons.
    """
    checkpoint, file = _read(source)
    hidden = checkpoint.state.get("encoder.bias", np.zeros(0)).size
    if not hidden:
        raise UserError(f"{file.source}: is no checkpoint of a sparse autoencoder; open it by openretina_jax.load")
    options = {"hidden": hidden}
    autoencoder = make_autoencoder(options, base.data_info)
    values, problems = take(autoencoder, checkpoint.state)
    if problems:
        raise UserError(f"{file.source}: its parameters do not fit the model: {'; '.join(problems)}")
    order = np.concatenate([np.arange(*_range(base, name)) for name in sorted(base.data_info.sessions)])
    place = np.argsort(order)  # of each of our neurons among openretina's
    ours = {
        "bias": values["bias"][place],
        "encoder": values["encoder"][place],
        "encoder_bias": values["encoder_bias"],
        "decoder": values["decoder"][:, place],
    }
    give(autoencoder, ours)
    return AutoencoderModel(base, autoencoder, {"base": base.options, "autoencoder": options})


def place_patch(readout: Readout, centre: tuple[int, int] | None) -> None:
    """Tell a readout where the patch of its single cell lies, if there is one; checkpoints do not say it.

    Args:
        readout: of the model.
        centre: row and column of the patch's middle pixel (None: that of the STA).

    Raises:
        UserError: neither the place nor the STA is there.
    """
    if not isinstance(readout, SpatialContrastReadout) or readout.patch is None:
        return
    if centre is None:
        folder, name = readout.sta_folder, readout.sta_pattern
        if folder is None or not Path(folder, name).is_file():
            raise UserError(
                f"the place of its {readout.patch[0]} x {readout.patch[1]} pixels follows from {name}, which is not in "
                f"{folder}; give sta_dir=..., where it is now, or rf_location=(row, column)"
            )
        sta = load_sta(Path(folder, name), readout.flip_sta, readout.image)
        row, column = filters_of_sta(sta, readout.frames, readout.sigma_contour, name=name).fit.centre
        centre = (int(row), int(column))
    readout.corner[...] = patch_corners(np.asarray([centre]), readout.patch, readout.image)


def _of_openretina(source: str) -> bool:
    return source in PUBLISHED or is_url(source) or Path(source).is_file()


def _read(source: str | Path) -> tuple[LightningCheckpoint, FetchedFile]:
    file = fetch(PUBLISHED.get(str(source), source), ways_out=WAYS_OUT)
    return read_lightning_checkpoint(file.path), file


def _range(model: CoreReadout, session: str) -> tuple[int, int]:
    first, count = model.rows(session)
    return first, first + count
