"""Whose weights are whose: the names and axes of openretina's parameters for every class of ours, in one table."""

import math
import re
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
from flax import nnx

from openretina_jax.models.autoencoder import SparseAutoencoder
from openretina_jax.modules.convolutions import FullConv, SeparableConv, SpaceTimeConv, TimeIndependentConv
from openretina_jax.modules.cores.gru import GruCore
from openretina_jax.modules.cores.simple import SimpleCore
from openretina_jax.modules.layers import (
    BatchNorm,
    Bias,
    FiLM,
    ParametrizedElu,
    ParametrizedSoftplus,
    Scale,
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


class Theirs(NamedTuple):
    """An array of openretina.

    Attributes:
        name: in the state dict of its module.
        axes: its axes and ours, "theirs -> ours"; "1" has length 1, "(h w)" is two in one, "..." are the same axes.
    """

    name: str
    axes: str = "..."


# our array: openretina's; where it has several names, the first is the current one, or that of many cells
ARRAYS: Mapping[type, Mapping[str, tuple[Theirs, ...]]] = {
    SpaceTimeConv: {
        "sin": (Theirs("sin_weights"),),
        "cos": (Theirs("cos_weights"),),
        "spatial": (Theirs("weight_spatial", "o i 1 h w -> o i h w"),),
        "log_speed": (Theirs("_log_speed_default", "1 ->"),),
        "bias": (Theirs("bias"),),
    },
    SeparableConv: {
        "spatial": (Theirs("space_conv.weight", "o i 1 h w -> o i h w"),),
        "temporal": (Theirs("time_conv.weight", "o i t 1 1 -> o i t"),),
        "spatial_bias": (Theirs("space_conv.bias"),),
        "temporal_bias": (Theirs("time_conv.bias"),),
        "log_speed": (Theirs("_log_speed_default", "1 ->"),),
    },
    FullConv: {"kernel": (Theirs("conv.weight"),), "bias": (Theirs("conv.bias"),)},
    TimeIndependentConv: {
        "spatial": (Theirs("conv.weight", "o i 1 h w -> o i h w"),),
        "bias": (Theirs("conv.bias"),),
    },
    BatchNorm: {
        "scale": (Theirs("weight"),),
        "bias": (Theirs("bias"),),
        "mean": (Theirs("running_mean"),),
        "variance": (Theirs("running_var"),),
    },
    Bias: {"bias": (Theirs("bias", "1 c 1 1 1 -> c"),)},
    Scale: {"scale": (Theirs("scale", "1 c 1 1 1 -> c"), Theirs("scale", "1 c 1 1 -> c"))},
    WeightedChannelSum: {"weights": (Theirs("channel_weights"),)},
    ParametrizedElu: {name: (Theirs(name),) for name in "abc"},
    ParametrizedSoftplus: {name: (Theirs(name),) for name in "abw"},
    nnx.Linear: {"kernel": (Theirs("weight", "o i -> i o"),), "bias": (Theirs("bias"),)},
    ConvGruCell: {
        f"{gate}_{side}{ours}": (Theirs(f"{gate}_gate_{side}.{theirs}"),)
        for gate in GATES
        for side in ("input", "hidden")
        for ours, theirs in (("", "weight"), ("_bias", "bias"))
    },
    GaussianMaskReadout: {
        "mask_mean": (Theirs("mask_mean"),),
        "mask_log_var": (Theirs("mask_log_var"),),
        "features": (Theirs("features", "1 c 1 n -> n c"),),
        "scale": (Theirs("scale_param"),),
        "bias": (Theirs("bias"), Theirs("bias_param")),
    },
    FactorizedReadout: {
        "mask": (Theirs("mask_weights", "(h w) n -> n h w"),),
        "features": (Theirs("feature_weights", "c n -> n c"),),
        "bias": (Theirs("bias"),),
    },
    PointGaussianReadout: {
        "sigma": (Theirs("sigma", "1 n 1 x -> n x"), Theirs("sigma", "1 n y x -> n y x")),
        "features": (Theirs("_features", "1 c 1 n -> n c"),),
        "feature_scale": (Theirs("scales", "1 1 1 n -> n"),),
        "bias": (Theirs("bias"),),
    },
    OwnMeans: {"positions": (Theirs("_mu", "1 n 1 x -> n x"),)},
    SharedMeans: {"positions": (Theirs("_mu", "1 n 1 x -> n x"),)},
    PredictedMeans: {"source": (Theirs("source_grid"),)},
    LnpReadout: {
        "kernel": (Theirs("inner_product_kernel.weight", "n c 1 h w -> n c h w"),),
        "bias": (Theirs("inner_product_kernel.bias"),),
    },
    SeparableLnpReadout: {
        "spatial": (Theirs("space_conv.weight", "r c 1 h w -> 1 r c h w"),),
        "temporal": (Theirs("time_conv.weight", "1 r t 1 1 -> 1 r t"),),
        "bias": (Theirs("nonlinearity.b", "-> 1"),),
        "scale": (Theirs("nonlinearity.w", "-> 1"),),
    },
    SpatialContrastReadout: {
        "spatial": (Theirs("spatial_filters"), Theirs("spatial_filter", "h w -> 1 h w")),
        "temporal": (Theirs("temporal_filters"), Theirs("temporal_filter", "t -> 1 t")),
        "w": (Theirs("w"), Theirs("w", "-> 1")),
        **{name: (Theirs(f"nl_{name}"), Theirs(f"nl_{name}", "-> 1")) for name in "abc"},
    },
    ClonedReadout: {"alpha": (Theirs("alpha"),), "beta": (Theirs("beta"),)},
    SparseAutoencoder: {
        "bias": (Theirs("bias"),),
        "encoder": (Theirs("encoder.weight", "h n -> n h"),),
        "encoder_bias": (Theirs("encoder.bias"),),
        "decoder": (Theirs("decoder.weight", "n h -> h n"),),
    },
}
# where openretina keeps a part of ours, the beginning of the names if it is a list; others have the same name
PARTS: Mapping[tuple[type, str], str] = {
    (SimpleCore, "layers"): "features.layer",
    (SimpleCore, "grey"): "color_squashing_layer",
    (GruCore, "films"): "film_",
    (GruCore, "projection"): "features.projection.0",
    (GruCore, "gru"): "features.gru",
    (ConvGru, "cell"): "gru",
    (FiLM, "gamma"): "fc_gamma",
    (FiLM, "beta"): "fc_beta",
    (PointGaussianReadout, "means"): "",
    (MappedMeans, "shared"): "",
    (PredictedMeans, "network"): "",
    (nnx.Sequential, "layers"): "mu_transform.",
    (ClonedReadout, "source"): "_source",
}
# what follows from the options, counts batches, or is listed a second time
NOT_TAKEN = re.compile(
    r"(^|\.)(filter|num_batches_tracked|grid|sf_sums|spatial_filter_sum"
    r"|(feature|grid)_sharing_index|_log_speed_default|(conv|projection\.0)\.log_speed_\w+)$"
)
UNUSED: Mapping[type, str] = {FactorizedReadout: "bias", SpatialContrastReadout: "bias"}


def correspondence(module: nnx.Module) -> dict[str, tuple[Theirs, ...]]:
    """openretina's arrays for each of ours, by its dotted path; what it has no counterpart of is left out."""
    found = {}
    for path, _ in nnx.to_flat_state(nnx.state(module)):
        owner, place = _owner(module, path[:-1])
        theirs = _of_class(ARRAYS, type(owner), {}).get(path[-1], ())
        if theirs:
            found[".".join(map(str, path))] = tuple(one._replace(name=place + one.name) for one in theirs)
    return found


def take(
    module: nnx.Module, arrays: Mapping[str, np.ndarray], shapes: Mapping[str, tuple[int, ...]] | None = None
) -> tuple[dict[str, np.ndarray], list[str]]:
    """Arrays of openretina by our paths and in our axes, and what is wrong with them.

    Args:
        module: for whose counterpart the arrays are.
        arrays: by their names in the state dict of that.
        shapes: of our arrays, where they are not those of the module.

    Returns:
        Values by our dotted paths; and a line for every array that is missing, left over or of another shape.
    """
    wanted = {".".join(map(str, path)): value.shape for path, value in nnx.to_flat_state(nnx.state(module))}
    wanted |= shapes or {}
    values, problems, used = {}, [], set()
    for path, candidates in correspondence(module).items():
        given = [theirs for theirs in candidates if theirs.name in arrays]
        if not given:
            problems.append(f"{candidates[0].name} is missing")
            continue
        used.add(given[0].name)
        fitting = [
            array for theirs in given if (array := to_ours(arrays[theirs.name], theirs.axes, wanted[path])) is not None
        ]
        if fitting:
            values[path] = fitting[0]
        else:
            shape, axes = arrays[given[0].name].shape, given[0].axes
            problems.append(f"{given[0].name} has shape {shape} ({axes}), but {path} has {wanted[path]}")
    unused = _of_class(UNUSED, type(module), None)
    left = [name for name in arrays if name not in used and name != unused and not NOT_TAKEN.search(name)]
    return values, problems + [f"{name} is left over" for name in left]


def to_ours(array: np.ndarray, axes: str, shape: tuple[int, ...]) -> np.ndarray | None:
    """An array of openretina in our axes, None if it does not have the shape."""
    if axes == "...":
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


def to_theirs(array: np.ndarray, axes: str) -> np.ndarray:
    """The inverse of ``to_ours``."""
    if axes == "...":
        return array
    theirs, ours = _axes(axes)
    sizes = dict(zip(ours, array.shape, strict=True))
    mine = [name for name in ours if name != "1"]
    moved = array.reshape([sizes[name] for name in mine])
    moved = moved.transpose([mine.index(name) for group in theirs for name in group])
    return moved.reshape([math.prod(sizes[name] for name in group) for group in theirs])


def _axes(axes: str) -> tuple[list[list[str]], list[str]]:
    """openretina's axes as lists of names, empty for one of length 1, and ours, "1" for one of length 1."""
    theirs, ours = axes.split("->")
    groups = re.findall(r"\(.*?\)|\S+", theirs)
    return [[] if group == "1" else group.strip("()").split() for group in groups], ours.split()


def _owner(module: Any, path: tuple[Any, ...]) -> tuple[Any, str]:
    """The part of a module at a path, and what the names of openretina's counterpart begin with."""
    place, above = "", None
    for step in path:
        child = module[step] if isinstance(step, int) else getattr(module, step)
        if isinstance(step, int):
            # openretina numbers the projection among the layers
            skipped = (
                isinstance(above, GruCore) and place.endswith("film_") and above.projection is not None and step > 0
            )
            place += f"{step + skipped}."
        else:
            default = f"{step}." if isinstance(child, nnx.List) else step
            name = next((PARTS[cls, step] for cls in type(module).__mro__ if (cls, step) in PARTS), default)
            place += name if isinstance(child, nnx.List) or not name else f"{name}."
        above, module = module, child
    return module, place


def _of_class(table: Mapping[type, Any], cls: type, default: Any) -> Any:
    """The entry of a class or of the nearest of its bases."""
    return next((table[base] for base in cls.__mro__ if base in table), default)
