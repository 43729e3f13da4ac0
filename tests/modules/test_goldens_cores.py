import functools

import jax
import numpy as np
import pytest
from flax import nnx

from openretina_jax.modules.cores.simple import SimpleCore
from tests.goldens_case import Case, cases, every_case
from tests.module_goldens import check_module
from tests.reference import make_core

CASES = cases("core")
TERMS = {
    "spatial_laplace": "gamma_input",
    "group_sparsity": "gamma_hidden",
    "group_sparsity_0": "gamma_in_sparse",
    "temporal_smoothness": "gamma_temporal",
}


def check_terms(case: Case) -> None:
    for term, gamma in TERMS.items():
        core = make_core(case.entry["path"], case.kwargs | {gamma: 1.0}, case.kwargs["channels"])
        check_module(case, core)
        case.check(f"output/{term}", core.regularizer())


def check_core(case: Case) -> None:
    check_module(
        case,
        make_core(case.entry["path"], case.kwargs, case.kwargs["channels"]),
        train_call=lambda core, x: core(x, train=True),
        penalty=lambda core: core.regularizer(),
    )


@every_case(CASES)
def test_core_group(case: Case) -> None:
    """Every case of the group; one that is not known fails."""
    kind = case.entry["path"].rsplit(".", 1)[1]
    if kind == "DummyCore":
        check_module(case, make_core(case.entry["path"], case.kwargs, (1,)))
    elif case.name == "reg_terms":
        check_terms(case)
    else:
        assert kind == "SimpleCoreWrapper"
        check_core(case)


@pytest.mark.slow
def test_penalties_have_gradients() -> None:
    """The reference cuts some penalties from the graph; ours all move the weights that they judge."""
    for convolution in ("custom_separable", "separable", "full", "time_independent"):
        temporal = convolution in ("custom_separable", "separable")
        for name in ("gamma_input", "gamma_hidden", "gamma_in_sparse", *(("gamma_temporal",) if temporal else ())):
            core = SimpleCore(
                2,
                hidden_channels=(3, 3),
                temporal_kernel_sizes=(6, 3),
                spatial_kernel_sizes=(3, 3),
                convolution=convolution,
                rngs=nnx.Rngs(0),
                **{name: 1.0},
            )
            graph, params, rest = nnx.split(core, nnx.Param, ...)
            penalty = functools.partial(regularizer, graph, rest)
            gradient = jax.jit(jax.grad(penalty))(params)
            assert max(float(np.abs(leaf).max()) for leaf in jax.tree.leaves(gradient)) > 0, (convolution, name)


def regularizer(graph: nnx.GraphDef, rest: nnx.State, params: nnx.State) -> jax.Array:
    return nnx.merge(graph, params, rest, copy=True).regularizer()
