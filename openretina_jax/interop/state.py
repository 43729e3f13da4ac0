"""The parameters of whole models from a state dict of openretina, and back."""

from collections.abc import Mapping, Sequence
from typing import Any

import jax.numpy as jnp
import numpy as np
from flax import nnx

from openretina_jax.interop.weights import correspondence, take, to_theirs
from openretina_jax.models.model import CoreReadout
from openretina_jax.modules.cores.simple import SimpleCore
from openretina_jax.modules.layers import NeuronConstant, NeuronParam, SessionParam
from openretina_jax.modules.readouts.cloned import ClonedReadout
from openretina_jax.modules.readouts.spatial_contrast import SpatialContrastReadout

SPEED = "log_speed_"


def load_state(model: CoreReadout, state: Mapping[str, np.ndarray]) -> list[str]:
    """Give a model the parameters of its counterpart; it stays as it is unless all of them fit.

    Args:
        model: with a readout of all sessions; openretina's has one readout per session, or is a single cell's.
        state: the state dict.

    Returns:
        A line for every array that is missing, left over, or of another shape.
    """
    sessions = model.data_info.sessions
    if any(name.startswith("readout.") for name in state):
        of_core = under("core.", state)
        of_sessions = {session: under(f"readout.{session}.", state) for session in sessions}
        used = ("core.", *(f"readout.{session}." for session in sessions))
        left = [f"{name} is left over" for name in state if not name.startswith(used)]
    else:
        of_core, of_sessions, left = {}, {next(iter(sessions)): dict(state)}, []
    core, problems_of_core = core_values(model.core, list(sessions), of_core)
    readout, problems_of_readout = readout_values(model.readout, sessions, of_sessions)
    problems = [f"core.{problem}" for problem in problems_of_core] + left
    problems += [f"readout.{problem}" for problem in problems_of_readout]
    if not problems:
        give(model.core, core)
        give(model.readout, readout)
    return problems


def core_values(
    core: nnx.Module, sessions: Sequence[str], state: Mapping[str, np.ndarray]
) -> tuple[dict[str, np.ndarray], list[str]]:
    """Values of a core by our paths, and what is wrong, as ``take``; the speeds of all sessions are one table."""
    if speeds(core) is None:
        return take(core, state)
    names = [f"{SPEED}{session}" for session in sessions]
    values, problems = take(core, {name: value for name, value in state.items() if name not in names})
    missing = [name for name in names if name not in state]
    if not missing:
        values["log_speed"] = np.concatenate([state[name] for name in names])
    return values, [f"{name} is missing" for name in missing] + problems


def readout_values(
    readout: nnx.Module, sessions: Mapping[str, int], states: Mapping[str, Mapping[str, np.ndarray]]
) -> tuple[dict[str, np.ndarray], list[str]]:
    """Values of a readout by our paths, and what is wrong: the arrays of all sessions, one after the other.

    Args:
        readout: the table of all neurons.
        sessions: number of neurons by session, in the order of the rows.
        states: arrays of openretina's readouts by session.
    """
    variables = {".".join(map(str, path)): value for path, value in nnx.to_flat_state(nnx.state(readout))}
    parts: dict[str, list[np.ndarray]] = {}
    of_source: dict[str, np.ndarray] = {}
    problems: list[str] = []
    for number, (session, count) in enumerate(sessions.items()):
        if isinstance(readout, ClonedReadout) and number == 0:  # the session that the others are clones of
            found, more = take(readout.source, states.get(session, {}))
            of_source = {f"source.{path}": value for path, value in found.items()}
            found = {"alpha": np.ones(count, np.float32), "beta": np.zeros(count, np.float32)}
        else:
            shapes = {
                path: value.shape if path.startswith("source.") else _of_session(value, count, len(sessions))
                for path, value in variables.items()
            }
            found, more = take(readout, states.get(session, {}), shapes)
        problems += [f"{session}.{problem}" for problem in more]
        for path, value in found.items():
            if path not in of_source:  # a clone lists its source again
                parts.setdefault(path, []).append(value)
    return of_source | {path: np.concatenate(arrays) for path, arrays in parts.items()}, problems


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
    table = speeds(model.core)
    if table is not None:
        for session, speed in zip(model.data_info.sessions, np.asarray(table[...]), strict=True):
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
                arrays[name] = to_theirs(value[rows] if is_table(variable) else value, axes)
                break
    return arrays


def speeds(core: nnx.Module) -> SessionParam | None:
    """The table of the sessions' own speeds, if they have some; openretina keeps them one by one."""
    return core.log_speed if isinstance(core, SimpleCore) else None


def is_table(variable: Any) -> bool:
    """Whether a variable has a row for every neuron."""
    return isinstance(variable, NeuronParam | NeuronConstant)


def _of_session(variable: Any, count: int, sessions: int) -> tuple[int, ...]:
    """Shape of a session's part of a variable: its rows, or an equal share of what its neurons share."""
    rest = variable.shape[1:]
    return (count, *rest) if is_table(variable) else (variable.shape[0] // sessions, *rest)
