"""Galleries of contrast grids and of vector fields."""

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes

from openretina_jax.insilico.gradients import ContrastGrid
from openretina_jax.insilico.vector_field import VectorField
from openretina_jax.visualize.document import drawing
from openretina_jax.visualize.gallery.frame import card, page, signed_image
from openretina_jax.visualize.style import Figure

_ARROWS = 11  # along each side of a contrast grid, at most


def contrast_page(grid: ContrastGrid) -> str:
    """Write a card for every neuron: its response by the contrasts of two channels, and the way in which it rises."""
    first, second = grid.channels
    cards = []
    for number, name in enumerate(grid.names):
        figure, axes = _square()
        contrasts, response = grid.contrasts, grid.response[number]
        image = axes.contourf(contrasts, contrasts, response.T, levels=12, cmap="viridis")
        axes.contour(contrasts, contrasts, response.T, levels=12, colors="white", linewidths=0.4)
        every = slice(None, None, -(-len(contrasts) // _ARROWS))
        x, y = np.meshgrid(contrasts[every], contrasts[every], indexing="ij")
        gradient = grid.gradient[number][every, every]
        axes.quiver(x, y, gradient[..., 0], gradient[..., 1], color="black", width=0.005)
        axes.set(xlabel=f"contrast of channel {first}", ylabel=f"contrast of channel {second}")
        figure.colorbar(image, ax=axes, label="response", fraction=0.05)
        numbers = {"lowest": float(response.min()), "highest": float(response.max())}
        cards.append(card(name, [drawing(figure, f"Response of {name} by contrast")], numbers))
    about = (
        f"The stimulus of every neuron with channels {first} and {second} multiplied by contrasts; negative ones "
        "invert a channel. Lines join equal responses; arrows point to where the response rises."
    )
    return page("Contrast grids", about, cards)


def vector_page(fields: Sequence[VectorField], bins: int) -> str:
    """Write a card for every neuron: its gradients at images, in the plane of their two principal components.

    Args:
        fields: a field for every neuron.
        bins: squares along each side of the field.
    """
    cards = []
    for field in fields:
        figure, axes = _square()
        binned = field.binned(bins)
        image = axes.scatter(
            binned.places[:, 0], binned.places[:, 1], c=binned.responses, cmap="viridis", s=70, marker="s", linewidths=0
        )
        axes.quiver(*binned.places.T, *binned.arrows.T, color="black", width=0.006)
        axes.margins(0.25)  # so that arrows stay inside
        axes.set(xlabel="image along component 1", ylabel="image along component 2")
        figure.colorbar(image, ax=axes, label="response", fraction=0.05)
        parts = [drawing(figure, f"Vector field of {field.name}")]
        parts += [
            signed_image(component, f"Component {number} of {field.name}")
            for number, component in enumerate(field.components, start=1)
        ]
        shares = {f"explained by component {n}": float(share) for n, share in enumerate(field.explained, start=1)}
        cards.append(card(field.name, parts, {**shares, "images": len(field.places)}))
    about = (
        "Gradients of the response at images, each image shown after grey. A square is the mean of the images that lie "
        "there, its colour the response of this neuron, its arrow the mean gradient. Below: the two components."
    )
    return page("Vector fields", about, cards)


def _square() -> tuple[Figure, Axes]:
    figure = Figure(figsize=(3.6, 2.9), layout="constrained")
    return figure, figure.subplots()
