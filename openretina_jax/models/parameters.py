"""The numbers of a model by readable paths, and a table of its layers."""

from collections.abc import Mapping
from typing import Any

import jax
import pandas as pd
from flax import nnx

from openretina_jax.models.core_readout import CoreReadout, Model, output_shape


def parameters(model: nnx.Module) -> Mapping[str, jax.Array]:
    """All parameters by their paths, such as ``core.layers[0].conv.spatial``."""
    return {path_name(path): value[...] for path, value in nnx.to_flat_state(nnx.state(model, nnx.Param))}


def path_name(path: tuple[Any, ...]) -> str:
    """A path as one writes it in Python: ``("layers", 0, "sin")`` is ``layers[0].sin``."""
    return "".join(f"[{key}]" if isinstance(key, int) else f".{key}" for key in path).removeprefix(".")
