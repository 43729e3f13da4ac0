"""The readout with a round Gaussian mask for every neuron."""

import functools

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Bool, Float, Float32, Int, Key

from openretina_jax.modules import initial
from openretina_jax.modules.layers import NeuronConstant, NeuronParam, fixed_nonlinearity
from openretina_jax.modules.readouts import READOUTS
from openretina_jax.modules.readouts.readout import (
    Grid,
    Readout,
    Row,
    clip,
    neuron_bias,
    pixel_grid,
    rows_of,
    session_means,
    session_sums,
    straight_through,
    weigh_maps,
    where_rows,
)
from openretina_jax.modules.regularizers import absolute
from openretina_jax.runtime.devices import precision

MAX_LOG_VARIANCE = 20.0
MAX_SQUARED_DISTANCE = 20.0
VARIANCE_EPSILON = 1e-8
START_DEVIATION = 0.3  # of masks that begin at receptive fields, in units of half the longer side of the maps
GRID_DEVIATIONS = (0.6, 1.2, 2.4)  # of the masks of ``grid``, in pixels


@READOUTS("gaussian_mask")
class GaussianMaskReadout(Readout):
    """Every neuron sees the feature maps through a round Gaussian mask and weighs the features.

    Source: Höfling et al. 2024, https://doi.org/10.7554/eLife.86860.

    Attributes:
        mask_mean: ``(neuron, 2)`` centre of the mask; coordinate 0 runs along height, 1 along width. In units of
            ``mean_scale`` times half the longer side of the feature map.
        mask_log_var: ``(neuron,)`` logarithm of the mask's variance, in units of 1 / ``var_scale``.
        features: ``(neuron, feature)`` weights.
        scale, bias: ``(neuron,)`` gain and offset before the nonlinearity; constants when not trained.

    Args:
        in_shape: (height, width, feature) of the feature maps.
        n_neurons: rows of the table.
        mean_scale, var_scale: factors of ``mask_mean`` and ``mask_log_var``, which set their learning rates.
        positive: whether feature weights are clipped at 0.
        scale, bias: whether gain and offset are trained.
        start_at_mean: whether offsets start where the nonlinearity gives the mean activities; else at these.
        start_at_location: whether masks begin narrow where receptive fields are, if the data know; else as wide as the
            maps, in the middle.
        nonlinearity: name of the output nonlinearity.
        gamma_mask: weight of the penalty on the size and eccentricity of masks.
        gamma_features: weight of the L1 penalty on feature weights.
        average_penalty: average a penalty over a neuron's numbers and a session's neurons instead of summing.
        mean_activity: ``(neuron,)`` initial offsets (None: 0).
        map_location: ``(neuron, 2)`` row and column of the maps that look at the receptive field; NaN, or None, where
            that is not known.
        rngs: random streams; feature weights are drawn from N(1 / features, 0.01), gains from N(1, 0.01).
    """

    def __init__(
        self,
        in_shape: tuple[int, int, int],
        n_neurons: int,
        *,
        mean_scale: float = 1.0,
        var_scale: float = 1.0,
        positive: bool = False,
        scale: bool = False,
        bias: bool = True,
        start_at_mean: bool = False,
        start_at_location: bool = False,
        nonlinearity: str = "softplus",
        gamma_mask: float = 1.0,
        gamma_features: float = 1.0,
        average_penalty: bool = False,
        mean_activity: Float[Array, " neuron"] | None = None,
        map_location: Float[Array, "neuron 2"] | None = None,
        rngs: nnx.Rngs,
    ):
        self.in_shape, self.n_neurons, self.nonlinearity = in_shape, n_neurons, fixed_nonlinearity(nonlinearity)
        self.mean_scale, self.var_scale, self.positive = mean_scale, var_scale, positive
        self.gamma_mask, self.gamma_features, self.average_penalty = gamma_mask, gamma_features, average_penalty
        channels = in_shape[2]
        mean, log_var = initial.full((n_neurons, 2), 0.0), initial.full(n_neurons, 0.0)
        if start_at_location and map_location is not None:
            known = jnp.isfinite(map_location).all(axis=1)
            size = jnp.asarray(in_shape[:2], jnp.float32)
            extent = size / size.max()  # the outermost pixels are at minus and plus this
            centre = (2 * map_location / jnp.maximum(size - 1, 1) - 1) * extent
            mean = jnp.where(known[:, None], jnp.clip(centre, -extent, extent) / mean_scale, mean)
            log_var = jnp.where(known, 2 * jnp.log(START_DEVIATION) / var_scale, log_var)
        self.mask_mean, self.mask_log_var = NeuronParam(mean), NeuronParam(log_var)
        self.features = NeuronParam(initial.normal(rngs, (n_neurons, channels), 1 / channels, 0.01))
        gain = initial.normal(rngs, (n_neurons,), 1.0, 0.01) if scale else initial.full(n_neurons, 1.0)
        self.scale = (NeuronParam if scale else NeuronConstant)(gain)
        self.bias = neuron_bias(
            NeuronParam if bias else NeuronConstant, n_neurons, mean_activity, nonlinearity if start_at_mean else None
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
        masks = self._masks(rows_of(self.mask_mean, first, width), rows_of(self.mask_log_var, first, width))
        features = self._clipped(rows_of(self.features, first, width))
        weights = jnp.einsum("nhw,nc->nhwc", masks, features, precision=precision())
        drive = weigh_maps(maps, weights)
        return self.nonlinearity(drive * rows_of(self.scale, first, width) + rows_of(self.bias, first, width))

    def masks(self) -> Float32[Array, "neuron height width"]:
        """Every neuron's mask; sums to 1."""
        return self._masks(self.mask_mean[...], self.mask_log_var[...])

    def feature_weights(self) -> Float32[Array, "neuron feature"]:
        """Every neuron's feature weights, as they are used."""
        return self._clipped(self.features[...])

    def project(self, rows: Bool[Array, " neuron"]) -> None:
        """Clip the feature weights of these rows."""
        self.features[...] = where_rows(rows, self._clipped(self.features[...]), self.features[...])

    def centre(self) -> None:
        """Move every mask to the middle."""
        self.mask_mean[...] = jnp.zeros_like(self.mask_mean[...])

    def grid(self) -> Grid:
        """Masks of some sizes at every pixel."""
        height, width, _ = self.in_shape
        y, x = _pixel_centres(height, width)
        at = pixel_grid(height, width).astype(int)
        centres = jnp.stack([y[at[:, 0]], x[at[:, 1]]], axis=1)
        pixel = 2 / max(height, width)
        log_variance = 2 * jnp.log(pixel * jnp.asarray(GRID_DEVIATIONS))
        mean = jnp.repeat(centres / self.mean_scale, len(GRID_DEVIATIONS), axis=0)
        log_var = jnp.tile(log_variance / self.var_scale, len(centres))
        parameters = {"mask_mean": mean, "mask_log_var": log_var, "scale": jnp.ones(len(mean))}
        return Grid(self._masks(mean, log_var), parameters, self.nonlinearity, self.positive)

    def penalty(self, first: Row, session: Int[Array, " row"], n_sessions: int) -> Float32[Array, ""]:
        """Size and eccentricity of masks and absolute feature weights: sums, or means over each session's numbers."""
        width = len(session)
        reduce, over_session = (jnp.mean, session_means) if self.average_penalty else (jnp.sum, session_sums)
        size = jnp.exp(rows_of(self.mask_log_var, first, width) * self.var_scale)
        eccentricity = reduce(jnp.square(rows_of(self.mask_mean, first, width) * self.mean_scale), axis=1)
        features = reduce(absolute(rows_of(self.features, first, width)), axis=1)
        penalty = self.gamma_mask * (size + eccentricity) + self.gamma_features * features
        return over_session(penalty, session, n_sessions).sum()

    def _clipped(self, features: Array) -> Array:
        return straight_through(jnp.maximum(features, 0), features) if self.positive else features

    def _masks(self, mean: Float[Array, "neuron 2"], log_var: Float[Array, " neuron"]) -> Array:
        return _gaussian_masks(mean, log_var, self.mean_scale, self.var_scale, *self.in_shape[:2])


def _pixel_centres(height: int, width: int) -> tuple[Float[Array, " height"], Float[Array, " width"]]:
    """Places of rows and columns of pixels, in units of half the longer side."""
    longer = max(height, width)
    return tuple(jnp.linspace(-size / longer, size / longer, size) for size in (height, width))  # type: ignore


# in models it is part of their programs; elsewhere, as in pictures, one program instead of twenty
@functools.partial(jax.jit, static_argnames=("mean_scale", "var_scale", "height", "width"), inline=True)
def _gaussian_masks(
    mean: Float[Array, "neuron 2"],
    log_var: Float[Array, " neuron"],
    mean_scale: float,
    var_scale: float,
    height: int,
    width: int,
) -> Float[Array, "neuron height width"]:
    """Round Gaussians on pixels, each of which sums to 1.

    Args:
        mean: row and column of the centre, in units of half the longer side by ``mean_scale``.
        log_var: logarithm of the variance in squares of that unit, by ``var_scale``.
        mean_scale, var_scale: factors of the parameters.
        height, width: of the masks in pixels.
    """
    centre, log_variance = mean * mean_scale, log_var * var_scale
    y, x = _pixel_centres(height, width)
    distance = jnp.square(y - centre[:, :1])[:, :, None] + jnp.square(x - centre[:, 1:])[:, None, :]
    variance = jnp.exp(clip(log_variance, -MAX_LOG_VARIANCE, MAX_LOG_VARIANCE))
    scaled = distance / (variance[:, None, None] + VARIANCE_EPSILON)
    mask = jnp.exp(-0.5 * clip(scaled, None, MAX_SQUARED_DISTANCE))
    return mask / mask.sum(axis=(1, 2), keepdims=True)
