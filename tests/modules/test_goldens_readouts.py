import jax.numpy as jnp
import pytest
from flax import nnx

from openretina_jax.modules.readouts.gaussian_mask import GaussianMaskReadout
from tests.goldens_case import Case, cases
from tests.module_goldens import check_module

CASES = [case for case in cases("readout") if case.entry["path"].endswith("GaussianMaskReadout")]


def build(kwargs: dict, average: bool) -> GaussianMaskReadout:
    channels, _, height, width = kwargs["in_shape"]
    return GaussianMaskReadout(
        (height, width, channels),
        kwargs["outdims"],
        mean_scale=kwargs.get("gaussian_mean_scale", 1.0),
        var_scale=kwargs.get("gaussian_var_scale", 1.0),
        positive=kwargs.get("positive", False),
        scale=kwargs.get("scale", False),
        bias=kwargs.get("bias", True),
        nonlinearity=kwargs.get("nonlinearity_function", "softplus").rsplit(".", 1)[-1],
        gamma_mask=kwargs.get("mask_l1_reg", 1.0),
        gamma_features=kwargs.get("feature_weights_l1_reg", 1.0),
        average_penalty=average,
        rngs=nnx.Rngs(0),
    )


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_gaussian_mask(case: Case) -> None:
    average = "reduction='mean'" in case.entry["call"] + case.entry.get("doc", "").split(";")[0]
    module = build(case.kwargs, average and case.name.endswith("regmean"))
    one_session = jnp.zeros(module.n_neurons, int)
    check_module(
        case,
        module,
        call=with_projection,
        train_call=with_projection,
        penalty=lambda readout: readout.penalty(0, one_session, 1),
    )
    if "masks" in case.names:
        case.check("masks", module.masks().transpose(1, 2, 0))


def with_projection(readout: GaussianMaskReadout, x: jnp.ndarray) -> jnp.ndarray:
    """The reference clips the stored weights whenever it is called."""
    output = readout(x)
    readout.project(jnp.ones(readout.n_neurons, bool))
    return output
