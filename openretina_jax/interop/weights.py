"""openretina's arrays ("theirs") as parameters of our modules ("ours"), and back."""

import math
import re
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import jax
import numpy as np
from flax import nnx

from openretina_jax.models.autoencoder import SparseAutoencoder
from openretina_jax.models.core_readout import CoreReadout
from openretina_jax.modules.convolutions import FullConv, SeparableConv, SpaceTimeConv, TimeIndependentConv
from openretina_jax.modules.cores.gru import GruCore
from openretina_jax.modules.cores.simple import SimpleCore
from openretina_jax.modules.layers import (
    BatchNorm,
    Bias,
    FiLM,
    NeuronConstant,
    NeuronParam,
    Scale,
    SessionParam,
    WeightedChannelSum,
)
from openretina_jax.modules.readouts.cloned import ClonedReadout
from openretina_jax.modules.readouts.factorized import FactorizedReadout
from openretina_jax.modules.readouts.gaussian_mask import GaussianMaskReadout
from openretina_jax.modules.readouts.lnp import LnpReadout
from openretina_jax.modules.readouts.point_gaussian import PointGaussianReadout
from openretina_jax.modules.readouts.positions import MappedMeans, OwnMeans, PredictedMeans, SharedMeans
from openretina_jax.modules.readouts.separable_lnp import SeparableLnpReadout
from openretina_jax.modules.readouts.spatial_contrast import SpatialContrastReadout
from openretina_jax.modules.recurrent import GATES, ConvGru, ConvGruCell

# Their name for each array and each part of our classes. A parameter or statistic that is not listed has the same name
# in both, a constant has no counterpart.
# - Arrays: "name", or "name: their axes -> our axes" where these differ; "1" is an axis of length 1, "(h w)" two axes
#   in one. "|" separates the names of several versions, or of many cells and of a single one, the current one first.
# - Parts: how the names of their arrays begin; in a list, the number of the part comes next.
THEIRS: Mapping[type, Mapping[str, str]] = {
    SimpleCore: {"layers": "features.layer", "grey": "color_squashing_layer."},
    GruCore: {"films": "film_", "projection": "features.projection.0.", "gru": "features.gru."},
    SpaceTimeConv: {
        "sin": "sin_weights",
        "cos": "cos_weights",
        "spatial": "weight_spatial: o i 1 h w -> o i h w",
        "log_speed": "_log_speed_default: 1 ->",
    },
    SeparableConv: {
        "spatial": "space_conv.weight: o i 1 h w -> o i h w",
        "temporal": "time_conv.weight: o i t 1 1 -> o i t",
        "spatial_bias": "space_conv.bias",
        "temporal_bias": "time_conv.bias",
        "log_speed": "_log_speed_default: 1 ->",
    },
    FullConv: {"kernel": "conv.weight", "bias": "conv.bias"},
    TimeIndependentConv: {"spatial": "conv.weight: o i 1 h w -> o i h w", "bias": "conv.bias"},
    BatchNorm: {"scale": "weight", "mean": "running_mean", "variance": "running_var"},
    Bias: {"bias": "bias: 1 c 1 1 1 -> c"},
    Scale: {"scale": "scale: 1 c 1 1 1 -> c | scale: 1 c 1 1 -> c"},
    WeightedChannelSum: {"weights": "channel_weights"},
    nnx.Linear: {"kernel": "weight: o i -> i o"},
    nnx.Sequential: {"layers": "mu_transform."},
    FiLM: {"gamma": "fc_gamma.", "beta": "fc_beta."},
    ConvGru: {"cell": "gru."},
    ConvGruCell: {
        f"{gate}_{side}{ours}": f"{gate}_gate_{side}.{theirs}"
        for gate in GATES
        for side in ("input", "hidden")
        for ours, theirs in (("", "weight"), ("_bias", "bias"))
    },
    GaussianMaskReadout: {"features": "features: 1 c 1 n -> n c", "scale": "scale_param", "bias": "bias | bias_param"},
    FactorizedReadout: {"mask": "mask_weights: (h w) n -> n h w", "features": "feature_weights: c n -> n c"},
    PointGaussianReadout: {
        "sigma": "sigma: 1 n 1 x -> n x | sigma: 1 n y x -> n y x",
        "features": "_features: 1 c 1 n -> n c",
        "feature_scale": "scales: 1 1 1 n -> n",
        "means": "",
    },
    OwnMeans: {"positions": "_mu: 1 n 1 x -> n x"},
    SharedMeans: {"positions": "_mu: 1 n 1 x -> n x"},
    MappedMeans: {"shared": ""},
    PredictedMeans: {"source": "source_grid", "network": ""},
    LnpReadout: {
        "kernel": "inner_product_kernel.weight: n c 1 h w -> n c h w",
        "bias": "inner_product_kernel.bias",
    },
    SeparableLnpReadout: {
        "spatial": "space_conv.weight: r c 1 h w -> 1 r c h w",
        "temporal": "time_conv.weight: 1 r t 1 1 -> 1 r t",
        "bias": "nonlinearity.b: -> 1",
        "scale": "nonlinearity.w: -> 1",
    },
    SpatialContrastReadout: {
        "spatial": "spatial_filters | spatial_filter: h w -> 1 h w",
        "temporal": "temporal_filters | temporal_filter: t -> 1 t",
        "w": "w | w: -> 1",
        **{name: f"nl_{name} | nl_{name}: -> 1" for name in "abc"},
    },
    ClonedReadout: {"source": "_source."},
    SparseAutoencoder: {
        "encoder": "encoder.weight: h n -> n h",
        "encoder_bias": "encoder.bias",
        "decoder": "decoder.weight: n h -> h n",
    },
}
# arrays of theirs that follow from the options, count batches, or are listed a second time
_THEIRS_ONLY = re.compile(
    r"(^|\.)(filter|num_batches_tracked|grid|sf_sums|spatial_filter_sum"
    r"|(feature|grid)_sharing_index|_log_speed_default|(conv|projection\.0)\.log_speed_\w+)$"
)
# and those that their class has but does not use
_UNUSED = {FactorizedReadout: "bias", SpatialContrastReadout: "bias"}
SPEED = "log_speed_"  # before the name of a session; ours are one table


class Theirs(NamedTuple):
    """An array of openretina.

    Attributes:
        name: name in the state dict of its module.
        axes: "theirs -> ours", empty where they are the same.
    """

    name: str
    axes: str


def load_state(model: CoreReadout, state: Mapping[str, np.ndarray]) -> list[str]:
    """Load the parameters of its counterpart into a model; it stays as it is unless all of them fit.

    Args:
        model: model with one readout for all sessions; openretina's has one for each, or is that of a single cell.
        state: their state dict.

    Returns:
        A line for every array that is missing, left over, or of another shape.
    """
    sessions = model.data_info.sessions
    if any(name.startswith("readout.") for name in state):
        of_core = under("core.", state)
        of_sessions = {session: under(f"readout.{session}.", state) for session in sessions}
        known = ("core.", *(f"readout.{session}." for session in sessions))
        left = [f"{name} is left over" for name in state if not name.startswith(known)]
    else:
        of_core, of_sessions, left = {}, {next(iter(sessions)): dict(state)}, []
    core, core_problems = core_state_to_ours(model.core, list(sessions), of_core)
    readout, readout_problems = readout_state_to_ours(model.readout, sessions, of_sessions)
    problems = [f"core.{problem}" for problem in core_problems] + left
    problems += [f"readout.{problem}" for problem in readout_problems]
    if not problems:
        assign(model.core, core)
        assign(model.readout, readout)
    return problems


def state_dict(model: CoreReadout) -> dict[str, np.ndarray]:
    """Name and shape the parameters of a model as openretina does; the inverse of ``load_state``.

    Grids, filters of penalties and all else that follows from the options of the model are left out.
    """
    info, readout = model.data_info, model.readout
    state = {f"core.{name}": array for name, array in state_to_theirs(model.core).items()}
    if (table := speeds(model.core)) is not None:
        for session, speed in zip(info.sessions, np.asarray(table[...]), strict=True):
            state[f"core.{SPEED}{session}"] = speed[None]
    if isinstance(readout, SeparableLnpReadout):  # openretina's model of a single cell has no parts
        return state | state_to_theirs(readout)
    for session in info.sessions:
        first, count = model.rows(session)
        rows = slice(first, first + count)
        arrays = state_to_theirs(readout, rows)
        if isinstance(readout, SpatialContrastReadout):  # openretina's class for many cells has no patches
            arrays["spatial_filters"] = np.asarray(readout.masks()[rows])
        state |= {f"readout.{session}.{name}": array for name, array in arrays.items()}
    return state


def core_state_to_ours(
    core: nnx.Module, sessions: Sequence[str], state: Mapping[str, np.ndarray]
) -> tuple[dict[str, np.ndarray], list[str]]:
    """Translate as ``state_to_ours`` does, with the speeds of all sessions in one table."""
    if speeds(core) is None:
        return state_to_ours(core, state)
    names = [f"{SPEED}{session}" for session in sessions]
    values, problems = state_to_ours(core, {name: array for name, array in state.items() if name not in names})
    missing = [f"{name} is missing" for name in names if name not in state]
    if not missing:
        values["log_speed"] = np.concatenate([state[name] for name in names])
    return values, missing + problems


def readout_state_to_ours(
    readout: nnx.Module, sessions: Mapping[str, int], states: Mapping[str, Mapping[str, np.ndarray]]
) -> tuple[dict[str, np.ndarray], list[str]]:
    """Translate as ``state_to_ours`` does, with the rows of all sessions one below the other.

    Args:
        readout: our readout of all neurons.
        sessions: number of neurons by session, in the order of the rows.
        states: their arrays by session.
    """
    parts: dict[str, list[np.ndarray]] = {}
    of_source: dict[str, np.ndarray] = {}
    problems: list[str] = []
    for number, (session, count) in enumerate(sessions.items()):
        state = states.get(session, {})
        if isinstance(readout, ClonedReadout) and number == 0:  # the session that the others are clones of
            found, more = state_to_ours(readout.source, state)
            of_source = {f"source.{path}": array for path, array in found.items()}
            found = {"alpha": np.ones(count, np.float32), "beta": np.zeros(count, np.float32)}
        else:
            shapes = {}
            for path, variable in variables(readout).items():
                # what neurons share is an equal share of every session
                length = count if has_rows(variable) else variable.shape[0] // len(sessions)
                shapes[path] = variable.shape if path.startswith("source.") else (length, *variable.shape[1:])
            found, more = state_to_ours(readout, state, shapes)
        problems += [f"{session}.{problem}" for problem in more]
        for path, array in found.items():
            if path not in of_source:  # a clone lists its source again
                parts.setdefault(path, []).append(array)
    return of_source | {path: np.concatenate(arrays) for path, arrays in parts.items()}, problems


def state_to_ours(
    module: nnx.Module, state: Mapping[str, np.ndarray], shapes: Mapping[str, tuple[int, ...]] | None = None
) -> tuple[dict[str, np.ndarray], list[str]]:
    """Translate their arrays into ours, and list what does not fit.

    Args:
        module: our module.
        state: their arrays by name.
        shapes: shapes of our arrays, where they are not those of the module.

    Returns:
        Arrays by our dotted paths, in our axes; and a line for every array that is missing, left over or of another
        shape.
    """
    wanted = {**{path: variable.shape for path, variable in variables(module).items()}, **(shapes or {})}
    values, problems, used = {}, [], set()
    for path, candidates in theirs_of(module).items():
        present = [theirs for theirs in candidates if theirs.name in state]
        if not present:
            problems.append(f"{candidates[0].name} is missing")
            continue
        name, axes = present[0]
        used.add(name)
        arrays = [array_to_ours(state[theirs.name], theirs.axes, wanted[path]) for theirs in present]
        fitting = [array for array in arrays if array is not None]
        if fitting:
            values[path] = fitting[0]
        else:
            problems.append(f"{name} has shape {state[name].shape} ({axes or '...'}), but {path} has {wanted[path]}")
    unused = next((_UNUSED[base] for base in type(module).__mro__ if base in _UNUSED), None)
    left = [name for name in state if name not in used and name != unused and not _THEIRS_ONLY.search(name)]
    return values, problems + [f"{name} is left over" for name in left]


def state_to_theirs(module: nnx.Module, rows: slice = slice(None)) -> dict[str, np.ndarray]:
    """Translate the arrays of a module into theirs; only the given rows where there is one per neuron."""
    arrays, ours = {}, variables(module)
    for path, candidates in theirs_of(module).items():
        array = np.asarray(ours[path][...])
        for name, axes in candidates:
            if not axes or len(axes.split("->")[1].split()) == array.ndim:
                arrays[name] = array_to_theirs(array[rows] if has_rows(ours[path]) else array, axes)
                break
    return arrays


def theirs_of(module: nnx.Module) -> dict[str, tuple[Theirs, ...]]:
    """List the counterparts of each of our arrays by its dotted path, the current one first."""
    found = {}
    for path, variable in nnx.to_flat_state(nnx.state(module)):
        *parts, name = path
        owner, prefix = _part(module, parts)
        same = isinstance(variable, nnx.Param | nnx.BatchStat) and not isinstance(variable, SessionParam)
        entry = _entry(type(owner), str(name), str(name) if same else None)
        if entry is not None:
            split = (one.partition(":") for one in entry.split(" | "))
            found[".".join(map(str, path))] = tuple(Theirs(prefix + name, axes.strip()) for name, _, axes in split)
    return found


def _part(module: Any, path: Sequence[Any]) -> tuple[Any, str]:
    """The part of a module at a path, and how the names of its counterpart's arrays begin."""
    prefix, offset = "", 0
    for step in path:
        if isinstance(step, int):
            module, prefix = module[step], f"{prefix}{step + (offset if step > 0 else 0)}."
        else:
            # openretina numbers the projection, which follows the first layer, as one of the layers that films modulate
            offset = int(isinstance(module, GruCore) and step == "films" and module.projection is not None)
            prefix += str(_entry(type(module), step, f"{step}."))
            module = getattr(module, step)
    return module, prefix


def _entry(cls: type, name: str, default: str | None) -> str | None:
    """The entry of a class or of the nearest of its bases."""
    return next((THEIRS[base][name] for base in cls.__mro__ if name in THEIRS.get(base, {})), default)


def array_to_ours(array: np.ndarray, axes: str, shape: tuple[int, ...]) -> np.ndarray | None:
    """Bring an array of theirs into our axes; None if it does not have the shape."""
    if not axes:
        return array if array.shape == shape else None
    theirs, ours = _axes(axes)
    if len(ours) != len(shape) or len(theirs) != array.ndim:
        return None
    sizes = dict(zip(ours, shape, strict=True))
    if array.shape != tuple(math.prod(sizes.get(name, 1) for name in group) for group in theirs):
        return None
    names = [name for group in theirs for name in group]
    moved = array.reshape([sizes[name] for name in names])
    return moved.transpose([names.index(name) for name in ours if name != "1"]).reshape(shape)


def array_to_theirs(array: np.ndarray, axes: str) -> np.ndarray:
    """Bring an array of ours into their axes, the inverse of ``array_to_ours``."""
    if not axes:
        return array
    theirs, ours = _axes(axes)
    sizes = dict(zip(ours, array.shape, strict=True))
    names = [name for name in ours if name != "1"]
    moved = array.reshape([sizes[name] for name in names])
    moved = moved.transpose([names.index(name) for group in theirs for name in group])
    return moved.reshape([math.prod(sizes[name] for name in group) for group in theirs])


def _axes(axes: str) -> tuple[list[list[str]], list[str]]:
    """Their axes as lists of names, empty for one of length 1, and ours, "1" for one of length 1."""
    theirs, ours = axes.split("->")
    groups = re.findall(r"\(.*?\)|\S+", theirs)
    return [[] if group == "1" else group.strip("()").split() for group in groups], ours.split()


def variables(module: nnx.Module | nnx.State) -> dict[str, Any]:
    """List every variable of a module, or of a state, by its dotted path."""
    state = module if isinstance(module, nnx.State) else nnx.state(module)
    return {".".join(map(str, path)): variable for path, variable in nnx.to_flat_state(state)}


def assign(module: nnx.Module, values: Mapping[str, np.ndarray]) -> None:
    """Set variables by their dotted paths; the others stay."""
    flat = [
        (path, variable.replace(jax.device_put(values[name].astype(variable.dtype))))
        for path, variable in nnx.to_flat_state(nnx.state(module))
        if (name := ".".join(map(str, path))) in values
    ]
    nnx.update(module, nnx.from_flat_state(flat))


def under(prefix: str, state: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Select the arrays whose names begin with a prefix, by the rest of their names."""
    return {name.removeprefix(prefix): array for name, array in state.items() if name.startswith(prefix)}


def speeds(core: nnx.Module) -> SessionParam | None:
    """Return the table of the sessions' speeds, if the core has one; openretina keeps them one by one."""
    return core.log_speed if isinstance(core, SimpleCore) else None


def has_rows(variable: Any) -> bool:
    """Whether a variable has a row for every neuron."""
    return isinstance(variable, NeuronParam | NeuronConstant)
