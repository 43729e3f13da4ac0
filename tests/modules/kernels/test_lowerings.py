"""All ways to compute the convolution agree, at lengths that fill blocks of time and at those that do not."""

import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from openretina_jax.errors import UserError
from openretina_jax.modules.convolutions import SpaceTimeConv
from openretina_jax.modules.kernels import lowerings
from openretina_jax.modules.kernels.lowerings import SeparableKernel
from openretina_jax.modules.kernels.tiles import Padding

CHANNELS = (2, 3)


def random_kernel(rng: np.random.Generator, *size: int, functions: int = 3) -> SeparableKernel:
    pair = CHANNELS[::-1]
    shapes = ((*pair, *size[1:]), (*pair, functions), (functions, size[0]))
    return SeparableKernel(*(jnp.asarray(rng.standard_normal(shape), jnp.float32) for shape in shapes))


@pytest.mark.parametrize("lowering", ["factored", "basis"])
@pytest.mark.parametrize(
    ("time", "temporal_size", "padding"),
    [
        (9, 4, ((0, 0), (0, 0), (0, 0))),
        (11, 11, ((0, 0), (1, 1), (2, 1))),  # one frame of output
        (83, 11, ((0, 0), (1, 1), (2, 1))),
        (100, 40, ((3, 2), (0, 2), (1, 0))),
    ],
)
def test_lowerings_equal_dense(time: int, temporal_size: int, padding: Padding, lowering: str) -> None:
    rng = np.random.default_rng(0)
    x = jnp.asarray(rng.standard_normal((2, time, 6, 5, CHANNELS[0])), jnp.float32)
    check_equal(lowering, x, random_kernel(rng, temporal_size, 3, 4), padding)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("size", "kernel", "padding", "strides"),
    [
        ((20, 60, 55), (5, 11, 10), ((0, 0), (5, 5), (4, 5)), (1, 1, 1)),  # several tiles
        ((21, 50, 6), (4, 12, 1), ((2, 1), (2, 3), (0, 0)), (2, 3, 1)),
        ((3, 9, 9), (3, 9, 9), ((0, 0), (0, 0), (0, 0)), (1, 1, 1)),  # one output
    ],
)
def test_basis_on_large_images(size, kernel, padding: Padding, strides) -> None:
    rng = np.random.default_rng(0)
    x = jnp.asarray(rng.standard_normal((2, *size, CHANNELS[0])), jnp.float32)
    check_equal("basis", x, random_kernel(rng, *kernel), padding, strides)


def check_equal(
    lowering: str, x: jax.Array, kernel: SeparableKernel, padding: Padding, strides: tuple[int, int, int] = (1, 1, 1)
) -> None:
    """Output and gradients are those of ``dense``."""

    @functools.partial(jax.jit, static_argnames="lowering")
    def run(x: jax.Array, kernel: SeparableKernel, lowering: str) -> Any:
        def energy(x: jax.Array, kernel: SeparableKernel) -> Any:
            y = lowerings.apply(lowering, x, kernel, padding, strides)
            return jnp.square(y).mean(), y

        return jax.grad(energy, argnums=(0, 1), has_aux=True)(x, kernel)

    (gradients, found), (references, expected) = (run(x, kernel, lowering=way) for way in (lowering, "dense"))
    assert found.shape == expected.shape
    np.testing.assert_allclose(found, expected, atol=2e-6 * float(jnp.abs(expected).max()))
    for gradient, reference in zip(jax.tree.leaves(gradients), jax.tree.leaves(references), strict=True):
        np.testing.assert_allclose(gradient, reference, atol=5e-6 * float(jnp.abs(reference).max()))


@pytest.mark.slow
@pytest.mark.parametrize("lowering", ["dense", "factored", "basis"])
def test_bfloat16_rounds_the_output_alone(lowering: str) -> None:
    """On CPUs; 0.0017 is what that makes. With the parts of the kernel rounded, too, it was 0.0029 to 0.0040."""
    rng = np.random.default_rng(0)
    conv = SpaceTimeConv(2, 3, 11, 4, lowering=lowering, rngs=nnx.Rngs(0))
    x = jnp.asarray(rng.standard_normal((2, 40, 6, 5, 2)), jnp.bfloat16)
    found, expected = (np.asarray(conv(x.astype(dtype)), np.float32) for dtype in (jnp.bfloat16, jnp.float32))
    assert np.linalg.norm(found - expected) < 0.002 * np.linalg.norm(expected)


@pytest.mark.parametrize(
    "paddings",
    [
        (((0, 0), (0, 0), (0, 0)), ((0, 0), (0, 0), (0, 0))),
        (((1, 2), (2, 1), (0, 3)), ((2, 1), (1, 0), (2, 2))),
        (((0, 0), (0, 0), (0, 0)), ((5, 0), (0, 0), (0, 0))),
    ],
)
def test_two_convolutions_at_once_equal_one_after_the_other(paddings: tuple[Padding, Padding]) -> None:
    rng = np.random.default_rng(0)
    arrays = [
        jnp.asarray(rng.standard_normal(size), jnp.float32) for size in ((2, 9, 6, 5, 2), (3, 2, 3, 4), (4, 3, 5))
    ]

    def run(way: Any) -> Any:
        def energy(*arrays: jax.Array) -> Any:
            y = way(*arrays, paddings)
            return jnp.square(y).mean(), y

        return jax.jit(jax.grad(energy, argnums=(0, 1, 2), has_aux=True))(*arrays)

    found, expected = (jax.tree.leaves(run(way)) for way in (lowerings.as_one, lowerings.one_by_one))
    for value, reference in zip(found, expected, strict=True):
        np.testing.assert_allclose(value, reference, atol=5e-6 * float(jnp.abs(reference).max()))


@pytest.mark.parametrize(("windows", "frames", "cheaper"), [(128, 50, "as_one"), (1, 150, "one_by_one")])
def test_two_convolutions_take_the_cheaper_way(windows: int, frames: int, cheaper: str) -> None:
    sizes = (windows, frames, 18, 16, 2), (16, 2, 11, 11), (16, 16, 21)
    x, spatial, temporal = (jax.ShapeDtypeStruct(size, jnp.float32) for size in sizes)
    paddings: Any = (((0, 0),) * 3,) * 2

    def program(way: Any) -> str:
        return str(jax.make_jaxpr(way)(x, spatial, temporal))

    found = program(lambda *arrays: lowerings.convolve_twice(*arrays, None, paddings))
    assert found == program(functools.partial(getattr(lowerings, cheaper), paddings=paddings))


def test_choice() -> None:
    def chosen(backend: str, shape: tuple[int, ...], size: tuple[int, int, int], strides=(1, 1, 1)) -> str:
        channels, functions = shape[-1], 2 * (size[0] // 3) - 1
        kernel = SeparableKernel(
            *(jnp.zeros(s) for s in ((16, channels, *size[1:]), (16, channels, functions), (functions, size[0])))
        )
        return lowerings.choose(backend, shape, kernel, ((0, 0),) * 3, strides)

    assert chosen("cpu", (1, 50, 18, 16, 2), (21, 11, 11)) == "factored"
    assert chosen("cpu", (128, 50, 18, 16, 2), (21, 11, 11)) == "dense"  # many windows
    assert chosen("cpu", (1, 50, 18, 16, 2), (21, 11, 11), strides=(1, 2, 2)) != "factored"
    assert chosen("cpu", (8, 38, 29, 25, 16), (11, 15, 15)) == "basis"  # a large image
    assert chosen("gpu", (8, 38, 29, 25, 16), (11, 15, 15)) == "dense"


def test_cost_counts_products_and_what_is_written() -> None:
    def program(a: jax.Array, b: jax.Array) -> jax.Array:
        return jax.lax.map(lambda row: row @ b, a)

    a, b = jnp.zeros((5, 20, 3)), jnp.zeros((3, 30))
    of_a_product = 20 * 30 * (3 + lowerings.COST_OF_A_NUMBER)
    assert lowerings.cost(jax.make_jaxpr(jnp.matmul)(a[0], b).jaxpr) == of_a_product
    assert lowerings.cost(jax.make_jaxpr(program)(a, b).jaxpr) == 5 * of_a_product
    narrow = lowerings.cost(jax.make_jaxpr(jnp.matmul)(a[0], b[:, :1]).jaxpr)
    assert narrow == 20 * (lowerings.WIDE * 3 + lowerings.COST_OF_A_NUMBER)


def test_wrong_lowerings_are_user_errors() -> None:
    x, kernel = jnp.zeros((1, 9, 6, 5, 2)), random_kernel(np.random.default_rng(0), 4, 3, 3)
    with pytest.raises(UserError, match='lowering "fast" is unknown; choose among auto, dense, factored, basis'):
        lowerings.apply("fast", x, kernel, ((0, 0),) * 3)
    with pytest.raises(UserError, match=r'"factored" has no strides, but \(1, 2, 2\) were given'):
        lowerings.apply("factored", x, kernel, ((0, 0),) * 3, (1, 2, 2))
