"""The parameters of whole models from a state dict of openretina, and back."""

from collections.abc import Mapping
from typing import Any

import jax.numpy as jnp
import numpy as np
from flax import nnx

from openretina_jax.interop.weights import correspondence, take, to_theirs
from openretina_jax.models.core_readout import CoreReadout
from openretina_jax.modules.cores.simple import SimpleCore
from openretina_jax.modules.readouts.cloned import ClonedReadout
from openretina_jax.modules.readouts.spatial_contrast import SpatialContrastReadout
from openretina_jax.modules.variables import NeuronConstant, NeuronParam

SPEED = "log_speed_"


def load_state(model: CoreReadout, state: Mapping[str, np.ndarray]) -> list[str]:
    """Give a model the parameters of its counterpart; it stays as it is unless all of them fit.

    Args:
        model: with a readout of all sessions; openretina's has one readout per session, or is a single cell's.
        state: the state dict.

    Returns:
        A line for every array that is missing, left over, or of another shape.
    """
    sessions = list(model.data_info.sessions)
    single = not any(name.startswith("readout.") for name in state)
    values, problems = core_values(model, {} if single else under("core.", state))
    if single:
        rows = {sessions[0]: dict(state)}
    else:
        rows = {session: under(f"readout.{session}.", state) for session in sessions}
        used = ("core.", *(f"readout.{session}." for session in sessions))
        problems += [f"{name} is left over" for name in state if not name.startswith(used)]
    of_readout, more = readout_values(model, rows)
    problems += more
    if not problems:
        give(model, values | of_readout)
    return problems


def core_values(model: CoreReadout, state: Mapping[str, np.ndarray]) -> tuple[dict[str, np.ndarray], list[str]]:
    """Values of a core by our paths; the speeds of all sessions are one table."""
    core, state = model.core, dict(state)
    values, problems = {}, []
    if isinstance(core, SimpleCore) and core.log_speed is not None:
        speeds = [state.pop(f"{SPEED}{session}", None) for session in model.data_info.sessions]
        problems = [
            f"core.{SPEED}{session} is missing"
            for session, speed in zip(model.data_info.sessions, speeds, strict=True)
            if speed is None
        ]
        values["core.log_speed"] = np.concatenate([speed for speed in speeds if speed is not None] or [np.zeros(0)])
    found, more = take(core, state)
    values |= {f"core.{path}": value for path, value in found.items()}
    return values, problems + [f"core.{problem}" for problem in more]


def readout_values(
    model: CoreReadout, rows: Mapping[str, Mapping[str, np.ndarray]]
) -> tuple[dict[str, np.ndarray], list[str]]:
    """Values of a readout by our paths: the arrays of all sessions, one after the other."""
    readout = model.readout
    variables = {".".join(map(str, path)): value for path, value in nnx.to_flat_state(nnx.state(readout))}
    parts: dict[str, list[np.ndarray]] = {}
    values: dict[str, np.ndarray] = {}
    problems: list[str] = []
    for number, (session, state) in enumerate(rows.items()):
        count = model.data_info.sessions[session]
        shapes = {
            path: value.shape if path.startswith("source.") else _of_session(value, count, len(rows))
            for path, value in variables.items()
        }
        if isinstance(readout, ClonedReadout) and number == 0:
            found, more = take(readout.source, state)
            values |= {f"readout.source.{path}": value for path, value in found.items()}
            found = {"alpha": np.ones(count, np.float32), "beta": np.zeros(count, np.float32)}
        else:
            found, more = take(readout, state, shapes)
        problems += [f"readout.{session}.{problem}" for problem in more]
        for path, value in found.items():
            if f"readout.{path}" not in values:  # a clone lists its source again
                parts.setdefault(path, []).append(value)
    return values | {f"readout.{path}": np.concatenate(arrays) for path, arrays in parts.items()}, problems


def give(model: nnx.Module, values: Mapping[str, np.ndarray]) -> None:
    """Set variables by their dotted paths; the others stay."""
    flat = []
    for path, variable in nnx.to_flat_state(nnx.state(model)):
        value = values.get(".".join(map(str, path)))
        given = variable if value is None else variable.replace(jnp.asarray(value.astype(variable.dtype)))
        flat.append((path, given))
    nnx.update(model, nnx.from_flat_state(flat))


def state_dict(model: CoreReadout) -> dict[str, np.ndarray]:
    """The parameters of a model as openretina names and shapes them; the inverse of ``load_state``.

    What follows from the options of a model, such as grids and filters of penalties, is left out.
    """
    state = {f"core.{name}": value for name, value in _arrays(model.core).items()}
    if isinstance(model.core, SimpleCore) and model.core.log_speed is not None:
        for session, speed in zip(model.data_info.sessions, np.asarray(model.core.log_speed[...]), strict=True):
            state[f"core.{SPEED}{session}"] = speed[None]
    readout = model.readout
    for session in model.data_info.sessions:
        first, count = model.rows(session)
        state |= {
            f"readout.{session}.{name}": value for name, value in _arrays(readout, slice(first, first + count)).items()
        }
        if isinstance(readout, SpatialContrastReadout):  # whose counterpart of many cells has no patches
            state[f"readout.{session}.spatial_filters"] = np.asarray(readout.masks()[first : first + count])
    return state


def under(prefix: str, state: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """The arrays whose names begin with the prefix, by the rest of their names."""
    return {name.removeprefix(prefix): value for name, value in state.items() if name.startswith(prefix)}


def _arrays(module: nnx.Module, rows: slice = slice(None)) -> dict[str, np.ndarray]:
    """openretina's arrays for those of a module; of a table, for some rows."""
    places = correspondence(module)
    arrays = {}
    for path, variable in nnx.to_flat_state(nnx.state(module)):
        value = np.asarray(variable[...])
        for name, axes in places.get(".".join(map(str, path)), ()):
            if axes == "..." or len(axes.split("->")[1].split()) == value.ndim:
                arrays[name] = to_theirs(value[rows] if _is_table(variable) else value, axes)
                break
    return arrays


def _is_table(variable: Any) -> bool:
    return isinstance(variable, NeuronParam | NeuronConstant)


def _of_session(variable: Any, count: int, sessions: int) -> tuple[int, ...]:
    """Shape of a session's part of a variable: its rows, or an equal share of what its neurons share."""
    rest = variable.shape[1:]
    return (count, *rest) if _is_table(variable) else (variable.shape[0] // sessions, *rest)
