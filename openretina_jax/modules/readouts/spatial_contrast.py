"""The spatial contrast readout: filters, given or trained, and four trained numbers for every neuron."""

from collections.abc import Callable
from typing import Literal

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jaxtyping import Array, Bool, Float, Float32, Int, Key, Num

from openretina_jax.data.sta import LinearFilters
from openretina_jax.errors import UserError
from openretina_jax.modules import initial
from openretina_jax.modules.layers import NeuronConstant, NeuronParam, inverse_nonlinearity, softplus
from openretina_jax.modules.readouts import READOUTS
from openretina_jax.modules.readouts.readout import (
    Readout,
    Row,
    rows_of,
    session_sums,
    straight_through,
    strengths,
    where_rows,
)
from openretina_jax.modules.readouts.receptive_field import (
    crop_patch,
    crop_patches,
    filter_in_time,
    patch_corners,
    place_patch,
    unit_norm,
)
from openretina_jax.modules.regularizers import LAPLACE_EPSILON, absolute, is_active, laplace_1d, laplace_energy

SUM_EPSILON = 1e-8
GAUSSIAN_SHARE = 6.0  # of the shorter side of a patch, the standard deviation of the Gaussian where filters begin


@READOUTS("spatial_contrast")
class SpatialContrastReadout(Readout):
    """Every neuron responds to the mean and the standard deviation of what it sees: a softplus of their weighted sum.

    The response is ``a * softplus(b * (mean + w * contrast) + c)``. Mean and contrast are the mean and the standard
    deviation of the temporally filtered image, weighted by the spatial filter, whose weights then sum to 1. Filters are
    given, from spike-triggered averages in files, or trained. Used with the core "identity".
    Source: Sridhar et al. 2025, https://doi.org/10.1371/journal.pcbi.1014157.

    Of models with trained filters that predict the same there is one: spatial weights are not negative and have mean
    square 1, temporal ones have norm 1, and ``a`` and ``b`` are not negative.

    Attributes:
        spatial: ``(neuron, patch_height, patch_width)`` weights of pixels; if given, zeros until ``set_filters``.
        temporal: ``(neuron, frame)`` weights of frames; the last one is that of the response.
        corner: ``(neuron, 2)`` row and column of the patch's top left pixel.
        w, a, b, c: ``(neuron,)`` weight of the contrast, gain, slope and offset.

    Args:
        in_shape: (height, width, 1) of the maps.
        n_neurons: rows of the table.
        temporal_frames: frames of the temporal filters; a response is that many minus one shorter than the maps.
        patch: height and width of what a neuron sees (None: the image).
        filters: whether filters are "given" by files of STAs, or "trained".
        start_at_mean: whether offsets start where a response without contrast has the mean activity; else at
            ``init_c``.
        start_at_sta: whether trained filters of a model of the stimulus itself, and slopes, start at the STAs of its
            training data, with patches around them unless the data have ``rf_location``; else, and where there is no
            STA, at a Gaussian in space and random numbers in time.
        gamma_smooth_space, gamma_smooth_time: weights of the penalties on the roughness of trained filters.
        gamma_sparse: weight of the mean absolute weight of trained spatial filters.
        init_w, init_a, init_b, init_c: initial values.
        nonnegative: number that is clipped at 0: "a", so that no response is negative, "w", or None. openretina clips
            "a" in its model of many cells and "w" in that of a single one, after each step; here it is clipped before
            the next use, which sees the same numbers.
        variance_floor: smallest variance from which the contrast is taken; 0 in openretina's model of a single cell.
        neurons_per_chunk: neurons whose filtered images are in memory at the same time.
        sta_folder, sta_pattern, flip_sta, sigma_contour: folder of the spike-triggered averages, name of a neuron's
            file, whether they are mirrored, and radius of the spatial filters in standard deviations; the readout
            keeps these for ``read_sta_filters``.
        mean_activity: ``(neuron,)`` mean responses, for ``start_at_mean``.
        rf_location: ``(neuron, 2)`` row and column around which trained filters lie (None: the middle of the image).
        rngs: random streams.

    Raises:
        UserError: the maps have more than one feature, or the patch is larger than the image.
    """

    def __init__(
        self,
        in_shape: tuple[int, int, int],
        n_neurons: int,
        *,
        temporal_frames: int = 30,
        patch: tuple[int, int] | None = None,
        filters: Literal["given", "trained"] = "given",
        start_at_mean: bool = False,
        start_at_sta: bool = False,
        gamma_smooth_space: float = 0.0,
        gamma_smooth_time: float = 0.0,
        gamma_sparse: float = 0.0,
        init_w: float = 0.0,
        init_a: float = 4.0,
        init_b: float = 1.0,
        init_c: float = -5.0,
        nonnegative: Literal["a", "w"] | None = "a",
        variance_floor: float = 1e-6,
        neurons_per_chunk: int = 32,
        sta_folder: str | None = None,
        sta_pattern: str = "cell_data_{retina_index}_WN_stas_cell_{cell_index}.npy",
        flip_sta: bool = False,
        sigma_contour: float = 3.0,
        mean_activity: Float[Array, " neuron"] | None = None,
        rf_location: Num[Array, "neuron 2"] | None = None,
        rngs: nnx.Rngs,
    ):
        height, width, channels = in_shape
        if channels != 1:
            raise UserError(
                f"spatial contrast needs maps of one feature, not {channels}; make the stimulus grey with the core's "
                "color_weights, or give the core's last layer one channel"
            )
        self.image, self.patch, self.n_neurons, self.frames = (height, width), patch, n_neurons, temporal_frames
        self.nonnegative, self.variance_floor, self.neurons_per_chunk = nonnegative, variance_floor, neurons_per_chunk
        self.sta_folder, self.sta_pattern, self.flip_sta = sta_folder, sta_pattern, flip_sta
        self.sigma_contour = sigma_contour
        self.trained, self.start_at_sta = filters == "trained", start_at_sta and filters == "trained"
        self.gamma_smooth_space, self.gamma_smooth_time = gamma_smooth_space, gamma_smooth_time
        self.gamma_sparse, self.located = gamma_sparse, rf_location is not None
        self.corner = NeuronConstant(jnp.asarray(np.zeros((n_neurons, 2), np.int32)))
        kind = NeuronParam if self.trained else NeuronConstant
        self.spatial = kind(initial.full((n_neurons, *self.size), 0.0))
        self.temporal = kind(initial.full((n_neurons, temporal_frames), 0.0))
        if self.trained:
            middle = np.tile(np.asarray(self.image) // 2, (n_neurons, 1))
            self._place(middle if rf_location is None else rf_location, np.arange(n_neurons))
            self.temporal[...] = unit_norm(initial.normal(rngs, (n_neurons, temporal_frames)))
        self.w = NeuronParam(initial.full(n_neurons, init_w))
        self.a = NeuronParam(initial.full(n_neurons, init_a))
        self.b = NeuronParam(initial.full(n_neurons, init_b))
        self.c = NeuronParam(initial.full(n_neurons, init_c))
        if start_at_mean and mean_activity is not None:
            self.c[...] = inverse_nonlinearity("softplus", jnp.asarray(mean_activity, jnp.float32) / init_a)

    @property
    def size(self) -> tuple[int, int]:
        """Height and width of what a neuron sees."""
        return self.image if self.patch is None else self.patch

    def set_filters(
        self,
        spatial: Float[np.ndarray, "neuron height width"],
        temporal: Float[np.ndarray, "neuron frame"],
        centres: Num[np.ndarray, "neuron 2"],
    ) -> None:
        """Store the filters of all neurons.

        Args:
            spatial: weights of the whole image's pixels; those outside a neuron's patch are dropped.
            temporal: weights of frames; the last one is that of the response.
            centres: row and column around which the patch lies, shifted where needed to stay inside the image;
                fractions of a pixel are dropped.

        Raises:
            UserError: there are not as many neurons, pixels or frames as the readout has.
        """
        for name, given, wanted in (
            ("spatial filters (neuron, height, width)", spatial.shape, (self.n_neurons, *self.image)),
            ("temporal filters (neuron, frame)", temporal.shape, (self.n_neurons, self.frames)),
            ("centres (neuron, 2)", centres.shape, (self.n_neurons, 2)),
        ):
            if given != wanted:
                raise UserError(f"{name} have shape {given}, the readout needs {wanted}")
        self.corner[...] = patch_corners(centres, self.size, self.image)
        self.spatial[...] = crop_patches(spatial, self.corner[...], self.size)
        self.temporal[...] = jnp.asarray(temporal, jnp.float32)

    def start_at(self, filters: LinearFilters, rows: Int[np.ndarray, " row"]) -> None:
        """Let some rows begin at their STAs; those without one begin as they are, where it would be largest.

        The channels of an STA are averaged, as a core that makes the movie grey does.
        """
        if not self.located:
            self._place(filters.centre, rows)
        known, images = filters.significant, filters.spatial.mean(axis=1)
        spatial = _of_mean_square_1(jnp.maximum(crop_patches(images, self.corner[...][rows], self.size), 0))
        known = known & np.asarray(spatial.any(axis=(1, 2)))
        # the mean of the filtered image is the linear signal divided by the sum of the weights
        sums = spatial.sum(axis=(1, 2)) / jnp.sqrt(jnp.square(spatial).sum(axis=(1, 2)) + SUM_EPSILON)
        a, c = self.a[...][rows], self.c[...][rows]
        slope = strengths(softplus, c, jnp.asarray(filters.slope) / jnp.maximum(a, SUM_EPSILON)) * sums
        for variable, start in (
            (self.spatial, spatial),
            (self.temporal, jnp.asarray(filters.temporal)),
            (self.b, slope),
        ):
            start = jnp.where(known.reshape(-1, *(1,) * (start.ndim - 1)), start, variable[...][rows])
            variable[...] = variable[...].at[rows].set(start)

    def __call__(
        self,
        maps: Float[Array, "batch time height width feature"],
        first: Row = 0,
        width: int | None = None,
        *,
        key: Key[Array, ""] | None = None,
    ) -> Float[Array, "batch new_time neuron"]:
        """Responses of a slice of neurons, in float32 whatever the type of the maps."""
        del key
        width = self.n_neurons if width is None else width
        movie = maps[..., 0].astype(jnp.float32)
        spatial, temporal, corner = (rows_of(one, first, width) for one in (self.spatial, self.temporal, self.corner))
        filters = self._used("spatial", spatial), self._used("temporal", temporal), corner

        # the filtered images of a chunk are made again for the gradient: otherwise those of all chunks would be kept
        @jax.checkpoint
        def signals(filters: tuple[Array, Array, Array]) -> tuple[Array, Array]:
            return self._mean_and_contrast(movie, *filters)

        mean, contrast = jax.lax.map(signals, filters, batch_size=self.neurons_per_chunk)
        mean, contrast = (jnp.moveaxis(signal, 0, -1) for signal in (mean, contrast))
        a, b, c, w = (self._used(name, rows_of(getattr(self, name), first, width)) for name in "abcw")
        return a * softplus(b * (mean + w * contrast) + c)

    def masks(self) -> Float32[Array, "neuron height width"]:
        """Every neuron's spatial filter."""
        spatial = self._used("spatial", self.spatial[...])
        return jax.vmap(lambda patch, at: place_patch(patch, at, self.image))(spatial, self.corner[...])

    def project(self, rows: Bool[Array, " neuron"]) -> None:
        """Move trained filters of these rows into their constraints, and clip what must not be negative."""
        for name in self._constraints():
            variable = getattr(self, name)
            variable[...] = where_rows(rows, self._used(name, variable[...]), variable[...])

    def penalty(self, first: Row, session: Int[Array, " row"], n_sessions: int) -> Float32[Array, ""]:
        """Roughness and mean absolute spatial weights of every neuron's trained filters, summed over neurons."""
        if not self.trained:
            return jnp.zeros(())
        spatial = self._used("spatial", rows_of(self.spatial, first, len(session)))
        temporal = self._used("temporal", rows_of(self.temporal, first, len(session)))
        penalty = self.gamma_sparse * absolute(spatial).mean(axis=(1, 2))
        if is_active(self.gamma_smooth_space):
            roughness = laplace_energy(spatial, padding=None) / (jnp.square(spatial).sum(axis=(1, 2)) + LAPLACE_EPSILON)
            penalty += self.gamma_smooth_space * roughness
        if is_active(self.gamma_smooth_time):
            penalty += self.gamma_smooth_time * jnp.square(laplace_1d(temporal)).sum(axis=1)
        return session_sums(penalty, session, n_sessions).sum()

    def _constraints(self) -> dict[str, Callable[[Array], Array]]:
        """Functions that move parameters into their constraints, by the names of the parameters."""
        clipped: dict[str, Callable[[Array], Array]] = {}
        if self.nonnegative is not None:
            clipped[self.nonnegative] = _not_negative
        if not self.trained:
            return clipped
        return clipped | {
            "b": _not_negative,
            "spatial": lambda spatial: _of_mean_square_1(_not_negative(spatial)),
            "temporal": unit_norm,
        }

    def _used(self, name: str, values: Float[Array, "neuron *number"]) -> Array:
        """Values of a parameter as they are used: within their constraints."""
        constraint = self._constraints().get(name)
        return values if constraint is None else straight_through(constraint(values), values)

    def _place(self, centres: Num[Array, "row 2"] | Num[np.ndarray, "row 2"], rows: Int[np.ndarray, " row"]) -> None:
        """Place patches around centres, and Gaussians there in them."""
        corner = patch_corners(centres, self.size, self.image)
        self.corner[...] = self.corner[...].at[rows].set(corner)
        inside = jnp.asarray(centres, jnp.float32) - corner.astype(jnp.float32)
        axes = (jnp.arange(side, dtype=jnp.float32) for side in self.size)
        deviation = max(min(self.size) / GAUSSIAN_SHARE, 1.0)
        y, x = (
            jnp.exp(-0.5 * jnp.square((axis - at[:, None]) / deviation))
            for axis, at in zip(axes, inside.T, strict=True)
        )
        self.spatial[...] = self.spatial[...].at[rows].set(_of_mean_square_1(y[:, :, None] * x[:, None, :]))

    def _mean_and_contrast(self, movie: Array, spatial: Array, temporal: Array, corner: Array) -> tuple[Array, Array]:
        """Mean and contrast ``(batch, new_time)`` of one neuron."""
        seen = movie if self.patch is None else crop_patch(movie, corner, self.patch)
        filtered = filter_in_time(seen, temporal)
        weights = spatial / (spatial.sum() + SUM_EPSILON)
        mean = (weights * filtered).sum(axis=(2, 3))
        variance = (weights * jnp.square(filtered - mean[:, :, None, None])).sum(axis=(2, 3))
        return mean, _root_above(variance, self.variance_floor)


def _root_above(variance: Float[Array, "*shape"], floor: float) -> Float[Array, "*shape"]:
    """Square root of the variance, or of the floor, there with gradient 0 (not infinity at a variance of 0)."""
    above = variance > floor
    return jnp.where(above, jnp.sqrt(jnp.where(above, variance, 1)), floor**0.5)


def _not_negative(values: Float[Array, "*shape"]) -> Float[Array, "*shape"]:
    return jnp.maximum(values, 0)


def _of_mean_square_1(kernels: Float[Array, "neuron height width"]) -> Float[Array, "neuron height width"]:
    """Kernels as sparse as they are, of one size: a step of the optimiser is small against their weights."""
    return unit_norm(kernels) * (kernels.shape[1] * kernels.shape[2]) ** 0.5
