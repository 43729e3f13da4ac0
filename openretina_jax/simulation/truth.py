"""The file ``truth.h5`` beside simulated recordings: all that defines their neurons, so that they can answer again.

It has a group per session. Datasets in it have an entry per neuron (those named ``train`` and ``test``, if there are
any, are responses without noise). A group ``recorded`` repeats columns that the recordings have too, by which neurons
of a data set are found here.
"""

import dataclasses
from collections.abc import Mapping
from pathlib import Path

import h5py
import numpy as np

from openretina_jax.errors import UserError
from openretina_jax.sources.folders import fetch_folder

TRUTH_FILE = "truth.h5"

_RECORDED = "recorded"
_REMEDY = "write it with the recordings by openretina-jax simulate, from the same seed"


@dataclasses.dataclass(frozen=True)
class Header:
    """Facts that hold for the neurons of all sessions.

    Attributes:
        kind: name of the module of ``simulation`` that defines these neurons.
        constants: numbers that are fixed in this module, as text.
        input_shape: ``(height, width, channel)`` of a frame that the neurons see.
        frame_rate_hz: frames, and responses, per second.
        identity: recorded column that identifies the neurons of a session; empty if all were recorded, in this order.
        recordings: hash of the files of the recordings, as ``fetch_folder`` has it; empty: not known.
    """

    kind: str
    constants: str
    input_shape: tuple[int, int, int]
    frame_rate_hz: float
    identity: str = ""
    recordings: str = ""


@dataclasses.dataclass(frozen=True, eq=False)
class KnownSession:
    """Neurons of one session, as they are and as they were recorded.

    Attributes:
        neurons: arrays by name; those of the parameters have an entry per neuron.
        recorded: columns of the recordings by name.
        mirrored: whether the neurons saw the movie mirrored left to right; receptive fields are as they saw it.
    """

    neurons: Mapping[str, np.ndarray]
    recorded: Mapping[str, np.ndarray]
    mirrored: bool = False


@dataclasses.dataclass(frozen=True, eq=False)
class Truth:
    """Content of a file, without the responses."""

    path: Path
    header: Header
    sessions: Mapping[str, KnownSession]


def write_header(file: h5py.File, header: Header) -> None:
    """Write the facts that hold for all sessions."""
    file.attrs.update(dataclasses.asdict(header))


def write_recordings(file: h5py.File, folder: Path) -> None:
    """Write of which recordings this is the truth, after all of their files."""
    file.attrs["recordings"] = fetch_folder(folder).record["sha256"]


def write_session(file: h5py.File, name: str, session: KnownSession) -> None:
    """Write the group of a session."""
    group = file.create_group(name)
    group.attrs["mirrored"] = session.mirrored
    columns = {f"{_RECORDED}/{column}": values for column, values in session.recorded.items()}
    for column, values in sorted({**session.neurons, **columns}.items()):
        group[column] = values


def read_truth(path: Path) -> Truth:
    """Read the neurons behind simulated recordings.

    Args:
        path: the file, the folder that was simulated into, or the folder of the recordings in it.

    Raises:
        UserError: there is no such file, it is damaged, or another version of the simulator wrote it.
    """
    beside = [path, path / TRUTH_FILE, path.parent / TRUTH_FILE]
    file = next((file for file in beside if file.is_file()), None)
    if file is None:
        raise UserError(f"{path}: there is no {TRUTH_FILE}; {_REMEDY}")
    try:
        with h5py.File(file, "r") as opened:
            return Truth(file, _header(file, opened), {name: _session(group) for name, group in opened.items()})
    except (OSError, RuntimeError, AttributeError, TypeError, ValueError) as error:
        raise UserError(f"{file}: is damaged, or not of a simulation ({error}); {_REMEDY}") from error


def earlier_version(file: Path, what: str) -> UserError:
    """Make the error about a file that another version of the simulator wrote."""
    return UserError(f"{file}: was written by another version of the simulator: {what}; {_REMEDY}")


def _header(path: Path, file: h5py.File) -> Header:
    wanted = {field.name for field in dataclasses.fields(Header)} - {"recordings"}
    missing = sorted(wanted - set(file.attrs))
    if missing:
        raise earlier_version(path, f"it does not say {', '.join(missing)}")
    return Header(
        kind=str(file.attrs["kind"]),
        constants=str(file.attrs["constants"]),
        input_shape=tuple(file.attrs["input_shape"].tolist()),
        frame_rate_hz=float(file.attrs["frame_rate_hz"]),
        identity=str(file.attrs["identity"]),
        recordings=str(file.attrs.get("recordings", "")),
    )


def _session(group: h5py.Group) -> KnownSession:
    neurons = {name: group[name][()] for name in group if name not in (_RECORDED, "train", "test")}
    recorded = {name: values[()] for name, values in group[_RECORDED].items()} if _RECORDED in group else {}
    return KnownSession(neurons, recorded, bool(group.attrs.get("mirrored", False)))
