"""How windows and neurons are split between devices, and how precisely devices multiply.

The devices form a mesh with two axes, which ``training.sharding`` builds. Along ``DATA`` they share the windows of a
batch, along ``NEURON`` the neurons: columns of responses, rows of readouts. Everything else is replicated. Programs are
written as for one device, and the compiler inserts the communication. The functions here say where windows are split;
without a mesh they change nothing.
"""

import contextlib
import functools
import os
from collections.abc import Callable, Iterator
from contextvars import ContextVar
from pathlib import Path
from typing import Any, Literal, get_args

import jax
import jax.numpy as jnp
import psutil
from flax import nnx
from jax import lax
from jax.sharding import PartitionSpec
from jaxtyping import Array, Float, Num

from openretina_jax.errors import UserError

DATA, NEURON = "data", "neuron"
_compiled_for = jax.make_user_context()  # None: the platform of this machine; functions are traced anew for another
_share_a_part: ContextVar[int] = ContextVar("share_a_part", default=1)  # devices, in a trace of map_windows
_CPU_LIMIT = Path("/sys/fs/cgroup/cpu.max")  # of a container: microseconds of all cores, in so many by the clock


def use_cores() -> None:
    """Give JAX a device for every core of the CPU, before anything is computed: a run shares its windows among them.

    Devices have their numbers to themselves and only add up sums, where threads that share an operation wait for what
    the others have written. What the user has chosen stays (``JAX_NUM_CPU_DEVICES``, or XLA's flag), and several
    processes keep a device each.
    """
    chosen = jax.config.jax_num_cpu_devices != -1  # type: ignore[attr-defined]
    flag = "xla_force_host_platform_device_count" in os.environ.get("XLA_FLAGS", "")
    if not chosen and not flag and not jax.distributed.is_initialized():
        with contextlib.suppress(RuntimeError):  # something is computed already
            jax.config.update("jax_num_cpu_devices", n_cores())


def n_cores() -> int:
    """Count the cores that this process may use at once: of its affinity, of the machine, of its container."""
    affinity = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    numbers = [affinity, psutil.cpu_count(logical=False) or affinity]
    with contextlib.suppress(OSError, ValueError):  # no container, no limit ("max")
        time, period = map(int, _CPU_LIMIT.read_text(encoding="ascii").split())
        numbers.append(time // period)
    return max(min(numbers), 1)


def backend() -> str:
    """Platform that programs are compiled for: "cpu", "gpu" or "tpu"."""
    return _compiled_for.value or jax.default_backend()


def compiling_for(other: str) -> contextlib.AbstractContextManager[None]:
    """Make ``backend`` return another platform for a while, one that this machine need not have."""
    return _compiled_for(other)


def eval_shape(function: Callable[..., Any], *arguments: Any) -> Any:
    """``jax.eval_shape``, as for an accelerator, whose convolution is a single operation: that of CPUs is a hundred."""
    with compiling_for("gpu"):
        return jax.eval_shape(function, *arguments)


def count(*axes: str) -> int:
    """Number of devices along some axes of the mesh; 1 without one."""
    shape = jax.sharding.get_abstract_mesh().shape
    number = 1
    for axis in axes:
        number *= shape.get(axis, 1)
    return number


def everywhere(tree: Any) -> Any:
    """Replicate arrays: the same numbers, whole on every device."""
    return jax.lax.with_sharding_constraint(tree, PartitionSpec()) if count(DATA, NEURON) > 1 else tree


def spread(x: Num[Array, "part window *shape"]) -> Num[Array, "part window *shape"]:
    """Shard the windows of all parts, one part after the other: each device takes the next equal share."""
    if count(DATA) == 1:
        return x
    flat = jax.lax.with_sharding_constraint(x.reshape(-1, *x.shape[2:]), PartitionSpec(DATA))
    return flat.reshape(x.shape)


def map_windows(
    function: Callable[..., Array],
    module: nnx.Module,
    common: Any,
    of_windows: Any,
    of_parts: Any,
    *,
    train: bool,
    last: str,
) -> Num[Array, "window *new_shape"]:
    """Compute ``function(module, common, of_windows, of_parts)``, every device for its own windows.

    Left to itself, the compiler gathers all windows on every device wherever their axis is merged with another. Inside
    the function, ``batch_moments``, ``local_slice`` and ``slice_of_part`` take the windows of the other devices into
    account. Gradients are summed over the devices in one all-reduce.

    Args:
        function: returns an entry for each of its windows, which are equal parts one after the other.
        module: parameters and statistics that it uses.
        common: arrays that are the same for all windows.
        of_windows: arrays with an entry for each window.
        of_parts: arrays with an entry for each part; a device that has a share of a part gets the entry of that part.
        train: whether the function updates the batch statistics of the module.
        last: part of the module whose gradients the backward pass computes last.
    """
    devices, n_windows = count(DATA), jax.tree.leaves(of_windows)[0].shape[0]
    if devices == 1 or n_windows % devices:
        return function(module, common, of_windows, of_parts)
    graph, params, others = nnx.split(module, nnx.Param, ...)  # type: ignore[misc]
    share = -(-devices // len(jax.tree.leaves(of_parts)[0]))
    of_parts = jax.tree.map(lambda x: jnp.repeat(x, share, axis=0), of_parts)

    def of_device(params: Any, others: Any, common: Any, of_windows: Any, of_parts: Any) -> tuple[Array, nnx.State]:
        copy = nnx.merge(graph, _with_joint_gradients(last, params), others)
        token = _share_a_part.set(share)
        try:
            return function(copy, common, of_windows, of_parts), nnx.state(copy, nnx.BatchStat)
        finally:
            _share_a_part.reset(token)

    replicated, sharded = PartitionSpec(), PartitionSpec(DATA)
    of_all = jax.shard_map(
        of_device,
        in_specs=(replicated, replicated, replicated, sharded, sharded),
        out_specs=(sharded, replicated),
        axis_names={DATA},
        check_vma=False,  # the layers inside are written for one device and do not declare what varies between them
    )
    result, statistics = of_all(params, others, common, of_windows, of_parts)
    if train:
        nnx.update(module, statistics)
    return result


@functools.partial(jax.custom_vjp, nondiff_argnums=(0,))
def _with_joint_gradients(last: str, params: Any) -> Any:
    """Identity; its backward pass waits for every gradient, so that one all-reduce suffices."""
    del last
    return params


def _wait_for_all(last: str, _: None, gradients: Any) -> tuple[Any]:
    # adding 0 times the gradients that come last makes all others wait; the compiler may not drop it, as 0 * inf is NaN
    latest = [gradient.ravel()[0].astype(jnp.float32) for gradient in jax.tree.leaves(gradients.get(last, ()))]
    zero = 0 * sum(latest, start=jnp.zeros(()))
    return (jax.tree.map(lambda gradient: gradient + zero.astype(gradient.dtype), gradients),)


_with_joint_gradients.defvjp(lambda last, params: (params, None), _wait_for_all)


def _sees_own_windows_only() -> bool:
    """Whether this is traced inside ``map_windows`` on several devices."""
    return DATA in jax.sharding.get_abstract_mesh().manual_axes


def batch_moments(
    x: Float[Array, "*shape"], axes: tuple[int, ...]
) -> tuple[Float[Array, "*rest"], Float[Array, "*rest"], int]:
    """Mean and variance over ``axes`` and over the windows of all devices, and the number of values averaged."""
    mean, variance = x.mean(axes), x.var(axes)
    number = x.size // mean.size
    if not _sees_own_windows_only():
        return mean, variance, number
    # devices have equally many windows: the total variance is the mean variance within them plus that of their means
    of_all = jax.lax.pmean(mean, DATA)
    return of_all, jax.lax.pmean(variance + jnp.square(mean - of_all), DATA), number * count(DATA)


def local_slice(draw: Callable[[int], Array], n_windows: int) -> Array:
    """This device's share of ``draw(all windows)``: the numbers do not depend on how many devices there are.

    Args:
        draw: random numbers for a number of windows, which are the first axis.
        n_windows: windows of this device.
    """
    if not _sees_own_windows_only():
        return draw(n_windows)
    drawn = draw(n_windows * count(DATA))
    return jax.lax.dynamic_slice_in_dim(drawn, jax.lax.axis_index(DATA) * n_windows, n_windows)


def slice_of_part(draw: Callable[[int], Array], n_windows: int) -> Array:
    """This device's share of ``draw(all windows of a part)``, see ``local_slice``.

    Args:
        draw: random numbers for a number of windows, which are the first axis.
        n_windows: windows of this device in the part.
    """
    share = _share_a_part.get()
    if share == 1:
        return draw(n_windows)
    drawn = draw(n_windows * share)
    return jax.lax.dynamic_slice_in_dim(drawn, jax.lax.axis_index(DATA) % share * n_windows, n_windows)


MatmulPrecision = Literal["highest", "high", "default"]


def precision() -> lax.Precision | None:
    """Precision of matrix products and convolutions: full, unless ``jax.default_matmul_precision`` chooses another.

    JAX's default is TensorFloat-32 on GPUs and bfloat16 on TPUs, which keep about three digits of every number.
    """
    chosen = jax.config.jax_default_matmul_precision  # type: ignore[attr-defined]
    return lax.Precision.HIGHEST if chosen is None else None


def matmul_precision(chosen: str) -> contextlib.AbstractContextManager[None]:
    """Set the precision of matrix products for a while, by a name that a user wrote."""
    if chosen not in get_args(MatmulPrecision):
        known = " or ".join(get_args(MatmulPrecision))
        raise UserError(f'matmul_precision is "{chosen}"; choose {known}')
    return jax.default_matmul_precision(chosen)


@contextlib.contextmanager
def own_numbers() -> Iterator[None]:
    """Block that computes in single precision, and where NaN stands for what was not recorded.

    ``JAX_ENABLE_X64`` and ``JAX_DEBUG_NANS`` of a notebook mean other computations: a run has the same numbers with
    them, and stops by itself at the first loss or gradient that is not finite.
    """
    with jax.enable_x64(False), jax.debug_nans(False):
        yield
