"""Neurons that an experiment asks about: single ones, cell types, and other groups."""

import dataclasses
import re
from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Float32, Int32

from openretina_jax.errors import UserError, nearest
from openretina_jax.models.model import Model
from openretina_jax.runtime import devices

SCORE_COLUMN = "validation_correlation"  # column of ``DataInfo.neurons``; ``load`` reads it from neurons.csv


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True, eq=False)
class Targets:
    """Sets of neurons, each of which an experiment treats as one: it has a stimulus and a result of its own.

    Sets of fewer neurons than the largest are padded; the padding has weight 0.

    Attributes:
        rows: rows of the neurons in the model's table.
        weights: weight of every neuron in the mean of its set.
        session: number of the session of each target; 0 if its neurons are of several.
        names: name of each target; empty in a compiled program.
        group: group of every neuron within its target, from 0 on, for objectives that compare groups.
        n_groups: number of groups.
        wanted: responses that a stimulus is to evoke, for ``objectives.match``.
    """

    rows: Int32[Array, "target member"] | Int32[np.ndarray, "target member"]
    weights: Float32[Array, "target member"] | Float32[np.ndarray, "target member"]
    session: Int32[Array, " target"] | Int32[np.ndarray, " target"]
    names: tuple[str, ...] = dataclasses.field(metadata={"static": True})
    group: Int32[Array, "target member"] | Int32[np.ndarray, "target member"] | None = None
    n_groups: int = dataclasses.field(default=1, metadata={"static": True})
    wanted: Float32[Array, "target frame member"] | Float32[np.ndarray, "target frame member"] | None = None

    @classmethod
    def of(cls, model: Model, rows: Sequence[Sequence[int]], names: Sequence[str]) -> "Targets":
        """Make targets from the rows of each.

        Raises:
            UserError: a target is empty, or its neurons are of several sessions though the model's core depends on
                the session.
        """
        width = max((len(one) for one in rows), default=0)
        if min((len(one) for one in rows), default=0) == 0:
            raise UserError("a target needs at least one neuron")
        sessions = session_of_rows(model)
        numbers = [np.unique(sessions[list(one)]) for one in rows]
        if model.per_session and any(len(found) > 1 for found in numbers):
            raise UserError(
                "neurons of one target are of several sessions, each of which has a core of its own in this model; "
                "choose targets within sessions"
            )
        return cls(
            rows=np.array([[*one, *[one[0]] * (width - len(one))] for one in rows], np.int32),
            weights=np.array([[1 / len(one)] * len(one) + [0.0] * (width - len(one)) for one in rows], np.float32),
            session=np.array([found[0] if len(found) == 1 else 0 for found in numbers], np.int32),
            names=tuple(names),
        )

    def __len__(self) -> int:
        return len(self.names)

    def __getitem__(self, chosen: slice | Sequence[int] | np.ndarray) -> "Targets":
        """Choose targets by their numbers."""
        index = np.arange(len(self))[chosen]
        arrays = ("rows", "weights", "session", "group", "wanted")
        cut = {name: value[index] for name in arrays if (value := getattr(self, name)) is not None}
        return dataclasses.replace(self, names=tuple(self.names[number] for number in index), **cut)

    def session_for(self, model: Model) -> Int32[np.ndarray, " target"] | None:
        """Number of the session of each target as ``Model.respond_rows`` takes it."""
        return np.asarray(self.session) if model.per_session else None

    def mean(self, responses: Float[Array, "target frame member"]) -> Float[Array, "target frame"]:
        """Weighted mean response of the neurons of each target."""
        return mean_of_members(responses, jnp.asarray(self.weights))

    def respond(
        self, model: Model, stimulus: Float[Array, "target time height width channel"]
    ) -> Float[Array, "target new_time member"]:
        """Compute the responses of every target's neurons to its stimulus."""
        session = jnp.asarray(self.session) if model.per_session else None
        return model.respond_rows(stimulus, jnp.asarray(self.rows), session)

    def respond_alike(
        self, model: Model, stimulus: Float[Array, "batch time height width channel"]
    ) -> Float[Array, "batch target new_time member"]:
        """Compute the responses of every target's neurons to the same stimuli, by one pass of the core."""
        if not model.per_session:
            return jnp.moveaxis(model(stimulus)[..., jnp.asarray(self.rows)], 1, 2)
        count = len(stimulus)

        def respond(rows: Array, session: Array) -> Array:
            return model.respond_rows(stimulus, jnp.tile(rows, (count, 1)), jnp.full(count, session))

        by_target = jax.lax.map(lambda one: respond(*one), (jnp.asarray(self.rows), jnp.asarray(self.session)))
        return by_target.swapaxes(0, 1)


def respond_all(
    model: Model, stimulus: Float[Array, "batch time height width channel"]
) -> Float[Array, "batch new_time neuron"]:
    """Compute the responses of all neurons, each as in its own session; a core that depends on it runs for each."""
    if not model.per_session:
        return model(stimulus)
    own = jnp.asarray(session_of_rows(model))
    shape = devices.eval_shape(model, stimulus)

    def of_session(responses: Array, session: Array) -> tuple[Array, None]:
        found = model.respond(stimulus[None], jnp.zeros(1, jnp.int32), len(own), session[None])[0]
        return jnp.where(own == session, found, responses), None

    sessions = jnp.arange(len(model.data_info.sessions))
    return jax.lax.scan(of_session, jnp.zeros(shape.shape, shape.dtype), sessions)[0]


def mean_of_members(
    responses: Float[Array, "target new_time member"], weights: Float[Array, "target member"]
) -> Float[Array, "target new_time"]:
    """Weighted mean response of the neurons of each target."""
    return jnp.einsum("ntm,nm->nt", responses, weights)


def session_of_rows(model: Model) -> Int32[np.ndarray, " neuron"]:
    """Number of the session of every row of the model's table."""
    counts = list(model.data_info.sessions.values())
    return np.repeat(np.arange(len(counts), dtype=np.int32), counts)


def neuron_names(model: Model) -> list[str]:
    """Name of every neuron: its session and its number in it, as in ``session_1:7``."""
    return [f"{session}:{number}" for session, count in model.data_info.sessions.items() for number in range(count)]


def neurons(model: Model, chosen: str | Sequence[int] = "all") -> Targets:
    """Choose neurons, each a target of its own.

    Args:
        model: a trained model.
        chosen: rows of the model's table, or words: "all"; "best:50", those of the highest validation correlation;
            "every:10", each tenth; "session_1:0,3", neurons of a session by number; "session_1", all of them;
            "type:28", those of a cell type by number or name.

    Raises:
        UserError: there is no such neuron, session or type, or the model does not say what is asked for.
    """
    rows = rows_of(model, chosen)
    names = neuron_names(model)
    return Targets.of(model, [[row] for row in rows], [names[row] for row in rows])


def as_targets(model: Model, chosen: "str | Sequence[int] | Targets") -> Targets:
    """Return targets as they are, and make targets of chosen neurons, see ``neurons``."""
    return chosen if isinstance(chosen, Targets) else neurons(model, chosen)


def groups(model: Model, column: str = "cell_type") -> Targets:
    """Make one target of all neurons that have the same entry in a column of the neurons' metadata.

    Raises:
        UserError: the model does not know this column for all of its sessions.
    """
    values = np.asarray(column_of(model, column)).astype(str)
    found = sorted(set(values), key=lambda value: (not value.isdigit(), int(value) if value.isdigit() else 0, value))
    return Targets.of(model, [np.flatnonzero(values == value).tolist() for value in found], found)


def rows_of(model: Model, chosen: str | Sequence[int]) -> list[int]:
    """Find the rows of chosen neurons, see ``neurons``."""
    count = model.data_info.n_neurons
    if not isinstance(chosen, str):
        rows = [int(row) for row in chosen]
        wrong = [row for row in rows if not 0 <= row < count]
        if wrong or not rows:
            raise UserError(f"neurons are rows from 0 to {count - 1}, but {wrong or 'none'} was given")
        return rows
    word, _, rest = chosen.partition(":")
    if chosen == "all":
        return list(range(count))
    if word in ("best", "every"):
        if not re.fullmatch(r"[1-9]\d*", rest):
            raise UserError(f'neurons "{chosen}": after "{word}:" a number from 1 on is needed')
        if word == "every":
            return list(range(0, count, int(rest)))
        scores = np.asarray(column_of(model, SCORE_COLUMN), float)
        order = np.argsort(-np.nan_to_num(scores, nan=-np.inf), kind="stable")
        return sorted(order[: int(rest)].tolist())
    if word == "type":
        return _of_type(model, rest)
    return _of_session(model, chosen)


def _of_type(model: Model, wanted: str) -> list[int]:
    """Rows of the neurons whose cell type has this number or name."""
    info = model.data_info
    columns = [column for name in ("cell_type", "cell_type_name") if (column := info.neuron_column(name)) is not None]
    if not columns:
        raise UserError('the model does not know cell types: its data have no column "cell_type"')
    rows = [row for row in range(info.n_neurons) if any(str(column[row]) == wanted for column in columns)]
    if not rows:
        known = sorted({str(value) for column in columns for value in column})
        raise UserError(f'no neuron is of type "{wanted}"; {nearest(wanted, known)}')
    return rows


def _of_session(model: Model, chosen: str) -> list[int]:
    """Rows of all neurons of a session, or of some of them by number."""
    sessions = model.data_info.sessions
    name, _, numbers = (chosen, "", "") if chosen in sessions else chosen.rpartition(":")
    if name not in sessions:
        raise UserError(
            f'neurons "{chosen}": give "all", "best:50", "every:10", "type:28", a session, or neurons of a session '
            f'such as "{next(iter(sessions))}:0,3"; {nearest(name or chosen, list(sessions))}'
        )
    first, count = model.rows(name)
    if not numbers:
        return list(range(first, first + count))
    given = numbers.split(",")
    if not all(number.strip().isdecimal() and int(number) < count for number in given):
        raise UserError(f'neurons "{chosen}": {name} has neurons 0 to {count - 1}; give some of them, as in {name}:0,3')
    return [first + int(number) for number in given]


def column_of(model: Model, column: str) -> list[object]:
    """A column of the metadata of all neurons.

    Raises:
        UserError: a session lacks it.
    """
    values = model.data_info.neuron_column(column)
    if values is None:
        known = sorted({name for columns in model.data_info.neurons.values() for name in columns})
        raise UserError(
            f'the model does not know "{column}" of its neurons; it knows {", ".join(known) or "nothing"}'
            + ("; load the folder of a run, whose neurons.csv has the scores" if column == SCORE_COLUMN else "")
        )
    return values
