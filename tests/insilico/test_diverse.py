"""Diverse exciting stimuli, and experiments on layers of a core."""

import numpy as np
import pytest
from flax import nnx

from openretina_jax.errors import UserError
from openretina_jax.insilico.ascent import Ascent
from openretina_jax.insilico.constraints import Constraint
from openretina_jax.insilico.diverse import diverse_exciting
from openretina_jax.insilico.experiments import most_exciting
from openretina_jax.insilico.layers import layer_model
from openretina_jax.models.ensemble import Ensemble
from tests.insilico.models import CHANNELS, convolutional, lnp

CONSTRAINT = Constraint.of(CHANNELS, norm=2.0)
OPTIONS = {"constraint": CONSTRAINT, "window": 2, "ascent": Ascent(steps=30)}


@pytest.mark.slow
def test_diverse_stimuli_excite_enough_and_differ() -> None:
    model = convolutional()
    kept: dict[str, dict[str, np.ndarray]] = {}
    best = most_exciting(model, [0, 3, 4], **OPTIONS)
    found = diverse_exciting(model, [0, 3, 4], count=3, share=0.8, best=best, kept=kept)
    assert found.movies.shape == (3, 3, *best.movies.shape[2:])
    reached = (found.activation - best.grey[:, None]) / (best.activation - best.grey[:, None])
    assert reached.min() >= 0.8 - 1e-5  # rounding
    assert found.agreement.max() < 0.7
    norms = np.sqrt(np.square(found.movies, dtype=np.float64).sum(axis=(2, 3, 4, 5)))
    np.testing.assert_allclose(norms, 2.0, rtol=1e-4)
    again = diverse_exciting(model, [0, 3, 4], count=3, share=0.8, best=best, kept=kept)
    np.testing.assert_array_equal(again.movies, found.movies)


def test_diverse_stimuli_need_two_and_a_share() -> None:
    with pytest.raises(UserError, match=r"count is 1 and share 0\.85; at least 2"):
        diverse_exciting(lnp(), count=1)
    with pytest.raises(UserError, match="share between 0 and 1"):
        diverse_exciting(lnp(), share=1.0)


@pytest.mark.slow
def test_the_channels_of_a_layer_are_neurons() -> None:
    model = convolutional()
    layer = layer_model(model, 0)
    movie = np.random.default_rng(0).standard_normal((2, 9, *model.data_info.input_shape)).astype(np.float32)
    maps = nnx.jit(lambda core, movie: core.layer_outputs(movie)[0])(model.core, movie)
    np.testing.assert_allclose(layer(movie), maps[:, :, maps.shape[2] // 2, maps.shape[3] // 2], rtol=1e-6)
    assert layer.data_info.sessions == {"layer_0": 3}
    found = most_exciting(layer, [2], **OPTIONS)
    assert found.names == ("layer_0:2",)
    np.testing.assert_allclose(found.activation[:, 0], found.linear, rtol=1e-3)  # one layer is all but linear
    assert found.linear[0] > found.grey[0]


def test_models_without_layers_are_refused() -> None:
    with pytest.raises(UserError, match="has layers 0 to 0"):
        layer_model(convolutional(), 1)
    with pytest.raises(UserError, match="no core of layers"):
        layer_model(lnp(), 0)
    with pytest.raises(UserError, match="Ensemble has no core of layers"):
        layer_model(Ensemble([convolutional(), convolutional(1)]), 0)
