"""Parameters of a model by readable paths, and the multiplications of its parts."""

import math
import re
from collections import Counter
from collections.abc import Mapping

import jax
import jax.extend.core
import jax.numpy as jnp
import pandas as pd
from flax import nnx

from openretina_jax.models.core_readout import CoreReadout
from openretina_jax.models.model import path_name
from openretina_jax.modules.kernels.lowerings import programs_in
from openretina_jax.runtime import devices

PROBE_MAPS = 128  # frames of the probe that leave a map
PART = re.compile(r"\w+(\[\d+\])?")  # einsum opens scopes too, with names like "ab,bc->ac"


def parameters(model: nnx.Module) -> Mapping[str, jax.Array]:
    """All parameters by their paths, such as ``core.layers[0].conv.spatial``."""
    return {path_name(path): value[...] for path, value in nnx.to_flat_state(nnx.state(model, nnx.Param))}


def summary(model: CoreReadout) -> pd.DataFrame:
    """Summarise a model: a row for each layer of the core, for the readout, and for the total.

    Multiplications are those of the program that computes predictions on this machine, per predicted frame, zeros of
    padding and of banded matrices included.

    Returns:
        ``shapes`` of the parameters, number of ``parameters``, and ``multiplications`` by part of the model.
    """
    probe = jax.ShapeDtypeStruct(model.stimulus_shape(model.lag + PROBE_MAPS), jnp.float32)
    maps = devices.eval_shape(model.core, probe)
    counts = multiplications(jax.make_jaxpr(lambda x: model.core(x))(probe).jaxpr, "core")
    counts += multiplications(jax.make_jaxpr(lambda x: model.readout(x))(maps).jaxpr, "readout")
    shapes: dict[str, list[str]] = {}
    sizes: Counter[str] = Counter()
    for path, value in nnx.to_flat_state(nnx.state(model, nnx.Param)):
        part = path_name(path[: 3 if len(path) > 2 and isinstance(path[2], int) else 2 if path[0] == "core" else 1])
        inside = path_name(path).removeprefix(part).removeprefix(".")
        shapes.setdefault(part, []).append(f"{inside} {value.shape}".replace(",)", ")"))
        sizes[part] += value.size
    rows = [
        {
            "part": part,
            "shapes": ", ".join(shapes.get(part, [])),
            "parameters": sizes[part],
            "multiplications": round(counts[part] / PROBE_MAPS),
        }
        for part in sorted(shapes.keys() | counts.keys())
    ]
    total = {"part": "total", "shapes": "", "parameters": sizes.total()}
    rows.append(total | {"multiplications": round(counts.total() / PROBE_MAPS)})
    return pd.DataFrame(rows).set_index("part")


def multiplications(program: jax.extend.core.Jaxpr, scope: str, times: int = 1) -> Counter[str]:
    """Count the multiplications of the matrix products and convolutions of a program, by named scope.

    Args:
        program: the program.
        scope: dotted name of the enclosing scope.
        times: number of times that it runs.
    """
    total: Counter[str] = Counter()
    for equation in program.eqns:
        names = [name for name in str(equation.source_info.name_stack).split("/") if PART.fullmatch(name)]
        inside = ".".join([scope, *names])
        operands = [getattr(operand.aval, "shape", ()) for operand in equation.invars]
        outputs = math.prod(getattr(equation.outvars[0].aval, "shape", ())) if equation.outvars else 0
        if equation.primitive.name == "dot_general":
            (contracted, _), _ = equation.params["dimension_numbers"]
            total[inside] += times * math.prod(operands[0][axis] for axis in contracted) * outputs
        elif equation.primitive.name == "conv_general_dilated":
            out_channels = operands[1][equation.params["dimension_numbers"].rhs_spec[0]]
            total[inside] += times * math.prod(operands[1]) // out_channels * outputs
        runs = times * equation.params.get("length", 1) if equation.primitive.name == "scan" else times
        if equation.primitive.name == "shard_map":  # the program of one device
            runs *= equation.params["mesh"].size
        for inner in programs_in(equation):
            total += multiplications(inner, inside, runs)
    return total
