from collections.abc import Callable

import jax
import jax.numpy as jnp
import pytest
from flax import nnx

from openretina_jax.modules import layers, regularizers
from tests import reference
from tests.goldens_case import Case, cases
from tests.module_goldens import channels_first, channels_last, check_loaded, check_module, with_gradients

CASES = cases("layers")


def check_response(case: Case, call: Callable[[jax.Array], jax.Array]) -> None:
    """Value and gradient of a function of one array."""
    output, gradient = jax.jit(with_gradients(call))(case.array("cotangent"), case.array("input/x"))
    case.check("output", output)
    case.check("grad_input", gradient)


def check_laplace(case: Case) -> None:
    size, padding = case.kwargs["filter_size"], case.kwargs["padding"]
    check_response(case, lambda x: regularizers.laplace(x, size, padding))


def check_laplace_1d(case: Case) -> None:
    check_response(case, lambda x: regularizers.laplace_1d(x, case.kwargs["padding"]))


def check_penalty(penalty: Callable[..., jax.Array], n_axes: int, **options: bool) -> Callable[[Case], None]:
    """A check of a normalised penalty of kernels, without axes of length 1."""

    def check(case: Case) -> None:
        average = "avg=True" in case.entry["call"]
        shape = [n for axis, n in enumerate(case.array("input/x").shape) if axis < 2 or n > 1]
        assert len(shape) == n_axes
        padding = case.kwargs.get("padding")
        check_response(case, lambda x: penalty(x.reshape(shape), padding, average, **options))
        if "gaussian2d" in case.names:
            case.check("gaussian2d", regularizers.gaussian_2d(tuple(shape[2:]), sigma=min(shape[2:]) / 4))

    return check


def check_gaussian(case: Case) -> None:
    for variant, kwargs in case.kwargs.items():
        options = dict(kwargs)
        size = options.pop("size")
        if "center" in options:
            options["centre"] = tuple(map(float, options.pop("center")[::-1]))  # ours is row, column
        if "gamma" in options:
            options["ratio"] = options.pop("gamma")
        gaussian = regularizers.gaussian_2d(size if isinstance(size, int) else tuple(size), **options)
        case.check(f"output/{variant}", gaussian)


def check_layer(build: Callable[[dict], nnx.Module]) -> Callable[[Case], None]:
    """A check of a module: what goes out, all gradients, and that exactly what has a gradient is trained."""

    def check(case: Case) -> None:
        module = build(case.kwargs)
        check_module(case, module)
        check_trained(case, module)

    return check


def check_trained(case: Case, module: nnx.Module) -> None:
    trained = {".".join(map(str, path)) for path, _ in nnx.to_flat_state(nnx.state(module, nnx.Param))}
    assert trained == {place.path for place in reference.places(module, case.under("grad")).values()}


def check_softplus(case: Case) -> None:
    """The reference does not store ``a`` where it is not trained."""
    module = layers.ParametrizedSoftplus(**case.kwargs)
    reference.load(module, case.under("param"))
    check_loaded(case, module, lambda module, x: module(x))
    check_trained(case, module)


def check_film(case: Case) -> None:
    film = layers.FiLM(case.kwargs["num_features"], case.kwargs["cond_dim"], rngs=nnx.Rngs(0))
    condition = jnp.asarray(case.array("input/cond"))
    check_module(case, film, call=lambda film, x: film(x, condition))
    check_trained(case, film)
    x, cotangent = channels_last(case.array("input/x")), channels_last(case.array("cotangent"))
    _, gradient_x, gradient_condition = jax.jit(with_gradients(film))(cotangent, x, condition)
    case.check("grad_input/x", channels_first(gradient_x))
    case.check("grad_input/cond", gradient_condition)


class Ensemble(nnx.Module):
    """Mean over members whose parameters are stacked and which run as one."""

    def __init__(self, members: list[nnx.Module]):
        self.members = nnx.List(members)

    def __call__(self, x: jax.Array) -> jax.Array:
        graphs, states = zip(*(nnx.split(member) for member in self.members), strict=True)
        stacked = jax.tree.map(lambda *leaves: jnp.stack(leaves), *states)
        return jax.vmap(lambda state: nnx.merge(graphs[0], state)(x))(stacked).mean(axis=0)


def check_ensemble(case: Case) -> None:
    scales = list(case.under("param").values())
    module = Ensemble([layers.Scale(scale.size) for scale in scales])
    check_module(case, module)
    check_trained(case, module)


CHECKS: dict[str, Callable[[Case], None]] = {
    "ParametrizedELU": check_layer(lambda kwargs: layers.ParametrizedElu(*(kwargs[name] for name in "abc"))),
    "ParametrizedSoftplus": check_softplus,
    "Bias3DLayer": check_layer(lambda kwargs: layers.Bias(**kwargs)),
    "Scale2DLayer": check_layer(lambda kwargs: layers.Scale(kwargs["num_channels"])),
    "Scale3DLayer": check_layer(lambda kwargs: layers.Scale(kwargs["num_channels"])),
    "FiLM": check_film,
    "WeightedChannelSumLayer": check_layer(
        lambda kwargs: layers.WeightedChannelSum(
            jnp.asarray(kwargs["init_channel_weights"]), trainable=kwargs.get("trainable", False)
        )
    ),
    "EnsembleModel": check_ensemble,
    "Laplace": check_laplace,
    "Laplace1d": check_laplace_1d,
    "FlatLaplaceL23dnorm": check_penalty(regularizers.spatial_laplace, 4),
    "LaplaceL2norm": check_penalty(regularizers.spatial_laplace, 4),
    "GaussianLaplaceL2": check_penalty(regularizers.spatial_laplace, 4, away_from_centre=True),
    "TimeLaplaceL23dnorm": check_penalty(regularizers.temporal_laplace, 3),
    "gaussian2d": check_gaussian,
}


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_layer_group(case: Case) -> None:
    """Every case of the group; one that is not known is a KeyError."""
    CHECKS[case.entry["path"].rsplit(".", 1)[1]](case)
