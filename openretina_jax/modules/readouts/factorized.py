"""The readout with a free mask for every neuron."""

from typing import Literal

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Bool, Float, Float32, Int, Key

from openretina_jax.modules import initial
from openretina_jax.modules.layers import NeuronParam, softplus
from openretina_jax.modules.readouts import READOUTS
from openretina_jax.modules.readouts.readout import (
    Grid,
    Readout,
    Row,
    neuron_bias,
    pixel_grid,
    rows_of,
    session_laplace,
    session_means,
    straight_through,
    weigh_maps,
    where_rows,
)
from openretina_jax.modules.regularizers import absolute, is_active
from openretina_jax.runtime.devices import precision

NORM_EPSILON = 1e-5
GRID_DEVIATION = 1.0  # of the Gaussian masks of ``grid``, in pixels

Constraint = Literal["abs", "norm", "absnorm"]


@READOUTS("factorized")
class FactorizedReadout(Readout):
    """Every neuron sees the feature maps through a mask of free pixels and weighs the features; then softplus.

    Source: Klindt et al. 2017, https://arxiv.org/abs/1711.02653.

    Attributes:
        mask: ``(neuron, height, width)`` weights of pixels.
        features: ``(neuron, feature)`` weights of features.
        bias: ``(neuron,)`` offset before the softplus, or None.

    Args:
        in_shape: (height, width, feature) of the feature maps.
        n_neurons: rows of the table.
        mask_constraint: "abs" takes absolute values.
        feature_constraint: "abs" takes absolute values, "norm" scales every neuron's weights to norm 1, "absnorm" does
            both.
        bias: whether there is an offset.
        start_at_mean: whether offsets start where the nonlinearity gives the mean activities; else at these.
        gamma_mask, gamma_features: weights of the L1 penalties, sums over a neuron's numbers averaged over a session's
            neurons.
        gamma_laplace: weight of the penalty on the roughness of a session's masks.
        average_penalty: divide the roughness by 3, as openretina does when it averages.
        init_mask, init_features: mean and standard deviation of the normal distributions of initial weights.
        mean_activity: ``(neuron,)`` initial offsets (None: 0).
        rngs: random streams.
    """

    def __init__(
        self,
        in_shape: tuple[int, int, int],
        n_neurons: int,
        *,
        mask_constraint: Literal["abs"] | None = None,
        feature_constraint: Constraint | None = None,
        bias: bool = True,
        start_at_mean: bool = False,
        gamma_mask: float = 1.0,
        gamma_features: float = 1.0,
        gamma_laplace: float = 1.0,
        average_penalty: bool = False,
        init_mask: tuple[float, float] = (0.0, 0.15),
        init_features: tuple[float, float] = (0.0, 0.15),
        mean_activity: Float[Array, " neuron"] | None = None,
        rngs: nnx.Rngs,
    ):
        self.n_neurons = n_neurons
        self.mask_constraint, self.feature_constraint = mask_constraint, feature_constraint
        self.gamma_mask, self.gamma_features = gamma_mask, gamma_features
        self.gamma_laplace, self.average_penalty = gamma_laplace, average_penalty
        height, width, channels = in_shape
        self.mask = NeuronParam(initial.normal(rngs, (n_neurons, height, width), *init_mask))
        self.features = NeuronParam(initial.normal(rngs, (n_neurons, channels), *init_features))
        self.bias = (
            neuron_bias(NeuronParam, n_neurons, mean_activity, "softplus" if start_at_mean else None) if bias else None
        )

    def __call__(
        self,
        maps: Float[Array, "batch time height width feature"],
        first: Row = 0,
        width: int | None = None,
        *,
        key: Key[Array, ""] | None = None,
    ) -> Float[Array, "batch time neuron"]:
        """Responses of a slice of neurons.

        Mask and features make one matrix per neuron, so that all neurons are a single matrix product.
        """
        del key
        width = self.n_neurons if width is None else width
        mask = _constrained(rows_of(self.mask, first, width), self.mask_constraint)
        features = _constrained(rows_of(self.features, first, width), self.feature_constraint)
        weights = jnp.einsum("nhw,nc->nhwc", mask, features, precision=precision())
        drive = weigh_maps(maps, weights)
        return softplus(drive if self.bias is None else drive + rows_of(self.bias, first, width))

    def masks(self) -> Float32[Array, "neuron height width"]:
        """Every neuron's mask, as it is used."""
        return _constrained(self.mask[...], self.mask_constraint)

    def feature_weights(self) -> Float32[Array, "neuron feature"]:
        """Every neuron's feature weights, as they are used."""
        return _constrained(self.features[...], self.feature_constraint)

    def project(self, rows: Bool[Array, " neuron"]) -> None:
        """Apply the constraints to masks and feature weights of these rows."""
        self.mask[...] = where_rows(rows, self.masks(), self.mask[...])
        self.features[...] = where_rows(rows, self.feature_weights(), self.features[...])

    def grid(self) -> Grid:
        """Gaussian masks at every pixel, which sum to 1."""
        height, width = self.mask.shape[1:]
        centre = jnp.asarray(pixel_grid(height, width))
        y, x = (
            jax.nn.softmax(
                -0.5 * jnp.square((jnp.arange(size, dtype=jnp.float32) - at[:, None]) / GRID_DEVIATION), axis=1
            )
            for size, at in zip((height, width), centre.T, strict=True)
        )
        masks = y[:, :, None] * x[:, None, :]
        positive = self.feature_constraint in ("abs", "absnorm")
        return Grid(masks, {"mask": masks}, softplus, positive)

    def penalty(self, first: Row, session: Int[Array, " row"], n_sessions: int) -> Float32[Array, ""]:
        """Absolute mask and feature weights, and roughness of masks."""
        mask, features = (rows_of(variable, first, len(session)) for variable in (self.mask, self.features))
        size = self.gamma_mask * absolute(mask).sum(axis=(1, 2)) + self.gamma_features * absolute(features).sum(axis=1)
        penalty = session_means(size, session, n_sessions).sum()
        if is_active(self.gamma_laplace):
            share = 1 / 3 if self.average_penalty else 1.0
            penalty += self.gamma_laplace * share * session_laplace(mask, session, n_sessions).sum()
        return penalty


def _constrained(weights: Float[Array, "neuron *number"], constraint: Constraint | None) -> Array:
    if constraint is None:
        return weights
    value = weights if constraint == "norm" else jnp.abs(weights)
    if constraint != "abs":
        value /= jnp.sqrt(jnp.square(value).sum(axis=-1, keepdims=True) + NORM_EPSILON)
    return straight_through(value, weights)
