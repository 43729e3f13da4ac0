"""Vector fields: how the gradient of a neuron changes over the images that it sees.

Source: Goldin et al. 2022, https://doi.org/10.1038/s41467-022-33242-8. Gradients at images (``gradients.lsta``) are
arrows in the plane of their two principal components, each at the place of its image.
"""

import dataclasses

import numpy as np
from jaxtyping import Float, Float32, Int

from openretina_jax.errors import UserError
from openretina_jax.insilico.gradients import Lsta

BINS = 31


@dataclasses.dataclass(frozen=True, eq=False)
class Binned:
    """A vector field on a grid; bins without an image are left out.

    Attributes:
        places: mean coordinates of the images of each bin.
        arrows: mean arrow.
        responses: mean response of the neuron.
        counts: number of images.
    """

    places: Float32[np.ndarray, "bin 2"]
    arrows: Float32[np.ndarray, "bin 2"]
    responses: Float32[np.ndarray, " bin"]
    counts: Int[np.ndarray, " bin"]


@dataclasses.dataclass(frozen=True, eq=False)
class VectorField:
    """Gradients of a neuron as arrows in a plane.

    Attributes:
        name: name of the neuron.
        components: images of norm 1 that span the plane.
        explained: share of the variance of the gradients along each of them.
        places: coordinates of the images.
        arrows: coordinates of the gradients.
        responses: mean response of this neuron to each image.
    """

    name: str
    components: Float32[np.ndarray, "2 height width"]
    explained: Float32[np.ndarray, "2"]
    places: Float32[np.ndarray, "image 2"]
    arrows: Float32[np.ndarray, "image 2"]
    responses: Float32[np.ndarray, " image"]

    def binned(self, bins: int = BINS) -> Binned:
        """Average over the images in each square of a grid, which spans all images, the largest included."""
        low, high = self.places.min(axis=0), self.places.max(axis=0)
        width = np.where(high > low, high - low, 1)
        cell = np.minimum((bins * (self.places - low) / width).astype(int), bins - 1)
        _, index, counts = np.unique(cell @ [bins, 1], return_inverse=True, return_counts=True)
        columns = np.column_stack([self.places, self.arrows, self.responses])
        sums = np.zeros((len(counts), columns.shape[1]))
        np.add.at(sums, index, columns)
        means = (sums / counts[:, None]).astype(np.float32)
        return Binned(means[:, :2], means[:, 2:4], means[:, 4], counts)


def vector_field(lsta: Lsta, neuron: int = 0, channel: int = 0) -> VectorField:
    """Project gradients and images of one channel onto the principal components of the gradients.

    Args:
        lsta: gradients at images.
        neuron: number of the neuron in ``lsta``.
        channel: channel of the images.

    Raises:
        UserError: there are fewer than three images, or no such neuron or channel.
    """
    count, images = lsta.gradients.shape[:2]
    channels = lsta.images.shape[-1]
    if not (0 <= neuron < count and 0 <= channel < channels and images > 2):
        raise UserError(
            f"neuron {neuron}, channel {channel} of {images} images were asked for; there are neurons 0 to {count - 1} "
            f"and channels 0 to {channels - 1}, and at least 3 images are needed"
        )
    gradients, shown = lsta.gradients[neuron, ..., channel], lsta.images[..., channel]
    components, explained = principal_components(gradients)
    return VectorField(
        name=lsta.names[neuron],
        components=components,
        explained=explained,
        places=coordinates(shown, components),
        arrows=coordinates(gradients, components),
        responses=lsta.mean_responses[neuron],
    )


def principal_components(
    images: Float[np.ndarray, "image height width"], count: int = 2
) -> tuple[Float32[np.ndarray, "component height width"], Float32[np.ndarray, " component"]]:
    """Principal components of images, and the share of the variance that each explains.

    Their signs are such that the pixel of the largest absolute value is positive. Components of images that are all
    equal explain nothing.
    """
    flat = images.reshape(len(images), -1).astype(np.float64)
    _, values, rows = np.linalg.svd(flat - flat.mean(axis=0), full_matrices=False)
    rows = rows[:count]
    rows *= np.sign(np.take_along_axis(rows, np.abs(rows).argmax(axis=1)[:, None], 1))
    variance = np.square(values)
    explained = variance[:count] / max(variance.sum(), np.finfo(np.float64).tiny)
    return rows.reshape(-1, *images.shape[1:]).astype(np.float32), explained.astype(np.float32)


def coordinates(
    images: Float[np.ndarray, "image height width"], components: Float[np.ndarray, "component height width"]
) -> Float32[np.ndarray, "image component"]:
    """Products of images with components; the mean of the images is not removed."""
    return np.einsum("nhw,khw->nk", images, components, dtype=np.float32)
