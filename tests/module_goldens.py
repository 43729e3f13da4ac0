"""One check for every module that the reference froze: output, gradients, penalties, both modes, running statistics."""

import re
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from tests import reference
from tests.goldens_case import DEFAULT_ATOL, RTOL, Case

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
        reference.load(module, params, sessions_of(case))
    if "output" in case.names:
        check_mode(case, module, call, "", ignore)
    if train_call is not None and "train/output" in case.names:
        check_mode(case, module, train_call, "train/", ignore)
    if penalty is not None and "regularizer" in case.names:
        check_penalty(case, module, penalty)


def check_mode(case: Case, module: nnx.Module, call: Call, mode: str, ignore: str = r"$^") -> None:
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
    check_arrays(case, f"{mode}grad", module, gradients, ignore)
    check_arrays(case, "after" if mode else "after_eval", module, state, ignore)


def check_penalty(case: Case, module: nnx.Module, penalty: Callable[[Any], jax.Array]) -> None:
    """Value and gradients of the regulariser at the stored parameters."""
    graph, params, rest = nnx.split(module, nnx.Param, ...)
    judge = jax.jit(jax.value_and_grad(lambda params: penalty(nnx.merge(graph, params, rest, copy=True))))
    value, gradients = judge(params)
    case.check("regularizer", value)
    # where the reference cuts its penalty from the graph there is nothing to compare
    check_arrays(case, "grad_reg", module, gradients)


def check_arrays(case: Case, prefix: str, module: nnx.Module, state: nnx.State, ignore: str = r"$^") -> None:
    """Compare each array under a prefix with its counterpart in a state of the module."""
    found = reference.variables(state)
    arrays = {name: array for name, array in case.under(prefix).items() if not re.search(ignore, name)}
    for name, (path, rows, expected) in reference.places(module, arrays, sessions=sessions_of(case)).items():
        close(case, f"{prefix}/{name}", found[path][rows], expected)


def close(case: Case, name: str, value: Any, expected: np.ndarray) -> None:
    """Compare with an array of the case that was brought into our axes."""
    assert value.shape == expected.shape, (name, value.shape, expected.shape)
    atol = case.entry["arrays"][name].get("atol", DEFAULT_ATOL)
    np.testing.assert_allclose(np.asarray(value), expected, rtol=RTOL, atol=atol, err_msg=f"{case.name}: {name}")


def sessions_of(case: Case) -> list[str]:
    """The sessions that a module of the case knows."""
    return list(case.kwargs.get("n_neurons_dict") or ())
