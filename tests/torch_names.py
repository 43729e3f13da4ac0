"""The reference's parameters under our names and in our shapes, for tests against frozen numbers."""

import re
from collections.abc import Mapping
from typing import Any

import jax
import numpy as np
from flax import nnx

IGNORED = r"(laplace\.filter|num_batches_tracked|(?<!source_)grid|sf_sums|spatial_filter_sum)$"

RENAMED = [
    (r"features\.layer(\d+)\.", r"layers.\1."),
    (r"color_squashing_layer\.channel_weights", "grey.weights"),
    (r"sin_weights", "sin"),
    (r"cos_weights", "cos"),
    (r"weight_spatial", "spatial"),
    (r"space_conv\.weight", "spatial"),
    (r"space_conv\.bias", "spatial_bias"),
    (r"time_conv\.weight", "temporal"),
    (r"time_conv\.bias", "temporal_bias"),
    (r"norm\.weight", "norm.scale"),
    (r"running_mean", "mean"),
    (r"running_var", "variance"),
    (r"scale_param", "scale"),
    (r"_log_speed_default", "log_speed"),
    (r"(^|\.conv\.)conv\.weight", r"\1kernel"),
    (r"^channel_weights", "weights"),
    (r"fc_(gamma|beta)\.weight", r"\1.kernel"),
    (r"fc_(gamma|beta)\.bias", r"\1.bias"),
    (r"(^|\.conv\.)conv\.bias", r"\1bias"),
    (r"mask_weights", "mask"),
    (r"feature_weights", "features"),
    (r"inner_product_kernel\.weight", "kernel"),
    (r"inner_product_kernel\.bias", "bias"),
    (r"nonlinearity\.b$", "bias"),
    (r"nonlinearity\.w$", "scale"),
    (r"(spatial|temporal)_filters?$", r"\1"),
    (r"nl_([abc])$", r"\1"),
    (r"(^|\.)_source\.", r"\1source."),
    (r"(^|\.)_features$", r"\1features"),
    (r"(^|\.)scales$", r"\1feature_scale"),
    (r"feature_sharing_index$", "feature_index"),
    (r"(^|\.)_mu$", r"\1means.positions"),
    (r"grid_sharing_index$", "means.index"),
    (r"source_grid$", "means.source"),
    (r"mu_transform\.(\d+)\.weight", r"means.network.layers.\1.kernel"),
    (r"mu_transform\.(\d+)\.bias", r"means.network.layers.\1.bias"),
]


def ours(name: str, array: np.ndarray) -> tuple[str, np.ndarray]:
    """Our dotted path and shape for a parameter (or its gradient) of the reference."""
    for pattern, replacement in RENAMED:
        name = re.sub(pattern, replacement, name)
    if name.endswith(("spatial", "temporal")) and array.ndim == 5:
        array = array[:, :, 0] if name.endswith("spatial") else array[..., 0, 0]
    elif name.endswith("features"):
        array = (array[0, :, 0] if array.ndim == 4 else array).T
    elif name.endswith(("means.positions", "sigma")):
        array = array[0, :, 0] if array.shape[2] == 1 else array[0]
    elif name.endswith(("gamma.kernel", "beta.kernel", "mask")) or "network" in name:
        array = array.T
    elif name.endswith(("bias", "scale")) and array.ndim > 3:
        array = array.ravel()
    elif name.endswith("log_speed"):
        array = array[0]
    return name, array


def translated(arrays: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """All arrays that we have a counterpart for."""
    return dict(ours(name, array) for name, array in arrays.items() if not re.search(IGNORED, name))


def paths(module: nnx.Module) -> dict[str, nnx.Variable]:
    """Every variable of a module by its dotted path."""
    return {".".join(map(str, path)): variable for path, variable in nnx.to_flat_state(nnx.state(module))}


def load(module: nnx.Module, arrays: Mapping[str, np.ndarray]) -> None:
    """Give a module the reference's parameters; fails unless every variable is given once, in its shape."""
    variables = paths(module)
    values = fit_kernels(translated(arrays), variables)
    # only our separable convolutions have a speed: the others store the reference's number and never use it
    values = {name: value for name, value in values.items() if name in variables or not name.endswith("log_speed")}
    assert set(values) == set(variables), set(values) ^ set(variables)
    flat = []
    for path, variable in nnx.to_flat_state(nnx.state(module)):
        value = values[".".join(map(str, path))]
        assert value.shape == variable.shape, (path, value.shape, variable.shape)
        flat.append((path, variable.replace(jax.numpy.asarray(value))))
    nnx.update(module, nnx.from_flat_state(flat))


def fit_kernels(values: dict[str, np.ndarray], variables: Mapping[str, Any]) -> dict[str, np.ndarray]:
    """Values in the shapes that our variables have, where that depends on the module.

    A time-independent layer calls its ``(out, in, 1, height, width)`` kernel ``spatial``.
    """
    fitted = {}
    for name, value in values.items():
        spatial = name.replace("kernel", "spatial")
        ours = spatial if name not in variables and spatial in variables else name
        fitted[ours] = fit_axes(value, variables[ours].shape) if ours in variables else value
    return fitted


def fit_axes(value: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """A value without the time of a single frame, with the neuron of a single cell, with height and width of a mask."""
    if value.ndim == 5 and len(shape) == 4:
        return value[:, :, 0]
    if (1, *value.shape) == shape:
        return value[None]
    if value.ndim == 2 and len(shape) == 3:
        return value.reshape(len(value), *shape[1:])
    return value
