"""One check for every module that the reference froze: output, gradients, penalties, both modes, running statistics."""

import re
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from tests import torch_names
from tests.goldens_case import Case

Call = Callable[[Any, jax.Array], jax.Array]


def channels_last(array: np.ndarray) -> jax.Array:
    """``b c t h w`` to ``b t h w c``, and so without time; other arrays as they are."""
    return jnp.asarray(np.moveaxis(array, 1, -1) if array.ndim in (4, 5) else array)


def channels_first(array: jax.Array) -> np.ndarray:
    """The inverse of ``channels_last``."""
    return np.moveaxis(np.asarray(array), -1, 1) if array.ndim in (4, 5) else np.asarray(array)


def check_module(
    case: Case,
    module: nnx.Module,
    call: Call = lambda module, x: module(x),
    train_call: Call | None = None,
    penalty: Callable[[Any], jax.Array] | None = None,
    ignore: str = r"$^",
) -> None:
    """Load the case's parameters into ``module`` and compare everything that the case holds."""
    params = {name: value for name, value in case.under("param").items() if not re.search(ignore, name)}
    if params:
        torch_names.load(module, params)
    if "output" in case.names:
        check_mode(case, module, call, "", ignore)
    if train_call is not None and "train/output" in case.names:
        check_mode(case, module, train_call, "train/", ignore)
    if penalty is not None and "regularizer" in case.names:
        check_penalty(case, module, penalty)


def check_mode(case: Case, module: nnx.Module, call: Call, mode: str, ignore: str) -> None:
    """Output and gradients in one mode; in training mode the running statistics as well."""
    graph, params, rest = nnx.split(module, nnx.Param, ...)
    x, cotangent = channels_last(case.array("input/x")), channels_last(case.array("cotangent"))

    @jax.jit
    def run(params: nnx.State, x: jax.Array) -> Any:
        def scalar(params: nnx.State, x: jax.Array) -> Any:
            module = nnx.merge(graph, params, rest, copy=True)
            output = call(module, x)
            return (output * cotangent).sum(), (output, nnx.state(module))

        return jax.grad(scalar, argnums=(0, 1), has_aux=True)(params, x)

    (gradients, gradient_x), (output, state) = run(params, x)
    case.check(f"{mode}output", channels_first(output))
    if f"{mode}grad_input" in case.names:
        case.check(f"{mode}grad_input", channels_first(gradient_x))
    check_arrays(case, f"{mode}grad", gradients, ignore)
    after = "after" if mode else "after_eval"
    check_arrays(case, after, state, ignore + "|num_batches_tracked")


def check_penalty(case: Case, module: nnx.Module, penalty: Callable[[Any], jax.Array]) -> None:
    """Value and gradients of the regulariser at the stored parameters."""
    graph, params, rest = nnx.split(module, nnx.Param, ...)
    judge = jax.jit(jax.value_and_grad(lambda params: penalty(nnx.merge(graph, params, rest, copy=True))))
    value, gradients = judge(params)
    case.check("regularizer", value)
    # where the reference cuts its penalty from the graph there is nothing to compare
    check_arrays(case, "grad_reg", gradients, r"$^")


def check_arrays(case: Case, prefix: str, state: nnx.State, ignore: str) -> None:
    """Compare each array under a prefix with its counterpart in a state."""
    found = {".".join(map(str, path)): value for path, value in nnx.to_flat_state(state)}
    for name, reference in case.under(prefix).items():
        if re.search(ignore, name) or re.search(torch_names.IGNORED, name):
            continue
        translated = torch_names.fit_kernels(torch_names.translated({name: reference}), found)
        ((path, expected),) = translated.items()
        value = np.asarray(found[path][...])
        assert value.shape == expected.shape, (name, value.shape, expected.shape)
        atol = case.entry["arrays"][f"{prefix}/{name}"].get("atol", 1e-6)
        np.testing.assert_allclose(value, expected, rtol=1e-5, atol=atol, err_msg=f"{case.name}: {prefix}/{name}")
