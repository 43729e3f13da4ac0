"""The frozen filters of spatial contrast models, from files of spike-triggered averages."""

from pathlib import Path

import numpy as np

from openretina_jax.data.sta import load_session_filters
from openretina_jax.errors import UserError
from openretina_jax.models.core_readout import CoreReadout, Model
from openretina_jax.modules.readouts.spatial_contrast import SpatialContrastReadout


def read_sta_filters(model: Model) -> None:
    """Give the neurons of a spatial contrast readout the filters of their spike-triggered averages; others stay.

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
    folder = readout.sta_folder or model.data_info.source.get("sta_folder")
    if folder is None:
        raise UserError('readout "spatial_contrast" needs sta_folder, the folder of spike-triggered averages')
    spatial, temporal, centres = [], [], []
    for session in model.data_info.sessions:
        cells = model.data_info.neurons.get(session, {}).get("cell_index")
        if cells is None:
            raise UserError(
                f'{session}: its neurons have no "cell_index", which names their files in {readout.sta_folder}; '
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
    readout.set_filters(np.concatenate(spatial), np.concatenate(temporal), np.asarray(centres))
