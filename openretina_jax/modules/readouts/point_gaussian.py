"""The readout in which every neuron reads the feature maps at one point, drawn from a Gaussian in training."""

from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jaxtyping import Array, Bool, Float, Float32, Int, Key

from openretina_jax.errors import UserError
from openretina_jax.modules import initial
from openretina_jax.modules.layers import NeuronConstant, NeuronParam, fixed_nonlinearity
from openretina_jax.modules.readouts import READOUTS
from openretina_jax.modules.readouts.positions import Ids, OwnMeans, Positions, make_means, numbered
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
    weigh_maps,
)
from openretina_jax.modules.regularizers import absolute
from openretina_jax.runtime.devices import backend, precision, slice_of_part

SIGMA_SHAPES = {"full": (2, 2), "uncorrelated": (2,), "isotropic": (1,)}
FRAMES_AT_ONCE = 256  # whose pixels stay in the cache
COVARIANCE_EPSILON = 1e-6  # keeps the density of a Gaussian without width finite


@READOUTS("point_gaussian")
class PointGaussianReadout(Readout):
    """Every neuron interpolates the feature maps at one point and weighs the features.

    In training the point is drawn from the neuron's Gaussian, else it is the mean. Coordinate 0 of a position runs
    along width, 1 along height, both from -1 to 1; outside the maps are 0.
    Source: Lurz et al. 2021, https://openreview.net/forum?id=Tp7kI90Htd.

    Attributes:
        means: gives the mean positions: ``OwnMeans``, ``SharedMeans``, ``MappedMeans`` or ``PredictedMeans``.
        sigma: ``(neuron, 2, 2)`` matrices A of the covariances A Aᵀ ("full"), or standard deviations along the two
            coordinates ``(neuron, 2)`` ("uncorrelated") or along both ``(neuron, 1)`` ("isotropic").
        features: ``(neuron, feature)`` weights; if shared, ``(id, feature)`` in the order of the sorted ids.
        feature_index, feature_scale: ``(neuron,)`` row of ``features``, and factor of it, if features are shared.
        owns_features: ``(neuron,)`` whether the neuron is of the first session that has its features.
        bias: ``(neuron,)`` offset before the nonlinearity, or None.

    Args:
        in_shape: (height, width, feature) of the feature maps.
        n_neurons: rows of the table.
        gaussian: which covariances are possible: "full", "uncorrelated" or "isotropic".
        init_mean: initial means are uniform between minus and plus this.
        init_sigma: initial standard deviation; for "full" the matrices are uniform between minus and plus this.
        sample_per_frame: draw a position for every frame of every window instead of one for all.
        align_corners: whether -1 and 1 are the centres of the first and last pixel instead of their outer edges.
        bias: whether there is an offset.
        start_at_mean: whether offsets start where the nonlinearity gives the mean activities; else at these.
        nonlinearity: name of the output nonlinearity.
        gamma: weight of the L1 penalty on feature weights; shared ones count in the first session that has them.
        average_penalty: average the penalty over a session's weights instead of summing.
        feature_ids: one id per neuron; neurons of the same id share features up to a factor (None: none are shared).
        position_ids: one id per neuron; neurons of the same id share their mean position, see ``SharedMeans``.
        position_map: whether every session but the first maps shared positions, see ``MappedMeans``.
        position_predictor: options of ``PredictedMeans``, which predicts the means of all neurons.
        initial_positions: mean position of every neuron to begin with (None: random).
        start_at_location: whether mean positions begin where receptive fields are, if the data know: a point that is
            further away than the kernels reach gets no gradient that leads it there.
        session_sizes: neurons of each session, in the order of the table (None: there is one session).
        mean_activity: ``(neuron,)`` initial offsets (None: 0).
        map_location: ``(neuron, 2)`` row and column of the maps that look at the receptive field; NaN, or None, where
            that is not known.
        rngs: random streams; feature weights begin at 1 / features.

    Raises:
        UserError: an option has no such value, a list has another length than the table, or options exclude each other.
    """

    def __init__(
        self,
        in_shape: tuple[int, int, int],
        n_neurons: int,
        *,
        gaussian: str = "full",
        init_mean: float = 0.1,
        init_sigma: float = 0.15,
        sample_per_frame: bool = True,
        align_corners: bool = True,
        bias: bool = True,
        start_at_mean: bool = False,
        nonlinearity: str = "softplus",
        gamma: float = 1.0,
        average_penalty: bool = False,
        feature_ids: Ids | None = None,
        position_ids: Ids | None = None,
        position_map: bool = True,
        position_predictor: Mapping[str, Any] | None = None,
        initial_positions: Positions | None = None,
        start_at_location: bool = False,
        session_sizes: tuple[int, ...] | None = None,
        mean_activity: Float[Array, " neuron"] | None = None,
        map_location: Float[Array, "neuron 2"] | None = None,
        rngs: nnx.Rngs,
    ):
        if gaussian not in SIGMA_SHAPES:
            raise UserError(f'gaussian "{gaussian}" is unknown; choose among {", ".join(SIGMA_SHAPES)}')
        if not 0 < init_mean <= 1 or init_sigma <= 0:
            raise UserError(f"init_mean is {init_mean} (above 0, at most 1), init_sigma is {init_sigma} (above 0)")
        self.in_shape, self.n_neurons, self.nonlinearity = in_shape, n_neurons, fixed_nonlinearity(nonlinearity)
        self.gaussian, self.sample_per_frame, self.align_corners = gaussian, sample_per_frame, align_corners
        self.gamma, self.average_penalty = gamma, average_penalty
        sizes = (n_neurons,) if session_sizes is None else session_sizes
        session = np.repeat(np.arange(len(sizes), dtype=np.int32), sizes)
        location = None
        if start_at_location and map_location is not None:
            location = _coordinates(map_location, in_shape[:2], align_corners)
        self.means = make_means(
            session,
            init_mean=init_mean,
            initial_positions=initial_positions,
            location=location,
            position_ids=position_ids,
            position_map=position_map,
            position_predictor=position_predictor,
            rngs=rngs,
        )
        shape = (n_neurons, *SIGMA_SHAPES[gaussian])
        self.sigma = NeuronParam(
            initial.uniform(rngs, shape, init_sigma) if gaussian == "full" else initial.full(shape, init_sigma)
        )
        shared = feature_ids is not None
        distinct, index = (
            numbered("feature_ids", feature_ids, n_neurons) if feature_ids is not None else (n_neurons, session)
        )
        weights = initial.full((distinct, in_shape[2]), 1 / in_shape[2])
        self.features = nnx.Param(weights) if shared else NeuronParam(weights)
        self.feature_index = NeuronConstant(jnp.asarray(index)) if shared else None
        self.feature_scale = NeuronParam(initial.full(n_neurons, 1.0)) if shared else None
        self.owns_features = NeuronConstant(_in_first_session(index, session)) if shared else None
        self.bias = (
            neuron_bias(NeuronParam, n_neurons, mean_activity, nonlinearity if start_at_mean else None)
            if bias
            else None
        )

    def __call__(
        self,
        maps: Float[Array, "batch time height width feature"],
        first: Row = 0,
        width: int | None = None,
        *,
        key: Key[Array, ""] | None = None,
        shift: Float[Array, "batch #time 2"] | None = None,
    ) -> Float[Array, "batch time neuron"]:
        """Responses of a slice of neurons.

        Args:
            maps: output of the core.
            first: first row.
            width: number of rows (None: all that follow row 0).
            key: random key in training (None: the points are the means).
            shift: added to all positions, for eye movements.
        """
        width = self.n_neurons if width is None else width
        noise = None if key is None else self._noise(key, maps, width)
        positions = self.positions(first, width, noise)
        if shift is not None:
            positions = positions + shift[:, :, None]
        return self.responses_at(maps, positions, first)

    def shifted(
        self,
        maps: Float[Array, "batch time height width feature"],
        shift: Float[Array, "batch time 2"],
        first: Row = 0,
        width: int | None = None,
        *,
        key: Key[Array, ""] | None = None,
    ) -> Float[Array, "batch time neuron"]:
        """Responses of a slice of neurons at shifted positions, see ``Readout``."""
        pixels = [n - 1 if self.align_corners else n for n in self.in_shape[:2]]
        dy, dx = (2 * shift[..., axis] / max(n, 1) for axis, n in enumerate(pixels))
        return self(maps, first, width, key=key, shift=jnp.stack([dx, dy], axis=-1))

    def positions(
        self, first: Row, width: int, noise: Float[Array, "*frames neuron 2"] | None = None
    ) -> Float32[Array, "*frames neuron 2"]:
        """Positions of a slice of neurons, inside the maps.

        Args:
            first: first row.
            width: number of rows.
            noise: standard normal numbers that the positions are made of (None: they are the means).
        """
        mean = self.means(first, width)
        if noise is None:
            return clip(mean, -1.0, 1.0)
        sigma = rows_of(self.sigma, first, width)
        deviation = (
            jnp.einsum("nij,...nj->...ni", sigma, noise, precision=precision())
            if self.gaussian == "full"
            else sigma * noise
        )
        return clip(mean + deviation, -1.0, 1.0)

    def responses_at(
        self,
        maps: Float[Array, "batch time height width feature"],
        positions: Float[Array, "neuron 2"] | Float[Array, "batch #time neuron 2"],
        first: Row = 0,
    ) -> Float[Array, "batch time neuron"]:
        """Responses of the neurons from row ``first`` on, if they were at the given positions.

        Where a position holds for all frames, interpolation and features make one matrix per neuron, so that all
        neurons are a single matrix product.
        """
        width = positions.shape[-2]
        features = self._features(first, width)
        if positions.ndim == 2:
            masks = interpolation_masks(positions, self.in_shape[:2], self.align_corners)
            drive = weigh_maps(maps, jnp.einsum("nhw,nc->nhwc", masks, features, precision=precision()))
        else:
            positions = jnp.broadcast_to(positions, (*maps.shape[:2], width, 2))
            drive = read_at(maps, positions, features, self.align_corners)
        return self.nonlinearity(drive if self.bias is None else drive + rows_of(self.bias, first, width))

    def masks(self) -> Float32[Array, "neuron height width"]:
        """Density of every neuron's position at the pixels of the feature maps; sums to 1."""
        y, x = (_pixel_centres(size, self.align_corners) for size in self.in_shape[:2])
        pixels = jnp.stack(jnp.meshgrid(x, y), axis=-1)
        distance = pixels - self.positions(0, self.n_neurons)[:, None, None]
        inverse = jnp.linalg.inv(self._covariances())
        squares = jnp.einsum("nhwi,nij,nhwj->nhw", distance, inverse, distance, precision=precision())
        return jax.nn.softmax(-0.5 * squares, axis=(1, 2))

    def feature_weights(self) -> Float32[Array, "neuron feature"]:
        """Every neuron's feature weights, as they are used."""
        return self._features(0, self.n_neurons)

    def position_dispersion(self) -> Float32[Array, ""]:
        """Standard deviation of the mean positions along each coordinate, summed; shared positions count once."""
        return jnp.std(self.means.distinct(), axis=0, ddof=1).sum()

    def project(self, rows: Bool[Array, " neuron"]) -> None:
        """Move the mean positions of these rows into the maps, where every neuron has its own."""
        self.means.project(rows)

    def centre(self) -> None:
        """Move every position to the middle, also where positions are shared or predicted."""
        self.means = OwnMeans(initial.full((self.n_neurons, 2), 0.0))

    def grid(self) -> Grid | None:
        """Points at every pixel; None where neurons share positions or features."""
        if not isinstance(self.means, OwnMeans) or self.feature_index is not None:
            return None
        height, width, _ = self.in_shape
        at = pixel_grid(height, width).astype(int)
        y, x = (_pixel_centres(size, self.align_corners) for size in (height, width))
        positions = jnp.stack([x[at[:, 1]], y[at[:, 0]]], axis=1)
        masks = interpolation_masks(positions, (height, width), self.align_corners)
        return Grid(masks, {"means.positions": positions}, self.nonlinearity, False)

    def penalty(self, first: Row, session: Int[Array, " row"], n_sessions: int) -> Float32[Array, ""]:
        """Absolute feature weights: a sum, or a mean over each session's numbers."""
        reduce, over_session = (jnp.mean, session_means) if self.average_penalty else (jnp.sum, session_sums)
        size = reduce(absolute(self._features(first, len(session))), axis=1)
        if self.owns_features is not None:
            session = jnp.where(rows_of(self.owns_features, first, len(session)), session, n_sessions)
        return self.gamma * over_session(size, session, n_sessions).sum()

    def _noise(self, key: Key[Array, ""], maps: Array, width: int) -> Float32[Array, "*frames neuron 2"]:
        """Standard normal numbers for the positions, the same on one device and on several."""
        if not self.sample_per_frame:
            return jax.random.normal(key, (width, 2))
        return slice_of_part(lambda n: jax.random.normal(key, (n, maps.shape[1], width, 2)), len(maps))

    def _features(self, first: Row, width: int) -> Array:
        if self.feature_index is None or self.feature_scale is None:
            return rows_of(self.features, first, width)
        features = self.features[...][rows_of(self.feature_index, first, width)]
        return rows_of(self.feature_scale, first, width)[:, None] * features

    def _covariances(self) -> Float32[Array, "neuron 2 2"]:
        sigma = self.sigma[...]
        if self.gaussian == "full":
            covariance = jnp.matmul(sigma, sigma.swapaxes(1, 2), precision=precision())
        else:
            covariance = jnp.square(sigma)[:, :, None] * jnp.eye(2)
        return covariance + COVARIANCE_EPSILON * jnp.eye(2)


def interpolation_masks(
    positions: Float[Array, "neuron 2"], size: tuple[int, int], align_corners: bool
) -> Float[Array, "neuron height width"]:
    """Weight of every pixel in the bilinear interpolation at a position; at most four are not 0."""

    def spread(coordinate: Array, n: int) -> Array:
        corners = _corners(coordinate, n, align_corners)
        return sum(
            (jnp.where(index[:, None] == jnp.arange(n), weight[:, None], 0) for index, weight in corners), jnp.zeros(n)
        )

    return spread(positions[:, 1], size[0])[:, :, None] * spread(positions[:, 0], size[1])[:, None, :]


def read_at(
    maps: Float[Array, "batch time height width feature"],
    positions: Float[Array, "batch time neuron 2"],
    features: Float[Array, "neuron feature"],
    align_corners: bool,
) -> Float32[Array, "batch time neuron"]:
    """Interpolate every map bilinearly at its own positions, and weigh the features.

    Four pixels of all features for each neuron and frame are many times as large as the maps: on CPUs they are there
    for some frames at a time, and again for the gradient.
    """
    *frames, height, width, channels = maps.shape

    @jax.checkpoint
    def read(image: Array, positions: Array) -> Array:
        pixel, weight = _around(positions, (height, width), align_corners)
        values = jnp.einsum("nkc,nk->nc", image[pixel].astype(jnp.float32), weight, precision=precision())
        return jnp.einsum("nc,nc->n", values, features, precision=precision())

    # a barrier in the gradient, too: whoever reads it across its layout takes many times longer than a transposition
    images = jax.lax.optimization_barrier(maps).reshape(-1, height * width, channels)
    each = images, positions.reshape(len(images), -1, 2)
    at_once = FRAMES_AT_ONCE if backend() == "cpu" else len(images)
    of_frames = (
        jax.vmap(read)(*each)
        if len(images) <= at_once
        else jax.lax.map(lambda frame: read(*frame), each, batch_size=at_once)
    )
    return of_frames.reshape(*frames, -1)


def _around(
    positions: Float[Array, "neuron 2"], size: tuple[int, int], align_corners: bool
) -> tuple[Int[Array, "neuron 4"], Float[Array, "neuron 4"]]:
    """Find the four pixels around positions, those outside moved to the edge, and their weights.

    Products are stacked one by one: the gradient of an outer product of pairs sums two numbers, which is slow.
    """
    height, width = size
    pixels, weights = [], []
    for y, y_weight in _corners(positions[:, 1], height, align_corners):
        for x, x_weight in _corners(positions[:, 0], width, align_corners):
            pixels.append(jnp.clip(y, 0, height - 1) * width + jnp.clip(x, 0, width - 1))
            weights.append(y_weight * x_weight)
    return jnp.stack(pixels, axis=-1), jnp.stack(weights, axis=-1)


def _corners(
    coordinate: Float[Array, "*shape"], n: int, align_corners: bool
) -> list[tuple[Int[Array, "*shape"], Float[Array, "*shape"]]]:
    """Find the two pixels around a coordinate along an axis of ``n`` pixels, and their weights.

    A pixel outside the image has weight 0 without gradient, and a position at the centre of a pixel has the gradient
    towards larger coordinates, both as in torch's ``grid_sample``.
    """
    pixel = (coordinate + 1) / 2 * (n - 1) if align_corners else ((coordinate + 1) * n - 1) / 2
    low = jnp.floor(pixel)
    index = low.astype(jnp.int32)
    found = ((index, 1 - (pixel - low)), (index + 1, pixel - low))
    return [(index, jnp.where((index >= 0) & (index < n), weight, 0)) for index, weight in found]


def _coordinates(
    pixel: Float[Array, "neuron 2"], size: tuple[int, int], align_corners: bool
) -> Float[Array, "neuron 2"]:
    """Positions of rows and columns, inside the maps; the inverse of what ``_corners`` begins with."""
    n = jnp.asarray(size, jnp.float32)
    position = 2 * pixel / jnp.maximum(n - 1, 1) - 1 if align_corners else (2 * pixel + 1) / n - 1
    return jnp.clip(position, -1, 1)[:, ::-1]


def _in_first_session(index: np.ndarray, session: np.ndarray) -> Bool[Array, " neuron"]:
    """Mark the neurons of the first session that has their index."""
    first_session = np.full(index.max() + 1, session.max())
    np.minimum.at(first_session, index, session)
    return jnp.asarray(session == first_session[index])


def _pixel_centres(n: int, align_corners: bool) -> Float32[Array, " n"]:
    edge = 1.0 if align_corners else 1 - 1 / n
    return jnp.linspace(-edge, edge, n)
