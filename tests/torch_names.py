"""The reference's parameters under our names and in our shapes, for tests against frozen numbers."""

import re
from collections.abc import Mapping

import jax
import numpy as np
from flax import nnx

IGNORED = r"(laplace\.filter|num_batches_tracked|grid|sf_sums)$"

RENAMED = [
    (r"features\.layer(\d+)\.", r"layers.\1."),
    (r"color_squashing_layer\.channel_weights", "color_weights"),
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
    (r"bias\.bias", "bias"),
    (r"scale_param", "scale"),
    (r"_log_speed_default", "log_speed"),
    (r"(^|\.conv\.)conv\.weight", r"\1kernel"),
    (r"^channel_weights", "weights"),
    (r"fc_(gamma|beta)\.weight", r"\1.kernel"),
    (r"fc_(gamma|beta)\.bias", r"\1.bias"),
    (r"(^|\.conv\.)conv\.bias", r"\1bias"),
]


def ours(name: str, array: np.ndarray) -> tuple[str, np.ndarray]:
    """Our dotted path and shape for a parameter (or its gradient) of the reference."""
    for pattern, replacement in RENAMED:
        name = re.sub(pattern, replacement, name)
    if name.endswith(("spatial", "temporal")):
        array = array[:, :, 0] if name.endswith("spatial") else array[..., 0, 0]
    elif name.endswith("features"):
        array = array[0, :, 0].T
    elif name.endswith(("gamma.kernel", "beta.kernel")):
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


def fit_kernels(values: dict[str, np.ndarray], variables: Mapping[str, object]) -> dict[str, np.ndarray]:
    """A time-independent layer calls its ``(out, in, 1, height, width)`` kernel ``spatial``."""
    fitted = {}
    for name, value in values.items():
        spatial = name.replace("kernel", "spatial")
        fitted[spatial if name not in variables and spatial in variables else name] = (
            value[:, :, 0] if name not in variables and spatial in variables else value
        )
    return fitted
