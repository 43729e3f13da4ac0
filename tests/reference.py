"""What the reference says in ours, by the tables of ``openretina_jax.interop``; for tests against frozen numbers."""

from collections.abc import Mapping, Sequence
from types import EllipsisType
from typing import Any, NamedTuple

import numpy as np
from flax import nnx

from openretina_jax.data.dataset import DataInfo
from openretina_jax.interop import state
from openretina_jax.interop.description import describe
from openretina_jax.interop.facts import make_data_info
from openretina_jax.interop.options import core_options, readout_options
from openretina_jax.interop.weights import correspondence, take
from openretina_jax.models import build
from openretina_jax.models.model import CoreReadout
from openretina_jax.modules.cores import CORES
from openretina_jax.modules.readouts import READOUTS

Rows = slice | EllipsisType  # of a table; all of it, or what is none, is ...


def make_core(path: str, kwargs: Mapping[str, Any], channels: Sequence[int]) -> Any:
    """Our counterpart of a core.

    Args:
        path: dotted name of its class; an unknown one fails.
        kwargs: its arguments; an unknown one fails.
        channels: of the stimulus and of every layer.
    """
    sessions = kwargs.get("n_neurons_dict") or {"": 1}
    given = {"in_channels": channels[0], "n_sessions": len(sessions), "rngs": nnx.Rngs(0)}
    return CORES.make(core_options(path, kwargs, channels), given)


def make_readout(path: str, kwargs: Mapping[str, Any], in_shape: tuple[int, ...], n_neurons: int, **more: Any) -> Any:
    """Our counterpart of a readout.

    Args:
        path: dotted name of its class; an unknown one fails.
        kwargs: its arguments; an unknown one fails.
        in_shape: (feature, height, width) of the maps.
        n_neurons: rows of the table.
        more: options of ours.
    """
    options = readout_options(path, kwargs)
    if options["kind"] == "spatial_contrast":
        options["nonnegative"] = None  # the reference clips after an optimiser step, not when it is called
    channels, height, width = in_shape
    given = {"in_shape": (height, width, channels), "n_neurons": n_neurons, "rngs": nnx.Rngs(0)}
    return READOUTS.make(options | more, given)


def make_core_readout(kwargs: Mapping[str, Any]) -> CoreReadout:
    """Our counterpart of a whole model."""
    described = describe({}, kwargs)
    info = make_data_info(described.data_info, described.sessions, described.input_shape, {})
    return build.make_core_readout(described.options, info)


def make_info(sessions: Mapping[str, int], input_shape: tuple[int, int, int]) -> DataInfo:
    """Facts of data that nobody knows more of."""
    return make_data_info({}, sessions, input_shape, {})


class Place(NamedTuple):
    """Where an array of the reference stands in ours.

    Attributes:
        path: of our variable.
        rows: of it.
        value: the array in our axes.
    """

    path: str
    rows: Rows
    value: np.ndarray


def places(
    module: nnx.Module, arrays: Mapping[str, np.ndarray], *, rows: Rows = ..., sessions: Sequence[str] = ()
) -> dict[str, Place]:
    """The places of arrays by their names, without those that need none; fails if one does not fit.

    Args:
        module: ours.
        arrays: parameters of the reference's, or as many numbers for each of some of them.
        rows: of the session that they are of, where a table of ours holds several.
        sessions: of a core.
    """
    of_sessions = sessions if state.speeds(module) is not None else ()
    numbers = {f"{state.SPEED}{session}": n for n, session in enumerate(of_sessions)}
    found = {name: Place("log_speed", slice(n, n + 1), arrays[name]) for name, n in numbers.items() if name in arrays}
    own = {name: array for name, array in arrays.items() if name not in found}
    tables = {path: variable for path, variable in variables(module).items() if state.is_table(variable)}
    shapes = {path: variable[rows].shape for path, variable in tables.items()}
    values, problems = take(module, own, shapes)
    assert [problem for problem in problems if not problem.endswith("is missing")] == []
    for path, theirs in correspondence(module).items():
        for name in {one.name for one in theirs} & own.keys():
            found[name] = Place(path, rows if path in tables else ..., values[path])
    return found


def places_in_model(model: CoreReadout, arrays: Mapping[str, np.ndarray]) -> dict[str, Place]:
    """The places of arrays of a whole model."""
    sessions = list(model.data_info.sessions)
    found = _under("core.", "core.", places(model.core, state.under("core.", arrays), sessions=sessions))
    for session in sessions:
        first, count = model.rows(session)
        start = f"readout.{session}."
        of_session = places(model.readout, state.under(start, arrays), rows=slice(first, first + count))
        found |= _under(start, "readout.", of_session)
    return found


def _under(theirs: str, ours: str, found: Mapping[str, Place]) -> dict[str, Place]:
    return {theirs + name: place._replace(path=ours + place.path) for name, place in found.items()}


def variables(module: nnx.Module) -> dict[str, Any]:
    """Every variable of a module, or of a state, by its dotted path."""
    flat = module if isinstance(module, nnx.State) else nnx.state(module)
    return {".".join(map(str, path)): variable for path, variable in nnx.to_flat_state(flat)}


def load(module: nnx.Module, arrays: Mapping[str, np.ndarray], sessions: Sequence[str] = ()) -> None:
    """Give a module the parameters of the reference's; fails if one is missing, left over or of another shape.

    Args:
        module: ours.
        arrays: by their names.
        sessions: of a core.
    """
    values, problems = state.core_values(module, sessions, arrays)
    assert problems == []
    state.give(module, values)


def load_model(model: CoreReadout, arrays: Mapping[str, np.ndarray]) -> None:
    """Give a whole model the parameters of the reference's; fails if they do not fit."""
    assert state.load_state(model, arrays) == []
