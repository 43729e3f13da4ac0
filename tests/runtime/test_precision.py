"""Products are exact unless JAX is told otherwise."""

from collections.abc import Iterator
from typing import Any

import jax
import numpy as np
import pytest
from jax.extend.core import Jaxpr
from jax.lax import Precision

from openretina_jax.models.build import make_core_readout
from openretina_jax.modules.kernels.lowerings import programs_in
from openretina_jax.runtime.devices import precision
from tests import tiny

GRU = {**tiny.MODEL["core"], "kind": "gru", "recurrent_channels": 3}
MODELS = {
    "gaussian_mask": tiny.MODEL,
    "factorized": {**tiny.MODEL, "readout": {"kind": "factorized"}},
    "point_gaussian": {**tiny.MODEL, "readout": {"kind": "point_gaussian"}},
    "gru": {**tiny.MODEL, "core": GRU},
}


def precisions(program: Jaxpr) -> Iterator[Any]:
    """Of all matrix products and convolutions."""
    for equation in program.eqns:
        if "precision" in equation.params:
            yield equation.params["precision"]
        for inner in programs_in(equation):
            yield from precisions(inner)


def found(name: str) -> set[Any]:
    """The precisions in a prediction."""
    info = tiny.dataset().info
    movie = np.zeros((1, 12, *info.input_shape), np.float32)
    # made while traced, initial parameters need no program
    return set(precisions(jax.make_jaxpr(lambda movie: make_core_readout(MODELS[name], info, 0)(movie))(movie).jaxpr))


@pytest.mark.parametrize("name", MODELS)
def test_every_product_is_exact(name: str) -> None:
    assert precision() is Precision.HIGHEST
    assert found(name) == {(Precision.HIGHEST, Precision.HIGHEST)}


@pytest.mark.parametrize(("chosen", "expected"), [("high", Precision.HIGH), ("default", Precision.DEFAULT)])
def test_jax_may_be_told_otherwise(chosen: str, expected: Precision) -> None:
    with jax.default_matmul_precision(chosen):
        assert precision() is None
        assert found("gaussian_mask") == {(expected, expected)}
