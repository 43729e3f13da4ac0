from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from openretina_jax.errors import UserError
from openretina_jax.insilico.receptive_fields import described, mean_gradient, noise_sta, noise_stc
from openretina_jax.insilico.targets import Targets, respond_all
from openretina_jax.models.model import Model
from openretina_jax.modules.cores.core import ReceptiveField
from tests.insilico import known_filters as models


def cosines(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    first, second = first.reshape(len(first), -1), second.reshape(len(second), -1)
    return (first * second).sum(1) / np.linalg.norm(first, axis=1) / np.linalg.norm(second, axis=1)


class Curved(Model):
    """One neuron, with a response that is linear in one pixel, rises with the square of another, and falls so too."""

    per_session = False

    def __init__(self) -> None:
        super().__init__({}, models.info({"only": 1}))
        self.gain = nnx.Param(jnp.asarray([0.5, 0.5, -0.4]))

    def respond(self, stimulus: Any, first: Any, width: int, session: Any = None, **_: Any) -> Any:
        del first, width, session
        gain = self.gain[...]
        seen = stimulus[..., 1:, 2, :, 0] * gain[0]
        earlier = stimulus[..., :-1, 2, :, 1]
        return (seen[..., 1] + gain[1] * earlier[..., 1] ** 2 + gain[2] * earlier[..., 2] ** 2)[..., None]

    def receptive_field(self) -> ReceptiveField:
        return ReceptiveField(2, 1, 1)


def test_noise_sta_finds_the_filters() -> None:
    model = models.linear()
    found = noise_sta(model)
    assert (cosines(found, models.filters()) >= 0.99).all()
    # for standard noise, the mean slope of a softplus of a standard normal number is 1/2
    np.testing.assert_allclose((found * models.filters()).sum(axis=(1, 2, 3, 4)), 0.5, rtol=0.03)


def test_noise_sta_of_checks_and_frames() -> None:
    found = noise_sta(models.linear(), frames=3000, check_px=2, kernel_frames=3, contrast=0.5)
    assert found.shape == (models.NEURONS, 3, models.HEIGHT, models.WIDTH, models.CHANNELS)
    np.testing.assert_array_equal(found[:, :, 0], found[:, :, 1])
    wanted = models.filters()[:, -3:]
    for start in range(0, models.HEIGHT, 2):
        rows = slice(start, start + 2)
        sums = wanted[:, :, rows].sum(axis=2)[:, :, 0::2] + wanted[:, :, rows].sum(axis=2)[:, :, 1::2]
        np.testing.assert_allclose(found[:, :, start, ::2], 0.5 * sums, atol=0.15)


def test_mean_gradient_is_proportional_to_the_filters() -> None:
    windows = np.random.default_rng(0).standard_normal((4, 9, models.HEIGHT, models.WIDTH, models.CHANNELS))
    model = models.linear()
    found = mean_gradient(model, windows)
    assert found.shape == models.filters().shape
    assert (cosines(found, models.filters()) >= 0.9999).all()
    fields = described(model, found)
    np.testing.assert_allclose(fields.centre_px[:, 0], [1, 2, 3], atol=0.3)
    assert list(fields.polarity) == [1, -1, 1]
    assert fields.names == ("right:0", "right:1", "left:0")
    with pytest.raises(UserError, match="have 0 responses each"):
        mean_gradient(model, windows[:, :3])


def test_stc_finds_what_the_average_misses() -> None:
    found = noise_stc(Curved(), [0], frames=20_000, pixels=20, components=3, shifts=20)
    np.testing.assert_allclose(found.eigenvalues[0, :2], [1.0, -0.8], atol=0.12)
    np.testing.assert_allclose(found.p[0, :2], 1 / 21, rtol=1e-6)
    assert found.p[0, 2] > 0.05
    for vector, pixel in zip(found.eigenvectors[0], (1, 2), strict=False):
        assert vector[0, 2, pixel, 1] > 0.95
    assert found.eigenvectors.shape == (1, 3, 2, models.HEIGHT, models.WIDTH, models.CHANNELS)


@pytest.mark.slow
def test_every_neuron_answers_as_in_its_own_session() -> None:
    """Sessions whose temporal kernels have speeds of their own."""
    model = models.lively(adapt_speed=True)
    model.core.log_speed[...] = jnp.asarray([0.0, 0.4, -0.4])
    stimulus = jax.random.normal(jax.random.key(0), model.stimulus_shape(9))

    @jax.jit
    def answers(stimulus: jax.Array) -> tuple[jax.Array, list[jax.Array]]:
        one_by_one = [model(stimulus, session=name) for name in (*model.data_info.sessions, None)]
        return respond_all(model, stimulus), one_by_one

    together, (*one_by_one, shared) = answers(stimulus)
    np.testing.assert_allclose(together, np.concatenate(one_by_one, axis=-1), rtol=1e-5)
    np.testing.assert_allclose(together[..., :3], shared[..., :3], rtol=1e-5)  # the speed of the first session is 1
    assert np.abs(together[..., 3:] - shared[..., 3:]).min() > 1e-4
    with pytest.raises(UserError, match="several sessions"):
        Targets.of(model, [[0, 11]], ["both"])


@pytest.mark.parametrize(
    ("options", "message"),
    [({"frames": 1}, "at least 2 frames"), ({"contrast": 0.0}, "above 0"), ({"check_px": 0}, "above 0")],
)
def test_wrong_noise_is_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        noise_sta(models.linear(), **options)


def test_wrong_stc_is_refused() -> None:
    with pytest.raises(UserError, match="frames have 20 pixels"):
        noise_stc(models.linear(), [0], pixels=21)
