"""Where there are several devices: which windows and which neurons are a device's own.

The devices form a mesh with two axes, which ``training.sharding`` builds. Along ``DATA`` they share the windows of a
batch and the rows of the table of responses, along ``NEURON`` the neurons: columns of responses, rows of readouts. All
else is on every device. Programs say what is computed as for one device, and the compiler adds what the devices must
tell each other. The functions here say where it splits windows; without a mesh they change nothing.
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx
from jax.sharding import PartitionSpec
from jaxtyping import Array, Num

DATA, NEURON = "data", "neuron"


def count(*axes: str) -> int:
    """Number of devices along some axes of the mesh; 1 without one."""
    shape = jax.sharding.get_abstract_mesh().shape
    number = 1
    for axis in axes:
        number *= shape.get(axis, 1)
    return number


def everywhere(tree: Any) -> Any:
    """The same arrays, whole on every device."""
    return jax.lax.with_sharding_constraint(tree, PartitionSpec()) if count(DATA, NEURON) > 1 else tree


def spread(x: Num[Array, "part window *shape"]) -> Num[Array, "part window *shape"]:
    """The same array, with the windows of all parts spread over the devices: each takes the next equal share."""
    if count(DATA) == 1:
        return x
    flat = jax.lax.with_sharding_constraint(x.reshape(-1, *x.shape[2:]), PartitionSpec(DATA))
    return flat.reshape(x.shape)


def filled(x: Num[Array, "window *shape"]) -> Num[Array, "more_windows *shape"]:
    """Windows, and some of them again, so that all devices have equally many."""
    missing = -len(x) % count(DATA)
    return jnp.take(x, jnp.arange(len(x) + missing), axis=0, mode="wrap") if missing else x


def apart(
    module: Callable[..., Array], x: Num[Array, "window *shape"], *of_parts: Num[Array, " part"] | None
) -> Num[Array, "window *new_shape"]:
    """``module(x, *of_parts)`` for a module that computes every window on its own; every device takes its own windows.

    The compiler alone would bring all windows together wherever a module mixes their axis with others.

    Args:
        module: an ``nnx.Module``.
        x: windows of all parts.
        of_parts: one number for each part of the windows.
    """
    devices = count(DATA)
    if devices == 1 or len(x) % devices:
        return module(x, *of_parts)
    graph, variables = nnx.split(module)
    # a device may have a share of one part only
    of_parts = tuple(n if n is None else jnp.repeat(n, -(-devices // len(n))) for n in of_parts)

    def own(variables: nnx.State, x: Array, *of_parts: Array | None) -> Array:
        return nnx.merge(graph, variables)(x, *of_parts)

    own_windows = (PartitionSpec(DATA),) * (1 + len(of_parts))
    split = jax.shard_map(
        own,
        in_specs=(PartitionSpec(), *own_windows),
        out_specs=PartitionSpec(DATA),
        axis_names={DATA},
        check_vma=False,  # modules need not know that their windows are those of one device
    )
    return split(variables, x, *of_parts)
