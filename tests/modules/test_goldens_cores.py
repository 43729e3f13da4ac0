import jax
import numpy as np
import pytest
from flax import nnx

from openretina_jax.modules.cores.identity import IdentityCore
from openretina_jax.modules.cores.simple import SimpleCore
from tests.goldens_case import Case, cases, every_case
from tests.module_goldens import check_module

CASES = cases("core")
RENAMED = {
    "maxpool_every_n_layers": "pool_every",
    "downsample_input_kernel_size": "downsample_input",
    "color_squashing_weights": "color_weights",
    "cut_first_n_frames": "cut_first_frames",
    "convolution_type": "convolution",
}
TERMS = {
    "spatial_laplace": "gamma_input",
    "group_sparsity": "gamma_hidden",
    "group_sparsity_0": "gamma_in_sparse",
    "temporal_smoothness": "gamma_temporal",
}


def build(kwargs: dict, **options: object) -> SimpleCore:
    kwargs = {RENAMED.get(name, name): tuple(v) if isinstance(v, list) else v for name, v in kwargs.items()}
    channels = kwargs.pop("channels")
    kwargs.setdefault("hidden_padding", True)
    return SimpleCore(channels[0], hidden_channels=channels[1:], rngs=nnx.Rngs(0), **(kwargs | options))


def check_terms(case: Case) -> None:
    for term, gamma in TERMS.items():
        core = build(case.kwargs, **{gamma: 1.0})
        check_module(case, core)
        case.check(f"output/{term}", core.regularizer())


def check_core(case: Case) -> None:
    kwargs = dict(case.kwargs)
    if "cut_first_n_frames" not in kwargs:
        kwargs["cut_first_n_frames"] = 30
    check_module(
        case,
        build(kwargs),
        train_call=lambda core, x: core(x, train=True),
        penalty=lambda core: core.regularizer(),
    )


@every_case(CASES)
def test_core_group(case: Case) -> None:
    """Every case of the group; one that is not known fails."""
    kind = case.entry["path"].rsplit(".", 1)[1]
    if kind == "DummyCore":
        core = IdentityCore(1, cut_first_frames=case.kwargs["cut_first_n_frames"] or 0)
        check_module(case, core)
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
            gradient = jax.grad(lambda p, graph=graph, rest=rest: nnx.merge(graph, p, rest, copy=True).regularizer())(
                params
            )
            assert max(float(np.abs(leaf).max()) for leaf in jax.tree.leaves(gradient)) > 0, (convolution, name)
