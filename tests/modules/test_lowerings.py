"""All ways to compute the convolution agree, at lengths that fill blocks of time and at those that do not."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from openretina_jax.errors import UserError
from openretina_jax.modules import lowerings
from openretina_jax.modules.spectral import Padding

CHANNELS = (2, 3)


@pytest.mark.parametrize(
    ("time", "temporal_size", "padding"),
    [
        (9, 4, ((0, 0), (0, 0), (0, 0))),
        (83, 11, ((0, 0), (1, 1), (2, 1))),
        (100, 40, ((3, 2), (0, 2), (1, 0))),
    ],
)
def test_factored_equals_dense(time: int, temporal_size: int, padding: Padding) -> None:
    rng = np.random.default_rng(0)
    x, spatial, temporal = (
        jnp.asarray(rng.standard_normal(shape), jnp.float32)
        for shape in ((2, time, 6, 5, CHANNELS[0]), (CHANNELS[1], CHANNELS[0], 3, 4), (*CHANNELS[::-1], temporal_size))
    )

    def energy(apply, *arrays):
        return jnp.square(apply(*arrays, padding=padding)).mean()

    found, expected = (apply(x, spatial, temporal, padding=padding) for apply in (lowerings.factored, lowerings.dense))
    assert found.shape == expected.shape
    np.testing.assert_allclose(found, expected, atol=2e-6 * float(jnp.abs(expected).max()))
    gradients, references = (
        jax.grad(lambda *arrays, apply=apply: energy(apply, *arrays), argnums=(0, 1, 2))(x, spatial, temporal)
        for apply in (lowerings.factored, lowerings.dense)
    )
    for gradient, reference in zip(gradients, references, strict=True):
        np.testing.assert_allclose(gradient, reference, atol=5e-6 * float(jnp.abs(reference).max()))


def test_blocks_cover_the_output_and_reach_one_block_back() -> None:
    for new_time in range(1, 200):
        for kernel in (1, 2, 11, 40, 90):
            blocks, length = lowerings.time_blocks(new_time, kernel)
            assert blocks * length >= new_time
            assert length >= kernel - 1
            assert blocks == 1 or (blocks - 1) * length < new_time


def test_choice() -> None:
    one, full = (1, 1, 1), (128, 50, 18, 16, 2)
    assert lowerings.choose("auto", "cpu", one, (1, 50, 18, 16, 2)) is lowerings.factored
    assert lowerings.choose("factored", "gpu", one, full) is lowerings.factored
    for backend, strides, shape in (
        ("cpu", one, full),  # many windows
        ("cpu", one, (1, 50, 72, 64, 2)),  # a large image
        ("cpu", (1, 2, 2), (1, 50, 18, 16, 2)),
        ("gpu", one, (1, 50, 18, 16, 2)),
    ):
        assert lowerings.choose("auto", backend, strides, shape) is not lowerings.factored
    with pytest.raises(UserError, match='lowering "fast" is unknown; choose among auto, dense, factored'):
        lowerings.choose("fast", "cpu", one, full)
    with pytest.raises(UserError, match=r'"factored" has no strides, but \(1, 2, 2\) were given'):
        lowerings.choose("factored", "cpu", (1, 2, 2), full)
