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
from jaxtyping import Array, Num, Shaped

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


def at_once(tree: Any) -> Any:
    """The same arrays, all known before any is used: so devices add up their parts of all in one communication."""
    return jax.lax.optimization_barrier(tree) if count(DATA, NEURON) > 1 else tree


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
    function: Callable[..., Array],
    module: nnx.Module,
    x: Num[Array, "window *shape"],
    *of_parts: Shaped[Array, " part"] | None,
) -> Num[Array, "window *new_shape"]:
    """``function(module, x, *of_parts)``, which treats every window on its own: each device has its own windows.

    The compiler alone would bring all windows together wherever their axis is mixed with others, and would add up
    gradients before they are those of parameters.

    Args:
        function: what to do with the windows of a device, which are equal parts one after the other.
        module: what it needs for that; the same on all devices.
        x: windows of all parts.
        of_parts: one entry for each part. A device may have a share of a part only: then it has the entry of that.
    """
    devices = count(DATA)
    if devices == 1 or len(x) % devices:
        return function(module, x, *of_parts)
    graph, variables = nnx.split(module)
    of_parts = tuple(entry if entry is None else jnp.repeat(entry, -(-devices // len(entry))) for entry in of_parts)

    def of_device(variables: nnx.State, x: Array, *of_parts: Array | None) -> Array:
        return function(nnx.merge(graph, variables), x, *of_parts)

    own = PartitionSpec(DATA)
    split = jax.shard_map(
        of_device,
        in_specs=(PartitionSpec(), own, *(own for _ in of_parts)),
        out_specs=own,
        axis_names={DATA},
        check_vma=False,  # no function needs to know that its windows are not all
    )
    return split(variables, x, *of_parts)
