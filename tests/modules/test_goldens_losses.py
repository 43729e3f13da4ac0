from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from openretina_jax.modules import losses
from tests.goldens_case import Case, cases

CASES = cases("loss")
GAMMA = 2e-4  # fixed in the reference


def reduced(value: jax.Array, options: dict) -> jax.Array:
    """The reference's reductions: sum, mean, or one mean per neuron."""
    if options.get("per_neuron"):
        return value.reshape(-1, value.shape[-1]).mean(axis=0)
    return value.mean() if options.get("avg") else value.sum()


def loss_function(kind: str, case: Case, options: dict) -> Callable[..., jax.Array]:
    """The reference's loss made of ours, of the prediction (and the rate before the calcium kernel)."""
    target = jnp.asarray(case.array("input/target"))
    epsilon = options.get("bias", losses.EPSILON)
    sign = -1.0 if options.get("negate", True) else 1.0

    def weight() -> jax.Array:
        groups, counts = (jnp.asarray(case.array(f"input/{n}")) for n in ("group_assignment", "group_counts"))
        return losses.cell_type_weight(groups, counts)

    def call(output: jax.Array, rate: jax.Array | None = None) -> jax.Array:
        response = losses.without_lag(target, output.shape[1])
        if kind in ("PoissonLoss3d", "StandardPoissonLoss3d"):
            return reduced(losses.poisson(output, response, epsilon), options)
        if kind == "L1PoissonLoss3d":
            return reduced(losses.l1_poisson(output, response, options.get("gamma_l1", 1e-3), epsilon), options)
        if kind == "CelltypePoissonLoss3d":
            return reduced(losses.poisson(output, response, epsilon) * weight()[:, None], options)
        if kind == "CorrelationLoss3d":
            return sign * reduced(losses.correlation(output, response, epsilon=epsilon), options)
        if kind == "L1CorrelationLoss3d":
            # where the reference sums, it sums the rate over time as well; it adds the rate whatever the sign
            gamma = -sign * GAMMA * (1 if options.get("avg") else output.shape[1])
            return sign * reduced(losses.l1_correlation(output, response, None, rate, gamma, epsilon), options)
        if kind == "CelltypeCorrelationLoss3d":
            return sign * reduced(losses.correlation(output, response, epsilon=epsilon) * weight(), options)
        if kind == "ScaledCorrelationLoss3d":
            value = losses.scaled_correlation(output, response, frames=options["scale"], epsilon=epsilon)
            return sign * reduced(value, options)
        if kind == "MSE3d":
            return losses.squared_error(output, response).sum()
        raise KeyError(kind)

    return call


def value_and_gradients(loss: Callable[..., jax.Array], *arrays: jax.Array) -> tuple[jax.Array, tuple[jax.Array, ...]]:
    """The loss, and the gradient of the sum of its numbers with respect to every array."""
    value, pullback = jax.vjp(loss, *arrays)
    return value, pullback(jnp.ones_like(value))


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_loss_group(case: Case) -> None:
    """Every case of the group; a loss that is not known is a KeyError."""
    kind = case.entry["path"].rsplit(".", 1)[1]
    output = jnp.asarray(case.array("input/output"))
    if "variants" not in case.kwargs:
        return check_single(case, kind, output)
    arrays = [output]
    if "input/pre_ca" in case.names:
        arrays.append(jnp.asarray(case.array("input/pre_ca").swapaxes(1, 2)))
    functions = {name: loss_function(kind, case, options) for name, options in case.kwargs["variants"].items()}

    @jax.jit  # one program for all variants
    def of_variants(*arrays: jax.Array) -> dict[str, Any]:
        return {name: value_and_gradients(loss, *arrays) for name, loss in functions.items()}

    found = of_variants(*arrays)
    for variant, options in case.kwargs["variants"].items():
        value, gradients = found[variant]
        case.check(f"output/{variant}", value)
        case.check(f"grad_input/{variant}", gradients[0])
        if f"grad_pre_ca/{variant}" in case.names:
            case.check(f"grad_pre_ca/{variant}", np.swapaxes(gradients[1], 1, 2))
        if f"per_neuron_correlations/{variant}" in case.names:
            check_per_neuron(case, kind, variant, options, output)
    return None


def check_per_neuron(case: Case, kind: str, variant: str, options: dict, output: jax.Array) -> None:
    """What the reference keeps beside the loss; it is negated for all but the plain correlation."""
    per_neuron = {"per_neuron": True, "negate": kind != "CorrelationLoss3d"}
    kind = kind.removeprefix("L1")
    loss = jax.jit(loss_function(kind, case, options | per_neuron))
    case.check(f"per_neuron_correlations/{variant}", loss(output))


def check_single(case: Case, kind: str, output: jax.Array) -> None:
    if case.name == "correlation_constant_traces":
        case.check("output/neg_per_neuron", loss_function(kind, case, {"per_neuron": True})(output))
        case.check("output/avg", loss_function(kind, case, {"avg": True, "negate": False})(output))
    else:
        assert case.name == "poisson_zero_rate", case.name
        outputs = [name for name in case.names if name.startswith("output")]
        assert outputs
        for name in outputs:
            options = {"": {}, "avg": {"avg": True}, "per_neuron": {"per_neuron": True}, "sum": {}}
            case.check(name, loss_function(kind, case, options[name.partition("/")[2]])(output))
