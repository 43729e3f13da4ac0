"""A table of single-cell LNP models with separable kernels, trained side by side."""

from typing import Literal

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jaxtyping import Array, Bool, Float, Float32, Int, Key, Num

from openretina_jax.data.sta import LinearFilters
from openretina_jax.modules import initial
from openretina_jax.modules.layers import NeuronConstant, NeuronParam, fixed_nonlinearity, softplus
from openretina_jax.modules.readouts import READOUTS
from openretina_jax.modules.readouts.readout import (
    Readout,
    Row,
    neuron_bias,
    rows_of,
    session_sums,
    straight_through,
    strengths,
    weigh_maps,
    where_rows,
)
from openretina_jax.modules.readouts.receptive_field import (
    crop_patches,
    filter_each_in_time,
    patch_corners,
    place_patch,
    unit_norm,
)
from openretina_jax.modules.regularizers import LAPLACE_EPSILON, absolute, is_active, laplace_1d, laplace_energy
from openretina_jax.runtime.devices import precision


@READOUTS("separable_lnp")
class SeparableLnpReadout(Readout):
    """Every row is an LNP model of its own: a sum of products of a spatial and a temporal kernel, and a nonlinearity.

    Neurons share nothing, so the penalty of a session is the sum of the penalties of its neurons. Used with the core
    "identity". Source of the cascade: Chichilnisky 2001, https://doi.org/10.1080/713663221.

    Attributes:
        spatial: ``(neuron, rank, feature, patch_height, patch_width)`` kernels.
        temporal: ``(neuron, rank, frame)`` kernels; the last frame is that of the response.
        bias, scale: ``(neuron,)`` of the response ``scale * softplus(drive + bias)``; ``scale`` is None for other
            nonlinearities, and ``bias`` unless it is asked for.
        corner: ``(neuron, 2)`` row and column of the patch's top left pixel.

    Args:
        in_shape: (height, width, feature) of the maps.
        n_neurons: rows of the table.
        spatial_size: height and width of the patch.
        temporal_frames: frames of the temporal kernels; a response is that many minus one shorter than the maps.
        rank: pairs of kernels.
        normalize: scale all spatial and all temporal kernels of a neuron to norm 1.
        nonlinearity: "parametrized_softplus", or the name of one without parameters.
        bias: whether there is an offset before a nonlinearity without parameters.
        start_at_mean: whether offsets start where the nonlinearity gives the mean activities; else at 0.
        start_at_sta: whether a model of the stimulus itself starts at the STAs of its training data: patches lie around
            them unless the data have ``rf_location``, and the first pair of kernels takes their shape.
        gamma_smooth_space, gamma_smooth_time: weights of the penalties on the roughness of a neuron's kernels.
        smoothness: how roughness in space is measured: "laplace", or "gaussian_laplace", which is milder in the centre.
        laplace_padding: zeros around kernels when roughness is measured (None: 1).
        gamma_sparse: weight of the mean absolute weights of a neuron, in space and in time.
        mean_activity: ``(neuron,)`` mean responses, for ``start_at_mean``.
        rf_location: ``(neuron, 2)`` row and column of the pixel around which the patch lies, shifted where needed to
            stay inside the image (None: the middle of the image).
        rngs: random streams; kernels are drawn from a normal distribution as for convolutions of one neuron
            (Glorot and Bengio 2010, https://proceedings.mlr.press/v9/glorot10a.html).

    Raises:
        UserError: the patch is larger than the image, or the nonlinearity is unknown.
    """

    def __init__(
        self,
        in_shape: tuple[int, int, int],
        n_neurons: int,
        *,
        spatial_size: tuple[int, int] = (15, 15),
        temporal_frames: int,
        rank: int = 1,
        normalize: bool = True,
        nonlinearity: str = "parametrized_softplus",
        bias: bool = False,
        start_at_mean: bool = False,
        start_at_sta: bool = False,
        gamma_smooth_space: float = 0.0,
        gamma_smooth_time: float = 0.0,
        smoothness: Literal["laplace", "gaussian_laplace"] = "laplace",
        laplace_padding: int | None = None,
        gamma_sparse: float = 0.0,
        mean_activity: Float[Array, " neuron"] | None = None,
        rf_location: Num[Array, "neuron 2"] | None = None,
        rngs: nnx.Rngs,
    ):
        self.in_shape, self.n_neurons, self.frames, self.normalize = in_shape, n_neurons, temporal_frames, normalize
        self.gamma_smooth_space, self.gamma_smooth_time = gamma_smooth_space, gamma_smooth_time
        self.laplace_padding, self.away_from_centre = laplace_padding, smoothness == "gaussian_laplace"
        self.gamma_sparse, self.start_at_sta, self.located = gamma_sparse, start_at_sta, rf_location is not None
        height, width, channels = in_shape
        if rf_location is None:
            rf_location = jnp.tile(jnp.asarray([height // 2, width // 2]), (n_neurons, 1))
        self.corner = NeuronConstant(patch_corners(rf_location, spatial_size, (height, width)))
        space, time = (rank, channels, *spatial_size), (1, rank, temporal_frames)
        self.spatial = NeuronParam(initial.truncated_glorot(rngs, (n_neurons, *space), space))
        temporal = initial.truncated_glorot(rngs, (n_neurons, *time), time)
        self.temporal = NeuronParam(temporal[:, 0])
        parametrized = nonlinearity == "parametrized_softplus"
        through = "softplus" if parametrized else nonlinearity
        start = mean_activity if start_at_mean else None
        self.bias = neuron_bias(NeuronParam, n_neurons, start, through) if parametrized or bias else None
        self.scale = NeuronParam(initial.full(n_neurons, 1.0)) if parametrized else None
        self.nonlinearity = softplus if parametrized else fixed_nonlinearity(nonlinearity)

    def __call__(
        self,
        maps: Float[Array, "batch time height width feature"],
        first: Row = 0,
        width: int | None = None,
        *,
        key: Key[Array, ""] | None = None,
    ) -> Float[Array, "batch new_time neuron"]:
        """Responses of a slice of neurons.

        The patches are placed in the image, so that all kernels of all neurons are a single matrix product.
        """
        del key
        width = self.n_neurons if width is None else width
        spatial, temporal = (self._used(rows_of(kernels, first, width)) for kernels in (self.spatial, self.temporal))
        kernels = self._in_image(spatial, rows_of(self.corner, first, width)).transpose(0, 1, 3, 4, 2)
        drive = filter_each_in_time(weigh_maps(maps, kernels), temporal.transpose(2, 0, 1)).sum(axis=-1)
        response = self.nonlinearity(drive if self.bias is None else drive + rows_of(self.bias, first, width))
        return response if self.scale is None else rows_of(self.scale, first, width) * response

    def start_at(self, filters: LinearFilters, rows: Int[np.ndarray, " row"]) -> None:
        """Let some rows begin at their STAs; those without one keep random weights, where it would be largest.

        The channels of an STA are averaged for a core that makes the movie grey.
        """
        height, width, channels = self.in_shape
        patch_height, patch_width = self.spatial.shape[-2:]
        patch = patch_height, patch_width
        images = filters.spatial if channels > 1 else filters.spatial.mean(axis=1, keepdims=True)
        if not self.located:
            corner = patch_corners(filters.centre, patch, (height, width))
            self.corner[...] = self.corner[...].at[rows].set(corner)
        spatial = unit_norm(crop_patches(images, self.corner[...][rows], patch))
        drive = jnp.zeros(len(rows)) if self.bias is None else self.bias[...][rows]
        root = jnp.sqrt(strengths(self.nonlinearity, drive, jnp.asarray(filters.slope)))
        for kernels, start in ((self.spatial, spatial), (self.temporal, jnp.asarray(filters.temporal))):
            known, weight = (one.reshape(-1, *(1,) * (start.ndim - 1)) for one in (filters.significant, root))
            start = jnp.where(known, start if self.normalize else weight * start, kernels[...][rows, 0])
            kernels[...] = kernels[...].at[rows, 0].set(start)

    def masks(self) -> Float32[Array, "neuron height width"]:
        """Norm over features and frames of every neuron's space-time kernel."""
        spatial = self._in_image(self._used(self.spatial[...]), self.corner[...])
        return jnp.sqrt(self._energy(spatial).sum(axis=1))

    def feature_weights(self) -> Float32[Array, "neuron feature"]:
        """Norm over pixels and frames of every neuron's space-time kernel."""
        return jnp.sqrt(self._energy(self._used(self.spatial[...])).sum(axis=(2, 3)))

    def project(self, rows: Bool[Array, " neuron"]) -> None:
        """Scale the kernels of these rows to norm 1 if ``normalize``."""
        for kernels in (self.spatial, self.temporal):
            kernels[...] = where_rows(rows, self._used(kernels[...]), kernels[...])

    def penalty(self, first: Row, session: Int[Array, " row"], n_sessions: int) -> Float32[Array, ""]:
        """Roughness and mean absolute weights of every neuron, summed over neurons."""
        spatial, temporal = (rows_of(kernels, first, len(session)) for kernels in (self.spatial, self.temporal))
        penalty = self.gamma_sparse * (absolute(spatial).mean(axis=(1, 2, 3, 4)) + absolute(temporal).mean(axis=(1, 2)))
        if is_active(self.gamma_smooth_space):
            energy = laplace_energy(spatial, self.laplace_padding, self.away_from_centre).sum(axis=(1, 2))
            penalty += self.gamma_smooth_space * energy / (_square_norm(spatial) + LAPLACE_EPSILON)
        if is_active(self.gamma_smooth_time):
            energy = _square_norm(laplace_1d(temporal, self.laplace_padding))
            penalty += self.gamma_smooth_time * energy / (_square_norm(temporal) + LAPLACE_EPSILON)
        return session_sums(penalty, session, n_sessions).sum()

    def _used(self, kernels: Float[Array, "neuron *number"]) -> Array:
        """Kernels as they are used: scaled to norm 1 if ``normalize``."""
        if not self.normalize:
            return kernels
        norm = jnp.sqrt(_square_norm(kernels)).reshape(-1, *(1,) * (kernels.ndim - 1))
        return straight_through(kernels / jnp.where(norm == 0, 1, norm), kernels)

    def _in_image(self, spatial: Float[Array, "neuron rank feature h w"], corner: Int[Array, "neuron 2"]) -> Array:
        height, width, _ = self.in_shape
        return jax.vmap(lambda patch, at: place_patch(patch, at, (height, width)))(spatial, corner)

    def _energy(self, spatial: Float[Array, "neuron rank feature h w"]) -> Array:
        """Square of the space-time kernels, summed over frames: ``(neuron, feature, h, w)``."""
        temporal = self._used(self.temporal[...])
        overlap = jnp.einsum("nrt,nst->nrs", temporal, temporal, precision=precision())
        squares = jnp.einsum("nrchw,nrs,nschw->nchw", spatial, overlap, spatial, precision=precision())
        return jnp.maximum(squares, 0)


def _square_norm(kernels: Float[Array, "neuron *number"]) -> Float[Array, " neuron"]:
    return jnp.square(kernels).sum(axis=tuple(range(1, kernels.ndim)))
