"""Tiles and their products: a transform is a product whose gradient is one, too."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np

from openretina_jax.modules.kernels.tiles import product, transform


def test_a_transform_has_the_gradients_of_a_product() -> None:
    rng = np.random.default_rng(0)
    matrices, x, g = (
        jnp.asarray(rng.standard_normal(shape), jnp.float32) for shape in ((2, 3, 4), (2, 5, 4, 6), (2, 5, 3, 6))
    )

    def gradients(multiply, matrix, x, g):
        y, pullback = jax.vjp(multiply, matrix, x)
        return y, *pullback(g)

    for in_axes in ((None, 0, 0), (0, None, None), (0, 0, 0)):  # of the matrix, of what it multiplies, or both
        operands = [array if axis == 0 else array[0] for array, axis in zip((matrices, x, g), in_axes, strict=True)]
        found, expected = (
            jax.vmap(partial(gradients, multiply), in_axes)(*operands) for multiply in (transform, product)
        )
        for value, reference in zip(found, expected, strict=True):
            np.testing.assert_allclose(value, reference, rtol=1e-5, atol=1e-5)


def test_a_transform_sums_in_the_type_asked_for() -> None:
    matrix, x = jnp.ones((2, 300), jnp.bfloat16), jnp.ones((300, 3), jnp.bfloat16)  # bfloat16 has no number 301
    x = x.at[0].set(2)
    y, pullback = jax.vjp(partial(transform, out=jnp.float32), matrix, x)
    np.testing.assert_array_equal(y, np.full((2, 3), 301, np.float32))
    assert [gradient.dtype for gradient in pullback(y)] == [jnp.bfloat16, jnp.bfloat16]
