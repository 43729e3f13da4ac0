"""Readouts that look through a Gaussian or at a point, and clones of them, against the frozen numbers."""

import functools
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from openretina_jax.interop.translation import readout_to_ours
from openretina_jax.interop.weights import assign, under
from openretina_jax.modules.layers import NeuronParam
from openretina_jax.modules.readouts import READOUTS
from openretina_jax.modules.readouts.cloned import ClonedReadout
from openretina_jax.modules.readouts.point_gaussian import PointGaussianReadout
from tests import reference
from tests.goldens_case import Case, cases, every_case
from tests.module_goldens import channels_first, channels_last, check_arrays, check_loaded, check_module

MASK_CASES = [case for case in cases("readout") if case.entry["path"].endswith("GaussianMaskReadout")]
POINT_CASES = [case for case in cases("readout") if case.entry["path"].endswith("PointGaussianReadout")]
ALONE = [
    case for case in POINT_CASES if case.entry["call"].startswith("module(x") and "shift" not in case.entry["call"]
]
SHIFTED = [case for case in POINT_CASES if "shift" in case.entry["call"]]
SECOND = [case for case in POINT_CASES if case.entry["call"] == "second(x)"]
CLONED = [case for case in cases("readout") if case.entry["path"].endswith("ClonedReadout")]

# openretina's affine mapping from the positions of another session, of all of ours one table
MAPPING = {"weight": "means.matrix", "bias": "means.offset"}


def given(kwargs: Mapping[str, Any]) -> dict[str, Any]:
    """What every constructor takes."""
    channels, _, height, width = kwargs["in_shape"]
    return {"in_shape": (height, width, channels), "n_neurons": kwargs["outdims"], "rngs": nnx.Rngs(0)}


def mask_options(kwargs: Mapping[str, Any]) -> dict[str, Any]:
    """The reference has the choice of a nonlinearity for readouts of one session alone."""
    own = dict(kwargs)
    nonlinearity = own.pop("nonlinearity_function", "softplus").rsplit(".", 1)[-1]
    return readout_to_ours("GaussianMaskReadout", own) | {"nonlinearity": nonlinearity}


def point_options(kwargs: Mapping[str, Any]) -> dict[str, Any]:
    """The reference applies the nonlinearity in the readout of many sessions."""
    own = {"gamma" if name == "gamma_readout" else name: value for name, value in kwargs.items()}
    own.pop("source_grid", None)
    options = readout_to_ours("PointGaussianReadout", own)
    for name, ours in (("shared_features", "feature_ids"), ("shared_grid", "position_ids")):
        if name in kwargs:
            options[ours] = tuple(kwargs[name]["match_ids"].tolist())
    if "grid_mean_predictor" in kwargs:
        source = tuple(map(tuple, kwargs["source_grid"].tolist()))
        options["position_predictor"] = {**kwargs["grid_mean_predictor"], "source_positions": source}
    return options | {"nonlinearity": "identity"}


def frames(x: jax.Array) -> jax.Array:
    """Maps of single frames, as windows of one frame."""
    return x[:, None] if x.ndim == 4 else x


def with_projection(readout: Any, x: jax.Array) -> jax.Array:
    """The reference constrains the stored parameters whenever it is called."""
    output = readout(frames(x))
    readout.project(jnp.ones(readout.n_neurons, bool))
    return output if x.ndim == 5 else output[:, 0]


def one_session(readout: Any) -> jax.Array:
    return readout.penalty(0, jnp.zeros(readout.n_neurons, int), 1)


@every_case(MASK_CASES)
def test_gaussian_mask(case: Case) -> None:
    average = "reduction='mean'" in case.entry["call"] + case.entry.get("doc", "").split(";")[0]
    average = average and case.name.endswith("regmean")
    readout = READOUTS.make(mask_options(case.kwargs) | {"average_penalty": average}, given(case.kwargs))
    check_module(case, readout, call=with_projection, train_call=with_projection, penalty=one_session)
    if "masks" in case.names:
        case.check("masks", np.transpose(nnx.jit(lambda readout: readout.masks())(readout), (1, 2, 0)))


@every_case(ALONE)
def test_point_gaussian(case: Case) -> None:
    readout = READOUTS.make(point_options(case.kwargs), given(case.kwargs))
    if "input/noise" in case.names:
        noise = jnp.asarray(case.array("input/noise"))[:, None, :, 0]
        noise = noise if readout.sample_per_frame else noise[0, 0]
        check_module(case, readout, functools.partial(sampled, noise=noise))
        return
    check_module(case, readout, with_projection, penalty=one_session)
    case.check("grid", readout.positions(0, readout.n_neurons)[None, :, None])
    if "mu_dispersion" in case.names:
        case.check("mu_dispersion", readout.position_dispersion())


def sampled(readout: PointGaussianReadout, x: jax.Array, noise: jax.Array) -> jax.Array:
    return readout.responses_at(frames(x), readout.positions(0, readout.n_neurons, noise))[:, 0]


@every_case(SHIFTED)
def test_shifted_positions(case: Case) -> None:
    readout = READOUTS.make(point_options(case.kwargs), given(case.kwargs))
    reference.load(readout, case.under("param"))
    graph, params = nnx.split(readout)

    @jax.jit
    @functools.partial(jax.value_and_grad, argnums=(0, 1, 2), has_aux=True)
    def scalar(params: nnx.State, x: jax.Array, shift: jax.Array) -> Any:
        output = nnx.merge(graph, params)(frames(x), shift=shift[:, None])[:, 0, case.array("input/out_idx")]
        return (output * case.array("cotangent")).sum(), output

    (_, output), gradients = scalar(
        params, channels_last(case.array("input/x")), jnp.asarray(case.array("input/shift"))
    )
    case.check("output", output)
    check_arrays(case, "grad", readout, gradients[0])
    case.check("grad_input/x", channels_first(gradients[1]))
    case.check("grad_input/shift", gradients[2])


@every_case(SECOND)
def test_what_two_sessions_share(case: Case) -> None:
    """Two readouts of the reference, the second with parameters of the first, are one table."""
    kwargs, n = case.kwargs, case.kwargs["outdims"]
    shared, ids = ("_features", "feature_ids") if "shared_features" in kwargs else ("_mu", "position_ids")
    first_ids = case.array(f"param/first.{'feature' if ids == 'feature_ids' else 'grid'}_sharing_index")
    options = point_options(kwargs)
    options[ids] = (*first_ids.tolist(), *options[ids])
    readout = READOUTS.make(options, given(kwargs | {"outdims": 2 * n}) | {"session_sizes": (n, n)})
    values = table(case, "param", readout, shared)
    assert set(reference.variables(nnx.state(readout, nnx.Param))) == set(values)
    assign(readout, values)

    graph, params, rest = nnx.split(readout, nnx.Param, ...)

    def scalar(params: nnx.State, x: jax.Array) -> Any:
        output = nnx.merge(graph, params, rest)(frames(x), n, n)[:, 0]
        return (output * case.array("cotangent")).sum(), output

    def penalty(params: nnx.State) -> jax.Array:
        return nnx.merge(graph, params, rest).penalty(n, jnp.ones(n, int), 2)

    x = channels_last(case.array("input/x"))
    (gradients, gradient_x), output = jax.jit(jax.grad(scalar, argnums=(0, 1), has_aux=True))(params, x)
    case.check("output", output)
    case.check("grad_input", channels_first(gradient_x))
    check_table(case, "grad", readout, shared, gradients)
    value, gradients = jax.jit(jax.value_and_grad(penalty))(params)
    case.check("regularizer", value)
    check_table(case, "grad_reg", readout, shared, gradients)


def table(case: Case, prefix: str, readout: PointGaussianReadout, shared: str) -> dict[str, np.ndarray]:
    """The arrays of both readouts under our paths, those of the first before those of the second; 0 where missing."""
    arrays, tables = case.under(prefix), {}
    for name in ("weight", "bias"):
        second = arrays.pop(f"second.mu_transform.{name}", None)
        if second is not None:
            first = np.eye(2) if name == "weight" and prefix == "param" else np.zeros_like(second)
            tables[MAPPING[name]] = np.stack([first, second]).astype(np.float32)
    n = readout.n_neurons // 2
    first = reference.places(readout, under("first.", arrays), rows=slice(0, n))
    second = reference.places(readout, under("second.", arrays), rows=slice(n, 2 * n))
    for name, (path, _, value) in second.items():
        others = [] if name == shared else [first[name].value if name in first else np.zeros_like(value)]
        tables[path] = np.concatenate([*others, value])
    return tables


def check_table(case: Case, prefix: str, readout: PointGaussianReadout, shared: str, gradients: nnx.State) -> None:
    found = reference.variables(gradients)
    atol = max((entry["atol"] for name, entry in case.entry["arrays"].items() if name.startswith(prefix)), default=0)
    for path, expected in table(case, prefix, readout, shared).items():
        np.testing.assert_allclose(found[path][...], expected, rtol=1e-5, atol=atol, err_msg=path)


@every_case(CLONED)
def test_cloned(case: Case) -> None:
    n = case.kwargs["original_readout"]["outdims"]

    def second_session(readout: ClonedReadout, x: jax.Array) -> jax.Array:
        output = readout(frames(x), n, n)
        readout.project(jnp.arange(2 * n) >= n)
        return output if x.ndim == 5 else output[:, 0]

    readout = cloned(case)
    check_loaded(case, readout, second_session, ignore=r"alpha|beta")
    x, cotangent = channels_last(case.array("input/x")), case.array("cotangent")

    @nnx.jit
    @functools.partial(nnx.grad, argnums=nnx.DiffState(0, NeuronParam))
    def gradient(readout: ClonedReadout) -> jax.Array:
        return (second_session(readout, x) * cotangent).sum()

    gradients = gradient(readout)
    for name in ("alpha", "beta"):
        np.testing.assert_array_equal(gradients[name][:n], 0)
        case.check(f"grad/{name}", gradients[name][n:])


@every_case(CLONED)
@pytest.mark.parametrize(("reduction", "average"), [("mean", True), ("sum", False)])
def test_penalty_of_cloned(case: Case, reduction: str, average: bool) -> None:
    n = case.kwargs["original_readout"]["outdims"]
    readout = cloned(
        case, positive=False, average_penalty=average
    )  # taken before the reference had clipped its features
    case.check(f"feature_l1_{reduction}", readout.penalty(n, jnp.ones(n, int), 2))


def cloned(case: Case, positive: bool | None = None, **options: Any) -> ClonedReadout:
    """A table of two sessions, the second of which is the reference's clone."""
    kwargs = dict(case.kwargs["original_readout"])
    n = kwargs["outdims"]
    if kwargs.pop("class").endswith("PointGaussianReadout"):
        source = point_options(kwargs)
    else:
        source = mask_options(kwargs)
        source["positive"] = source["positive"] if positive is None else positive
    shape = given(kwargs | {"outdims": 2 * n})
    readout = ClonedReadout(**shape, source=source, session_sizes=(n, n), **options)
    first = {"alpha": np.ones(n, np.float32), "beta": np.zeros(n, np.float32)}
    both = {name: np.concatenate([value, case.array(f"param/{name}")]) for name, value in first.items()}
    reference.load(readout, case.under("param") | both)
    return readout
