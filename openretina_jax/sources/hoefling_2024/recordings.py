"""The file of recordings of Höfling et al. 2024, and which of its neurons are good enough."""

import dataclasses
import functools
import itertools
import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import h5py
import numpy as np
from jaxtyping import Bool

from openretina_jax.errors import UserError
from openretina_jax.sources.hoefling_2024.cells import GANGLION_CELL_TYPES
from openretina_jax.sources.recording_file import RecordingFile, open_recording

_log = logging.getLogger(__name__)


class Recording(RecordingFile):
    """One session of the file."""

    @property
    def name(self) -> str:
        """Name of the session."""
        return self.group.name.strip("/")

    def error(self, message: str) -> UserError:
        """The mistake that the message describes, with the names of the file and the session."""
        return UserError(f"{self.path.name}, {self.name}: {message}")

    @functools.cached_property
    def n_neurons(self) -> int:
        """Number of recorded neurons."""
        return len(self.numbers("group_assignment", "neuron"))

    def per_neuron(self, key: str, axes: str = "neuron") -> np.ndarray:
        """Numbers whose first axis is the neuron.

        Raises:
            UserError: as in ``numbers``, or they are of another number of neurons.
        """
        values = self.numbers(key, axes)
        if len(values) != self.n_neurons:
            raise self.error(f'"{key}" has shape {values.shape}, but "group_assignment" has {self.n_neurons} neurons')
        return values

    def integer(self, key: str) -> int:
        """A whole number.

        Raises:
            UserError: it is missing or no whole number.
        """
        value = self.numbers(key)
        if value.size != 1 or not float(value.item()).is_integer():
            raise self.error(f'"{key}" is {value.tolist()}, not a whole number')
        return int(value.item())

    def choice(self, key: str, choices: Sequence[str]) -> str:
        """A word among the choices.

        Raises:
            UserError: it is missing or another one.
        """
        value = self.values(key).ravel().tolist()
        word = value[0] if len(value) == 1 else value
        word = word.decode(errors="replace") if isinstance(word, bytes) else word
        if word not in choices:
            raise self.error(f'"{key}" is {word!r}; it must be {" or ".join(choices)}')
        return str(word)


@contextmanager
def open_recordings(file: str | Path) -> Iterator[tuple[Recording, ...]]:
    """The sessions of an HDF5 file, which stays open for as long as the context.

    Raises:
        UserError: the file is truncated, no HDF5 file or holds no sessions.
    """
    file = Path(file)
    with open_recording(file) as opened:
        groups = [group for group in opened.group.values() if isinstance(group, h5py.Group)]
        if not groups:
            raise UserError(f"{file}: holds no sessions (HDF5 groups); it is not a file of recordings")
        yield tuple(Recording(file, group) for group in groups)


@dataclasses.dataclass(frozen=True)
class QualityFilter:
    """Which neurons are kept. The defaults are those of the published models.

    Attributes:
        cell_types: groups of Baden et al. 2016 that are kept (None: all).
        chirp_qi: least quality index of the response to the chirp.
        d_qi: least quality index of the response to moving bars.
        qi_logic: whether a neuron must reach both quality indices ("and") or one ("or").
        classifier_confidence: least confidence in the cell type (0: any).
        min_neurons: sessions with fewer kept neurons are left out.

    Raises:
        UserError: a value outside its range.
    """

    cell_types: tuple[int, ...] | None = GANGLION_CELL_TYPES
    chirp_qi: float = 0.35
    d_qi: float = 0.6
    qi_logic: str = "or"
    classifier_confidence: float = 0.25
    min_neurons: int = 1

    def __post_init__(self) -> None:
        if self.qi_logic not in ("and", "or"):
            raise UserError(f'qi_logic is {self.qi_logic!r}; it must be "and" or "or"')
        if self.min_neurons < 1:
            raise UserError(f"min_neurons is {self.min_neurons}; a session needs at least 1")

    def stages(self, recording: Recording) -> dict[str, Bool[np.ndarray, " neuron"]]:
        """Which neurons are left after each filter, by a description of the filter, in order."""
        left = np.ones(recording.n_neurons, bool)
        stages = {"recorded": left}
        if self.cell_types is not None:
            left = left & np.isin(recording.per_neuron("group_assignment"), self.cell_types)
            stages[f"one of {len(self.cell_types)} cell types"] = left
        chirp = recording.per_neuron("chirp_qi") >= self.chirp_qi
        moving_bar = recording.per_neuron("d_qi") >= self.d_qi
        left = left & (chirp & moving_bar if self.qi_logic == "and" else chirp | moving_bar)
        stages[f"chirp_qi >= {self.chirp_qi} {self.qi_logic} d_qi >= {self.d_qi}"] = left
        if self.classifier_confidence > 0:
            confidence = recording.per_neuron("group_confidences", "neuron cell_type").max(axis=1)
            left = left & (confidence >= self.classifier_confidence)
            stages[f"classifier confidence >= {self.classifier_confidence}"] = left
        enough = np.count_nonzero(left) >= self.min_neurons
        stages[f"session of {self.min_neurons} neurons or more"] = left & enough
        return stages


def select_neurons(
    recordings: Sequence[Recording], quality: QualityFilter
) -> list[tuple[Recording, Bool[np.ndarray, " neuron"]]]:
    """The recordings with neurons that pass, and which neurons these are. Logs one line per filter.

    Raises:
        UserError: no neuron passes.
    """
    stages = [quality.stages(recording) for recording in recordings]
    for before, after in itertools.pairwise(stages[0]):
        (neurons, sessions), (of_neurons, of_sessions) = _left(stages, after), _left(stages, before)
        _log.info("%s: %d of %d neurons pass, in %d of %d sessions", after, neurons, of_neurons, sessions, of_sessions)
    kept = [list(stage.values())[-1] for stage in stages]
    selected = [(recording, mask) for recording, mask in zip(recordings, kept, strict=True) if mask.any()]
    if not selected:
        raise UserError(
            f"{recordings[0].path}: no neuron of {len(recordings)} sessions passes {quality}; relax the filter"
        )
    return selected


def _left(stages: Sequence[dict[str, np.ndarray]], name: str) -> tuple[int, int]:
    """Neurons and sessions that are left after a filter."""
    return sum(int(stage[name].sum()) for stage in stages), sum(bool(stage[name].any()) for stage in stages)
