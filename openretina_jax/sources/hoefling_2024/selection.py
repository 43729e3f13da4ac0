"""Sessions in the published HDF5 file of Höfling et al. 2024, and the choice of neurons that pass quality checks."""

import dataclasses
import functools
import itertools
import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from jaxtyping import Bool

from openretina_jax.errors import UserError
from openretina_jax.runtime.described import counted
from openretina_jax.sources.hoefling_2024.cells import GANGLION_CELL_TYPES
from openretina_jax.sources.session_file import SessionFile, open_session

_log = logging.getLogger(__name__)


class SessionGroup(SessionFile):
    """A session in the file, which is a group of arrays and attributes."""

    @property
    def name(self) -> str:
        """Name of the session."""
        return self.group.name.strip("/")

    def error(self, message: str) -> UserError:
        """Make an error whose message begins with the names of the file and the session."""
        return UserError(f"{self.path.name}, {self.name}: {message}")

    @functools.cached_property
    def n_neurons(self) -> int:
        """Number of recorded neurons."""
        return len(self.numbers("group_assignment", "neuron"))

    def per_neuron(self, key: str, axes: str = "neuron") -> np.ndarray:
        """Read numbers whose first axis is the neuron.

        Raises:
            UserError: as in ``numbers``, or the first axis has another length than the number of neurons.
        """
        values = self.numbers(key, axes)
        if len(values) != self.n_neurons:
            raise self.error(f'"{key}" has shape {values.shape}, but "group_assignment" has {self.n_neurons} neurons')
        return values

    def integer(self, key: str) -> int:
        """Read a whole number.

        Raises:
            UserError: it is missing or not a whole number.
        """
        value = self.numbers(key)
        if value.size != 1 or not float(value.item()).is_integer():
            raise self.error(f'"{key}" is {value.tolist()}, not a whole number')
        return int(value.item())

    def choice(self, key: str, choices: Sequence[str]) -> str:
        """Read a word that must be one of the choices.

        Raises:
            UserError: it is missing or another word.
        """
        value = self.values(key).ravel().tolist()
        word = value[0] if len(value) == 1 else value
        word = word.decode(errors="replace") if isinstance(word, bytes) else word
        if word not in choices:
            raise self.error(f'"{key}" is {word!r}; it must be {" or ".join(choices)}')
        return str(word)


@contextmanager
def open_sessions(file: str | Path) -> Iterator[tuple[SessionGroup, ...]]:
    """Open an HDF5 file and give its sessions; it is closed when the context ends.

    Raises:
        UserError: the file is truncated, is not an HDF5 file, or holds no sessions.
    """
    file = Path(file)
    with open_session(file) as opened:
        groups = opened.groups()
        if not groups:
            raise UserError(f"{file}: holds no sessions (HDF5 groups); give the file of the responses")
        yield tuple(SessionGroup(file, group) for group in groups)


@dataclasses.dataclass(frozen=True)
class QualityFilter:
    """Thresholds of quality that a neuron must reach to be kept. The defaults are those of the published models.

    Attributes:
        cell_types: groups of Baden et al. 2016 that are kept (None: all).
        chirp_qi: lowest accepted quality index of the response to the chirp.
        d_qi: lowest accepted quality index of the response to moving bars.
        qi_logic: whether a neuron must reach both quality indices ("and") or one ("or").
        classifier_confidence: lowest accepted confidence in the cell type (0: any).
        min_neurons: sessions with fewer kept neurons are left out.

    Raises:
        UserError: a value is out of range.
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

    def stages(self, group: SessionGroup) -> dict[str, Bool[np.ndarray, " neuron"]]:
        """Apply the filters one after another; gives, by a description of each, a mask of the neurons left after it."""
        left = np.ones(group.n_neurons, bool)
        stages = {"recorded": left}
        if self.cell_types is not None:
            left = left & np.isin(group.per_neuron("group_assignment"), self.cell_types)
            stages[f"one of {len(self.cell_types)} cell types"] = left
        chirp = group.per_neuron("chirp_qi") >= self.chirp_qi
        moving_bar = group.per_neuron("d_qi") >= self.d_qi
        left = left & (chirp & moving_bar if self.qi_logic == "and" else chirp | moving_bar)
        stages[f"chirp_qi >= {self.chirp_qi} {self.qi_logic} d_qi >= {self.d_qi}"] = left
        if self.classifier_confidence > 0:
            confidence = group.per_neuron("group_confidences", "neuron cell_type").max(axis=1)
            left = left & (confidence >= self.classifier_confidence)
            stages[f"classifier confidence >= {self.classifier_confidence}"] = left
        enough = np.count_nonzero(left) >= self.min_neurons
        stages[f"session of at least {counted(self.min_neurons, 'neuron')}"] = left & enough
        return stages


def select_neurons(
    groups: Sequence[SessionGroup], quality: QualityFilter
) -> list[tuple[SessionGroup, Bool[np.ndarray, " neuron"]]]:
    """Return the sessions with neurons that pass, each with the mask of these neurons; a line per filter is logged.

    Raises:
        UserError: no neuron passes.
    """
    stages = [quality.stages(group) for group in groups]
    for before, after in itertools.pairwise(stages[0]):
        (neurons, sessions), (of_neurons, of_sessions) = _left(stages, after), _left(stages, before)
        _log.info("%s: %d of %d neurons pass, in %d of %d sessions", after, neurons, of_neurons, sessions, of_sessions)
    kept = [list(stage.values())[-1] for stage in stages]
    selected = [(group, mask) for group, mask in zip(groups, kept, strict=True) if mask.any()]
    if not selected:
        raise UserError(f"{groups[0].path}: no neuron of {len(groups)} sessions passes {quality}; relax the filter")
    return selected


def _left(stages: Sequence[dict[str, np.ndarray]], name: str) -> tuple[int, int]:
    """Neurons and sessions that are left after a filter."""
    return sum(int(stage[name].sum()) for stage in stages), sum(bool(stage[name].any()) for stage in stages)
