import jax
import jax.numpy as jnp
import numpy as np
import pytest

from openretina_jax.errors import UserError
from openretina_jax.modules import regularizers

KERNELS = jnp.asarray(np.random.default_rng(0).standard_normal((3, 2, 6, 5)), jnp.float32)
TRACES = KERNELS.reshape(3, 2, 30)
PENALTIES = {
    "absolute": (lambda w: regularizers.absolute(w).sum(), KERNELS),
    "laplace_energy": (lambda w: regularizers.laplace_energy(w).sum(), KERNELS),
    "laplace_energy_away": (lambda w: regularizers.laplace_energy(w, None, away_from_centre=True).sum(), KERNELS),
    "spatial_laplace": (regularizers.spatial_laplace, KERNELS),
    "spatial_laplace_average": (lambda w: regularizers.spatial_laplace(w, 1, average=True), KERNELS),
    "spatial_laplace_away": (lambda w: regularizers.spatial_laplace(w, away_from_centre=True), KERNELS),
    "temporal_laplace": (regularizers.temporal_laplace, TRACES),
    "temporal_laplace_average": (lambda w: regularizers.temporal_laplace(w, None, average=True), TRACES),
    "group_sparsity": (regularizers.group_sparsity, KERNELS),
    "group_sparsity_gru": (lambda w: regularizers.group_sparsity(w, epsilon=0.0), KERNELS),
}


@pytest.mark.parametrize("name", PENALTIES)
def test_every_penalty_moves_the_weights(name: str) -> None:
    """Also where some or all weights are exactly zero the gradient is a number."""
    penalty, weights = PENALTIES[name]
    value_and_gradient = jax.jit(jax.value_and_grad(penalty))
    gradient = value_and_gradient(weights)[1]
    assert np.isfinite(gradient).all()
    assert np.abs(gradient).max() > 1e-4
    for zeros in (weights.at[0].set(0), weights.at[:, 0].set(0), jnp.zeros_like(weights)):
        value, gradient = value_and_gradient(zeros)
        assert np.isfinite(value)
        assert np.isfinite(gradient).all()


@pytest.mark.parametrize("epsilon", [0.0, regularizers.SPARSITY_EPSILON])
def test_group_sparsity_leaves_zero_kernels_alone(epsilon: float) -> None:
    """There torch's gradient is not a number."""
    kernels = KERNELS.at[0].set(0).at[1, 1].set(0)
    value, gradient = jax.value_and_grad(regularizers.group_sparsity)(kernels, epsilon)
    energy = np.square(kernels[1:]).sum(axis=(2, 3))
    expected = (np.sqrt(energy).sum(1) / np.sqrt(epsilon + energy.sum(1))).sum()
    np.testing.assert_allclose(value, expected, rtol=1e-6)
    np.testing.assert_array_equal(gradient[0], 0)
    np.testing.assert_array_equal(gradient[1, 1], 0)
    assert np.abs(gradient[2]).max() > 1e-4


def test_energies_of_single_kernels_add_up_to_the_penalty() -> None:
    for options in ({}, {"padding": None}, {"padding": 2}, {"padding": 0, "away_from_centre": True}):
        energy = regularizers.laplace_energy(KERNELS, **options)
        assert energy.shape == KERNELS.shape[:2]
        expected = energy.sum() / (jnp.square(KERNELS).sum() + regularizers.LAPLACE_EPSILON)
        np.testing.assert_allclose(regularizers.spatial_laplace(KERNELS, **options), expected, rtol=1e-6)


def test_weight_of_the_centre_is_cropped_to_the_response() -> None:
    """The reference fails without padding: its Gaussian has the size of the kernel, not of the response."""
    weight = 1 - regularizers.gaussian_2d((6, 5), sigma=5 / 4)
    response = regularizers.laplace(KERNELS, padding=0)
    expected = np.square(response * weight[1:-1, 1:-1]).sum(axis=(-2, -1))
    np.testing.assert_allclose(regularizers.laplace_energy(KERNELS, 0, away_from_centre=True), expected, rtol=1e-5)
    wide = np.square(regularizers.laplace(KERNELS, padding=2) * np.pad(weight, 1, constant_values=1))
    np.testing.assert_allclose(
        regularizers.laplace_energy(KERNELS, 2, away_from_centre=True), wide.sum(axis=(-2, -1)), rtol=1e-5
    )


def test_laplace_filters_see_curvature_only() -> None:
    rows, columns = np.mgrid[:9, :8].astype(np.float32)
    for size in (3, 5, 7):
        plane = regularizers.laplace(jnp.asarray(2 * rows - columns + 3), size, padding=0)
        np.testing.assert_allclose(plane, 0, atol=1e-3)
        bowl = regularizers.laplace(jnp.asarray(rows**2 + columns**2), size, padding=0)
        assert np.abs(bowl).min() > 1
    np.testing.assert_allclose(regularizers.laplace_1d(jnp.arange(7.0) ** 2, padding=0), -2)


def test_bad_sizes_are_named() -> None:
    with pytest.raises(UserError, match="no Laplace filter of size 4; choose among 3, 5, 7"):
        regularizers.laplace(KERNELS, 4)
    with pytest.raises(UserError, match="2x5 with padding 0 are smaller than a Laplace filter of 3x3"):
        regularizers.spatial_laplace(KERNELS[:, :, :2])
    with pytest.raises(UserError, match="1 with padding 0 are smaller than a Laplace filter of 3"):
        regularizers.temporal_laplace(TRACES[..., :1])
