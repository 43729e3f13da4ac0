"""Where there are several devices: which windows and which neurons are a device's own.

The devices form a mesh with two axes, which ``training.sharding`` builds. Along ``DATA`` they share the windows of a
batch and the rows of the table of responses, along ``NEURON`` the neurons: columns of responses, rows of readouts. All
else is on every device. Programs say what is computed as for one device, and the compiler adds what the devices must
tell each other. The functions here say where it splits windows; without a mesh they change nothing.
"""

import contextlib
from collections.abc import Callable, Iterator
from contextvars import ContextVar
from typing import Any, Literal, get_args

import jax
import jax.numpy as jnp
from flax import nnx
from jax import lax
from jax.sharding import PartitionSpec
from jaxtyping import Array, Float, Num

from openretina_jax.errors import UserError

DATA, NEURON = "data", "neuron"
_compiled_for: ContextVar[str | None] = ContextVar("compiled_for", default=None)


def backend() -> str:
    """What programs are compiled for: "cpu", "gpu" or "tpu"."""
    return _compiled_for.get() or jax.default_backend()


@contextlib.contextmanager
def compiling_for(other: str) -> Iterator[None]:
    """Within, ``backend`` is that one, although this machine may not have it."""
    jax.clear_caches()  # of functions that were traced for this machine
    token = _compiled_for.set(other)
    try:
        yield
    finally:
        _compiled_for.reset(token)
        jax.clear_caches()


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
    function: Callable[..., Array],
    module: nnx.Module,
    common: Any,
    of_windows: Any,
    of_parts: Any,
    *,
    train: bool,
) -> Num[Array, "window *new_shape"]:
    """``function(module, common, of_windows, of_parts)``, which every device computes for its own windows.

    The compiler alone would bring all windows together wherever their axis is mixed with others. In the function,
    ``moments`` and ``own`` know of the windows of the other devices. Gradients are added up once, when all are known.

    Args:
        function: makes an entry for each of its windows, which are equal parts one after the other.
        module: what it needs for that.
        common: arrays that are the same for all windows.
        of_windows: arrays with an entry for each window.
        of_parts: arrays with an entry for each part. A device may have a share of a part only: then the entry of that.
        train: whether the function moves the batch statistics of the module.
    """
    devices, n_windows = count(DATA), jax.tree.leaves(of_windows)[0].shape[0]
    if devices == 1 or n_windows % devices:
        return function(module, common, of_windows, of_parts)
    graph, params, others = nnx.split(module, nnx.Param, ...)  # type: ignore[misc]
    of_parts = jax.tree.map(lambda x: jnp.repeat(x, -(-devices // len(x)), axis=0), of_parts)

    def of_device(params: Any, others: Any, common: Any, of_windows: Any, of_parts: Any) -> tuple[Array, nnx.State]:
        copy = nnx.merge(graph, _known_together(params), others)
        return function(copy, common, of_windows, of_parts), nnx.state(copy, nnx.BatchStat)

    everywhere, own = PartitionSpec(), PartitionSpec(DATA)
    split = jax.shard_map(
        of_device,
        in_specs=(everywhere, everywhere, everywhere, own, own),
        out_specs=(own, everywhere),
        axis_names={DATA},
        check_vma=False,  # no function needs to know that its windows are not all
    )
    result, statistics = split(params, others, common, of_windows, of_parts)
    if train:
        nnx.update(module, statistics)
    return result


@jax.custom_vjp
def _known_together(params: Any) -> Any:
    """The same parameters, none of whose gradients is known before all are: then one communication adds them all up."""
    return params


def _wait_for_all(_: None, gradients: Any) -> tuple[Any]:
    # the core's come last, and 0 times a number of each cannot be known before
    of_core = [gradient.ravel()[0] for gradient in jax.tree.leaves(gradients.get("core", ()))]
    last = sum(of_core, start=jnp.zeros(()))
    return (jax.tree.map(lambda gradient: gradient + (0 * last).astype(gradient.dtype), gradients),)


_known_together.defvjp(lambda params: (params, None), _wait_for_all)


def is_apart() -> bool:
    """Whether this is a function that sees the windows of one device only."""
    return DATA in jax.sharding.get_abstract_mesh().manual_axes


def moments(
    x: Float[Array, "*shape"], axes: tuple[int, ...]
) -> tuple[Float[Array, "*rest"], Float[Array, "*rest"], int]:
    """Mean and variance over ``axes`` across all devices, and the number of values averaged."""
    mean, variance = x.mean(axes), x.var(axes)
    number = x.size // mean.size
    if not is_apart():
        return mean, variance, number
    of_all = jax.lax.pmean(mean, DATA)
    return of_all, jax.lax.pmean(variance + jnp.square(mean - of_all), DATA), number * count(DATA)


def own(draw: Callable[[int], Array], n_windows: int) -> Array:
    """What ``draw`` makes for the ``n_windows`` windows of this device, if it makes those of all devices at once."""
    if not is_apart():
        return draw(n_windows)
    drawn = draw(n_windows * count(DATA))
    return jax.lax.dynamic_slice_in_dim(drawn, jax.lax.axis_index(DATA) * n_windows, n_windows)


MatmulPrecision = Literal["highest", "high", "default"]


def precision() -> lax.Precision | None:
    """Of matrix products and convolutions: exact, unless ``jax.default_matmul_precision`` chooses another.

    JAX's own choice is TensorFloat-32 on GPUs and bfloat16 on TPUs, which keep about three digits of every number.
    """
    told = jax.config.jax_default_matmul_precision  # type: ignore[attr-defined]
    return lax.Precision.HIGHEST if told is None else None


def multiplying(chosen: str) -> contextlib.AbstractContextManager[None]:
    """Choose the precision for a while, as ``config.train.matmul_precision`` says it.

    Raises:
        UserError: there is no such precision.
    """
    if chosen not in get_args(MatmulPrecision):
        known = " or ".join(get_args(MatmulPrecision))
        raise UserError(f'config.train.matmul_precision is "{chosen}"; choose {known}')
    return jax.default_matmul_precision(chosen)
