import dataclasses

import numpy as np
import pytest

from openretina_jax.errors import UserError
from openretina_jax.insilico.gradients import Lsta
from openretina_jax.insilico.vector_field import coordinates, principal_components, vector_field

HEIGHT, WIDTH = 4, 5


def library(images: int = 200) -> Lsta:
    """Gradients that turn in a plane with the place of the image in it, and two neurons, of which the second counts."""
    rng = np.random.default_rng(0)
    plane = np.linalg.qr(rng.standard_normal((HEIGHT * WIDTH, 2)))[0].T.reshape(2, HEIGHT, WIDTH)
    places = rng.uniform(-1, 1, (images, 2))
    shown = np.einsum("nk,khw->nhw", places, plane)
    turned = np.einsum("nk,khw->nhw", places @ np.array([[0.0, 3.0], [-1.0, 0.0]]), plane)
    gradients = np.zeros((2, images, HEIGHT, WIDTH, 2))
    gradients[1, ..., 1] = turned + 0.5
    responses = np.zeros((2, images, 6))
    responses[1, :, 2:4] = places[:, :1]
    return Lsta(
        names=("first", "second"),
        images=np.stack([rng.standard_normal(shown.shape), shown], -1).astype(np.float32),
        gradients=gradients.astype(np.float32),
        responses=responses.astype(np.float32),
        window=(2, 4),
    )


def test_components_span_the_plane_of_the_gradients() -> None:
    lsta = library()
    field = vector_field(lsta, neuron=1, channel=1)
    assert field.name == "second"
    np.testing.assert_allclose(np.einsum("ihw,jhw->ij", field.components, field.components), np.eye(2), atol=1e-5)
    np.testing.assert_allclose(field.explained.sum(), 1, rtol=1e-5)
    assert field.explained[0] > field.explained[1]
    for component in field.components:
        assert component.ravel()[np.abs(component).argmax()] > 0
    # the images lie in the plane, so that their coordinates are all there is to them
    np.testing.assert_allclose(np.einsum("nk,khw->nhw", field.places, field.components), lsta.images[..., 1], atol=1e-4)
    np.testing.assert_allclose(field.arrows, coordinates(lsta.gradients[1, ..., 1], field.components), rtol=1e-5)
    np.testing.assert_allclose(field.responses, lsta.responses[1, :, 2])


def test_signs_do_not_depend_on_the_signs_of_the_images() -> None:
    images = np.random.default_rng(0).standard_normal((9, HEIGHT, WIDTH))
    np.testing.assert_allclose(principal_components(images)[0], principal_components(-images)[0], atol=1e-6)
    assert (principal_components(np.ones((3, HEIGHT, WIDTH)))[1] == 0).all()


def test_bins_hold_every_image() -> None:
    field = vector_field(library(), neuron=1, channel=1)
    binned = field.binned(5)
    assert binned.counts.sum() == len(field.places)
    for name in ("places", "arrows", "responses"):
        values = getattr(binned, name)
        mean = (values.T * binned.counts).T.sum(axis=0) / binned.counts.sum()
        np.testing.assert_allclose(mean, getattr(field, name).mean(axis=0), atol=1e-5)
    assert len(binned.counts) <= 25
    fine = field.binned(10_000)
    assert fine.counts.max() == 1
    np.testing.assert_allclose(np.sort(fine.responses), np.sort(field.responses), rtol=1e-6)
    largest = field.places[:, 0].argmax()
    np.testing.assert_allclose(fine.places[-1], field.places[largest], rtol=1e-6)
    np.testing.assert_allclose(fine.arrows[-1], field.arrows[largest], rtol=1e-6)


def test_images_on_a_line_are_binned() -> None:
    field = vector_field(library(), neuron=1, channel=1)
    line = dataclasses.replace(field, places=field.places * np.array([1, 0], np.float32))
    assert line.binned(4).counts.shape == (4,)


def test_wrong_use_is_refused() -> None:
    for neuron, channel, images in ((2, 0, 5), (0, 2, 5), (0, 0, 2)):
        with pytest.raises(UserError, match=f"neuron {neuron}, channel {channel} of {images} images"):
            vector_field(library(images), neuron, channel)
