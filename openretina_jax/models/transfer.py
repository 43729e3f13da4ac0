"""Additions to a model: further sessions for a trained one, and filters from spike-triggered averages."""

import dataclasses
import functools
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import jax.numpy as jnp
import numpy as np
from flax import nnx

from openretina_jax.data.dataset import Dataset
from openretina_jax.data.info import DataInfo
from openretina_jax.data.sta import LinearFilters, load_session_filters
from openretina_jax.errors import UserError
from openretina_jax.models.build import make_core_readout
from openretina_jax.models.core_readout import CoreReadout
from openretina_jax.models.model import Model
from openretina_jax.modules.cores.identity import IdentityCore
from openretina_jax.modules.layers import (
    NeuronConstant,
    NeuronParam,
    ReferenceSession,
    SessionConstant,
    SessionNumber,
    SessionParam,
)
from openretina_jax.modules.readouts.spatial_contrast import SpatialContrastReadout

# facts of data that are known session by session
OF_SESSIONS = ("sessions", "mean_activity", "neurons", "conditions", "packed_roi_masks", "behaviour")
CENTRE_DECIMALS = 3  # decimals of a pixel up to which a fit of a Gaussian can be trusted


def add_sessions(model: CoreReadout, info: DataInfo, seed: int = 0, *, keep: bool = True) -> CoreReadout:
    """Make a model of the sessions of ``info`` and those of a trained model.

    It has the trained core and the trained rows of known sessions; rows of new sessions are fresh. The sessions of
    ``info`` come first, so that the model can be trained on their data.

    Args:
        model: trained model; it is not changed.
        info: facts about the new data; a session that the model knows keeps its trained rows.
        seed: seed of the fresh rows.
        keep: whether the trained model's sessions stay; without, the model has those of ``info`` alone, all of them
            fresh, whatever their names.

    Raises:
        UserError: the new data have another input shape, or a known session has another number of neurons.
    """
    known = model.data_info
    if info.input_shape != known.input_shape:
        raise UserError(
            f"the new data have (height, width, channel) {info.input_shape}, "
            f"the trained model needs {known.input_shape}"
        )
    for name, count in info.sessions.items() if keep else ():
        if known.sessions.get(name, count) != count:
            raise UserError(
                f"{name}: has {count} neurons, but {known.sessions[name]} in the trained model; rename the session, or "
                "take the same neurons"
            )
    facts = merge(info, known) if keep else dataclasses.replace(merge(info, known), **_of_sessions(info))
    merged = make_core_readout(model.options, facts, seed)
    trained = dict(nnx.to_flat_state(nnx.state(model)))
    state = [
        (path, variable.replace(_with_trained(variable, trained[path], merged, model, keep)))
        for path, variable in nnx.to_flat_state(nnx.state(merged))
    ]
    nnx.update(merged, nnx.from_flat_state(state))
    return merged


def merge(new: DataInfo, known: DataInfo) -> DataInfo:
    """Merge the facts about both data sets, the new sessions first; for a session that both know, the new facts hold.

    Facts about the stimulus are those of the trained model, or the new ones where it has none.
    """

    def both(name: str) -> dict[str, Any]:
        mine, theirs = getattr(new, name), getattr(known, name)
        return dict(mine) | {key: value for key, value in theirs.items() if key not in mine}

    stimulus = ("frame_rate_hz", "pixel_size_um", "norm_mean", "norm_std", "channels")
    of_sessions: dict[str, Any] = {name: both(name) for name in OF_SESSIONS}
    unknown = {name: getattr(new, name) for name in stimulus if getattr(known, name) is None}
    return dataclasses.replace(
        known,
        **unknown,
        **of_sessions,
        source={"added": new.source, "trained": known.source},
    )


def _of_sessions(info: DataInfo) -> dict[str, Any]:
    """Facts that are known session by session."""
    return {name: dict(getattr(info, name)) for name in OF_SESSIONS}


def _with_trained(
    fresh: nnx.Variable, trained: nnx.Variable, merged: CoreReadout, model: CoreReadout, keep: bool
) -> Any:
    """The trained value; for a table, the fresh one, with the rows that are trained if these are to be kept."""
    if isinstance(fresh, SessionParam | SessionConstant):
        order = list(merged.data_info.sessions)
        # no new session is the reference: the trained ones are relative to one of their own
        value = jnp.zeros_like(fresh[...]) if isinstance(fresh, ReferenceSession) else fresh[...]
        for number, name in enumerate(model.data_info.sessions):
            if keep and name in order:
                value = value.at[order.index(name)].set(trained[...][number])
        return value
    if isinstance(fresh, SessionNumber):
        return fresh[...]
    if not isinstance(fresh, NeuronParam | NeuronConstant):
        return trained[...]
    value = fresh[...]
    for name in model.data_info.sessions.keys() & merged.data_info.sessions.keys() if keep else ():
        (new_first, count), (first, _) = merged.rows(name), model.rows(name)
        value = value.at[new_first : new_first + count].set(trained[...][first : first + count])
    return jnp.asarray(value)


def read_sta_filters(model: Model) -> None:
    """Set the given filters of a spatial contrast readout from the spike-triggered averages of its neurons.

    The files lie in the readout's ``sta_folder`` (None: the folder that came with the data), one per neuron; their
    names follow from the session and the neurons' "cell_index" in ``data_info.neurons``.

    Args:
        model: any model; only a core + readout model with a spatial contrast readout is changed.

    Raises:
        UserError: the folder is not given, the data do not say the cells, or a file is missing or does not fit.
    """
    if not isinstance(model, CoreReadout) or not isinstance(model.readout, SpatialContrastReadout):
        return
    readout = model.readout
    if readout.trained:
        return
    folder = readout.sta_folder or model.data_info.source.get("sta_folder")
    if folder is None:
        raise UserError('readout "spatial_contrast" needs sta_folder, the folder of spike-triggered averages')
    spatial, temporal, centres = [], [], []
    for session in model.data_info.sessions:
        cells = model.data_info.neurons.get(session, {}).get("cell_index")
        if cells is None:
            raise UserError(
                f'{session}: its neurons have no "cell_index", which names their files in {folder}; '
                "add it to the neurons' metadata"
            )
        filters = load_session_filters(
            Path(folder),
            readout.sta_pattern,
            session,
            cells,
            flip=readout.flip_sta,
            shape=readout.image,
            temporal_frames=readout.frames,
            sigma_contour=readout.sigma_contour,
        )
        spatial.append(filters.spatial)
        temporal.append(filters.temporal)
        centres += [fit.centre for fit in filters.fits]
    # a patch begins at a whole pixel: beyond its accuracy, a fit must not decide between two of them
    readout.set_filters(np.concatenate(spatial), np.concatenate(temporal), np.round(centres, CENTRE_DECIMALS))


def filters_of(dataset: Dataset) -> Callable[[int], LinearFilters]:
    """Finder of the linear filters of a data set, of so many frames; it looks for them once."""

    @functools.cache
    def find(frames: int) -> LinearFilters:
        from openretina_jax.data.linear_filters import linear_filters  # scipy.stats takes long to import

        return linear_filters(dataset, frames)

    return find


def start_at_sta(model: Model, filters: Callable[[int], LinearFilters], sessions: Sequence[str]) -> None:
    """Let the neurons of some sessions of the data begin at their STAs, if the readout is to and sees the movie."""
    if not (isinstance(model, CoreReadout) and isinstance(model.core, IdentityCore) and model.readout.start_at_sta):
        return
    if not sessions:
        return
    # rows of the sessions of the data come first
    rows = np.concatenate([first + np.arange(count) for first, count in map(model.rows, sessions)])
    model.readout.start_at(filters(model.readout.frames).of(rows), rows)
