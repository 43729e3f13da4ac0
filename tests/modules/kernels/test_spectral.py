"""The convolution of the CPU against the library's own: outputs and gradients, with and without tiles."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

from openretina_jax.modules.kernels import spectral
from openretina_jax.modules.kernels.lowerings import convolve, is_small

NONE = ((0, 0), (0, 0), (0, 0))
UNEVEN = ((1, 2), (3, 0), (2, 1))
ALL = pytest.param(((1, 1), (2, 2), (1, 1)), marks=pytest.mark.slow)


def library(x: jax.Array, kernel: jax.Array, padding: spectral.Padding, strides: tuple[int, int, int]) -> jax.Array:
    return lax.conv_general_dilated(
        x, kernel, strides, padding, dimension_numbers=("NDHWC", "DHWIO", "NDHWC"), precision=lax.Precision.HIGHEST
    )


def arrays(size: tuple[int, int, int], kernel: tuple[int, int, int], channels: tuple[int, int]) -> list[jax.Array]:
    rng = np.random.default_rng(0)
    shapes = (2, *size, channels[0]), (*kernel, *channels)
    return [jnp.asarray(rng.standard_normal(shape), jnp.float32) for shape in shapes]


def check(x: jax.Array, kernel: jax.Array, padding: spectral.Padding, strides: tuple[int, int, int]) -> None:
    def squared(apply, *arrays):
        y = apply(*arrays, padding, strides)
        return jnp.square(y).mean(), y

    @jax.jit
    def both(*arrays):
        return [
            jax.grad(partial(squared, apply), argnums=(0, 1), has_aux=True)(*arrays) for apply in (convolve, library)
        ]

    (gradients, found), (references, expected) = both(x, kernel)
    assert found.shape == expected.shape
    for value, reference in ((found, expected), *zip(gradients, references, strict=True)):
        np.testing.assert_allclose(value, reference, atol=4e-6 * float(np.abs(reference).max()))


@pytest.mark.parametrize("strides", [(1, 1, 1), (2, 3, 2)])
@pytest.mark.parametrize("padding", [NONE, UNEVEN, ALL])
@pytest.mark.parametrize(
    "kernel", [(4, 3, 4), (1, 3, 4), (1, 4, 1), (4, 1, 1), (3, 1, 4), (1, 1, 3), (1, 1, 1), (9, 6, 5)]
)
def test_equals_the_library(
    kernel: tuple[int, int, int], padding: spectral.Padding, strides: tuple[int, int, int]
) -> None:
    check(*arrays((9, 6, 5), kernel, (2, 3)), padding, strides)


@pytest.mark.parametrize("padding", [NONE, UNEVEN, ALL])
@pytest.mark.parametrize("kernel", [(1, 3, 3), (1, 2, 1)])
def test_product_of_patches_equals_the_library(kernel: tuple[int, int, int], padding: spectral.Padding) -> None:
    x, weights = arrays((4, 6, 5), kernel, (2, 3))
    assert is_small(x.shape, weights.shape, (1, 1, 1))
    assert not is_small((128, 50, 8, 6, 16), (*kernel, 16, 16), (1, 1, 1))  # all patches of a batch
    check(x, weights, padding, (1, 1, 1))


@pytest.mark.parametrize("strides", [(1, 1, 1), (3, 2, 1), pytest.param((1, 3, 4), marks=pytest.mark.slow)])
@pytest.mark.parametrize(
    ("size", "kernel"), [((70, 8, 9), (5, 2, 3)), ((3, 75, 30), (2, 3, 11)), ((4, 5, 45), (1, 2, 6))]
)
def test_tiles_equal_the_library(
    size: tuple[int, int, int], kernel: tuple[int, int, int], strides: tuple[int, int, int], monkeypatch
) -> None:
    monkeypatch.setattr(spectral, "SHORTEST_TRANSFORM", 10)
    monkeypatch.setattr(spectral, "KERNELS_IN_TRANSFORM", 2)
    check(*arrays(size, kernel, (2, 3)), UNEVEN, strides)


@pytest.mark.parametrize("kernel", [(4, 3, 3), (1, 3, 4)])
def test_a_few_frequencies_at_a_time_equal_the_library(
    kernel: tuple[int, int, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(spectral, "AT_ONCE", 1_000)
    arguments = *arrays((9, 8, 7), kernel, (2, 6)), UNEVEN, (1, 1, 1)
    program = str(jax.make_jaxpr(partial(spectral.spectral, padding=UNEVEN))(*arguments[:2]))
    assert "scan[" in program
    check(*arguments)


def test_steps_through_the_frequencies() -> None:
    limit = spectral.AT_ONCE
    assert spectral.steps_through(6, 1) == 1
    assert spectral.steps_through(6, limit // 6) == 1
    assert spectral.steps_through(6, limit // 2) == 3
    assert spectral.steps_through(7, limit // 6) == 7
    assert spectral.steps_through(4, 2 * limit) == 4


@pytest.mark.parametrize("kernel", [(10, 1, 1), (1, 7, 1), (1, 1, 6), (10, 7, 6)])
def test_a_kernel_larger_than_the_movie_leaves_nothing(kernel: tuple[int, int, int]) -> None:
    x, weights = arrays((9, 6, 5), kernel, (2, 3))
    assert convolve(x, weights, NONE).shape == library(x, weights, NONE, (1, 1, 1)).shape


def test_a_kernel_that_sees_mostly_padding_equals_the_library() -> None:
    check(*arrays((4, 2, 3), (3, 9, 8), (2, 3)), ((1, 1), (4, 4), (4, 3)), (1, 1, 1))


@pytest.mark.slow
def test_derivatives_in_both_directions_and_over_a_batch_of_kernels() -> None:
    x, kernel = arrays((9, 6, 5), (4, 3, 3), (2, 3))
    change = jnp.ones_like(x)

    def squared(apply, x):
        return jnp.square(apply(x, kernel, UNEVEN, (1, 1, 1))).mean()

    (_, found), (_, expected) = (jax.jvp(partial(squared, apply), (x,), (change,)) for apply in (convolve, library))
    np.testing.assert_allclose(found, expected, rtol=1e-5)
    of_gradients, expected = (
        jax.jvp(jax.grad(partial(squared, apply)), (x,), (change,))[1] for apply in (convolve, library)
    )
    np.testing.assert_allclose(of_gradients, expected, atol=4e-6 * float(np.abs(expected).max()))
    kernels = jnp.stack([kernel, 2 * kernel])
    both = jax.vmap(lambda kernel: convolve(x, kernel, UNEVEN))(kernels)
    np.testing.assert_allclose(both[1], 2 * both[0], atol=1e-4)


@pytest.mark.slow
def test_half_precision_is_computed_in_full() -> None:
    x, kernel = arrays((9, 6, 5), (4, 3, 3), (2, 3))
    half = [array.astype(jnp.bfloat16) for array in (x, kernel)]
    found = convolve(*half, UNEVEN)
    assert found.dtype == jnp.bfloat16
    exact = library(*(array.astype(jnp.float32) for array in half), UNEVEN, (1, 1, 1))
    np.testing.assert_allclose(found.astype(jnp.float32), exact, rtol=2**-8, atol=1e-5)
