"""The spatial contrast readout: frozen filters and four trained numbers for every neuron."""

from typing import Literal

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Float32, Key, Num

from openretina_jax.errors import UserError
from openretina_jax.modules import initial
from openretina_jax.modules.layers import NeuronConstant, NeuronParam
from openretina_jax.modules.readouts import READOUTS
from openretina_jax.modules.readouts.readout import Readout, Row, rows_of, straight_through, where_rows
from openretina_jax.modules.readouts.receptive_field import crop_patch, filter_in_time, patch_corners, place_patch

SUM_EPSILON = 1e-8


@READOUTS("spatial_contrast")
class SpatialContrastReadout(Readout):
    """Every neuron responds to the mean and the standard deviation of what it sees: a softplus of their weighted sum.

    The response is ``a * softplus(b * (mean + w * contrast) + c)``. Mean and contrast are the mean and the standard
    deviation of the temporally filtered image, weighted by the spatial filter. Filters come from spike-triggered
    averages and are not trained. Used with the core "identity".
    Source: Sridhar et al. 2025, https://doi.org/10.1371/journal.pcbi.1014157.

    Attributes:
        spatial: ``(neuron, patch_height, patch_width)`` weights of pixels; zeros until ``set_filters``.
        temporal: ``(neuron, frame)`` weights of frames; the last one is that of the response.
        corner: ``(neuron, 2)`` row and column of the patch's top left pixel.
        w, a, b, c: ``(neuron,)`` weight of the contrast, gain, slope and offset.

    Args:
        in_shape: (height, width, 1) of the maps.
        n_neurons: rows of the table.
        temporal_frames: frames of the temporal filters; a response is that many minus one shorter than the maps.
        patch: height and width of what a neuron sees (None: the image).
        init_w, init_a, init_b, init_c: initial values.
        nonnegative: number that is clipped at 0: "a", so that no response is negative, "w", or None. openretina clips
            "a" in its model of many cells and "w" in that of a single one, after each step; here it is clipped before
            the next use, which sees the same numbers.
        variance_floor: smallest variance from which the contrast is taken; 0 in openretina's model of a single cell.
        neurons_per_chunk: neurons whose filtered images are in memory at the same time.
        sta_folder, sta_pattern, flip_sta, sigma_contour: folder of the spike-triggered averages, name of a neuron's
            file, whether they are mirrored, and radius of the spatial filters in standard deviations; the readout
            keeps these for ``read_sta_filters``.

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
        size = self.image if patch is None else patch
        self.spatial = NeuronConstant(initial.full((n_neurons, *size), 0.0))
        self.temporal = NeuronConstant(initial.full((n_neurons, temporal_frames), 0.0))
        self.corner = NeuronConstant(patch_corners(np.zeros((n_neurons, 2)), size, self.image))
        self.w = NeuronParam(initial.full(n_neurons, init_w))
        self.a = NeuronParam(initial.full(n_neurons, init_a))
        self.b = NeuronParam(initial.full(n_neurons, init_b))
        self.c = NeuronParam(initial.full(n_neurons, init_c))

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
        size = self.image if self.patch is None else self.patch
        corner = patch_corners(centres, size, self.image)
        self.corner[...] = corner
        self.spatial[...] = jax.vmap(lambda image, at: crop_patch(image, at, size))(_float32(spatial), corner)
        self.temporal[...] = _float32(temporal)

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
        filters = tuple(rows_of(variable, first, width) for variable in (self.spatial, self.temporal, self.corner))

        # the filtered images of a chunk are made again for the gradient: otherwise those of all chunks would be kept
        @jax.checkpoint
        def signals(filters: tuple[Array, Array, Array]) -> tuple[Array, Array]:
            return self._mean_and_contrast(movie, *filters)

        mean, contrast = jax.lax.map(signals, filters, batch_size=self.neurons_per_chunk)
        mean, contrast = (jnp.moveaxis(signal, 0, -1) for signal in (mean, contrast))
        a, b, c, w = (self._clipped(name, rows_of(getattr(self, name), first, width)) for name in "abcw")
        return a * jax.nn.softplus(b * (mean + w * contrast) + c)

    def masks(self) -> Float32[Array, "neuron height width"]:
        """Every neuron's spatial filter."""
        return jax.vmap(lambda patch, at: place_patch(patch, at, self.image))(self.spatial[...], self.corner[...])

    def project(self, rows: Bool[Array, " neuron"]) -> None:
        """Clip what must not be negative in these rows."""
        if self.nonnegative is not None:
            variable = getattr(self, self.nonnegative)
            variable[...] = where_rows(rows, self._clipped(self.nonnegative, variable[...]), variable[...])

    def _clipped(self, name: str, values: Float[Array, " neuron"]) -> Array:
        return straight_through(jnp.maximum(values, 0), values) if name == self.nonnegative else values

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


def _float32(array: np.ndarray) -> Array:
    return jnp.asarray(array, jnp.float32)
