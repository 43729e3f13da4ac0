"""Neurons behind simulated recordings as a model, in the order of a model that was trained on these recordings."""

import dataclasses
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import NamedTuple

import numpy as np

from openretina_jax.data.info import DataInfo
from openretina_jax.errors import UserError
from openretina_jax.insilico.simulated_retina import SPIKING_PARAMETERS, SimulatedRetina, SpikingRetina, SubunitRetina
from openretina_jax.simulation import retina, spiking
from openretina_jax.simulation.truth import Header, KnownSession, Truth, earlier_version, read_truth

_UNITS = ("mean_response", "drive_mean", "drive_scale")
_COMMON = ("centre_px", "threshold", *_UNITS)
_RETINA = (*_COMMON, "cell_type", "direction_deg", "pool_px", "gain_control", "subunit_unit")
_SPIKING = (*SPIKING_PARAMETERS, *_UNITS, "channel", "gain")
_OTHER = "the model was trained on other recordings, perhaps of another seed"


class _Kind(NamedTuple):
    """Kind of simulated neurons: its fixed numbers, the parameters in the file, and the class of the model."""

    constants: Callable[[], str]
    parameters: tuple[str, ...]
    model: type[SubunitRetina] | type[SpikingRetina]


_KINDS = {
    "retina": _Kind(retina.constants, _RETINA, SubunitRetina),
    "spiking": _Kind(spiking.constants, _SPIKING, SpikingRetina),
}


def truth_model(path: str | Path, info: DataInfo | None = None, *, lag: int = 0) -> SimulatedRetina:
    """Open the neurons behind simulated recordings as a model.

    The model takes the stimulus that a trained model takes, in the same units. Neither knows about mirrored movies:
    sessions of left eyes saw the movie mirrored, and are given it so by whoever shows it (``data/batches.py`` mirrors
    the frames for trained models). Receptive fields and preferred directions are as the eye sees the screen.

    Both give their last response to the last frame of the stimulus. To compare them frame by frame, give the model the
    ``lag`` of the trained one, or cut the longer responses at their beginning. Before the stimulus there is grey, see
    ``simulated_retina.py``; a trained model does not answer before it has seen a whole receptive field.

    ``DataInfo.neurons`` of the model has the columns of the trained one, and further ones: "centre_px" (row, column),
    "polarity" (1: ON, -1: OFF, 0: both or none), of Höfling's also "true_type" and "preferred_deg" (None: it has no
    preferred direction), of others "channel".

    Args:
        path: ``truth.h5``, the folder that was simulated into, or the folder of the recordings in it.
        info: facts about the data of a trained model, whose neurons are taken in their order (None: all neurons, those
            that failed quality checks too; sessions come in alphabetical order, and stimuli are in the units of the
            simulated movie).
        lag: frames at the start of a stimulus for which no response is given.

    Raises:
        UserError: there is no such file, it is damaged, another version of the simulator wrote it, or the model was
            trained on other recordings.
    """
    truth = read_truth(Path(path))
    _check_version(truth)
    if info is None:
        chosen = {name: np.arange(_count(session)) for name, session in truth.sessions.items()}
        info = _info_of(truth)
    else:
        _check_stimulus(truth, info)
        _check_recordings(truth, info)
        chosen = {name: _rows_of(truth, info, name) for name in info.sessions}
    kind = _KINDS[truth.header.kind]
    parts = [
        {name: truth.sessions[session].neurons[name][rows] for name in kind.parameters}
        for session, rows in chosen.items()
    ]
    columns = {session: _columns(part) for session, part in zip(chosen, parts, strict=True)}
    info = dataclasses.replace(
        info,
        neurons={session: {**info.neurons.get(session, {}), **added} for session, added in columns.items()},
        mean_activity={session: part["mean_response"].tolist() for session, part in zip(chosen, parts, strict=True)},
        source={**info.source, "truth": str(truth.path)},
    )
    neurons = {name: np.concatenate([part[name] for part in parts]) for name in kind.parameters}
    return kind.model(neurons, lag, info)


def _check_version(truth: Truth) -> None:
    """Refuse a file of neurons that this version would not simulate."""
    kind = _KINDS.get(truth.header.kind)
    if kind is None:
        raise earlier_version(truth.path, f'"{truth.header.kind}" is not known')
    for name, session in truth.sessions.items():
        missing = sorted(set(kind.parameters) - session.neurons.keys())
        if missing:
            raise earlier_version(truth.path, f"{name} lacks {', '.join(missing)}")
    if truth.header.constants != kind.constants():
        raise earlier_version(truth.path, f"numbers in simulation/{truth.header.kind}.py have changed since")


def _check_stimulus(truth: Truth, info: DataInfo) -> None:
    """Refuse a model of other frames, or of frames whose pixels are not known."""
    header = truth.header
    if tuple(info.input_shape) != header.input_shape or info.frame_rate_hz != header.frame_rate_hz:
        raise UserError(
            f"{truth.path}: its neurons see frames (height, width, channel) {header.input_shape} at "
            f"{header.frame_rate_hz:g} Hz, those of the model {tuple(info.input_shape)} at {info.frame_rate_hz} Hz; "
            "train on movies of the same size"
        )
    if header.kind == "spiking" and (info.norm_mean is None or info.norm_std is None):
        raise UserError(
            f"{truth.path}: the pixels of the model's stimulus are not known, since its sessions do not share their "
            "normalisation; set config.data.norm_mean and norm_std"
        )


def _check_recordings(truth: Truth, info: DataInfo) -> None:
    """Refuse a model of other files, if both are known: nothing in those of another seed need look different."""
    record = info.source.get("files")
    if not isinstance(record, Mapping) or "files" not in record or not truth.header.recordings:
        return
    if record.get("sha256") != truth.header.recordings:
        raise UserError(f"{truth.path}: was not written with the files in {record.get('source')}; {_OTHER}")


def _count(session: KnownSession) -> int:
    return len(session.neurons["centre_px"])


def _rows_of(truth: Truth, info: DataInfo, name: str) -> np.ndarray:
    """Rows, in the file, of the neurons of a session of the model."""
    if name not in truth.sessions:
        known = ", ".join(truth.sessions)
        raise UserError(
            f'{truth.path}: has no session "{name}", but {known}; the model was trained on other recordings'
        )
    session, columns, identity = truth.sessions[name], info.neurons.get(name, {}), truth.header.identity
    rows = np.arange(_count(session))
    if identity in columns:
        place = {value: row for row, value in enumerate(session.recorded[identity].tolist())}
        lost = [value for value in columns[identity] if value not in place]
        if lost:
            raise UserError(f"{truth.path}: {name} has no neurons with {identity} {lost}; {_OTHER}")
        rows = np.array([place[value] for value in columns[identity]])
    if len(rows) != info.sessions[name]:
        raise UserError(f"{truth.path}: {name} has {len(rows)} neurons, the model {info.sessions[name]}; {_OTHER}")
    for column in session.recorded.keys() & columns.keys():
        if session.recorded[column][rows].tolist() != list(columns[column]):
            raise UserError(
                f'{truth.path}: neurons of {name} have another "{column}" than those of the model; {_OTHER}'
            )
    return rows


def _info_of(truth: Truth) -> DataInfo:
    """Facts about all neurons of the file."""
    header: Header = truth.header
    return DataInfo(
        sessions={name: _count(session) for name, session in truth.sessions.items()},
        mean_activity={},
        input_shape=header.input_shape,
        frame_rate_hz=header.frame_rate_hz,
        pixel_size_um=None,
        norm_mean=None,
        norm_std=None,
        neurons={
            name: {column: values.tolist() for column, values in session.recorded.items()}
            for name, session in truth.sessions.items()
        },
        source={},
    )


def _columns(neurons: Mapping[str, np.ndarray]) -> dict[str, list[object]]:
    """True properties of neurons, as columns of their metadata."""
    found: dict[str, list[object]] = {"centre_px": neurons["centre_px"].tolist()}
    if "channel" in neurons:
        return found | {"polarity": neurons["polarity"].tolist(), "channel": neurons["channel"].tolist()}
    names = [str(name, "utf-8") for name in neurons["cell_type"].tolist()]
    types = {kind.name: kind for kind in retina.CELL_TYPES}
    kinds = [types[name] for name in names]
    directions = zip(kinds, neurons["direction_deg"].tolist(), strict=True)
    return found | {
        "true_type": list(names),
        "polarity": [float((kind.polarity[1] == 0) - (kind.polarity[0] == 0)) for kind in kinds],
        "preferred_deg": [direction if kind.directional else None for kind, direction in directions],
    }
