"""openretina's modules, models and arrays as ours, by the tables of ``interop``; for tests against frozen numbers."""

from collections.abc import Mapping, Sequence
from types import EllipsisType
from typing import Any, NamedTuple

import numpy as np
from flax import nnx

from openretina_jax.data.info import DataInfo
from openretina_jax.interop import weights
from openretina_jax.interop.descriptions import data_info_to_ours, describe
from openretina_jax.interop.translation import core_to_ours, readout_to_ours
from openretina_jax.interop.weights import under, variables
from openretina_jax.models import build
from openretina_jax.models.core_readout import CoreReadout
from openretina_jax.modules.cores import CORES
from openretina_jax.modules.readouts import READOUTS

Rows = slice | EllipsisType  # of an array; ... is the whole array


def make_core(path: str, kwargs: Mapping[str, Any], channels: Sequence[int]) -> Any:
    """The counterpart of a core.

    Args:
        path: dotted name of its class; an unknown one fails.
        kwargs: its arguments; an unknown one fails.
        channels: of the stimulus and of every layer.
    """
    sessions = kwargs.get("n_neurons_dict") or {"": 1}
    given = {"in_channels": channels[0], "n_sessions": len(sessions), "rngs": nnx.Rngs(0)}
    return CORES.make(core_to_ours(path, kwargs, channels), given)


def make_readout(path: str, kwargs: Mapping[str, Any], in_shape: tuple[int, ...], n_neurons: int, **more: Any) -> Any:
    """The counterpart of a readout.

    Args:
        path: dotted name of its class; an unknown one fails.
        kwargs: its arguments; an unknown one fails.
        in_shape: (feature, height, width) of the maps.
        n_neurons: rows of the table.
        more: options of ours.
    """
    options = readout_to_ours(path, kwargs)
    if options["kind"] == "spatial_contrast":
        options["nonnegative"] = None  # the reference clips after an optimiser step, not when it is called
    channels, height, width = in_shape
    given = {"in_shape": (height, width, channels), "n_neurons": n_neurons, "rngs": nnx.Rngs(0)}
    return READOUTS.make(options | more, given)


def make_core_readout(kwargs: Mapping[str, Any]) -> CoreReadout:
    """The counterpart of a whole model."""
    return build.make_core_readout(*describe({}, kwargs))


def make_info(sessions: Mapping[str, int], input_shape: tuple[int, int, int]) -> DataInfo:
    """Facts of data of which no more is known."""
    return data_info_to_ours({}, sessions, input_shape)


class Place(NamedTuple):
    """The place of an array of the reference in a module of ours.

    Attributes:
        path: of our variable.
        rows: of the variable.
        value: the array in our axes.
    """

    path: str
    rows: Rows
    value: np.ndarray


def places(
    module: nnx.Module, arrays: Mapping[str, np.ndarray], *, rows: Rows = ..., sessions: Sequence[str] = ()
) -> dict[str, Place]:
    """Places of arrays by their names, without those that follow from the options; fails if one does not fit.

    Args:
        module: ours.
        arrays: parameters of the reference, or gradients of some of them.
        rows: those of the arrays' session, where ours hold the neurons of several.
        sessions: all of them, for a core.
    """
    of_sessions = sessions if weights.speeds(module) is not None else ()
    numbers = {f"{weights.SPEED}{session}": n for n, session in enumerate(of_sessions)}
    found = {name: Place("log_speed", slice(n, n + 1), arrays[name]) for name, n in numbers.items() if name in arrays}
    own = {name: array for name, array in arrays.items() if name not in found}
    tables = {path: variable for path, variable in variables(module).items() if weights.has_rows(variable)}
    shapes = {path: variable[rows].shape for path, variable in tables.items()}
    values, problems = weights.state_to_ours(module, own, shapes)
    assert [problem for problem in problems if not problem.endswith("is missing")] == []
    for path, theirs in weights.theirs_of(module).items():
        for name in {one.name for one in theirs} & own.keys():
            found[name] = Place(path, rows if path in tables else ..., values[path])
    return found


def places_in_model(model: CoreReadout, arrays: Mapping[str, np.ndarray]) -> dict[str, Place]:
    """Places of arrays of a whole model."""
    sessions = list(model.data_info.sessions)
    found = _under("core.", "core.", places(model.core, under("core.", arrays), sessions=sessions))
    for session in sessions:
        first, count = model.rows(session)
        start = f"readout.{session}."
        of_session = places(model.readout, under(start, arrays), rows=slice(first, first + count))
        found |= _under(start, "readout.", of_session)
    return found


def _under(theirs: str, ours: str, found: Mapping[str, Place]) -> dict[str, Place]:
    return {theirs + name: place._replace(path=ours + place.path) for name, place in found.items()}


def load(module: nnx.Module, arrays: Mapping[str, np.ndarray], sessions: Sequence[str] = ()) -> None:
    """Give a module parameters of the reference; fails if one is missing, left over or of another shape.

    Args:
        module: ours.
        arrays: by their names.
        sessions: all of them, for a core.
    """
    values, problems = weights.core_state_to_ours(module, sessions, arrays)
    assert problems == []
    weights.assign(module, values)


def load_model(model: CoreReadout, arrays: Mapping[str, np.ndarray]) -> None:
    """Give a whole model parameters of the reference; fails if they do not fit."""
    assert weights.load_state(model, arrays) == []
