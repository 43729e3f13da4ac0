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
Penalty = Callable[[Any], jax.Array]


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
    penalty: Penalty | None = None,
    ignore: str = r"$^",
) -> None:
    """Load the case's parameters into ``module`` and compare everything that the case holds."""
    params = {name: value for name, value in case.under("param").items() if not re.search(ignore, name)}
    if params:
        reference.load(module, params, sessions_of(case))
    check_loaded(case, module, call, train_call, penalty, ignore)


def check_loaded(
    case: Case,
    module: nnx.Module,
    call: Call,
    train_call: Call | None = None,
    penalty: Penalty | None = None,
    ignore: str = r"$^",
) -> None:
    """Compare a module that has its parameters; one program computes both modes and the regulariser."""
    modes = {"": call, "train/": train_call}
    calls = {mode: call for mode, call in modes.items() if call is not None and f"{mode}output" in case.names}
    judge = penalty if "regularizer" in case.names else None
    graph, params, rest = nnx.split(module, nnx.Param, ...)
    x, cotangent = (channels_last(case.array(name)) if calls else None for name in ("input/x", "cotangent"))

    @jax.jit
    def run(params: nnx.State, x: jax.Array | None) -> Any:
        def scalar(call: Call, params: nnx.State, x: jax.Array) -> Any:
            module = nnx.merge(graph, params, rest, copy=True)
            output = call(module, x)
            return (output * cotangent).sum(), (output, nnx.state(module))

        def value(params: nnx.State) -> jax.Array:
            return judge(nnx.merge(graph, params, rest, copy=True))

        gradient = jax.grad(scalar, argnums=(1, 2), has_aux=True)
        of_modes = {mode: gradient(call, params, x) for mode, call in calls.items()}
        return of_modes, None if judge is None else jax.value_and_grad(value)(params)

    of_modes, judged = run(params, x)
    for mode, ((gradients, gradient_x), (output, state)) in of_modes.items():
        case.check(f"{mode}output", channels_first(output))
        if f"{mode}grad_input" in case.names:
            case.check(f"{mode}grad_input", channels_first(gradient_x))
        check_arrays(case, f"{mode}grad", module, gradients, ignore)
        check_arrays(case, "after" if mode else "after_eval", module, state, ignore)
    if judged is not None:
        case.check("regularizer", judged[0])
        # where the reference cuts its penalty from the graph there is nothing to compare
        check_arrays(case, "grad_reg", module, judged[1])


def with_gradients(call: Callable[..., Any]) -> Callable[..., tuple[Any, ...]]:
    """Of a cotangent and the arguments: the value, and the gradient of every argument."""

    def function(cotangent: Any, *arguments: jax.Array) -> tuple[Any, ...]:
        value, pullback = jax.vjp(call, *arguments)
        return value, *pullback(cotangent)

    return function


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
